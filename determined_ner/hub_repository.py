"""A repository of the Hugging Face hub that a trained model is uploaded to, by the hub's own library.

The login is that of the library: ``HF_TOKEN`` in the environment, or what ``hf auth login`` keeps. None is taken from
settings, so that none gets into a config, a checkpoint or a log.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

from determined_ner.errors import UserError, first_line, kind_of

LOGIN = "set HF_TOKEN in the environment, or log in with: hf auth login"
OF_AN_EARLIER_MODEL = [
    *("*.safetensors", "*.safetensors.index.json", "*.onnx", "*.onnx.data", "adapter/*"),
    *("calibration.json", "thresholds.json", "report.html"),
]
"""Files that an upload removes unless it brings them: beside other weights they would be of another model."""


@dataclass(frozen=True)
class HubRepository:
    """A repository that the login may write to."""

    name: str
    """With its namespace."""
    where: str
    """The setting or option that names it."""

    @classmethod
    def open(cls, name: str, private: bool, where: str, public: str) -> HubRepository:
        """Make the repository unless there is one, and have the hub check that it may be written to.

        Args:
            name: of the repository, with or without a namespace; without, it is the login's own.
            private: whether only who is given the right may read it.
            where: the setting or option that names it.
            public: what to write where it may be public.

        Raises:
            UserError: it cannot be uploaded to.
        """
        api, where = _api(), f"{where}: {name!r}"
        with _refusals_explained(where):
            name = name if "/" in name else f"{api.whoami()['name']}/{name}"
            api.create_repo(name, private=private, exist_ok=True)
            is_private = bool(api.model_info(name).private)
            # The first step of a commit, which needs the right to write; an empty file is not stored.
            api.preupload_lfs_files(name, [CommitOperationAdd("README.md", b"")])
        if private and not is_private:
            raise UserError(where, "is public: all could read the model", f"write {public}, or name another")
        return cls(name, where)

    def upload(self, folder: Path) -> str:
        """Make all files of a folder, in one commit, the repository's.

        Returns:
            address of the repository.

        Raises:
            UserError: the hub does not take them, or does not answer.
        """
        if not sys.stderr.isatty():
            disable_progress_bars()
        with _refusals_explained(self.where):
            _api().upload_folder(
                repo_id=self.name,
                folder_path=folder,
                commit_message="Upload by determined-ner",
                delete_patterns=OF_AN_EARLIER_MODEL,
            )
        return f"{_api().endpoint}/{self.name}"


def _api() -> HfApi:
    return HfApi(library_name="determined-ner")


@contextlib.contextmanager
def _refusals_explained(where: str) -> Iterator[None]:
    """
    Raises:
        UserError: in place of whatever the library raises (dozens of kinds).
    """
    try:
        yield
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(error, LocalTokenNotFoundError):
            problem, remedy = "needs a login of the Hugging Face hub, and there is none", LOGIN
        elif isinstance(error, OfflineModeIsEnabled):
            problem, remedy = "cannot be uploaded to offline", "unset HF_HUB_OFFLINE"
        elif status == 401:
            problem, remedy = "the Hugging Face hub does not know this login", LOGIN
        elif status in (403, 404):
            problem = "this login may not write there"
            remedy = "name a repository of your own or of an organization, and use a token that may write"
        else:
            problem = f"the Hugging Face hub does not take it, or does not answer: {first_line(error)}"
            remedy = "see to it, or do not upload"
        raise kind_of(error)(where, problem, remedy) from error
