"""Checkpoints of a run without a cluster, in the form of Determined's: each loop goes on with those of the other."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from determined_ner.errors import UserError, write_errors_explained
from determined_ner.files.atomic import replacing_directory, write_json
from determined_ner.masks import without_secrets
from determined_ner.model.checkpoint import STATE_FILE, TRIAL_STATE_FILE
from determined_ner.model.weights import unloadable
from determined_ner.training.checkpoint_code import copy_code
from determined_ner.training.checkpoint_state import (
    LABELS_KEY,
    complete_checkpoint,
    label_state,
    make_portable,
    restore_run,
    saved_labels,
    set_learning_rate,
)
from determined_ner.training.loop_context import TorchContext
from determined_ner.training.run_folder import RunFolder
from determined_ner.training.setup import Training
from determined_ner.training.trial_state import TrialState, read_trial_state

FORMAT = "0.38.1"
"""The release of Determined whose checkpoints these are."""


class Checkpoints:
    """Writes and reads those of one run; of them, the best and the newest are kept."""

    def __init__(self, folder: RunFolder, training: Training, context: TorchContext, config: dict[str, Any]) -> None:
        """
        Args:
            config: of the experiment.
        """
        self._folder, self._training, self._context, self._config = folder, training, context, config

    def save(self, state: TrialState) -> Path:
        """Write one; it gets its name when it is complete.

        Raises:
            UserError: it cannot be written.
        """
        metadata = {
            "determined_version": FORMAT,
            "steps_completed": state.batches_trained,
            "framework": f"torch-{torch.__version__}",
            "format": "pickle",
        }
        final = self._folder.checkpoint(state.batches_trained)
        with write_errors_explained(final, "make room or rights, then go on with --resume"):
            with replacing_directory(final) as partial:
                write_json(partial / "metadata.json", metadata)
                copy_code(partial / "code")
                torch.save(self._state(), partial / STATE_FILE)
                state.write(partial / TRIAL_STATE_FILE)
                (partial / "load_data.json").write_text(json.dumps(self._description()), encoding="utf-8")
                complete_checkpoint(partial, self._training)
            self._folder.prune(self._folder.rank(self._training.loop, self._folder.metrics.reports()))
        return final

    def path(self, batches: int) -> Path:
        """Where that of so many batches is, or will be."""
        return self._folder.checkpoint(batches)

    def _state(self) -> dict[str, Any]:
        context = self._context
        rng_state: dict[str, Any] = {
            "cpu_rng_state": torch.random.get_rng_state(),
            "np_rng_state": np.random.get_state(),
            "random_rng_state": random.getstate(),
        }
        if torch.cuda.device_count():
            rng_state["gpu_rng_state"] = torch.cuda.get_rng_state(self._training.slots.local_rank)
        state: dict[str, Any] = {
            "models_state_dict": [model.state_dict() for model in context.models],
            "optimizers_state_dict": [optimizer.state_dict() for optimizer in context.optimizers],
            "lr_schedulers_state_dict": [self._training.schedule.state_dict()],
            "callbacks": {LABELS_KEY: label_state(self._training)},
            "rng_state": rng_state,
        }
        if context.scaler:
            state["scaler_state_dict"] = context.scaler.state_dict()
        if context.amp:
            state["amp_state"] = context.amp.state_dict()
        make_portable(state)
        return state

    def _description(self) -> dict[str, Any]:
        """From which Determined rebuilds the trial (``pytorch.load_trial_from_checkpoint_path``)."""
        batch_size = self._training.settings.hparams.global_batch_size
        hparams = {**self._config["hyperparameters"], "global_batch_size": batch_size}
        return {
            "trial_type": "PyTorchTrial",
            "experiment_config": without_secrets({**self._config, "hyperparameters": hparams}),
            "hparams": without_secrets(hparams),
            "trial_cls_spec": "ner_trial:NERTrial",
            "is_trainer": True,
        }

    def load(self, batches: int) -> TrialState:
        """Go on from one, of this loop or Determined's: weights, optimizer, schedule, scaler, random generators.

        It has been checked (`RunFolder.begin`); nothing in it runs.

        Raises:
            UserError: it is damaged, or of another model or other labels.
        """
        folder = self._folder.checkpoint(batches)
        if not (folder / TRIAL_STATE_FILE).is_file():
            raise UserError(folder / TRIAL_STATE_FILE, "is missing", "copy the checkpoint again, or use another")
        try:
            state = torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True)
            if not isinstance(state, dict):
                raise UserError(folder / STATE_FILE, "holds no state of a training", "copy the checkpoint again")
            self._load_state(state)
            with (folder / TRIAL_STATE_FILE).open("rb") as file:
                saved = read_trial_state(file)
        except (UserError, torch.cuda.OutOfMemoryError):
            raise
        except Exception as error:  # of zip files, of pickles, of states that are not this training's
            raise unloadable(folder / STATE_FILE, error) from error
        if saved["batches_trained"] != batches:
            problem = f"is of batch {saved['batches_trained']}, the checkpoint of batch {batches}"
            raise UserError(folder / TRIAL_STATE_FILE, problem, "copy the checkpoint again, or use another")
        restored = {name: value or 0 for name, value in saved.items()}
        return TrialState(**{**restored, "trial_id": 0, "epochs_trained": batches // self._training.epoch_batches})

    def _load_state(self, state: dict[str, Any]) -> None:
        context, schedule = self._context, self._training.schedule
        if (saved := saved_labels(state)) != (labels := list(self._training.labels.names)):
            problem = f"the checkpoint has the labels {' '.join(saved)}, the data now has {' '.join(labels)}"
            raise UserError("", problem, "bring the old files back, or start a new run")
        set_learning_rate(state, schedule)
        restore_run(state, self._training)
        (model,), (weights,) = context.models, state["models_state_dict"]
        torch.nn.modules.utils.consume_prefix_in_state_dict_if_present(weights, "module.")
        if isinstance(model, torch.nn.parallel.DistributedDataParallel):
            model = model.module
        model.load_state_dict(weights)
        (optimizer,) = context.optimizers
        optimizer.load_state_dict(state["optimizers_state_dict"][0])
        schedule.load_state_dict(state["lr_schedulers_state_dict"][0])
        if context.scaler and "scaler_state_dict" in state:
            context.scaler.load_state_dict(state["scaler_state_dict"])
        if context.amp and "amp_state" in state:
            context.amp.load_state_dict(state["amp_state"])
        rng_state = state["rng_state"]
        np.random.set_state(rng_state["np_rng_state"])
        random.setstate(rng_state["random_rng_state"])
        torch.random.set_rng_state(rng_state["cpu_rng_state"])
        if torch.cuda.device_count() and "gpu_rng_state" in rng_state:
            torch.cuda.set_rng_state(rng_state["gpu_rng_state"], device=self._training.slots.local_rank)
