"""The machine that a figure is of: processor, vector units, threads, load, and what it reaches in matrix products.

python3 benchmarks/machine.py        says all of it; about a minute on two cores
"""

from __future__ import annotations

import datetime
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from determined_ner.machine import load as load
from determined_ner.machine import processor
from determined_ner.machine import processors as processors
from determined_ner.model.calls import replaced
from determined_ner.model.cpu.products import fast_products

SIZES = (256, 512, 1024, 2048, 4096)
"""Of square matrices."""
SECONDS = 0.5
"""For each size and precision, at least; three products at least."""


def name() -> str:
    """By which results of one machine are told from another's, in one line."""
    return f"{processor()}, {torch.get_num_threads()} threads"


def peak_gflops() -> dict[str, dict[str, float]]:
    """What it reaches in linear layers, of square matrices, by the library that our steps take for them.

    Returns:
        by precision, ``most``, and by size (as text: JSON's keys), GFLOP/s; the best of each.
    """
    peaks: dict[str, dict[str, float]] = {}
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        found = {}
        for size in SIZES:
            a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
            taken: list[float] = []
            began = time.perf_counter()
            while len(taken) < 3 or time.perf_counter() - began < SECONDS:
                started = time.perf_counter()
                with replaced(fast_products(a.device)):
                    functional.linear(a, b)
                taken.append(time.perf_counter() - started)
            found[str(size)] = round(2 * size**3 / min(taken) / 1e9, 1)
        peaks[precision] = {"most": max(found.values()), **found}
    return peaks


def described() -> dict[str, Any]:
    """What is measured once for all results of this machine."""
    return {"date": datetime.date.today().isoformat(), "torch": torch.__version__, "peak_gflops": peak_gflops()}


def line() -> str:
    """For under a table: the machine, the day and its load."""
    gpu = f"; {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{name()}{gpu}, load {load():.1f}, torch {torch.__version__}, {datetime.date.today().isoformat()}"


def peaks_in_words(peaks: dict[str, dict[str, float]]) -> str:
    """Of `peak_gflops`."""
    told = []
    for precision, found in peaks.items():
        sizes = ", ".join(f"{size}: {value:.0f}" for size, value in found.items() if size != "most")
        told.append(f"{precision} {found['most']:.0f}" + (f" ({sizes})" if sizes else ""))
    return f"matrix products at best, GFLOP/s: {'; '.join(told)}"


if __name__ == "__main__":
    print(line())
    print(peaks_in_words(peak_gflops()))
