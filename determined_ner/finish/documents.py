"""The papers of a finished model: the report on its validation data, and its card."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from determined_ner.export.card import make_card
from determined_ner.finish.run_end import Chosen
from determined_ner.model.device_memory import DeviceMemoryError
from determined_ner.report.command import PAGE, write_page
from determined_ner.report.text import tag_text, take_labelled
from determined_ner.settings.loop import METRICS
from determined_ner.training.setup import Training
from determined_ner.training.trained import Trained, find_trained

logger = logging.getLogger("determined_ner")
COUNTERS = ("kind", "batches", "epochs")
"""What a report says besides scores."""


class Documents:
    """Writes them, each once, of a model that a training has just left in a directory.

    Attributes:
        training: whose model it is.
        chosen: the best checkpoint, whose model it is.
        summary: of the run.
    """

    def __init__(self, training: Training, name: Path, chosen: Chosen, summary: dict[str, Any]) -> None:
        """
        Args:
            name: that they give the model, by its last part.
            summary: as a run's folder has it, or ``best``, ``test`` and ``model_batches`` of it.
        """
        self.training, self.chosen, self.summary = training, chosen, summary
        self._name = name
        self._card: str | None = None
        self._pages: dict[bool, str] = {}

    def card(self, model: Path) -> str:
        """The card of the model in a directory; no word of a text is in it."""
        if self._card is None:
            files, best = self.training.corpus.texts["validation"].source.files, scores_of(self.chosen.best)
            self._card = make_card(self._trained(model), self.training.parameters, files, best)
        return self._card

    def report(self, model: Path, examples: bool, command: str) -> str | None:
        """The report, one page with its pictures inside.

        Args:
            model: directory of the model.
            examples: whether words of the text may stand on the page.
            command: makes the report anew, for a log that says that memory is short.

        Returns:
            the page; None: the GPU's memory is too full for it.
        """
        try:
            if examples not in self._pages:
                self._pages[examples] = self._page(self._trained(model), examples)
            return self._pages[examples]
        except DeviceMemoryError:
            logger.warning(f"no {PAGE}: the GPU's memory is full; {command} makes one elsewhere")
            return None

    def _trained(self, model: Path) -> Trained:
        found = find_trained(str(model), model, self.training.settings.hparams.trust_remote_code)
        return replace(found, path=self._name, summary=self.summary)

    def _page(self, trained: Trained, examples: bool) -> str:
        corpus, name = self.training.corpus, trained.name
        text = take_labelled(trained, corpus.texts["validation"], corpus.splits["validation"])
        tagged, speed = tag_text(trained, name, text, trained.directory.labels)
        speeds, reports = [(name, speed)], self.chosen.reports
        with tempfile.TemporaryDirectory() as figures:
            return write_page(Path(figures), trained, text, tagged, speeds, reports, examples=examples, summary=False)


def scores_of(report: dict[str, Any] | None) -> dict[str, float]:
    """A report less what it counts; first what is of all types. (A master gives it back in any order.)"""
    scores = {metric: value for metric, value in (report or {}).items() if metric not in COUNTERS}
    main = [metric for metric in METRICS if metric in scores]
    return {metric: scores[metric] for metric in (*main, *sorted(scores.keys() - set(main)))}
