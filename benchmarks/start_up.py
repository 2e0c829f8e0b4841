"""What a tagger costs before its first word: seconds from starting Python to the tags of a sentence, memory, megabytes.

    python3 benchmarks/start_up.py MODEL NAME=PYTHON:BACKEND …  [--repeats 7]

MODEL is an export with --onnx. Each PYTHON is the interpreter of an environment with the package, such as one with
``pip install '.[torch]'`` and one with ``pip install '.[onnx]'``; BACKEND is torch or onnx. They take turns, so that a
change in the machine's speed hits all alike: the figures are medians, and ratios to the first.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import machine

TAG = """
import sys
from determined_ner import Tagger
from determined_ner.tagging.cost_process import peak_memory
tagger = Tagger.from_pretrained(sys.argv[1], backend=sys.argv[2])
tagger(["Ada Lovelace went to Oslo."])
print(peak_memory())
"""
INSTALLED = """
import importlib.metadata, json
own = [d for d in importlib.metadata.distributions() if d.metadata["Name"] not in ("pip", "setuptools")]
files = {file.locate() for d in own for file in d.files or () if "__pycache__" not in file.parts}
print(json.dumps([len(own), sum(path.stat().st_size for path in files if path.is_file()) / 1e6]))
"""


@dataclass
class Arm:
    """One way to tag."""

    name: str
    python: str
    backend: str
    seconds: list[float] = field(default_factory=list)
    processor_seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    """MiB at most."""

    @classmethod
    def of_text(cls, text: str) -> Arm:
        name, _, rest = text.partition("=")
        python, _, backend = rest.rpartition(":")
        if not (name and python) or backend not in ("torch", "onnx"):
            raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PYTHON:torch or NAME=PYTHON:onnx")
        return cls(name, python, backend)

    def run(self, code: str, *arguments: str) -> str:
        """Outside of the checkout, so that the package is the environment's."""
        command = [self.python, "-c", code, *arguments]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        return subprocess.run(command, cwd="/", env=environment, check=True, capture_output=True, text=True).stdout

    def measure(self, model: Path) -> None:
        before, began = _processor_seconds(), time.perf_counter()
        memory = self.run(TAG, str(model), self.backend)
        self.seconds.append(time.perf_counter() - began)
        self.processor_seconds.append(_processor_seconds() - before)
        self.memory.append(float(memory))


def _processor_seconds() -> float:
    """Of all processes that have been started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=lambda text: Path(text).absolute(), metavar="MODEL")
    parser.add_argument("arms", type=Arm.of_text, nargs="+", metavar="NAME=PYTHON:BACKEND")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    arms: list[Arm] = arguments.arms
    for arm in arms:  # compiled, and in the system's cache
        arm.run(TAG, str(arguments.model), arm.backend)
    for _ in range(arguments.repeats):
        for arm in arms:
            arm.measure(arguments.model)
    first = arms[0]
    print(f"{'':<24}{'seconds':>14}{'ratio':>8}{'processor s':>14}{'ratio':>8}{'MiB':>8}{'packages':>10}{'MB':>8}")
    for arm in arms:
        ratios = [
            statistics.median(ours / theirs for ours, theirs in zip(mine, of_first, strict=True))
            for mine, of_first in (
                (arm.seconds, first.seconds),
                (arm.processor_seconds, first.processor_seconds),
            )
        ]
        taken = f"{statistics.median(arm.seconds):.2f} ({min(arm.seconds):.2f})"
        used = f"{statistics.median(arm.processor_seconds):.2f}"
        packages, size = json.loads(arm.run(INSTALLED))
        print(
            f"{arm.name:<24}{taken:>14}{ratios[0]:>8.2f}{used:>14}{ratios[1]:>8.2f}"
            f"{statistics.median(arm.memory):>8.0f}{packages:>10}{size:>8,.0f}"
        )
    print(f"{arguments.repeats} turns, medians (least); {machine.line()}")


if __name__ == "__main__":
    main()
