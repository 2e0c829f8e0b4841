"""Which checkpoint a run goes on from, and which is its best."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from determined_ner.errors import UserError
from determined_ner.files.atomic import write_json
from determined_ner.model.checkpoint import STATE_FILE, checkpoint_name
from determined_ner.settings.loop import parse_loop
from determined_ner.settings.parsing import parse_settings
from determined_ner.training.run_folder import DIRECTORIES, Ranking, RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path)
    run.checkpoints.mkdir()
    for batches, f1 in ((4, 0.5), (8, 0.9), (12, 0.9), (16, None)):
        run.metrics.append({"kind": "training", "batches": batches, "loss": 1.0})
        run.metrics.append({"kind": "validation", "batches": batches, "f1": f1, "loss": 1 / batches})
    return run


def save(run: RunFolder, *steps: int) -> None:
    for batches in steps:
        run.checkpoint(batches).mkdir()
        (run.checkpoint(batches) / STATE_FILE).touch()
        write_json(run.checkpoint(batches) / "metadata.json", {"steps_completed": batches})


def rank(run: RunFolder, metric: str = "f1", keep_best: int = 1, keep_latest: int = 1) -> Ranking:
    storage = {"save_trial_best": keep_best, "save_trial_latest": keep_latest}
    config = {"searcher": {"metric": metric}, "checkpoint_storage": storage}
    settings = parse_settings({"pretrained_model_name_or_path": "x"}, {"train_file": "x", "validation_file": "x"})
    return run.rank(parse_loop(config, settings), run.metrics.reports())


def test_a_checkpoint_cut_short_is_none(folder: RunFolder) -> None:
    save(folder, 8)
    for other in (f".{checkpoint_name(12)}.partial", "step-12.old", "notes"):
        (folder.checkpoints / other).mkdir()
    assert folder.saved_steps() == [8]


@pytest.mark.parametrize(("saved", "resumed", "left"), [((4, 8), 8, 4), ((0,), 0, 0), ((), None, 0)])
def test_reports_after_the_newest_checkpoint_are_dropped(
    folder: RunFolder, saved: tuple[int, ...], resumed: int | None, left: int
) -> None:
    save(folder, *saved)
    assert folder.begin(resume=True) == resumed
    assert len(folder.metrics.reports()) == left
    assert all(report["batches"] <= (resumed or 0) for report in folder.metrics.reports())


def test_a_new_run_goes_on_from_nothing(tmp_path: Path) -> None:
    assert RunFolder(tmp_path).begin(resume=False) is None
    assert RunFolder(tmp_path).checkpoints.is_dir()


@pytest.mark.parametrize(
    ("metric", "best", "saved", "best_kept"),
    [
        ("f1", 8, (4, 12), 12),
        ("f1", 8, (8, 12), 8),  # the earliest of equals
        ("loss", 16, (4, 16), 16),
        ("f1", 8, (16,), 16),  # none with a number: the newest
    ],
)
def test_the_best_is_found(folder: RunFolder, metric: str, best: int, saved: tuple[int, ...], best_kept: int) -> None:
    save(folder, *saved)
    ranking = rank(folder, metric)
    assert ranking.best is not None and ranking.best["batches"] == best
    assert ranking.best_kept == best_kept


@pytest.mark.parametrize(
    ("keep_best", "keep_latest", "left", "best"),
    [(0, 1, [16], 16), (1, 1, [8, 16], 8), (2, 1, [8, 12, 16], 8), (0, 2, [12, 16], 12)],
)
def test_the_best_is_one_of_those_that_pruning_leaves(
    folder: RunFolder, keep_best: int, keep_latest: int, left: list[int], best: int
) -> None:
    """As a run leaves them that was killed before it could prune: a better one may lie there that will go."""
    save(folder, 4, 8, 12, 16)
    ranking = rank(folder, keep_best=keep_best, keep_latest=keep_latest)
    folder.prune(ranking)
    assert folder.saved_steps() == left == sorted(ranking.kept)
    assert ranking.best_kept == rank(folder, keep_best=keep_best, keep_latest=keep_latest).best_kept == best


def test_a_checkpoint_of_another_name_than_its_own_is_refused(folder: RunFolder) -> None:
    save(folder, 8, 12)
    folder.checkpoint(12).rename(folder.checkpoint(11))
    reports = folder.metrics.path.read_bytes()
    with pytest.raises(UserError, match="of batch 12") as raised:
        folder.begin(resume=True)
    assert str(folder.checkpoint(8)) in raised.value.remedy
    assert folder.metrics.path.read_bytes() == reports


@pytest.mark.parametrize(
    "name", [f"step-{'9' * 21}", "step-000000012", "step-\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661"]
)
def test_a_name_that_no_checkpoint_has_ends_with_a_message_or_is_none(folder: RunFolder, name: str) -> None:
    save(folder, 8)
    folder.checkpoint(8).rename(folder.checkpoints / name)
    if folder.saved_steps():
        with pytest.raises(UserError):
            folder.begin(resume=True)
    else:
        assert folder.begin(resume=True) is None


@pytest.mark.parametrize("name", [*DIRECTORIES, "summary.json"])
@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("nowhere"), os.mkfifo])
def test_a_file_in_the_place_of_a_directory_is_named(
    folder: RunFolder, name: str, make: Callable[[Path], None]
) -> None:
    shutil.rmtree(folder.checkpoints)
    path = folder.path / name
    path.parent.mkdir(exist_ok=True)
    path.mkdir() if name == "summary.json" else make(path)
    with pytest.raises(UserError, match="a run has") as raised:
        folder.check_places()
    assert raised.value.where == str(path)
