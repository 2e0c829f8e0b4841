"""The tiny run, and what belongs to it, that cases are made from."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from pathlib import Path

import torch

import ner_trial
from determined_ner import cli
from tests.conftest import make_encoder, make_sentences, write_conll

TRAIN = "config.json"
"""The config that all cases begin with, in a case's folder; what it names lies there too."""


CHECKED = "checked.json"
"""What the data check says of it."""


def write_inputs(folder: Path) -> None:
    """An encoder, a corpus and a config."""
    (folder / "encoder").mkdir(parents=True)
    make_encoder(folder / "encoder", positions=32)
    for split, sentences in (("train", make_sentences(12)), ("validation", make_sentences(5, 100))):
        write_conll(folder / f"{split}.conll", sentences)
    texts = [" ".join(word for word, _ in sentence) for sentence in make_sentences(4, 50)]
    (folder / "texts.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    rows = [{"tokens": text.split(), "id": i} for i, text in enumerate(texts)]
    (folder / "words.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = {
        "name": "fuzz",
        "entrypoint": "python3 ner_trial.py",
        "hyperparameters": {
            "pretrained_model_name_or_path": "encoder",
            "global_batch_size": 4,
            "max_steps": 2,
            "learning_rate": 1e-3,
        },
        "data": {"train_file": "train.conll", "validation_file": "validation.conll", "cache_dir": "cache"},
        "searcher": {"name": "single", "metric": "f1", "smaller_is_better": False},
        "min_validation_period": {"batches": 1},
        "min_checkpoint_period": {"batches": 1},
        "checkpoint_storage": {"save_trial_latest": 2},  # both, whichever is the best
        "resources": {"slots_per_trial": 1},
        "reproducibility": {"experiment_seed": 7},
    }
    (folder / TRAIN).write_text(json.dumps(config, indent=1), encoding="utf-8")


def make(folder: Path) -> None:
    """All that cases take copies of, made in this process, which has then imported what commands need.

    Args:
        folder: the current directory; all paths are relative, so that copies are complete.
    """
    torch.set_num_threads(1)
    write_inputs(folder)
    assert ner_trial.main([TRAIN, "--output-dir", "run"]) == 0
    checked = io.StringIO()
    with contextlib.redirect_stdout(checked):
        assert cli.main(["check", TRAIN, "--no-timing", "--json"]) == 0
    Path(CHECKED).write_text(checked.getvalue(), encoding="utf-8")
    assert cli.main(["predict", "run/model", "texts.txt", "--output", "tagged.jsonl"]) == 0
    assert cli.main(["report", "run", "--output", "page"]) == 0
    assert cli.main(["export", "run", "--output", "exported"]) == 0
    shutil.copytree("run", "half")  # as if it had been killed after its first checkpoint
    _, newest = sorted(Path("half/checkpoints").iterdir())
    shutil.rmtree(newest)
    shutil.rmtree("half/model")
    Path("half/summary.json").unlink()
    for name in ("page", "exported"):
        shutil.rmtree(name)


def copy(base: Path, folder: Path, names: list[str]) -> None:
    """Give a case what it needs of it."""
    for name in names:
        if (base / name).is_dir():
            shutil.copytree(base / name, folder / name, copy_function=_copy_or_link)
        else:
            shutil.copy(base / name, folder / name)


def _copy_or_link(source: str, target: str) -> None:
    """Checkpoints hold the code that made them, 150 files each, which no case changes."""
    if f"{os.sep}code{os.sep}" in source:
        os.link(source, target)
    else:
        shutil.copy(source, target)
