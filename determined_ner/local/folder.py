"""Taking a folder for a run, and giving it back."""

from __future__ import annotations

import argparse
import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from determined_ner.errors import UserError
from determined_ner.files.atomic import read_json, write_json
from determined_ner.files.metrics_log import METRICS_FILE
from determined_ner.settings.experiment import override_config, read_config
from determined_ner.settings.loop import parse_loop
from determined_ner.settings.parsing import parse_settings
from determined_ner.training.run_folder import CONFIG_FILE

RESUMABLE = {
    *("backend", "precision", "use_apex_amp", "apex_opt_level", "evaluate_with_ort"),
    *("cache_dir", "overwrite_cache", "preprocessing_num_workers"),
}
"""Settings that may differ between a run and its continuation."""


@dataclass(frozen=True)
class OpenedFolder:
    """A folder that a run has taken."""

    path: Path
    config: dict[str, Any]
    """Of the experiment."""
    before: frozenset[Path] | None
    """What it held before; None: there was none."""

    def discard(self) -> None:
        """Remove what a run wrote that could not start, and nothing else."""
        if self.before is None:
            shutil.rmtree(self.path, ignore_errors=True)
            return
        for path in set(self.path.iterdir()) - self.before:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def open_folder(arguments: argparse.Namespace) -> OpenedFolder:
    """Take the folder that the command line names, or one of the experiment's name.

    Args:
        arguments: of `add_train_arguments`.

    Raises:
        UserError: the config, or what the folder holds, does not allow it.
    """
    folder: Path | None = arguments.output_dir
    config = None
    if arguments.config_file or not (arguments.resume and folder):
        config = read_config(arguments.config_file, arguments.overrides)
    if config is not None and not arguments.resume:
        parse_loop(config, parse_settings(config.get("hyperparameters"), config.get("data")))  # before anything is made
    before: frozenset[Path] | None = None
    if folder is None:
        assert config is not None
        folder = _named_folder(str(config.get("name") or "ner"), arguments.resume)
    elif folder.exists():
        before = frozenset(folder.iterdir()) if folder.is_dir() else None
    saved_file = folder / CONFIG_FILE
    if arguments.resume:
        saved = read_json(saved_file, "the run")
        if saved is None:
            raise UserError("--resume", f"{folder} holds no run to go on with", "start it without --resume")
        config = config or override_config(saved, arguments.overrides)
        _check_same(saved, config, folder)
        if not arguments.config_file:
            _check_trust(config, arguments.overrides)
        return OpenedFolder(folder, config, frozenset(folder.iterdir()))
    assert config is not None
    where = f"--output-dir {folder}"
    if folder.is_file():
        raise UserError(where, "is a file", "name a folder")
    if saved_file.exists() or (folder / METRICS_FILE).exists():
        raise UserError(where, "holds a run already", "add --resume to go on with it, or name another")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(saved_file, config, default=str)
    except OSError as error:
        raise UserError(where, f"cannot be written: {error.strerror}", "name another folder") from None
    return OpenedFolder(folder, config, before)


def _named_folder(name: str, resume: bool) -> Path:
    """runs/NAME, runs/NAME-2, …: the newest there is to resume, else the next free one, made and so taken."""
    slug = re.sub(r"[^\w.-]+", "-", name)[:100].strip("-.") or "ner"
    number = 1
    folder = newest = Path("runs") / slug
    while True:
        if resume and not folder.exists():
            return newest
        if not resume:
            try:
                folder.mkdir(parents=True)
                return folder
            except FileExistsError:
                pass
            except OSError as error:
                raise UserError(folder, f"cannot be made: {error.strerror}", "name one with --output-dir") from None
        newest = folder
        number += 1
        folder = Path("runs") / f"{slug}-{number}"


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold a run's folder: a second process that trained into it would mix the two.

    Raises:
        UserError: another process holds it.
    """
    try:
        lock = FileLock(folder / ".lock", timeout=0).acquire()
    except Timeout:
        raise UserError(folder, "another process is training into it", "wait for it, or name another folder") from None
    except OSError as error:
        remedy = "give rights, or name another folder"
        raise UserError(folder, f"cannot be written: {error.strerror}", remedy) from None
    with lock:
        yield


def _check_trust(config: dict[str, Any], overrides: list[str]) -> None:
    """Code that a model brings along runs on the word of this command, not on that of the folder, which may be copied.

    Raises:
        UserError: the run's config allows it, the command line does not.
    """
    said = override_config({}, overrides).get("hyperparameters", {})
    trusted = parse_settings(config.get("hyperparameters"), config.get("data")).hparams.trust_remote_code
    if trusted and not (isinstance(said, dict) and said.get("trust_remote_code")):
        raise UserError(
            "--resume",
            "the run was allowed to run code that its model brings along (hyperparameters.trust_remote_code)",
            "read the code, then allow it again: --config hyperparameters.trust_remote_code=true",
        )


def _check_same(saved: dict[str, Any], config: dict[str, Any], folder: Path) -> None:
    """A continuation that trains otherwise would be neither the old run nor a new one.

    Raises:
        UserError: naming every setting that differs.
    """
    differences = []
    old, new = (parse_settings(c.get("hyperparameters"), c.get("data")) for c in (saved, config))
    for section, before, after in (
        ("hyperparameters", old.hparams.model_dump(), new.hparams.model_dump()),
        ("data", old.data.model_dump(), new.data.model_dump()),
    ):
        differences += [
            f"{section}.{name}: {before[name]!r} → {after[name]!r}"
            for name in before
            if before[name] != after[name] and name not in RESUMABLE
        ]
    loops = [parse_loop(c, s) for c, s in ((saved, old), (config, new))]
    differences += [
        f"{name}: {getattr(loops[0], name)} → {getattr(loops[1], name)}"
        for name in ("length", "aggregation_frequency", "seed")
        if getattr(loops[0], name) != getattr(loops[1], name)
    ]
    if differences:
        raise UserError(
            "--resume",
            f"the run in {folder} was started with other settings: {'; '.join(differences)}",
            "drop these changes, or start a new run",
        )
