"""What of a finished run leaves this machine: model, card and report, without a word of the texts unless asked for."""

from __future__ import annotations

import logging
import shlex
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from determined_ner.errors import UserError
from determined_ner.export.public import public_copy
from determined_ner.finish.documents import Documents, scores_of
from determined_ner.hub_repository import HubRepository
from determined_ner.report.command import PAGE
from determined_ner.settings.data import DataSettings
from determined_ner.trackers.runs import Trackers

logger = logging.getLogger("determined_ner")


def refuse_search(data: DataSettings, searcher: str, best: str) -> None:
    """
    Args:
        searcher: its name.
        best: by which ``determined-ner export`` finds the model of the best trial.

    Raises:
        UserError: the trials of a search are to be uploaded.
    """
    if data.push_to_hub:
        raise UserError(
            "data.push_to_hub",
            f"the trials of a search (searcher.name: {searcher}) would replace one another on the hub",
            f"leave it out, and upload the best with determined-ner export {best} --output DIR --push-to-hub REPO",
        )


def open_hub_repository(data: DataSettings) -> HubRepository | None:
    """The repository that the settings name, which the hub is asked for before hours of training.

    Raises:
        UserError: it cannot be uploaded to.
    """
    if not data.push_to_hub:
        return None
    assert data.hub_model_id is not None
    public = "data.hub_private_repo: false"
    return HubRepository.open(data.hub_model_id, data.hub_private_repo, "data.hub_model_id", public)


@dataclass(frozen=True)
class Uploads:
    """Where the results of a run go; only one of its processes sends them."""

    trackers: Trackers
    repository: HubRepository | None

    def send(self, documents: Documents, model: Path, source: str) -> None:
        """Hand scores, report and model of a run that has ended to all. What fails is told, and the run has ended.

        Args:
            documents: of the run.
            model: directory of its model.
            source: by which ``determined-ner export`` and ``report`` find the model.

        Raises:
            UserError: the directory is damaged.
        """
        if test := documents.summary["test"]:
            self.trackers.report("test", scores_of(test), documents.chosen.batches)
        if self.trackers.silent and self.repository is None:
            return
        data = documents.training.settings.data
        with tempfile.TemporaryDirectory() as scratch:
            report, public = Path(scratch) / "report", Path(scratch) / "model"
            report.mkdir()
            public_copy(model, public, documents.card(model))
            page = documents.report(model, data.report_examples, command=f"determined-ner report {source}")
            if page is not None:
                (report / PAGE).write_text(page, encoding="utf-8")
                self.trackers.files(report, "report")
            self.trackers.files(public, "model")
            if self.repository is not None:
                if page is not None:
                    shutil.copyfile(report / PAGE, public / PAGE)
                self._push(self.repository, public, source, data.hub_private_repo)

    def _push(self, repository: HubRepository, folder: Path, source: str, private: bool) -> None:
        try:
            logger.info(f"uploaded {repository.upload(folder)}")
        except UserError as error:
            again = f"determined-ner export {shlex.quote(source)} --output DIR --push-to-hub {repository.name}"
            again += "" if private else " --public"
            logger.error(f"the model is not uploaded: {error.where}: {error.problem}; upload it with: {again}")
