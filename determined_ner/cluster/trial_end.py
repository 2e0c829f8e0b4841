"""What a trial of a cluster leaves at its end: with the master, and in the checkpoint that is kept.

All that is known of the trial is asked of the master, so that an end that was begun before is gone on with.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import determined as det
from determined import core, pytorch
from determined.experimental import client

import determined_ner
from determined_ner import determined_api
from determined_ner.cluster.registry import Candidate, register
from determined_ner.cluster.searcher import STOPPED_BY_SEARCHER, trained_batches
from determined_ner.errors import why_unwritable
from determined_ner.export.card import CARD_FILE
from determined_ner.finish.calibration import calibrate
from determined_ner.finish.documents import Documents, scores_of
from determined_ner.finish.run_end import Chosen, warn_of_choice, write_model
from determined_ner.finish.splits import find_intervals, read_splits
from determined_ner.finish.uploads import Uploads
from determined_ner.model.directory import CALIBRATION_FILE
from determined_ner.report.command import PAGE
from determined_ner.settings.loop import METRICS
from determined_ner.training.run_folder import best_first
from determined_ner.training.setup import Training

logger = logging.getLogger("determined_ner")
TEST = "test"
"""Group of the metrics of the test data."""
PATIENCE = 60.0
"""Seconds in which a report that was made is known to the master."""
LONGEST_VALUE = 4000
"""Characters of a value of a run's metadata, of which the master takes 5,000."""


class TrialEnd:
    """Keeps the results of a trial with the master."""

    def __init__(
        self, context: pytorch.PyTorchTrialContext, training: Training, info: det.ClusterInfo, uploads: Uploads
    ) -> None:
        self._core: core.Context = determined_api.core_context(context)
        self._training, self._info, self._uploads = training, info, uploads
        self._batches = trained_batches(context)

    def is_reached(self) -> bool:
        """Whether the trial has come to its end, by itself or because the searcher stopped it; else it was paused.

        Every slot asks.
        """
        training = self._training
        if self._is_complete:
            return True
        state = determined_api.trial_state(self._core.train) if training.slots.rank == 0 else ""
        return bool(training.slots.allgather(state)[0] == STOPPED_BY_SEARCHER)

    @property
    def _is_complete(self) -> bool:
        """Whether it has come to its end by itself: trained its length, or ended as its settings say."""
        training = self._training
        return training.stopping.ended is not None or self._batches >= training.in_batches(training.loop.length)

    def validate_if_due(self) -> None:
        """Score the last weights where time was over between two validations; every slot calls it."""
        training = self._training
        if training.stopping.ended is None:
            return
        trial = client.get_trial(self._info.trial.trial_id) if training.slots.rank == 0 else None
        if training.slots.broadcast(trial is not None and self._is_scored(trial)):
            return
        metrics = training.score("validation")
        if training.slots.rank == 0:
            epochs = self._batches // training.epoch_batches
            report = {**metrics, "batches": self._batches, "epochs": epochs}
            self._core.train.report_validation_metrics(self._batches, report)

    def _is_scored(self, trial: client.Trial) -> bool:
        """Whether the master knows a validation of the last weights."""
        return any(report["batches"] == self._batches for report in _reports(trial, "validation"))

    def choose(self) -> Chosen:
        loop = self._training.loop
        trial = client.get_trial(self._info.trial.trial_id)
        saved = {
            int((checkpoint.metadata or {})["steps_completed"]): checkpoint.uuid
            for checkpoint in trial.list_checkpoints()
            if checkpoint.state is client.CheckpointState.COMPLETED
        }
        assert saved, "the loop ends with a checkpoint"
        validations = self._validations(trial)
        scored = best_first(loop, validations)
        batches = next((report["batches"] for report in scored if report["batches"] in saved), max(saved))
        reports = [*_reports(trial, "training"), *validations]
        tested = [scores_of(report) for report in _reports(trial, TEST) if report["batches"] == self._batches]
        if tested:
            logger.info("the test data was scored by an earlier task")
        best, test = scored[0] if scored else None, tested[0] if tested else None
        chosen = Chosen(batches, saved[batches], best, _by_batches(reports), test)
        warn_of_choice(chosen, loop, "what is scored")
        return chosen

    def _validations(self, trial: client.Trial) -> list[dict[str, Any]]:
        """All validations; the last one's report is on its way for a moment."""
        complete = self._is_complete
        deadline = time.monotonic() + PATIENCE
        while True:
            found = _reports(trial, "validation")
            if not complete or any(report["batches"] == self._batches for report in found):
                return found
            if time.monotonic() > deadline:
                logger.warning(f"the master does not know of the validation after batch {self._batches:,}")
                return found
            time.sleep(0.2)

    def checkpoint(self, chosen: Chosen) -> contextlib.AbstractContextManager[Path]:
        alone = self._training.slots.size == 1  # then the mode is all the same, but the other one warns of itself
        mode = core.DownloadMode.NoSharedDownload if alone else core.DownloadMode.LocalWorkersShareDownload
        path: contextlib.AbstractContextManager[Path] = self._core.checkpoint.restore_path(chosen.name, mode)
        return path

    def keep(self, chosen: Chosen, test: dict[str, float] | None) -> None:
        if test is not None and chosen.test is None:
            # At the batches that were trained: an earlier number would have the master take later reports back.
            self._core.train.report_metrics(TEST, self._batches, {"batches": chosen.batches, **test})
        training, title = self._training, title_of(self._info)
        summary: dict[str, Any] = {
            "best": chosen.best,
            "test": test and scores_of(test),
            "model_batches": chosen.batches,
        }
        with tempfile.TemporaryDirectory() as scratch:
            model = Path(scratch) / "model"
            model.mkdir()
            splits = read_splits(training)
            summary["intervals"] = find_intervals(splits)
            write_model(training, calibrate(splits), model)
            documents = Documents(training, Path(title), chosen, summary)
            card = self._add_documents(documents, model)
            if name := training.settings.data.registry_model:
                score = self._score(chosen)
                register(name, Candidate(chosen.name, self._info.trial.experiment_id, score), training.loop, card)
            described = describe_run(training, self._score(chosen), test)
            self._core.train.set_metadata({**(self._core.train.get_metadata() or {}), **described})
            self._uploads.send(documents, model, chosen.name)
        for split, scores in (("validation", scores_of(chosen.best)), (TEST, test)):
            if scores:
                main = "  ".join(f"{name} {scores[name]:.4f}" for name in _main_scores(scores))
                logger.info(f"{split}: {main}")
        logger.info(f"best checkpoint: {chosen.name}, of batch {chosen.batches:,}")

    def _score(self, chosen: Chosen) -> float | None:
        """Of the chosen checkpoint's validation, by the searcher's metric."""
        reports = [report for report in chosen.reports if report["kind"] == "validation"]
        found = (report.get(self._training.loop.metric) for report in reports if report["batches"] == chosen.batches)
        return next(found, None)

    def _add_documents(self, documents: Documents, model: Path) -> str:
        """Put report, card and calibration into the checkpoint.

        Args:
            model: directory of its model.

        Returns:
            the card.
        """
        name, examples = documents.chosen.name, self._training.settings.data.report_examples
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "added"
            folder.mkdir()  # with the usual rights, which go to the checkpoint
            shutil.copyfile(model / CALIBRATION_FILE, folder / CALIBRATION_FILE)
            page = documents.report(model, examples, command=f"determined-ner report {name}")
            if page is not None:
                (folder / PAGE).write_text(page, encoding="utf-8")
            card = documents.card(model)
            (folder / CARD_FILE).write_text(card, encoding="utf-8")
            try:
                determined_api.add_to_checkpoint(self._core, folder, name)
            except OSError as error:
                reason = why_unwritable(error)
                if reason is None:
                    raise
                logger.error(f"checkpoint {name} is without report, card and calibration: {reason}")
        return card


