"""The trial: wires the rooms to Determined's training loop, on the cluster and off it.

    python3 ner_trial.py [CONFIG] [--config KEY=VALUE ...] [--output-dir DIR] [--resume]

As the entrypoint of an experiment the same command takes everything from the cluster; ``ner_trial:NERTrial``, the
older form of an entrypoint, gives the same results.
"""

from __future__ import annotations

if __name__ == "__main__":
    from determined_ner.settings.experiment import parse_arguments

    parse_arguments()  # --help and a mistyped option answer before the imports below, which take seconds

import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import determined as det
import numpy as np
import torch
from determined import pytorch

import determined_ner.model.engine as ner_backend
import determined_ner.model.build as ner_model
from determined_ner.data.batches import BatchDataset, EvaluationBatches, Padding, TrainingBatches, only_item
from determined_ner.cluster.workarounds import UNWRITABLE, LastEvents, be_patient_with_master, notice_the_dead, write_or_tell
from determined_ner.data.corpus import Corpus, load_corpus
from determined_ner.model.cpu.embedding import train_only_rows
from determined_ner.data.encode import SETTINGS_FILE, Labels
from determined_ner.errors import UserError, read_json
from determined_ner.settings.experiment import LEGACY_METRICS, REPORTING_BATCHES, Span, make_plan, parse_arguments
from determined_ner.settings.hyperparameters import DataSettings, HyperparameterError, parse_settings
from determined_ner.training.metrics import EvaluationMetrics, TrainingMetrics
from determined_ner.data.remote import fetch_files, for_publication
from determined_ner.data.sources import check_files
from determined_ner.data.tokenizer import load_tokenizer
from determined_ner.tags.entities import Scheme, split_tag

logger = logging.getLogger("ner")
T = TypeVar("T")


be_patient_with_master()


def _is_true(record: logging.LogRecord) -> bool:
    """Determined says that it rounds the batch size to a multiple of the slots; our plan keeps it as it is."""
    return not record.getMessage().startswith("`global_batch_size` changed")


logging.getLogger("determined").addFilter(_is_true)


