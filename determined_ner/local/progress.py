"""What a run shows while it works: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import logging
import sys
from typing import Any

from tqdm import tqdm

logger = logging.getLogger("determined_ner")


class Progress:
    """A bar on a terminal, a line a report elsewhere, nothing on other slots than the first."""

    def __init__(self, total: int, done: int, epoch_batches: int, chief: bool) -> None:
        self._bar = tqdm(
            total=total,
            initial=done,
            unit="batch",
            disable=None if chief else True,
            dynamic_ncols=True,
            file=sys.stderr,
        )
        self._chief = chief
        self._total = total
        self._epoch_batches = epoch_batches
        self._shown: dict[str, str] = {}

    def advance(self) -> None:
        self._bar.update()

    def show_status(self, status: str) -> None:
        self._bar.set_description(status)

    def show_training(self, metrics: dict[str, Any]) -> None:
        self._shown |= {"loss": f"{metrics['loss']:.4f}", "samples/s": f"{metrics['samples_per_second']:.1f}"}
        self._bar.set_postfix(self._shown)
        if self._chief and self._bar.disable:
            epoch = metrics["batches"] / self._epoch_batches
            logger.info(
                f"batch {metrics['batches']:,} of {self._total:,}  epoch {epoch:.2f}  loss {self._shown['loss']}  "
                f"{self._shown['samples/s']} samples/s"
            )

    def show_validation(self, metrics: dict[str, Any], best: bool) -> None:
        main = "f1" if "f1" in metrics else "accuracy"
        self._shown[main] = f"{metrics[main]:.4f}"
        self._bar.set_postfix(self._shown)
        names = [n for n in ("loss", "accuracy", "precision", "recall", "f1", "f1_strict") if n in metrics]
        scores = "  ".join(f"{name} {metrics[name]:.4f}" for name in names)
        with self._bar.external_write_mode():
            logger.info(
                f"validation after epoch {metrics['batches'] / self._epoch_batches:.2f}  {scores}"
                + ("  (best so far)" if best else "")
            )

    def close(self) -> None:
        self._bar.close()
