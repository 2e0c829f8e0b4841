"""Which checkpoint a run goes on from, and which is its best."""

from __future__ import annotations

from pathlib import Path

import pytest

from determined_ner.training.run_folder import RunFolder, checkpoint_name


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
    ("metric", "smaller", "best", "saved", "best_saved"),
    [
        ("f1", False, 8, (4, 12), 12),
        ("f1", False, 8, (8, 12), 8),  # the earliest of equals
        ("loss", True, 16, (4, 16), 16),
        ("f1", False, 8, (16,), 16),  # none with a number: the newest
    ],
)
def test_the_best_is_found(
    folder: RunFolder, metric: str, smaller: bool, best: int, saved: tuple[int, ...], best_saved: int
) -> None:
    save(folder, *saved)
    found = folder.best(metric, smaller)
    assert found is not None and found["batches"] == best
    assert folder.best_saved(metric, smaller) == best_saved
