"""Taking a folder for a run, and giving it back."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from determined_ner.errors import UserError, write_errors_explained
from determined_ner.files.atomic import check_name, made_directories
from determined_ner.files.metrics_log import METRICS_FILE
from determined_ner.files.workplace import locked, remove_litter
from determined_ner.masks import without_secrets
from determined_ner.settings.experiment import override_config, read_config
from determined_ner.settings.loop import parse_loop
from determined_ner.settings.parsing import parse_settings
from determined_ner.training.run_config import read_config_as_given, write_config
from determined_ner.training.run_folder import FOLDS_FILE, LOCK_FILE, RUN_NAMES, SEARCH_FILE, RunFolder

RESUMABLE = {
    *("backend", "optim", "precision", "use_apex_amp", "apex_opt_level", "evaluate_with_ort"),
    "gradient_checkpointing",
    *("cache_dir", "overwrite_cache", "preprocessing_num_workers", "report_to"),
    *("push_to_hub", "hub_model_id", "hub_private_repo"),
    *("early_stopping_patience", "early_stopping_threshold", "time_limit"),
}
"""Settings that may differ between a run and its continuation."""
LENGTHS = {"num_train_epochs", "max_steps"}
"""Settings that may only grow."""


@dataclass(frozen=True)
class OpenedFolder:
    """A folder that a run has taken."""

    path: Path
    config: dict[str, Any]
    """Of the experiment."""


@contextlib.contextmanager
def open_folder(arguments: argparse.Namespace, given: dict[str, Any] | None = None) -> Iterator[OpenedFolder]:
    """Take the folder that the command line names, or one of the experiment's name, and hold it.

    It is locked first, then looked at, then written to. Where a new run ends with a mistake of the user's before its
    first report, what it wrote is removed again, and nothing else.

    Args:
        arguments: of `add_train_arguments`.
        given: the experiment config, where it is not to be read.

    Raises:
        UserError: the config, or what the folder holds, does not allow it.
    """
    folder: Path | None = arguments.output_dir
    resume: bool = arguments.resume
    if folder is not None:
        check_name(folder, "--output-dir")
    config = given
    if given is None and (arguments.config_file or not (resume and folder)):
        config = read_config(arguments.config_file, arguments.overrides)
    if config is not None and not resume:
        parse_loop(config, parse_settings(config.get("hyperparameters"), config.get("data")))  # before anything is made
    with contextlib.ExitStack() as stack:
        if folder is None:
            assert config is not None
            folder = enter_named_folder(stack, str(config.get("name") or "ner"), resume)
        where = "--resume" if resume else f"--output-dir {folder}"
        if resume and not folder.is_dir():
            raise nothing_to_resume(folder)
        if not resume:
            enter_folder(stack, folder, where)
        stack.enter_context(held(folder))
        remove_litter(folder)
        if resume:
            saved = read_config_as_given(folder)
            if saved is None:
                raise nothing_to_resume(folder)
            RunFolder(folder).check_places()
            for directory in ("checkpoints", "figures"):
                remove_litter(folder / directory)
            config = config or override_config(saved, arguments.overrides)
            _check_same(saved, config, folder)
            if given is None and not arguments.config_file:
                _check_trust(config, arguments.overrides)
        else:
            assert config is not None
            _check_free(folder, where)
            stack.enter_context(_discarded_unless_begun(folder))
            with write_errors_explained(where, "name another folder"):
                write_config(folder, config)
        yield OpenedFolder(folder, config)


def nothing_to_resume(folder: Path) -> UserError:
    """What is raised where ``--resume`` has nothing to go on with."""
    if (folder / FOLDS_FILE).is_file():
        return UserError("--resume", f"{folder} holds the folds of a training", "add --folds K, as it was started with")
    if (folder / SEARCH_FILE).is_file():
        return UserError("--resume", f"{folder} holds a search", "go on with determined-ner search CONFIG --resume")
    return UserError("--resume", f"{folder} holds no run to go on with", "start it without --resume")


def fold_name(fold: int) -> str:
    """Name of the run's folder of a fold, counted from 1, in the folder of all."""
    return f"fold-{fold}"


