"""Checkpoints of a run: each describes itself, is rebuilt by Determined, and the best and the newest are kept."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from determined_ner.training.run_folder import RunFolder
from tests.conftest import ROOT, final_state, newest_checkpoint


def test_a_checkpoint_is_self_contained(train):
    folder = train()
    newest = newest_checkpoint(folder)
    names = {p.name for p in newest.iterdir()}
    assert names >= {"state_dict.pth", "config.json", "tokenizer.json", "ner_settings.json", "code", "metadata.json"}
    settings = json.loads((newest / "ner_settings.json").read_text())
    assert settings["labels"] == ["B-LOC", "B-PER", "I-PER", "O"] and settings["scheme"] == "IOB2"
    metadata = json.loads((newest / "metadata.json").read_text())
    assert metadata["steps_completed"] == 12 and metadata["framework"] == f"torch-{torch.__version__}"
    code = {str(p.relative_to(newest / "code")) for p in (newest / "code").rglob("*") if p.is_file()}
    files = (p for p in (ROOT / "determined_ner").rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    package = {str(p.relative_to(ROOT)) for p in files}
    assert code == {"ner_trial.py", *package}


def test_determined_rebuilds_the_trial_from_a_checkpoint_without_data(train, tmp_path, corpus):
    """In a process that finds no other code of ours: an environment without PYTHONPATH, in another directory."""
    folder = train()
    for file in corpus.values():
        file.unlink()
    script = (
        "import sys; from determined import pytorch\n"
        "trial = pytorch.load_trial_from_checkpoint_path(sys.argv[1])\n"
        "print(type(trial).__init__.__globals__['determined_ner'].__file__)\n"
        "print(list(trial.model.config.id2label.values()))\n"
        "print(sum(p.double().sum().item() for p in trial.model.parameters()))"
    )
    newest = newest_checkpoint(folder)
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, newest], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    code, labels, total = done.stdout.splitlines()
    assert code == str(newest / "code" / "determined_ner" / "__init__.py")
    assert labels == "['B-LOC', 'B-PER', 'I-PER', 'O']"
    weights = final_state(folder)["models_state_dict"][0].values()
    assert float(total) == pytest.approx(sum(p.double().sum().item() for p in weights))


def test_the_best_and_the_newest_checkpoint_are_kept(train):
    folder = train("hyperparameters.num_train_epochs=6")
    steps = [int(p.name[5:]) for p in (folder / "checkpoints").iterdir()]
    best = json.loads((folder / "summary.json").read_text())["best"]["batches"]
    assert sorted({best, 36}) == sorted(steps)


def test_a_checkpoint_cut_short_is_not_taken_for_one(train):
    folder = train()
    partial = folder / "checkpoints" / ".step-00000013.partial"
    partial.mkdir()
    (partial / "state_dict.pth").write_bytes(b"half")
    assert RunFolder(folder).saved_steps() == [12]


def test_a_checkpoint_that_is_no_longer_kept_loses_its_name_first(train, monkeypatch):
    """Who is killed amid the removal, or looks then, finds no half of one."""
    removed, remove = [], shutil.rmtree

    def watched(path, *arguments, **options) -> None:
        removed.append(Path(path))
        remove(path, *arguments, **options)

    monkeypatch.setattr(shutil, "rmtree", watched)
    folder = train("hyperparameters.num_train_epochs=3")
    ours = [path.name for path in removed if folder in path.parents]
    assert any(name.startswith(".step-") for name in ours) and all(".partial-" in name for name in ours)
