"""What of a finished run leaves this machine: model, card and report, without a word of the texts unless asked for."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from determined_ner.errors import UserError
from determined_ner.export.card import CARD_FILE
from determined_ner.files.atomic import read_json, write_json
from determined_ner.files.checksums import write_checksums
from determined_ner.finish.documents import Documents, scores_of
from determined_ner.finish.run_end import Chosen
from determined_ner.model.directory import SETTINGS_FILE
from determined_ner.report.command import PAGE
from determined_ner.trackers.runs import Trackers, public_settings
from determined_ner.training.run_folder import SUMMARY_FILE, RunFolder
from determined_ner.training.setup import Training


def upload_results(training: Training, folder: RunFolder, title: str, trackers: Trackers) -> None:
    """Hand scores, report and model of a run that has ended to its trackers; the chief alone calls it.

    Args:
        training: whose model is that of the best checkpoint.
        title: of the run.
    """
    if trackers.silent:
        return
    summary = read_json(folder.path / SUMMARY_FILE, "the run")
    assert summary is not None
    name = Path(summary["checkpoint"]).name
    chosen = Chosen(summary["model_batches"], name, summary["best"], folder.metrics.reports())
    test = summary["test"]
    if test:
        trackers.report("test", scores_of(test), chosen.batches)
    with tempfile.TemporaryDirectory() as scratch:
        report, model = Path(scratch) / "report", Path(scratch) / "model"
        report.mkdir()
        documents, examples = Documents(training, Path(title), chosen, summary), training.settings.data.report_examples
        public_copy(folder.model, model)
        (model / CARD_FILE).write_text(documents.card(folder.model), encoding="utf-8")
        page = documents.report(folder.model, examples, command=f"determined-ner report {folder.path}")
        if page is not None:
            (report / PAGE).write_text(page, encoding="utf-8")
            trackers.files(report, "report")
        trackers.files(model, "model")


def public_copy(model: Path, target: Path) -> None:
    """Copy a model directory, less its card, without what it says of this machine: paths of data and encoder.

    Raises:
        UserError: a file of it is damaged.
    """
    shutil.copytree(model, target, ignore=shutil.ignore_patterns(CARD_FILE))
    described = read_json(target / SETTINGS_FILE, "the model directory")
    if described is not None:
        shown: dict[str, Any] = {name: public_settings(described[name]) for name in ("hyperparameters", "data")}
        write_json(target / SETTINGS_FILE, {**described, **shown})
    for file in target.glob("*config.json"):
        try:
            config = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            raise UserError(file, "is no JSON", "copy the model again") from None
        kept = {name: value for name, value in config.items() if name not in ("_name_or_path", "name_or_path")}
        if kept != config:
            write_json(file, kept)
    write_checksums(target)
