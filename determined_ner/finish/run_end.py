"""The end of a run, on a cluster and off it: the best checkpoint is scored on the test data, and results are kept."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from determined_ner.files.atomic import write_json
from determined_ner.finish.calibration import Calibrated
from determined_ner.model.crf import without_crf
from determined_ner.model.directory import CALIBRATION_FILE
from determined_ner.model.lora import merge_adapters
from determined_ner.model.quiet import quiet_transformers
from determined_ner.model.weights import load_weights
from determined_ner.settings.loop import LoopSettings
from determined_ner.training.setup import Training
from determined_ner.training.slots import on_chief

logger = logging.getLogger("determined_ner")


@dataclass(frozen=True)
class Chosen:
    """The checkpoint that a run is known by."""

    batches: int
    """After which it was made."""
    name: str
    """As its place knows it."""
    best: dict[str, Any] | None
    """The report of the best validation; None: there is none with a number. The checkpoint may be another's where a
    checkpoint policy has left that one out."""
    reports: list[dict[str, Any]]
    """All of the run."""
    test: dict[str, float] | None = None
    """Scores of the test data, where the end was begun before and came so far."""


class Place(Protocol):
    """Where a run leaves its results. Each part is done once, however often the end is begun again."""

    def choose(self) -> Chosen:
        """The best checkpoint that there is; asked of the chief alone."""

    def checkpoint(self, chosen: Chosen) -> contextlib.AbstractContextManager[Path]:
        """Its directory; asked of every slot."""

    def keep(self, chosen: Chosen, test: dict[str, float] | None) -> None:
        """Keep the results; asked of the chief alone, when the training's model is that of the checkpoint.

        Args:
            test: scores of the test data; None: there is none.
        """


def finish(training: Training, place: Place) -> None:
    """End a run; every slot calls it."""
    slots = training.slots
    training.engine.end_training()
    chosen = on_chief(slots, place.choose)
    with place.checkpoint(chosen) as checkpoint:
        load_weights(training.model, checkpoint)
    if training.settings.hparams.peft:  # what is scored is what is kept
        merge_adapters(training.model)
    test = chosen.test
    if test is None and "test" in training.corpus.splits:
        test = training.score("test")
    if slots.rank == 0:
        place.keep(chosen, test)


def warn_of_choice(chosen: Chosen, loop: LoopSettings, model: str) -> None:
    """Say so where the checkpoint is not that of the best validation, or none is better than another.

    Args:
        model: what is made of it.
    """
    best = chosen.best
    if best and best["batches"] != chosen.batches:
        logger.warning(
            f"the best validation, after batch {best['batches']:,}, has no checkpoint (checkpoint_policy: "
            f"{loop.checkpoint_policy}); {model} is that of batch {chosen.batches:,}"
        )
    if best and best[loop.metric] == 0 and not loop.smaller_is_better:
        logger.warning(
            f"{loop.metric} is 0 in every validation, so {model} is that of the first, batch {chosen.batches:,}: train "
            f"longer or with another learning_rate, and look at the tags with determined-ner check"
        )


def write_model(training: Training, calibrated: Calibrated, folder: Path) -> None:
    """Write the model as a Hugging Face directory, with what a reader of it needs."""
    with quiet_transformers():
        training.model.save_pretrained(folder, state_dict=without_crf(training.model.state_dict()))
    training.write_description(folder)
    write_json(folder / CALIBRATION_FILE, calibrated.as_json())
