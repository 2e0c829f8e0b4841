"""Curves of any run, drawn without a display."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from determined_ner.report.curves import _score_figure, plot_curves, points_of
from tests.conftest import ROOT


def training(batches: int, **values: float) -> dict:
    return {"kind": "training", "batches": batches, "epochs": batches // 10, "loss": 2 / batches, **values}


def validation(batches: int, **values: object) -> dict:
    scores = {"loss": 1 / batches, "accuracy": 0.9, "precision": 0.6, "recall": 0.7, "f1": 0.65, "f1_strict": 0.6}
    return {"kind": "validation", "batches": batches, "epochs": batches // 10, **scores, **values}


def draw(folder: Path, lines: list[dict]) -> list[Path]:
    return plot_curves(lines, folder / "figures")


def size(picture: Path) -> tuple[int, int]:
    data = picture.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", data[16:24])


@pytest.mark.parametrize(
    "lines",
    [
        [training(i) for i in range(1, 30)] + [validation(10, f1_PER=0.5), validation(20, f1_PER=0.6)],
        [validation(10)],
        [training(1), validation(10, loss=float("nan"), f1=float("nan"))],
        [validation(10), {"kind": "validation", "batches": 20, "epochs": 2}],
        [validation(10, **{f"f1_T{i}": i / 40 for i in range(40)})],
        [training(5), {"kind": "validation", "batches": 5, "epochs": 1, "loss": 1.0, "accuracy": 0.5}],
    ],
    ids=["usual", "one validation", "nan", "missing scores", "forty types", "plain tags"],
)
def test_loss_and_scores_are_drawn(tmp_path, lines):
    pictures = draw(tmp_path, lines)
    assert sorted(p.name for p in pictures) == ["f1.png", "loss.png"]
    for picture in pictures:
        width, height = size(picture)
        assert width > 600 and height > 300 and picture.stat().st_size > 5000
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == ["f1.png", "loss.png"]


def test_more_training_draws_another_picture(tmp_path):
    first = {p.name: p.read_bytes() for p in draw(tmp_path, [validation(10)])}
    second = {p.name: p.read_bytes() for p in draw(tmp_path, [validation(10), validation(20, f1=0.9)])}
    assert all(first[name] != second[name] for name in first)


def test_accuracy_is_drawn_beside_f1():
    def curves(lines: list[dict]) -> list[str]:
        figure = _score_figure(lines)
        assert figure is not None
        return [line.get_label().split()[1] for line in figure.axes[0].get_lines() if "." in str(line.get_label())]

    assert curves([validation(10, f1_PER=0.5)]) == ["F1", "precision", "recall", "accuracy", "PER"]
    assert curves([{"kind": "validation", "batches": 5, "epochs": 1, "loss": 1.0, "accuracy": 0.5}]) == ["accuracy"]


def test_importing_is_cheap():
    code = "import sys, determined_ner.report.curves; sys.exit(bool({'matplotlib', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_without_a_point_there_is_no_picture(tmp_path):
    assert draw(tmp_path, []) == [] and draw(tmp_path, [{"kind": "validation", "batches": 3, "f1": None}]) == []
    assert [p.name for p in draw(tmp_path, [training(5)])] == ["loss.png"]


def test_of_a_batch_that_occurs_twice_the_later_report_counts():
    lines = [validation(20, f1=0.5), validation(10, f1=0.1), validation(10, f1=0.3), validation(30, f1=float("nan"))]
    assert points_of(lines, "validation", "f1") == [(10, 0.3), (20, 0.5)]
