"""The benchmark of whole trainings on a GPU runs on a CPU with a toy, and says in one line what it lacks."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from determined_ner.errors import UserError
from determined_ner.model import ort
from tests.conftest import ROOT


def has_ort() -> bool:
    with contextlib.suppress(UserError):
        ort.check_installation("cpu")
        return True
    return False


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )


def test_without_a_gpu_it_stops_with_one_line(tmp_path):
    done = run("--trainings", str(tmp_path / "table"))
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and not done.stdout
    assert done.stderr.startswith("error: no CUDA device here") and not (tmp_path / "table").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(
            ["--backends", "ort"],
            "error: --backends ort: 'ort' ",
            marks=pytest.mark.skipif(has_ort(), reason="ONNX Runtime training is here"),
        ),
        (["--backends", "eager", "--train", "a.conll"], "error: --train and --validation belong together"),
    ],
)
def test_what_it_lacks_is_said_before_anything_is_trained(tmp_path, options, said):
    done = run("--trainings", str(tmp_path / "table"), "--device", "cpu", "--tiny", *options)
    assert done.returncode == 2 and done.stderr.startswith(said) and done.stderr.count("\n") == 1
    assert not (tmp_path / "table").exists()


def test_the_table_is_made_on_a_cpu_with_a_toy(tmp_path):
    backends = ["eager", "ort"] if has_ort() else ["eager"]
    folder = tmp_path / "table"
    options = ["--device", "cpu", "--tiny", "--epochs", "1", "--repeats", "1"]
    done = run("--trainings", str(folder), *options, "--backends", *backends)
    assert done.returncode == 0, done.stderr[-2000:]
    assert sorted(path.name for path in folder.iterdir()) == ["table.json", "table.md", "table.png"]
    table = json.loads((folder / "table.json").read_text())
    assert table["random"] and table["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert table["settings"]["hyperparameters.global_batch_size"] == "8"
    assert [(row["model"], row["backend"], len(row["runs"])) for row in table["rows"]] == [
        ("tiny", backend, 1) for backend in backends
    ]
    assert all(row["samples_per_second"] > 0 and 0 <= row["f1"] <= 1 for row in table["rows"])
    page = (folder / "table.md").read_text()
    assert "| tiny | eager | " in page and "| +0.00% |" in page and "138.1 samples/s" in page
    assert page in done.stdout
    assert Path(folder / "table.png").read_bytes().startswith(b"\x89PNG")


def test_a_step_is_measured_on_a_cpu_with_a_toy(tmp_path):
    options = ["--device", "cpu", "--tiny", "--steps", "5", "--batch-sizes", "4", "--precisions", "fp32"]
    done = run(*options, "--modes", "padded", "flat", "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr[-2000:]
    written = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert written["device"] == "CPU" and written["peak_flops"]["fp32"] > 0
    padded, flat = written["results"]
    assert (padded["mode"], flat["mode"]) == ("padded", "flat") and flat["padding"] == 0 < padded["padding"]
    assert all(0 < row["mfu"] < 1 and row["samples_per_second"] > 0 for row in written["results"])
    assert (tmp_path / "out" / "gpu.png").read_bytes().startswith(b"\x89PNG")


def test_it_ends_when_its_minutes_are_over(tmp_path):
    done = run("--device", "cpu", "--tiny", "--minutes", "0", "--precisions", "fp32", "--output", str(tmp_path / "out"))
    assert done.returncode == 0 and done.stdout.endswith("0 minutes are over\n"), done.stderr[-2000:]


def test_what_needs_a_gpu_is_refused_without_one():
    done = run("--device", "cpu", "--tiny", "--modes", "graphs")
    assert done.returncode == 2 and done.stderr == "error: --modes graphs: CUDA graphs need a GPU\n"
