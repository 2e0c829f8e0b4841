"""How fast the graphs of an export are beside each other, on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

ROUNDS = 5


def relative_speeds(runs: dict[str, Any], batches: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Speed of each beside the first, by the median of rounds in which they take turns.

    Args:
        runs: what makes logits, as `parity.Check.compare` takes it, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(ROUNDS + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            for batch in batches:
                run(batch["input_ids"], batch["attention_mask"])
            if turn:  # once before it is timed
                seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    first = next(iter(medians.values()))
    return {name: first / median for name, median in medians.items()}
