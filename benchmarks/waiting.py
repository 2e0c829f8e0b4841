"""What waiting threads cost: training steps by how long they spin, alone and beside a process that keeps a core busy.

    python3 benchmarks/waiting.py [--spins default 2000 20000] [--rounds 7] [--seconds 5]

``default`` is libgomp's own spin count. Each figure is of a process of its own, in turn, in the shapes of MiniLM with
batches of 8 windows of 30 pieces in bf16; ``one`` is a single thread, which never waits.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import machine
import torch
from transformers import BertConfig, BertForTokenClassification

BATCH, LENGTH, WARM_UP = 8, 30, 3


def measure(seconds: float) -> float:
    """Windows per second of training steps."""
    torch.manual_seed(0)
    shape = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    model = BertForTokenClassification(BertConfig(**shape, attention_probs_dropout_prob=0.0, hidden_dropout_prob=0.0))
    optimizer = torch.optim.AdamW(model.train().parameters(), fused=True)
    ids = torch.randint(1000, 20000, (BATCH, LENGTH))
    steps, started = -WARM_UP, time.perf_counter()
    while steps <= 0 or time.perf_counter() - started < seconds:
        if steps == 0:
            started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(ids).logits.float().square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        steps += 1
    return steps * BATCH / (time.perf_counter() - started)


@contextlib.contextmanager
def a_busy_core(wanted: bool) -> Iterator[None]:
    """Beside a process that computes without an end, if wanted."""
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if wanted else None
    try:
        yield
    finally:
        if busy:
            busy.kill()
            busy.wait()


def run(spins: str, seconds: float) -> float:
    unset = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    own = {"default": {}, "one": {"OMP_NUM_THREADS": "1"}}.get(spins, {"GOMP_SPINCOUNT": spins})
    command = [sys.executable, __file__, "--measure", str(seconds)]
    done = subprocess.run(command, env={**environment, **own}, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spins", nargs="+", default=["default", "2000", "20000"], metavar="COUNT")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--measure", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(measure(arguments.measure))
        return
    for busy in (False, True):
        spins = [*arguments.spins, *(["one"] if busy else [])]
        found: dict[str, list[float]] = {name: [] for name in spins}
        with a_busy_core(busy):
            for _ in range(arguments.rounds):
                for name in spins:
                    found[name].append(run(name, arguments.seconds))
        reference = statistics.median(found[spins[0]])
        print("beside a busy core" if busy else "alone")
        for name, speeds in found.items():
            median = statistics.median(speeds)
            spread = f"{min(speeds):.1f} to {max(speeds):.1f}"
            print(f"  {name:<10}{median:>8.1f} windows/s{median / reference:>7.2f}   {spread}")
    print(machine.line())


if __name__ == "__main__":
    main()
