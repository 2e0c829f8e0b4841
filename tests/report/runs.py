"""Runs to report on, and the command that does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from determined_ner.cli import main
from tests.conftest import make_encoder, write_config, write_conll


def train(folder: Path, sentences, validation, *overrides: str, **hyperparameters) -> Path:
    """Train a tiny encoder on a corpus.

    Returns:
        the run's folder.
    """
    corpus = {
        "train": write_conll(folder / "train.conll", sentences),
        "validation": write_conll(folder / "validation.conll", validation),
    }
    (encoder := folder / "encoder").mkdir()
    config = write_config(folder / "experiment.yaml", make_encoder(encoder), corpus, **hyperparameters)
    options = [part for override in overrides for part in ("--config", override)]
    assert main(["train", str(config), "--output-dir", str(folder / "run"), *options]) == 0
    return folder / "run"


def best_of(run: Path) -> dict[str, float]:
    """The best validation, as the run reports it."""
    return json.loads((run / "summary.json").read_text())["best"]


def report(*arguments: object) -> int:
    """Exit status of the command."""
    return main(["report", *map(str, arguments)])


def refused(capsys, *arguments: object) -> str:
    """The message of a report that is refused, with exit status 2."""
    assert report(*arguments) == 2
    captured = capsys.readouterr()
    message = captured.err.strip().splitlines()[-1]
    assert message.startswith(("error: ", "temporary error: ")) and "Traceback" not in captured.err and not captured.out
    return message


def unfinished(run: Path, copy: Path) -> Path:
    """A copy of a run as it was before it ended."""
    later = {"model", "summary.json", "figures", "report"}
    shutil.copytree(run, copy, ignore=lambda folder, _: later if Path(folder) == run else [])
    return copy


def best_checkpoint(run: Path) -> Path:
    """The checkpoint that the run's model is made of."""
    return run / "checkpoints" / f"step-{json.loads((run / 'summary.json').read_text())['model_batches']:08d}"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
