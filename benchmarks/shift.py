"""Whether text of another kind is told by the scores of its entities, and text of the same kind is not.

    python3 benchmarks/shift.py RUN [RUN …] [--text NAME=FILE …] [--keep DIR]

Each RUN is a run's folder with ``data.test_file``, whose validation and test text is tagged (see calibration.py, and
there for DIR); of FILE, which is in any format that training reads, the words are. Printed are how often random halves
of a run's own text are told from each other, and how far its test split and each FILE are from its validation text.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from calibration import pooled, tagged_splits

from determined_ner.data.readers.open import read_file
from determined_ner.tagging.tagger import Tagger, in_buffers
from determined_ner.tags.fitting import Labelled, fit, halves
from determined_ner.tags.shift import SeenScores, Shift, UsualScores

HALVINGS = 2000


def shift_of(usual: Any, scores: Any) -> Shift:
    """How far scores (M,) are from the usual ones (N,)."""
    known = UsualScores.of(usual)
    assert known is not None
    seen = SeenScores(known)
    seen.add(scores)
    return seen.shift


def told_apart(scores: Any, unit: Any, units: int) -> float:
    """How often halves of the units are told from each other."""
    both = halves(units, HALVINGS // 2, 1)
    return float(np.mean([shift_of(scores[half[unit]], scores[~half[unit]]).is_clear for half in both]))


def measure(run: str, texts: dict[str, str], keep: Path | None) -> None:
    splits = tagged_splits(run, keep)
    calibration = fit(splits["validation"])

    def scored(text: Labelled) -> tuple[Any, Any]:
        found = text.evidence(calibration.temperature)
        return found, found.scores(calibration)

    whole, its_scores = scored(pooled(list(splits.values())))
    print(f"\n{run}: {len(its_scores):,} entities of validation and test, halves told apart: ", end="")
    print(f"{told_apart(its_scores, whole.unit, whole.units):.4f} of {HALVINGS:,}")
    usual, (test, scores) = scored(splits["validation"])[1], scored(splits["test"])
    _print("its test split", shift_of(usual, scores), f"{test.correct.mean():.3f}")
    tagger = Tagger.from_pretrained(Path(run) / "model")
    for name, file in texts.items():
        sentences = [sentence.words for sentence in read_file(file)]
        parts = [tagger.tag(some).found_scores for some in in_buffers(sentences, len)]
        _print(name, shift_of(usual, np.concatenate(parts)))


def _print(name: str, shift: Shift, correct: str = "") -> None:
    print(
        f"  {name:<24}{shift.entities:>7,} entities, mean score {shift.mean:.3f} (validation {shift.usual_mean:.3f})",
        end="",
    )
    print(f", distance {shift.distance:.3f}, by chance {shift.by_chance:.3f}: ", end="")
    print("another kind" if shift.is_clear else "alike", f"; share correct {correct}" if correct else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--text", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="of the logits, from one time to the next")
    arguments = parser.parse_args()
    for run in arguments.runs:
        measure(run, dict(text.split("=", 1) for text in arguments.text), arguments.keep)


if __name__ == "__main__":
    main()
