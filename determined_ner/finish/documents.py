"""The papers of a finished model: the report on its validation data, and its card."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from determined_ner.export.card import make_card
from determined_ner.finish.run_end import Chosen
from determined_ner.report.command import PAGE, write_page
from determined_ner.report.text import tag_text, take_labelled
from determined_ner.settings.loop import METRICS
from determined_ner.training.setup import Training
from determined_ner.training.trained import Trained, find_trained

logger = logging.getLogger("determined_ner")
COUNTERS = ("kind", "batches", "epochs")
"""What a report says besides scores."""


class Documents:
    """Writes them, of a model that a training has just left in a directory."""

    def __init__(self, training: Training, name: Path, chosen: Chosen, summary: dict[str, Any]) -> None:
        """
        Args:
            name: that they give the model, by its last part.
            summary: as a run's folder has it, or ``best``, ``test`` and ``model_batches`` of it.
        """
        self._training, self._name, self._chosen, self._summary = training, name, chosen, summary

    def card(self, model: Path) -> str:
        """The card of the model in a directory; no word of a text is in it."""
        files = self._training.corpus.texts["validation"].source.files
        return make_card(self._trained(model), self._training.parameters, files, scores_of(self._chosen.best))

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
            return self._page(self._trained(model), examples)
        except torch.cuda.OutOfMemoryError:
            logger.warning(f"no {PAGE}: the GPU's memory is full; {command} makes one elsewhere")
            return None

    def _trained(self, model: Path) -> Trained:
        found = find_trained(str(model), model, self._training.settings.hparams.trust_remote_code)
        return replace(found, path=self._name, summary=self._summary)

    def _page(self, trained: Trained, examples: bool) -> str:
        corpus, name = self._training.corpus, trained.name
        text = take_labelled(trained, corpus.texts["validation"], corpus.splits["validation"])
        tagged, speed = tag_text(trained, name, text, trained.directory.labels)
        speeds, reports = [(name, speed)], self._chosen.reports
        with tempfile.TemporaryDirectory() as figures:
            return write_page(Path(figures), trained, text, tagged, speeds, reports, examples=examples, summary=False)


def scores_of(report: dict[str, Any] | None) -> dict[str, float]:
    """A report less what it counts; first what is of all types. (A master gives it back in any order.)"""
    scores = {metric: value for metric, value in (report or {}).items() if metric not in COUNTERS}
    main = [metric for metric in METRICS if metric in scores]
    return {metric: scores[metric] for metric in (*main, *sorted(scores.keys() - set(main)))}