def enter_named_folder(stack: contextlib.ExitStack, name: str, resume: bool) -> Path:
    """runs/NAME, runs/NAME-2, …: the newest there is to resume, else the next free one, made and so taken."""
    slug = re.sub(r"[^\w.-]+", "-", name)[:100].strip("-.") or "ner"
    slug = slug.encode()[:240].decode(errors="ignore")  # a number follows, and the file system counts bytes
    number = 1
    folder = newest = Path("runs") / slug
    while True:
        if resume and not folder.exists():
            return newest
        if not resume:
            try:
                stack.enter_context(made_directories(folder, exclusive=True))
                return folder
            except FileExistsError:
                pass
            except OSError as error:
                raise UserError(folder, f"cannot be made: {error.strerror}", "name one with --output-dir") from None
        newest = folder
        number += 1
        folder = Path("runs") / f"{slug}-{number}"


def enter_folder(stack: contextlib.ExitStack, folder: Path, where: str) -> None:
    """
    Raises:
        UserError: it is a file, or cannot be made.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise UserError(where, "is a file", "name a folder")
    with write_errors_explained(where, "name another folder"):
        stack.enter_context(made_directories(folder))


def _check_free(folder: Path, where: str) -> None:
    """
    Raises:
        UserError: something in a folder has a name that a run writes to: it would be lost.
    """
    taken = _taken_names(folder)
    if METRICS_FILE in taken:
        raise UserError(where, "holds a run already", "add --resume to go on with it, or name another")
    if taken:
        problem = f"holds {', '.join(taken)}, which a run would overwrite"
        raise UserError(where, problem, "add --resume if it is of a run, else move it away or name another folder")


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """As `lock_folder`; a lock file that was made for a mistake goes again, unless something of a run was written."""
    lock = folder / LOCK_FILE
    made = not os.path.lexists(lock)
    with lock_folder(folder):
        before = _taken_names(folder)
        try:
            yield
        except UserError:
            if made and _taken_names(folder) == before:
                lock.unlink(missing_ok=True)
            raise


def _taken_names(folder: Path) -> list[str]:
    return [name for name in RUN_NAMES if os.path.lexists(folder / name)]


@contextlib.contextmanager
def _discarded_unless_begun(folder: Path) -> Iterator[None]:
    """Remove what a run wrote that ended with a mistake before its first report. None of it was there before."""
    try:
        yield
    except UserError:
        if not (folder / METRICS_FILE).exists():
            for path in (folder / name for name in RUN_NAMES):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold a run's folder: a second process that trained into it would mix the two.

    Raises:
        UserError: another process holds it.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / LOCK_FILE, wait=False))
        except BlockingIOError:
            remedy = "wait for it, or name another folder"
            raise UserError(folder, "another process is training into it", remedy) from None
        except OSError as error:
            remedy = "give rights, or name another folder"
            raise UserError(folder / LOCK_FILE, f"cannot be written: {error.strerror}", remedy) from None
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
    """A continuation that trains otherwise would be neither the old run nor a new one; it may train longer.

    Raises:
        UserError: naming every setting that differs.
    """
    differences = []
    old, new = (parse_settings(c.get("hyperparameters"), c.get("data")) for c in (saved, config))
    for section, before, after in (
        # Without secrets: a URL may have been signed anew. Whether the data has changed is looked at by itself.
        ("hyperparameters", without_secrets(old.hparams.model_dump()), without_secrets(new.hparams.model_dump())),
        ("data", without_secrets(old.data.model_dump()), without_secrets(new.data.model_dump())),
    ):
        differences += [
            f"{section}.{name}: {before[name]!r} → {after[name]!r}"
            for name in before
            if before[name] != after[name] and name not in RESUMABLE | LENGTHS
        ]
    loops = [parse_loop(c, s) for c, s in ((saved, old), (config, new))]
    differences += [
        f"{name}: {getattr(loops[0], name)} → {getattr(loops[1], name)}"
        for name in ("aggregation_frequency", "seed", "metric", "smaller_is_better")
        if getattr(loops[0], name) != getattr(loops[1], name)
    ]
    if differences:
        raise UserError(
            "--resume",
            f"the run in {folder} was started with other settings: {'; '.join(differences)}",
            "drop these changes, or start a new run",
        )
    length, longer = (loop.length for loop in loops)
    if longer.unit != length.unit:
        problem = f"the run in {folder} is of {length}, and this asks for {longer}, another unit"
        raise UserError("--resume", problem, f"say in {length.unit} how long it is to train, or start a new run")
    if longer.value < length.value:
        problem = f"the run in {folder} is of {length}, and this asks for less: {longer}"
        raise UserError("--resume", problem, "ask for as much or more, or start a new run")
