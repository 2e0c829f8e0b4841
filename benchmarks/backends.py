"""Backends, precisions, processes beside each other: training samples/s of short runs in turn, ratios of the medians.

    python3 benchmarks/backends.py --encoder MODEL --train FILE --validation FILE eager/fp32 compile/fp32 ort/fp32
    python3 benchmarks/backends.py --encoder MODEL --train FILE --validation FILE eager/fp32/1 eager/fp32/2

Each round runs every one of them once, by ner_trial.py, on the same sentences in the same order; several processes (by
torchrun) share the processors and the batch. The first quarter of the steps (warming up) is not counted, nor are steps
that compiled; what compiling took is shown.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import machine
import torch

ROOT = Path(__file__).resolve().parent.parent


class Run(NamedTuple):
    """What a training gave."""

    samples_per_second: float
    """After the warm-up."""
    compile_seconds: float
    f1: float
    """Of the best validation."""


def train(settings: dict[str, Any], folder: Path, processes: str = "1") -> Run:
    """Train by ner_trial.py into a folder, in a process of its own or several."""
    launcher = [] if processes == "1" else ["-m", "torch.distributed.run", "--nproc-per-node", processes]
    command = [sys.executable, *launcher, str(ROOT / "ner_trial.py"), "--output-dir", str(folder)]
    for name, value in settings.items():
        command += ["--config", f"{name}={value}"]
    shared = {} if processes == "1" else {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // int(processes)))}
    environment = {**os.environ, **shared}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    reports = [line for line in lines if line["kind"] == "training"]
    first = next(i for i, line in enumerate(reports) if 4 * line["batches"] >= reports[-1]["batches"])
    steps = [line["batches"] - before["batches"] for before, line in itertools.pairwise(reports[first:])]
    speeds = [line["samples_per_second"] for line in reports[first + 1 :]]
    timed = [(n, speed) for n, speed in zip(steps, speeds, strict=True) if speed]
    compiling = sum(float(seconds) for seconds in re.findall(r"graph.*, ([0-9.]+) s$", done.stderr, re.MULTILINE))
    f1 = max(line["f1"] for line in lines if line["kind"] == "validation")
    return Run(sum(n for n, _ in timed) / sum(n / speed for n, speed in timed), compiling, f1)


def run(arguments: argparse.Namespace, choice: str, folder: Path) -> Run:
    """A short run of one choice."""
    backend, precision, processes = (*choice.split("/"), "1")[:3]
    settings = {
        "hyperparameters.pretrained_model_name_or_path": arguments.encoder,
        "hyperparameters.backend": backend,
        "hyperparameters.precision": precision,
        "hyperparameters.global_batch_size": arguments.batch_size,
        "hyperparameters.max_steps": arguments.steps,
        "hyperparameters.group_by_length": "true",
        "data.train_file": arguments.train,
        "data.validation_file": arguments.validation,
        "data.max_eval_samples": 20,
        "scheduling_unit": arguments.steps // 4,
    }
    return train(settings, folder, processes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "choices", nargs="+", metavar="BACKEND/PRECISION[/PROCESSES]", help="the first is what ratios are of"
    )
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--train", required=True, type=Path)
    parser.add_argument("--validation", required=True, type=Path)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    speeds: dict[str, list[float]] = {choice: [] for choice in arguments.choices}
    starts: dict[str, list[float]] = {choice: [] for choice in arguments.choices}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            for choice in arguments.choices:
                speed, start, _ = run(arguments, choice, Path(folder) / f"{number}-{choice.replace('/', '-')}")
                speeds[choice].append(speed)
                starts[choice].append(start)
                print(f"round {number + 1}  {choice:<14}{speed:8.1f} samples/s", file=sys.stderr, flush=True)
    reference = statistics.median(speeds[arguments.choices[0]])
    print(f"{'':<14}{'samples/s':>10}{'ratio':>8}{'compiling':>13}")
    for choice in arguments.choices:
        speed = statistics.median(speeds[choice])
        print(f"{choice:<14}{speed:>10.1f}{speed / reference:>8.2f}{statistics.median(starts[choice]):>11.1f} s")
    print(machine.line())


if __name__ == "__main__":
    main()
