"""Whatever a command was doing when it was killed: nothing is half there, nothing is lost, the next one ends the same.

A chain of kills is made in one folder: each before a random file operation (or after a random time), each followed by
a look at what lies there; then the command may end. `make test-slow` makes longer chains.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ner_trial
from determined_ner import cli
from tests.conftest import (
    assert_same_training,
    make_sentences,
    read_metrics,
    without_times,
    write_config,
    write_conll,
)
from tests.forked import content, forked, litter

KILLS = [4, pytest.param(20, marks=pytest.mark.slow)]
"""Of a chain."""
OPTIONS = ("scheduling_unit=2", "min_checkpoint_period.batches=2", "min_validation_period.batches=4")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """A run that was not disturbed."""
    folder = tmp_path_factory.mktemp("killed")
    sentences = {"train": make_sentences(24), "validation": make_sentences(9, 100), "test": make_sentences(7, 200)}
    corpus = {split: write_conll(folder / f"{split}.conll", of) for split, of in sentences.items()}
    config = write_config(folder / "c.json", tiny_encoder, corpus, num_train_epochs=4, learning_rate=0.02)
    assert train(config, folder / "run")() == 0
    return folder / "run"


def train(config: Path, folder: Path) -> Callable[[], int]:
    """The command that begins a run, or goes on with it."""
    options = [part for option in OPTIONS for part in ("--config", option)]

    def action() -> int:
        resume = ["--resume"] if (folder / "config.json").exists() else []
        return ner_trial.main([str(config), "--output-dir", str(folder), *options, *resume])

    return action


def chain(action: Callable[[], int], kills: int, look: Callable[[], None], rng: random.Random) -> None:
    """Kill a command again and again, look each time, and let it end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        for number in range(kills):
            if number % 4 == 3:
                status, _ = forked(action, seconds=rng.uniform(0.05, 2))
            else:
                status, _ = forked(action, operation=rng.randint(1, 60 if number % 4 else 300))
            look()
            if status != -9:
                break
        assert forked(action)[0] == 0
        look()


def look_at_run(folder: Path, whole: dict[str, bytes]) -> None:
    """All that has its name is complete."""
    if not folder.exists():
        return
    for checkpoint in folder.glob("checkpoints/step-*"):
        last = max(name for name in whole if name.startswith("checkpoints/")).split("/")[1]
        expected = {name.split("/", 2)[2] for name in whole if name.startswith(f"checkpoints/{last}/")}
        assert set(content(checkpoint)) == expected
    model = content(folder / "model")
    assert not model or model == {n[6:]: data for n, data in whole.items() if n.startswith("model/")}
    for name in ("config.json", "summary.json"):
        assert not (folder / name).exists() or json.loads((folder / name).read_text())
    for picture in folder.glob("figures/*.png"):
        assert picture.read_bytes().endswith(b"IEND\xaeB`\x82")


def scores(folder: Path) -> dict[str, Any]:
    summary = json.loads((folder / "summary.json").read_text())
    return {name: summary[name] for name in ("best", "last", "test", "model_batches", "checkpoint")}


@pytest.mark.parametrize("chains", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_a_run_that_was_killed_anywhere_ends_the_same(run, tmp_path, chains):
    for seed in range(chains):
        # (By the name of the other, which stands in the model's card.)
        run_killed(run, tmp_path / str(seed) / run.name, kills=4 if chains == 1 else 8, seed=seed)


def run_killed(run: Path, folder: Path, kills: int, seed: int) -> None:
    """Begin the same run, kill it again and again, and compare what it ends as."""
    whole = content(run)
    chain(train(run.parent / "c.json", folder), kills, lambda: look_at_run(folder, whole), random.Random(seed))
    assert_same_training(folder, run)
    assert without_times(read_metrics(folder)) == without_times(read_metrics(run))
    assert scores(folder) == scores(run)
    assert content(folder / "model") == content(run / "model")
    assert {name for name in content(folder) if "tfevents" not in name} == {n for n in whole if "tfevents" not in n}
    assert not litter(folder)


@pytest.mark.parametrize("kills", KILLS)
def test_a_model_stays_while_its_run_is_resumed_and_killed(run, tmp_path, kills):
    folder, whole = tmp_path / "run", content(run)
    shutil.copytree(run, folder)

    def look() -> None:
        look_at_run(folder, whole)
        assert (folder / "model").exists() and (folder / "summary.json").exists()

    chain(train(run.parent / "c.json", folder), kills, look, random.Random(kills))
    assert content(folder / "model") == content(run / "model") and not litter(folder)


def command(*arguments: object) -> Callable[[], int]:
    return lambda: cli.main([str(argument) for argument in arguments])


@pytest.mark.parametrize("kills", KILLS)
def test_an_export_that_was_killed_is_not_there_and_the_next_is_whole(run, tmp_path, kills):
    output, whole = tmp_path / "new" / "export", tmp_path / "whole"
    assert command("export", run, "--output", whole)() == 0

    def look() -> None:
        assert not output.exists() or content(output) == content(whole)
        shutil.rmtree(output, ignore_errors=True)

    rng = random.Random(kills)
    for _ in range(kills):
        forked(command("export", run, "--output", output), operation=rng.randint(1, 80))
        look()
    assert command("export", run, "--output", output)() == 0
    assert content(output) == content(whole) and not litter(tmp_path)


@pytest.mark.parametrize("kills", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_a_report_that_was_killed_leaves_the_earlier_one_or_the_new_one(run, tmp_path, kills):
    output = tmp_path / "report"
    action = command("report", run, "--output", output)
    assert action() == 0
    names = set(content(output))

    def look() -> None:
        found = content(output)
        assert set(found) == names and found["report.html"].rstrip().endswith(b"</html>")

    rng = random.Random(kills)
    for _ in range(kills):
        forked(action, operation=rng.randint(1, 132))
        look()
    assert action() == 0
    look()
    assert {path.name for path in tmp_path.iterdir()} == {"report"}


def test_a_prediction_that_was_killed_leaves_the_earlier_one_or_the_new_one(run, tmp_path):
    (text := tmp_path / "text.txt").write_text("Ada went to Oslo .\n" * 50)
    output = tmp_path / "out.jsonl"
    output.write_text("earlier")
    action = command("predict", run / "model", text, "--output", output, "--overwrite")
    for number in range(1, 7):
        assert forked(action, operation=number)[0] == -9
        found = output.read_text()
        assert found == "earlier" or found.count("\n") == 50
    assert action() == 0
    assert output.read_text().count("\n") == 50
    assert {path.name for path in tmp_path.iterdir()} == {"text.txt", "out.jsonl"}
