"""A training whose loss or weights are no longer finite: where that is noticed, and what is said."""

from __future__ import annotations

import math
from typing import Any

from determined_ner.errors import UserError
from determined_ner.model.weights import find_infinite_weight
from determined_ner.training.setup import Training


class DivergedError(UserError):
    """Training came to numbers that are none.

    Attributes:
        what: happened.
        good: the newest checkpoint, as the loop names it; None: there is none yet.
    """

    def __init__(self, what: str, good: str | None, remedy: str) -> None:
        self.what, self.good = what, good
        newest = f"the last good checkpoint is {good}" if good else "there is no checkpoint yet"
        super().__init__("", f"{what}, and {newest}", remedy)
        self.args = (what, good, remedy)  # from which a copy is made


class DivergenceCheck:
    """Looks where the loss is read anyway: at each report, which comes before each checkpoint too, and each validation.

    So the newest checkpoint is always a good one.
    """

    def __init__(self, training: Training) -> None:
        self._training = training
        self.good: str | None = None
        """The newest checkpoint, as the loop names it."""

    def at_beginning(self) -> None:
        """
        Raises:
            UserError: the weights to begin with are not finite.
        """
        if name := find_infinite_weight(self._training.model):
            raise UserError("", f"the weights to begin with are not finite ({name})", "begin with others")

    def at_report(self, metrics: dict[str, Any]) -> None:
        """
        Args:
            metrics: of training, with ``batches``.

        Raises:
            DivergedError: the loss or a weight is not finite.
        """
        batches = int(metrics["batches"])
        if not math.isfinite(metrics["loss"]):
            raise self._error(f"the training loss is {metrics['loss']} at batch {batches:,}")
        if name := find_infinite_weight(self._training.model):
            raise self._error(f"the weights are no longer finite at batch {batches:,} ({name})")

    def at_validation(self, metrics: dict[str, Any]) -> None:
        """
        Raises:
            DivergedError: the loss is not finite.
        """
        if not math.isfinite(metrics["loss"]):
            raise self._error(f"the validation loss is {metrics['loss']}")

    def _error(self, problem: str) -> DivergedError:
        hparams = self._training.settings.hparams
        cures = [f"a lower hyperparameters.learning_rate (it is {hparams.learning_rate:g})", "a longer warmup_ratio"]
        cures += ["precision: bf16 or fp32"] if hparams.precision == "fp16" or hparams.use_apex_amp else []
        cures += ["max_grad_norm: 1.0"] if not hparams.max_grad_norm else []
        remedy = f"start again with {', or '.join(cures)}"
        return DivergedError(f"{problem}: the training diverged", self.good, remedy)
