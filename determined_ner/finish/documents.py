"""The papers of a finished model: the report on its validation data, and its card."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from determined_ner.export.card import make_card
from determined_ner.finish.run_end import Chosen, write_model
from determined_ner.report.command import PAGE, write_page
from determined_ner.report.text import tag_text, take_labelled
from determined_ner.settings.loop import METRICS
from determined_ner.training.setup import Training
from determined_ner.training.trained import Trained, find_trained

logger = logging.getLogger("determined_ner")
COUNTERS = ("kind", "batches", "epochs")
"""What a report says besides scores."""


def write_documents(folder: Path, training: Training, name: str, chosen: Chosen, test: dict[str, float] | None) -> str:
    """Write the report; its page shows words of the text only where ``data.report_examples`` says so.

    Args:
        folder: gets ``report.html``, unless memory is short.
        training: whose model is that of the checkpoint.
        name: of the run.
        test: scores of the test data; None: there is none.

    Returns:
        the card.
    """
    with tempfile.TemporaryDirectory() as scratch:
        model, unused = Path(scratch) / "model", Path(scratch) / "unused"
        model.mkdir()
        write_model(training, model)
        summary = {"test": test and scores_of(test), "best": chosen.best, "model_batches": chosen.batches}
        found = find_trained(str(model), unused, training.settings.hparams.trust_remote_code)
        trained = replace(found, path=Path(name), summary=summary)
        try:
            _write_report(folder, training, name, trained, chosen)
        except torch.cuda.OutOfMemoryError:
            logger.warning(f"no {PAGE}: the GPU's memory is full; determined-ner report UUID makes one elsewhere")
    files = training.corpus.texts["validation"].source.files
    return make_card(trained, training.parameters, files, scores_of(chosen.best))


def _write_report(folder: Path, training: Training, name: str, trained: Trained, chosen: Chosen) -> None:
    corpus = training.corpus
    text = take_labelled(trained, corpus.texts["validation"], corpus.splits["validation"])
    tagged, speed = tag_text(trained, name, text, trained.directory.labels)
    examples = training.settings.data.report_examples
    with tempfile.TemporaryDirectory() as figures:
        speeds, reports = [(name, speed)], chosen.reports
        page = write_page(Path(figures), trained, text, tagged, speeds, reports, examples=examples, summary=False)
    (folder / PAGE).write_text(page, encoding="utf-8")


def scores_of(report: dict[str, Any] | None) -> dict[str, float]:
    """A report less what it counts; first what is of all types. (A master gives it back in any order.)"""
    scores = {metric: value for metric, value in (report or {}).items() if metric not in COUNTERS}
    main = [metric for metric in METRICS if metric in scores]
    return {metric: scores[metric] for metric in (*main, *sorted(scores.keys() - set(main)))}
