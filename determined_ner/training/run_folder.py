"""The folder of a run: opening it, what was written, and where a stopped run goes on."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from determined_ner.errors import UserError
from determined_ner.settings.experiment import make_plan, override_config, read_config
from determined_ner.settings.hyperparameters import parse_settings

logger = logging.getLogger("ner")

RESUMABLE = {
    *("backend", "precision", "use_apex_amp", "apex_opt_level", "evaluate_with_ort"),
    *("cache_dir", "overwrite_cache", "preprocessing_num_workers"),
}
"""Settings that may differ between a run and its continuation."""


class RunFolder:
    """What a run has written, and how it goes on after a stop."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.metrics_file = path / "metrics.jsonl"

    def begin(self, resume: bool) -> tuple[str, int] | None:
        """Make ready to train: name and batches of the checkpoint to go on from, if any.

        Reports that were made after that checkpoint are dropped; they will be made again. A run that was stopped
        before its first checkpoint begins anew.
        """
        self.checkpoints.mkdir(exist_ok=True)
        if not resume:
            return None
        found = self.saved_steps()
        kept = [line for line in self.lines() if found and line["batches"] <= found[-1]]
        partial = self.metrics_file.with_suffix(".partial")
        partial.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        partial.replace(self.metrics_file)
        if not found:
            logger.info(f"resuming {self.path}, which was stopped before its first checkpoint, from the beginning")
            return None
        logger.info(f"resuming {self.path} from batch {found[-1]:,}")
        return checkpoint_name(found[-1]), found[-1]

    def saved_steps(self) -> list[int]:
        """Batches at which there is a complete checkpoint, ascending."""
        names = (re.fullmatch(r"step-(\d+)", p.name) for p in self.checkpoints.glob("step-*"))
        return sorted(int(match[1]) for match in names if match)

    def lines(self) -> list[dict[str, Any]]:
        """All reports; a last line that a stop cut short is none."""
        if not self.metrics_file.exists():
            return []
        text = self.metrics_file.read_text(encoding="utf-8")
        lines = []
        for number, line in enumerate(text.split("\n")[:-1], 1):
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                raise UserError(
                    f"{self.metrics_file}:{number}: {line[:60]!r} is no report of a run; remove the line"
                ) from None
        return lines

    def append(self, line: dict[str, Any]) -> None:
        with self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def validations(self) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["kind"] == "validation"]

    def best(self, metric: str, smaller_is_better: bool) -> dict[str, Any] | None:
        """The best validation, the earliest of equals; None where none has a number."""
        sign = 1 if smaller_is_better else -1
        scored = [line for line in self.validations() if line.get(metric) is not None]
        return min(scored, key=lambda line: sign * line[metric], default=None)

    def best_saved(self, metric: str, smaller_is_better: bool) -> int:
        """Batches of the best checkpoint, the earliest of equals; of the newest where none was validated."""
        sign = 1 if smaller_is_better else -1
        steps = self.saved_steps()
        saved = [line for line in self.validations() if line["batches"] in steps and line.get(metric) is not None]
        return int(min(saved, key=lambda line: sign * line[metric])["batches"]) if saved else steps[-1]


def checkpoint_name(batches: int) -> str:
    return f"step-{batches:08d}"


def open_folder(arguments: argparse.Namespace) -> tuple[Path, dict[str, Any], set[Path] | None]:
    """The run's folder, the config, and what the folder held before (None: there was none)."""
    folder: Path | None = arguments.output_dir
    config = None
    if arguments.config_file or not (arguments.resume and folder):
        config = read_config(arguments.config_file, arguments.overrides)
    if config is not None and not arguments.resume:
        make_plan(config, parse_settings(config.get("hyperparameters"), config.get("data")))  # before anything is made
    before: set[Path] | None = None
    if folder is None:
        assert config is not None
        folder = _named_folder(str(config.get("name") or "ner"), arguments.resume)
    elif folder.exists():
        before = set(folder.iterdir()) if folder.is_dir() else None
    saved_file = folder / "config.json"
    if arguments.resume:
        if not saved_file.is_file():
            raise UserError(f"--resume: {folder} holds no run to go on with; start it without --resume")
        try:
            saved = json.loads(saved_file.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise UserError(f"{saved_file}:{error.lineno}: cannot be read: {error.msg}; start a new run") from None
        config = config or override_config(saved, arguments.overrides)
        _check_same(saved, config, folder)
        return folder, config, set(folder.iterdir())
    assert config is not None
    if folder.is_file():
        raise UserError(f"--output-dir {folder}: is a file; name a folder")
    if saved_file.exists() or (folder / "metrics.jsonl").exists():
        raise UserError(f"--output-dir {folder}: holds a run already; add --resume to go on with it, or name another")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / ".config.partial"
        partial.write_text(json.dumps(config, indent=1, default=str), encoding="utf-8")
        partial.replace(saved_file)
    except OSError as error:
        raise UserError(f"--output-dir {folder}: cannot be written: {error.strerror}; name another folder") from None
    return folder, config, before


def discard(folder: Path, before: set[Path] | None) -> None:
    """Remove what a run wrote that could not start, and nothing else."""
    if before is None:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for path in set(folder.iterdir()) - before:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


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
                raise UserError(f"{folder}: cannot be made: {error.strerror}; name one with --output-dir") from None
        newest = folder
        number += 1
        folder = Path("runs") / f"{slug}-{number}"


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a run's folder: a second process that trained into it would mix the two.

    Raises:
        UserError: another process holds it.
    """
    try:
        lock = FileLock(folder / ".lock", timeout=0).acquire()
    except Timeout:
        raise UserError(f"{folder}: another process is training into it; wait for it, or name another folder") from None
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}; give rights, or name another folder") from None
    with lock:
        yield


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
    plans = [make_plan(c, s) for c, s in ((saved, old), (config, new))]
    differences += [
        f"{name}: {getattr(plans[0], name)} → {getattr(plans[1], name)}"
        for name in ("length", "aggregation_frequency", "seed")
        if getattr(plans[0], name) != getattr(plans[1], name)
    ]
    if differences:
        raise UserError(
            f"--resume: the run in {folder} was started with other settings: {'; '.join(differences)}; "
            f"drop these changes, or start a new run"
        )
