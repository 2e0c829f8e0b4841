"""Counting entities: seconds for a million words in both modes, beside seqeval on the same tags.

python3 benchmarks/scores.py [--words 1000000] [--seqeval-words 100000]
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from itertools import pairwise
from pathlib import Path

import machine
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from determined_ner.tags.entities import TagTable
from determined_ner.tags.scores import evaluate

LABELS = ["O", *(f"{p}-{t}" for t in ("PER", "LOC", "ORG", "MISC") for p in "BI")]


def make_tags(words: int, share_outside: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gold and predicted tag ids of random sentences of 20 words, with that share of O."""
    rng = np.random.default_rng(0)
    weights = np.array([share_outside, *[(1 - share_outside) / 8] * 8])
    gold, predicted = (rng.choice(9, words, p=weights).astype(np.int16) for _ in range(2))
    return gold, predicted, np.arange(0, words + 1, 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", type=int, default=1_000_000)
    parser.add_argument("--seqeval-words", type=int, default=100_000)
    arguments = parser.parse_args()
    table = TagTable(LABELS)
    for share, name in ((0.8, "80 % O"), (1 / 9, "all tags equally often")):
        gold, predicted, starts = make_tags(arguments.words, share)
        seconds = []
        for _ in range(5):
            started = time.perf_counter()
            evaluate(gold, predicted, starts, table)
            seconds.append(time.perf_counter() - started)
        print(f"{name}: {arguments.words:,} words, both modes: median {np.median(seconds):.3f} s of 5")

        from seqeval.metrics import f1_score
        from seqeval.scheme import IOB2

        gold, predicted, starts = make_tags(arguments.seqeval_words, share)
        texts = [[[LABELS[i] for i in tags[b:e]] for b, e in pairwise(starts.tolist())] for tags in (gold, predicted)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            started = time.perf_counter()
            f1_score(*texts)
            f1_score(*texts, mode="strict", scheme=IOB2)
        print(f"{name}: {arguments.seqeval_words:,} words, seqeval: {time.perf_counter() - started:.1f} s")
    print(machine.line())


if __name__ == "__main__":
    main()