def title_of(info: det.ClusterInfo) -> str:
    """The name of a trial for people."""
    return str(determined_api.experiment_config(info).get("name") or f"trial {info.trial.trial_id}")


def _reports(trial: client.Trial, group: str) -> list[dict[str, Any]]:
    """What was reported of a group, as a local run's ``metrics.jsonl`` has it."""
    found = {
        report.steps_completed: {**report.metrics, "kind": group, "batches": report.steps_completed}
        for report in sorted(trial.iter_metrics(group), key=lambda report: report.trial_run_id)
    }
    return [found[steps] for steps in sorted(found)]


def _by_batches(reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(reports, key=lambda report: (report["batches"], report["kind"]))


def _main_scores(scores: dict[str, float]) -> list[str]:
    return [name for name in METRICS if name in scores]


def describe_run(training: Training, score: float | None, test: dict[str, float] | None) -> dict[str, Any]:
    """The metadata of a run, by which the table of runs is filtered.

    Args:
        score: of the best checkpoint, by the searcher's metric.
        test: scores of the test data.
    """
    described = training.describe()
    data, corpus = described["data"], training.corpus
    files = " + ".join(Path(corpus.file).name for corpus in training.settings.data.corpora.values())
    named = [data["dataset_name"], data["dataset_config_name"]]
    splits = {
        name: {
            "sentences": len(split.sentences) - 1,
            "words": len(split.tags),
            "fingerprint": split.fingerprint,
        }
        for name, split in corpus.splits.items()
    }
    versions = {name: metadata.version(name) for name in ("determined", "torch", "transformers")}
    found: dict[str, Any] = {
        "base_model": described["hyperparameters"]["pretrained_model_name_or_path"],
        "corpus": {"name": files or "/".join(part for part in named if part), **splits},
        "labels": " ".join(training.labels.names)[:LONGEST_VALUE],
        "label_count": len(training.labels.names),
        "scheme": described["scheme"],
        "seed": training.seed,
        "versions": {"determined-ner": determined_ner.__version__, **versions},
        "metric": training.loop.metric,
    }
    if score is not None:
        found["score"] = score
    if test is not None:
        found["test"] = {name: test[name] for name in _main_scores(test)}
    return found
