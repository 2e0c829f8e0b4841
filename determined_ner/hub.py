"""What is loaded from the Hugging Face hub or a directory, and one message where it cannot be."""

from __future__ import annotations

import contextlib
import importlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from determined_ner.errors import HyperparameterError, UserError, first_line, kind_of

if TYPE_CHECKING:
    from determined_ner.settings.hyperparameters import Hyperparameters


JSON_LIMIT = 256 * 2**20
"""Bytes of a JSON file of a model; the largest vocabularies take a tenth."""


@dataclass(frozen=True)
class Pretrained:
    """A model, config or tokenizer as the library's ``from_pretrained`` takes it."""

    name: str
    """On the hub, or a directory."""
    setting: str | None = None
    """The hyperparameter that names it; None: the user named the directory itself."""
    revision: str = "main"
    """Branch, tag or commit on the hub."""
    cache_dir: str | None = None
    """For what is fetched; None: the library's own."""
    trust_remote_code: bool = False
    """Run code that it brings along: on the user's own word alone, never on that of a file which is read. Where it is
    not said, the library would ask on standard input."""

    @classmethod
    def of_setting(cls, hparams: Hyperparameters, setting: str) -> Pretrained:
        """What a hyperparameter names; the encoder where it is not set.

        Args:
            setting: such as ``tokenizer_name``.
        """
        if getattr(hparams, setting) is None:
            setting = "pretrained_model_name_or_path"
        name = getattr(hparams, setting)
        return cls(name, setting, hparams.revision, hparams.cache_dir, hparams.trust_remote_code)

    @property
    def where(self) -> str:
        """The beginning of a message about it."""
        return f"hyperparameters.{self.setting}: {self.name!r}" if self.setting else self.name

    def refused(self, problem: str, remedy: str) -> UserError:
        """The error to raise where it cannot work: that of a hyperparameter, or of a directory that the user named."""
        return (HyperparameterError if self.setting else UserError)(self.where, problem, remedy)

    def needs_code(self) -> UserError:
        """The error to raise where it cannot be loaded without running code that it brings along."""
        allow = "--config hyperparameters.trust_remote_code=true"
        if self.setting is None:
            allow = "--trust-remote-code (in Python: trust_remote_code=True; in the config of a batch inference: "
            allow += "hyperparameters.trust_remote_code: true)"
        problem = "needs Python code of its own, which runs only if you allow it"
        return self.refused(problem, f"read the code, then allow it with {allow}")

    def location(self) -> str:
        """The name as the library takes it: a directory with its ``~`` expanded, or a name of the hub as it is.

        Raises:
            HyperparameterError: the name can only mean a directory, and is none; it must not be looked up on the hub.
            UserError: what is in the directory cannot be read to its end.
        """
        expanded = os.path.expanduser(self.name)  # noqa: PTH111  (Path would make ./model of the hub's name model)
        if self.name.startswith((".", "/", "~")) and not Path(expanded).is_dir():
            raise self.refused(
                "is not a directory",
                "write the path of a model directory or the name of a hub model such as bert-base-cased",
            )
        self._check_files(Path(expanded))
        return expanded

    def _check_files(self, folder: Path) -> None:
        """A pipe would keep its reader waiting for ever."""
        for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
            try:
                status = entry.stat()
            except OSError:  # a link to nowhere: the file is missing
                continue
            if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                raise UserError(entry, "is a pipe or a device, not a file of a model", "copy the model directory again")
            if entry.suffix == ".json" and status.st_size > JSON_LIMIT:
                raise UserError(
                    entry,
                    f"has {status.st_size:,} bytes, more than the {JSON_LIMIT:,} that a JSON file of a model may have",
                    "copy the model directory again",
                )

    def options(self) -> dict[str, Any]:
        """Arguments of every ``from_pretrained``."""
        return {
            "revision": self.revision,
            "cache_dir": str(Path(self.cache_dir).expanduser()) if self.cache_dir else None,
            "trust_remote_code": self.trust_remote_code,
        }

    def find_file(self, name: str) -> Path | None:
        """A file beside its weights, which have been loaded: it is fetched where they were; None: there is none.

        Raises:
            UserError: the hub does not give it.
        """
        folder = Path(self.location())
        if folder.is_dir():
            return folder / name if (folder / name).is_file() else None
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError

        options = {option: value for option, value in self.options().items() if option != "trust_remote_code"}
        with self.loading(f"{name} cannot be fetched", "try again"):
            try:
                return Path(huggingface_hub.hf_hub_download(self.name, name, **options))
            except EntryNotFoundError:  # offline, what was not fetched with the weights
                return None

    @contextlib.contextmanager
    def loading(self, failure: str, remedy: str) -> Iterator[None]:
        """Around the library's loading: whatever it raises (dozens of kinds) is a mistake in what it was to load.

        Args:
            failure: such as ``no weights can be loaded``.
            remedy: what to do where it is a directory, or where the hub is not to blame.

        Raises:
            UserError: in place of any other exception, which is its cause.
        """
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            if asks_for_code(error):
                raise self.needs_code() from error
            if isinstance(error, OSError) and not Path(self.name).expanduser().is_dir():
                failure = (
                    f"{failure}, as it is not a directory here and the Hugging Face hub does not give it "
                    f"(no such model or file, or no connection)"
                )
                remedy = (
                    "write the path of a local model directory, or check the name of the hub model, "
                    "hyperparameters.revision and the connection to the hub"
                )
            raise kind_of(error)(self.where, f"{failure}: {first_line(error)}", remedy) from error


def asks_for_code(error: Exception) -> bool:
    """Whether the library would have code run that a model brings along."""
    return isinstance(error, ValueError) and "trust_remote_code" in str(error)


def import_torch_side(module: str, where: object, what: str, remedy: str = "") -> Any:
    """Import a module of ours that needs PyTorch and transformers, which tagging by an ONNX file does without.

    By its name, so that nothing which has to do without them comes to them on another way.

    Args:
        where: the directory that it is imported for, for the message.
        what: of the directory needs them, such as ``its weights``.
        remedy: what else would help than to install them.

    Raises:
        UserError: they are not installed.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        missing = str(getattr(error, "name", None)).partition(".")[0]
        if missing == "determined_ner":
            raise  # a broken installation
        install, problem = "pip install 'determined-ner[torch]'", f"{what} needs PyTorch and transformers, "
        if isinstance(error, ModuleNotFoundError):
            problem += f"and {missing} is not installed"
        else:  # such as a library of CUDA that is not there
            problem += f"which cannot be imported: {first_line(error)}"
        raise UserError(where, problem, f"{install}, or {remedy}" if remedy else install) from error
