"""The folder of several runs that belong together: the folds of a cross-validation, the trials of a search."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from determined_ner.errors import UserError, write_errors_explained
from determined_ner.files.atomic import check_name, read_json, remove_directory, write_json
from determined_ner.local.folder import enter_folder, enter_named_folder, held, nothing_to_resume
from determined_ner.training.run_config import CONFIG_FILE


@dataclass(frozen=True)
class Series:
    """What kind of runs they are, and what they leave."""

    what: str
    """They are called, in the plural."""
    record: str
    """Name of the file that says what was asked for."""
    results: Sequence[str]
    """Names of what is there once a run has ended or begun; none may be there before."""
    scratch: Sequence[str] = ()
    """Names of directories that are there for the runs alone."""


@contextlib.contextmanager
def open_series(folder: Path | None, record: dict[str, Any], resume: bool, series: Series) -> Iterator[Path]:
    """Take the folder of all runs, and hold it.

    Where the first one ends with a mistake of the user's before its first report, nothing is left.

    Args:
        folder: None: runs/NAME, by the name of the experiment.
        record: what they have in common, and a continuation with them.

    Raises:
        UserError: what the folder holds does not allow it.
    """
    if folder is not None:
        check_name(folder, "--output-dir")
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = enter_named_folder(stack, str(record.get("name") or "ner"), resume)
        where, kept = f"--output-dir {folder}", folder / series.record
        if resume:
            _check_same(kept, record, series.what)
        else:
            enter_folder(stack, folder, where)
            names = (series.record, CONFIG_FILE, *series.results, *series.scratch)
            taken = [name for name in names if (folder / name).exists()]
            if taken:
                problem = f"holds {', '.join(taken)} already"
                remedy = f"add --resume if it is of the same {series.what}, or name another folder"
                raise UserError(where, problem, remedy)
        stack.enter_context(held(folder))
        if not resume:
            with write_errors_explained(where, "name another folder"):
                write_json(kept, record)
        try:
            yield folder
        except UserError:
            if not any((folder / name).exists() for name in series.results):
                kept.unlink(missing_ok=True)
                for directory in (folder / name for name in series.scratch):
                    if directory.is_dir():
                        remove_directory(directory)
            raise


def _check_same(kept: Path, record: dict[str, Any], what: str) -> None:
    """
    Raises:
        UserError: naming what is not as it was when the runs were begun.
    """
    before = read_json(kept, f"the {what}") if kept.parent.is_dir() else None
    if before is None:
        raise nothing_to_resume(kept.parent)
    old, new = (dict(_flat(value)) for value in (before, json.loads(json.dumps(record))))
    names = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    changed = [f"{name}: {old.get(name)!r} → {new.get(name)!r}" for name in names]
    if changed:
        problem = f"the {what} in {kept.parent} were begun with other settings or data: {'; '.join(changed)}"
        raise UserError("--resume", problem, "drop the change, or begin new ones")


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value