class NERTrial(pytorch.PyTorchTrial):
    """Token classification with any Hugging Face encoder, built from the context alone."""

    cache_dir = Path(os.path.expanduser("~/.cache/determined_ner"))  # noqa: PTH111  (does not raise where there is no home)
    """Where tokenized data is kept unless ``data.cache_dir`` says otherwise; a local run keeps it in its folder."""

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        """
        Raises:
            det.InvalidHP: a hyperparameter point that cannot work; a search goes on with its other points.
            UserError: anything else that the user can mend.
        """
        self.context = context
        try:
            config = context.get_experiment_config()
            self.settings = parse_settings(context.get_hparams(), config.get("data"))
            self.plan = make_plan(config, self.settings)
            if context._managed_training:
                write_or_tell(context._core.checkpoint)
                notice_the_dead(context.distributed)
                self._build()
            else:
                self._build_for_weights()
        except HyperparameterError as error:
            logging.getLogger("ner.invalid").error(str(error))  # Determined ends the trial without saying why
            raise det.InvalidHP(str(error)) from error

    def _build(self) -> None:
        hparams = self.settings.hparams
        slots = self.context.distributed.size
        # Asked of the context: det's local test mode does not pass the config's value on.
        self.micro_steps = self.context._aggregation_frequency
        check_batch_size(hparams.global_batch_size, slots)
        ner_backend.check_conditions(hparams, self.context.device, slots, self.micro_steps)
        seed = self.context._trial_seed
        self.seed = self.plan.seed if seed is None else seed

        check_files(self.settings.data)  # a mistyped path is told before a hub is asked for anything
        self.data = self._one_slot_first(self._fetch_files)
        model_config = ner_model.load_config(hparams)
        ner_backend.check_architecture(hparams, model_config.model_type, self.context.device)
        self.tokenizer = load_tokenizer(hparams)
        limit = ner_model.longest_window(model_config, hparams, self.tokenizer.tokenizer.model_max_length)
        self.max_seq_length = ner_model.window_size(self.settings.data.max_seq_length, limit)
        self.corpus = self._one_slot_first(self._load_corpus)
        self.labels = self.corpus.labels
        self._check_searcher_metric()
        pieces = max(int(split.ids.max()) for split in self.corpus.splits.values())
        ner_model.check_vocabulary(model_config, hparams, max([pieces, *self.tokenizer.prefix, *self.tokenizer.suffix]))
        self.data_fingerprints = {name: split.fingerprint for name, split in self.corpus.splits.items()}

        self.bare = ner_model.build_model(model_config, hparams, self.labels.names, self.seed)
        self.parameters = sum(p.numel() for p in self.bare.parameters())
        if hparams.weight_decay == 0:  # which would move rows without a gradient, too
            train_only_rows(self.bare, self._training_pieces())
        self.engine = ner_backend.Engine(self.context, self.bare, hparams)
        self.model = self.engine.model
        self.padding = Padding(
            multiple=ner_backend.length_multiple(hparams, self.context.device),
            least=self.max_seq_length if self.settings.data.pad_to_max_length else 0,
            most=self.max_seq_length,
        )
        self.train_batches = TrainingBatches(
            self.corpus.splits["train"],
            self.tokenizer.specials,
            hparams.global_batch_size,
            slots * self.micro_steps,
            self.seed,
            hparams.group_by_length,
        )
        self.epoch_batches = len(self.train_batches) // slots
        optimizer_steps = self.in_batches(self.plan.length) // self.micro_steps
        self.schedule = self.context.wrap_lr_scheduler(
            ner_model.build_schedule(self.engine.optimizer, hparams, max(1, optimizer_steps)),
            step_mode=pytorch.LRScheduler.StepMode.STEP_EVERY_OPTIMIZER_STEP,
        )
        self.training_metrics = self.context.wrap_reducer(TrainingMetrics(), for_validation=False)
        self.validation_metrics = self.context.wrap_reducer(self.make_metrics("validation"), for_training=False)
        if self.context.distributed.rank == 0:
            self._tell(optimizer_steps)

    def _build_for_weights(self) -> None:
        """Only what weights are loaded into: Determined rebuilds a trial from a checkpoint, where no data is needed."""
        folder = Path(__file__).resolve().parent.parent  # the checkpoint, of which this file is code/ner_trial.py
        saved = read_json(folder / SETTINGS_FILE, "the checkpoint")
        if saved is None:
            raise UserError(
                f"{folder / SETTINGS_FILE}: not found; load a checkpoint without trial_class, "
                f"so that the code beside its label map is used"
            )
        self.labels = Labels(tuple(saved["labels"]), Scheme(saved["scheme"]))
        config = ner_model.load_config(
            self.settings.hparams.model_copy(update={"config_name": str(folder), "revision": "main"})
        )
        self.bare = ner_model.build_model(config, self.settings.hparams, self.labels.names, seed=None)
        self.model = self.context.wrap_model(self.bare)

    def _cache(self) -> Path:
        return Path(self.settings.data.cache_dir).expanduser() if self.settings.data.cache_dir else self.cache_dir

    def _fetch_files(self, first: bool) -> DataSettings:
        return fetch_files(self.settings.data, self._cache(), ask=first)

    def _training_pieces(self) -> Any:
        """(N,) all that a training batch may hold."""
        specials = [*self.tokenizer.prefix, *self.tokenizer.suffix, self.tokenizer.pad_id]
        ids = self.corpus.splits["train"].ids
        seen = np.zeros(int(ids.max()) + 1, np.bool_)
        for begin in range(0, len(ids), 1 << 20):  # sorting them all would take seconds and their size in memory
            seen[ids[begin : begin + (1 << 20)]] = True
        return np.union1d(np.flatnonzero(seen), specials)

    def _load_corpus(self, first: bool) -> Corpus:
        task = self.settings.hparams.finetuning_task
        overwrite = self.data.overwrite_cache and first
        return load_corpus(self.data, task, self.tokenizer, self.max_seq_length, self._cache(), overwrite)

    def _one_slot_first(self, action: Callable[[bool], T]) -> T:
        """Run ``action(True)`` on one slot of each machine, then ``action(False)`` on the others: the cache is there.

        An error of one slot is raised on all: none waits for another that has ended.
        """
        distributed = self.context.distributed
        result, error = None, None
        for turn in (True, False):
            if (distributed.local_rank == 0) == turn:
                try:
                    result = action(turn)
                except UserError as mistake:
                    error = mistake
            for other in distributed.allgather(error):
                if other is not None:
                    raise other
        assert result is not None
        return result

    def make_metrics(self, split: str) -> EvaluationMetrics:
        """Scores of one split, also under the name of earlier examples if the searcher asks for it."""
        aliases = {self.plan.metric: LEGACY_METRICS[self.plan.metric]} if self.plan.metric in LEGACY_METRICS else {}
        return EvaluationMetrics(self.corpus.splits[split], self.labels, aliases)

    def _check_searcher_metric(self) -> None:
        names = self.make_metrics("validation").names()
        if self.plan.metric not in names:
            reason = ""
            if self.labels.scheme is Scheme.PLAIN:
                odd = next((name for name in self.labels.names if split_tag(name) is None), self.labels.names[0])
                reason = f", whose tags are plain, not entities (there is {odd!r}, which is neither O nor like B-PER)"
            raise UserError(
                f"searcher.metric: {self.plan.metric!r} is not reported for this data{reason}; "
                f"it reports {', '.join(names)}"
            )

    def in_batches(self, span: Span) -> int:
        """A span of the experiment config in calls of ``train_batch``, up to the end of an optimizer step.

        A checkpoint holds no gradients: one in the midst of a step would lose those of its first micro-batches.
        """
        batches = span.batches(self.epoch_batches, self.settings.hparams.global_batch_size, self.micro_steps)
        return -(-batches // self.micro_steps) * self.micro_steps

    def in_determined_units(self, span: Span) -> pytorch.TrainUnit:
        return pytorch.Epoch(span.value) if span.unit == "epochs" else pytorch.Batch(self.in_batches(span))

    # ----- what Determined calls

    def build_training_data_loader(self) -> pytorch.DataLoader:
        return self._loader("train", self.train_batches)

    def build_validation_data_loader(self) -> pytorch.DataLoader:
        return self.evaluation_loader("validation", self.context.distributed.size)

    def evaluation_loader(self, split: str, slots: int) -> pytorch.DataLoader:
        return self._loader(split, EvaluationBatches(self.corpus.splits[split], self.tokenizer.specials, slots))

    def _loader(self, split: str, batches: Any) -> pytorch.DataLoader:
        return pytorch.DataLoader(
            BatchDataset(self.corpus.splits[split], self.tokenizer, self.padding),
            batch_sampler=batches,
            collate_fn=only_item,
            pin_memory=self.context.device.type == "cuda",
        )

    def train_batch(self, batch: Any, epoch_idx: int, batch_idx: int) -> dict[str, Any]:
        # Dropout is a function of (seed, micro-batch): a resumed run draws the same masks without having to restore a
        # generator on each slot, and N slots draw those of N accumulation steps.
        seed = _mix(self.seed, batch_idx * self.context.distributed.size + self.context.distributed.rank)
        loss = self.engine.learn(batch, seed, ends_step=(batch_idx + 1) % self.micro_steps == 0)
        self.training_metrics.update(loss, batch, self.engine.warm_up)
        # A plain float: a tensor here would cost a device synchronization a step.
        return {"learning_rate": self.schedule.get_last_lr()[0]}

    def evaluate_batch(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        self.score(batch, self.validation_metrics)
        return {}

    def score(self, batch: Any, metrics: EvaluationMetrics) -> None:
        if len(batch["windows"]):
            metrics.update(self.engine.logits(batch), batch)

    def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
        return {
            "self_contained": _SelfContained(self),
            "evaluation": _Evaluation(self),
            "last_events": LastEvents(self.context),
        }

    def describe(self, folder: Path) -> None:
        """Write to a checkpoint what its reader needs beside weights: config, label map, tokenizer, settings."""
        self.bare.config.save_pretrained(folder)
        self.tokenizer.tokenizer.save_pretrained(folder)
        described = {
            "hyperparameters": self.settings.hparams.model_dump(),
            "data": for_publication(self.settings.data),
            "labels": list(self.labels.names),
            "scheme": self.labels.scheme.value,
            "max_seq_length": self.max_seq_length,
            "seed": self.seed,
            "data_fingerprints": self.data_fingerprints,
        }
        (folder / SETTINGS_FILE).write_text(json.dumps(described, indent=1, ensure_ascii=False), encoding="utf-8")

    def _tell(self, optimizer_steps: int) -> None:
        """Say what was found and what is going to happen."""
        for warning in (*self.settings.warnings, *self.plan.warnings):
            logger.warning(warning)
        for split in self.corpus.splits.values():
            logger.info(
                f"{split.name}: {len(split.sentences) - 1:,} sentences, {len(split.tags):,} words, "
                f"{len(split.windows) - 1:,} windows of at most {self.max_seq_length} pieces"
            )
            for count, what in (
                ("unknown_words", f"without a piece of their own are read as {self.tokenizer.unknown}"),
                ("cut_words", "longer than a window are read by their beginning"),
                ("repaired_tags", f"not allowed in {self.labels.scheme.value} were repaired, the first"),
            ):
                if split.counts[count]:
                    logger.warning(f"{split.name}: {count.split('_')[1]} {what}: {split.counts[count]:,}")
            for told in split.bad_tags[:5]:
                logger.warning(f"  {told}")
        logger.info(f"tags: {self.labels.scheme.value}, {len(self.labels.names)} labels: {' '.join(self.labels.names)}")
        hparams, slots = self.settings.hparams, self.context.distributed.size
        logger.info(
            f"model: {hparams.pretrained_model_name_or_path}, {self.parameters / 1e6:.1f} M parameters, "
            f"{self.engine.described} on {slots} × {self.context.device.type}"
        )
        logger.info(
            f"training: {self.plan.length.value} {self.plan.length.unit} = {optimizer_steps:,} optimizer steps of "
            f"{hparams.global_batch_size} windows"
            + (f" ({slots} slots × {self.micro_steps} accumulation steps)" if slots * self.micro_steps > 1 else "")
            + f", seed {self.seed}"
        )


class _SelfContained(pytorch.PyTorchCallback):
    """A checkpoint tells what it is of, and is taken for no other."""

    def __init__(self, trial: NERTrial) -> None:
        self._trial = trial

    def on_checkpoint_save_start(self, checkpoint: dict[str, Any]) -> None:
        # Determined loads a checkpoint with torch's defaults, which from torch 2.6 on refuse NumPy's arrays, and with
        # the random state every resume; before 2.4 the safe loader reads none at all. NumPy takes a list as well.
        name, keys, *rest = checkpoint["rng_state"]["np_rng_state"]
        checkpoint["rng_state"]["np_rng_state"] = (name, keys.tolist(), *rest)
        # The names of the weights do not tell how many slots trained them; Determined loads them into as many.
        for weights in checkpoint["models_state_dict"]:
            torch.nn.modules.utils.consume_prefix_in_state_dict_if_present(weights, "module.")

    def state_dict(self) -> dict[str, Any]:
        return {"labels": list(self._trial.labels.names)}

    def on_checkpoint_load_start(self, checkpoint: dict[str, Any]) -> None:
        trial, context = self._trial, self._trial.context
        labels = list(trial.labels.names)
        saved = checkpoint.get("callbacks", {}).get("self_contained", {}).get("labels")
        if saved is None:
            raise UserError("the checkpoint to begin from does not tell its labels: it is of other code; name another")
        if saved != labels:
            raise UserError(
                f"searcher.source_checkpoint_uuid: the checkpoint has the labels {' '.join(saved)}, the data has "
                f"{' '.join(labels)}; train on data with the same labels, or name the model directory of that "
                f"checkpoint in hyperparameters.pretrained_model_name_or_path with ignore_mismatched_sizes: true"
                if self._starts_from_another_trial()
                else f"the checkpoint has the labels {' '.join(saved)}, the data now has {' '.join(labels)}; "
                f"bring the old files back, or start a new experiment"
            )
        if self._starts_from_another_trial():
            # Its weights are where this one begins. Its schedule has ended (linear: at a learning rate of 0), and its
            # optimizer would bring its own learning rate along.
            checkpoint["optimizers_state_dict"] = [optimizer.state_dict() for optimizer in context.optimizers]
            checkpoint["lr_schedulers_state_dict"] = [schedule.state_dict() for schedule in context.lr_schedulers]

    def _starts_from_another_trial(self) -> bool:
        """``source_trial_id`` or ``source_checkpoint_uuid``: a trial's own checkpoints have steps behind them."""
        return self._trial.context._steps_completed == 0

    def on_checkpoint_write_end(self, checkpoint_dir: str) -> None:
        self._trial.describe(Path(checkpoint_dir))


class _Evaluation(pytorch.PyTorchCallback):
    def __init__(self, trial: NERTrial) -> None:
        self._trial = trial

    def on_validation_start(self) -> None:
        self._trial.engine.begin_evaluation()


def check_batch_size(global_batch_size: int, slots: int) -> None:
    """
    Raises:
        HyperparameterError: fewer sentences in a step than slots to share them.
    """
    if global_batch_size < slots:
        raise HyperparameterError(
            f"hyperparameters.global_batch_size: {global_batch_size} is less than the {slots} slots that share it; "
            f"write at least {slots}, or take fewer slots (resources.slots_per_trial)"
        )


def _mix(seed: int, index: int) -> int:
    """A seed for each micro-batch."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0])


def run_on_cluster(info: Any) -> None:
    """Train as the experiment config says, from the latest checkpoint if there is one.

    Raises:
        UserError: the config asks for what cannot be.
    """
    logging.basicConfig(level=logging.INFO, format=det.LOG_FORMAT)
    config = info.trial._config
    try:
        settings = parse_settings(info.trial.hparams, config.get("data"))
        check_batch_size(settings.hparams.global_batch_size, len(info.container_addrs) * len(info.slot_ids))
    except HyperparameterError as error:
        logger.error(str(error))
        with pytorch.init():  # tells the searcher, and ends with exit status 0
            raise det.InvalidHP(str(error)) from error
    plan = make_plan(config, settings)
    with pytorch.init(
        hparams=info.trial.hparams, exp_conf=config, aggregation_frequency=plan.aggregation_frequency
    ) as context:
        trial = NERTrial(context)
        pytorch.Trainer(trial, context).fit(
            max_length=trial.in_determined_units(plan.length),
            validation_period=trial.in_determined_units(plan.validation_period),
            checkpoint_period=trial.in_determined_units(plan.checkpoint_period),
            reporting_period=trial.in_determined_units(Span(plan.reporting_batches or REPORTING_BATCHES, "batches")),
            checkpoint_policy=plan.checkpoint_policy,
            latest_checkpoint=info.latest_checkpoint,
            step_zero_validation=plan.perform_initial_validation,
            profiling_enabled=plan.profiling,
        )


def main(argv: list[str] | None = None) -> int:
    """Train, here or on the cluster.

    Returns:
        exit status: 0; 2 after a mistake of the user, told in one message; 130 when interrupted.
    """
    arguments = parse_arguments(argv)
    try:
        info = det.get_cluster_info()
        if info is not None and info.task_type == "TRIAL":
            if given := sys.argv[1:] if argv is None else argv:
                raise UserError(f"entrypoint: {' '.join(given)!r} has no meaning on a cluster; write it to the config")
            run_on_cluster(info)
        else:
            from determined_ner.local.run import run_locally

            run_locally(arguments)
    except UserError as error:
        if int(os.environ.get("LOCAL_RANK", "0")) == 0:  # one message a machine, not one a process
            print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        print(f"error: {error}; make room or rights, then go on with --resume", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        told = (
            "interrupted; the same command with --resume goes on from the newest checkpoint, of which there is one an"
        )
        print(f"{told} epoch, or as min_checkpoint_period says; before the first, from the beginning", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    # From the module, not from the script: checkpoints name the class as ner_trial:NERTrial.
    import ner_trial

    sys.exit(ner_trial.main())
