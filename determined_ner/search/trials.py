"""The trials of a search that are done, as its folder keeps them, and what each came to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from determined_ner.errors import UserError
from determined_ner.files.atomic import read_json, write_json
from determined_ner.search.halving import History
from determined_ner.settings.loop import LoopSettings

TRIALS_FILE = "trials.json"
"""What has come out so far."""


class State(str, Enum):
    """How a trial ended."""

    COMPLETED = "completed"
    STOPPED = "stopped"
    """By the search, before its length."""
    EARLY = "ended early"
    """By its own early_stopping_patience or time_limit."""
    FAILED = "failed"
    """It diverged, or the GPU's memory was too small for it."""
    INVALID = "invalid"
    """A point that cannot work."""


@dataclass(frozen=True)
class Trial:
    """One trial that is done."""

    number: int
    """From 1."""
    bracket: int
    """Of the search, from 0."""
    state: State
    reason: str
    """Why it ended before its length; "" where it did not."""
    values: dict[str, Any]
    """What it had in the place of each range, by dotted name."""
    validations: list[dict[str, Any]] = field(default_factory=list)
    """Of each validation ``batches``, ``epochs`` and the ``score``, null where it was no number."""

    @property
    def folder(self) -> str:
        """Its name in that of the search."""
        return trial_name(self.number)

    def history(self, unit: str, smaller_is_better: bool) -> History:
        """As trials are compared.

        Args:
            unit: epochs or batches.
        """
        sign = 1 if smaller_is_better else -1
        scores = (math.inf if line["score"] is None else sign * line["score"] for line in self.validations)
        lengths = (line[unit] for line in self.validations)
        return History(list(zip(lengths, scores, strict=True)), self.state is State.FAILED)

    def best(self, smaller_is_better: bool) -> float | None:
        """Its best score; None: it has none."""
        scores = [line["score"] for line in self.validations if line["score"] is not None]
        return (min if smaller_is_better else max)(scores) if scores else None

    @property
    def batches(self) -> int:
        """That were trained when it was validated last."""
        return max((int(line["batches"]) for line in self.validations), default=0)


def trial_name(number: int) -> str:
    """Name of a trial's folder in that of the search."""
    return f"trial-{number}"


def best_first(trials: Sequence[Trial], smaller_is_better: bool) -> list[Trial]:
    """By their best scores; of equals the earliest, and those without one last."""
    sign = 1 if smaller_is_better else -1

    def key(trial: Trial) -> tuple[float, int]:
        best = None if trial.state in (State.FAILED, State.INVALID) else trial.best(smaller_is_better)
        return (math.inf if best is None else sign * best, trial.number)

    return sorted(trials, key=key)


def find_best(trials: Sequence[Trial], smaller_is_better: bool) -> Trial | None:
    """The one with the best score that has a model; None: none has."""
    ranked = best_first(trials, smaller_is_better)
    usable = [t for t in ranked if t.state not in (State.FAILED, State.INVALID)]
    return usable[0] if usable else None


def write_trials(folder: Path, trials: Sequence[Trial], loop: LoopSettings) -> None:
    """Keep what has come out so far."""
    best = find_best(trials, loop.smaller_is_better)
    shown = {
        "metric": loop.metric,
        "smaller_is_better": loop.smaller_is_better,
        "best": best and f"{best.folder}/model",
        "trials": [asdict(trial) for trial in trials],
    }
    write_json(folder / TRIALS_FILE, shown)


def read_trials(folder: Path) -> list[Trial]:
    """What has come out so far, in the order in which it did.

    Raises:
        UserError: the file is damaged.
    """
    kept = read_json(folder / TRIALS_FILE, "the search")
    if kept is None:
        return []
    try:
        trials = [Trial(**{**entry, "state": State(entry["state"])}) for entry in kept["trials"]]
        for number, trial in enumerate(trials, 1):
            numbers = [line["score"] for line in trial.validations if line["score"] is not None]
            if trial.number != number or not all(math.isfinite(value) for value in numbers):
                raise ValueError(f"trial {number}")
            lengths = [line[unit] for line in trial.validations for unit in ("batches", "epochs")]
            if not (isinstance(trial.values, dict) and all(isinstance(length, int) for length in lengths)):
                raise ValueError(f"trial {number}")
    except (TypeError, ValueError, LookupError, AttributeError):
        raise UserError(folder / TRIALS_FILE, "does not say what trials came to", "copy the search again") from None
    return trials
