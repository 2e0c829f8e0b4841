"""Whether a promised precision is kept as often as promised, and how much is given: bounds side by side.

    python3 benchmarks/thresholds.py RUN[=FILE] [RUN[=FILE] …] [--keep DIR]

Each RUN is a run's folder with ``data.test_file``; FILE is an ONNX file of an export of it, which computes in place of
the weights, and whose scores are made by the calibration of the weights, as there. The entities that its model finds in
its validation and test text are taken for all text that there is: samples of as many sentences are drawn from it with
replacement, a threshold is fitted to each, and its precision is taken from the whole. "Oracle" is the most that any
threshold of the candidates gives at that precision, which takes the whole to know. In the lines "refitted", the curves
of the scores are fitted to the same sample as the threshold, as where ``thresholds`` is given no TEXT.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import betainc
from scipy.stats import binom

sys.path.insert(0, str(Path(__file__).parent.parent))

from calibration import pooled, tagged_splits

from determined_ner.tags.fitting import Evidence, choose_curves, fit
from determined_ner.tags.guarantees import Bound, Ints, betting_bound, candidates, count_units, lowest


def empirical_bernstein(found: Ints, correct: Ints, number: Ints, precision: float) -> float:
    """Of units whose Z has a range of M. Source: Maurer and Pontil 2009, theorem 4, solved for the chance of error."""
    units, most = int(number.sum()), max(1, int(found.max(initial=0)))
    gains = correct - precision * found
    mean = float(number @ gains) / units
    if mean <= 0 or units < 2:
        return 1.0
    spread = math.sqrt(2 * float(number @ (gains - mean) ** 2) / (units - 1) / units)
    slope = 7 * most / (3 * (units - 1))
    root = (-spread + math.sqrt(spread**2 + 4 * slope * mean)) / (2 * slope)
    return min(1.0, 2 * math.exp(-(root**2)))


def hoeffding_bentkus(found: Ints, correct: Ints, number: Ints, precision: float) -> float:
    """Of units whose Z, moved and scaled, is from 0 to 1. Source: Bates et al. 2021, proposition 6."""
    units, most = int(number.sum()), max(1, int(found.max(initial=0)))
    risk = 1 - precision - float(number @ (correct - precision * found)) / units / most
    limit = 1 - precision
    if risk >= limit:
        return 1.0
    entropy = (risk * math.log(risk / limit) if risk > 0 else 0) + (1 - risk) * math.log((1 - risk) / (1 - limit))
    return min(1.0, math.exp(-units * entropy), math.e * float(binom.cdf(math.ceil(units * risk), units, limit)))


def binomial_kish(found: Ints, correct: Ints, number: Ints, precision: float) -> float:
    """Exact for a binomial of N / d entities, d the design effect if all of a unit stand or fall together (Kish 1965).

    No bound for any number of units: rare units with many wrong entities break it.
    """
    entities = int(number @ found)
    if not entities:
        return 1.0
    effect = float(number @ found**2) / entities
    right = int(number @ correct) / effect
    return float(betainc(right, entities / effect - right + 1, precision)) if right else 1.0


def binomial_estimated(found: Ints, correct: Ints, number: Ints, precision: float) -> float:
    """The same, of the design effect that the sample shows (Korn and Graubard 1998); no bound either."""
    entities, units = int(number @ found), int(number.sum())
    share = int(number @ correct) / max(1, entities)
    if not 0 < share < 1:
        return binomial_kish(found, correct, number, precision)
    variance = float(number @ (correct - share * found) ** 2) * units / (units - 1) / entities**2
    effect = max(1.0, variance * entities / (share * (1 - share)))
    return float(betainc(share * entities / effect, (1 - share) * entities / effect + 1, precision))


SHIPPED: dict[str, Bound] = {"betting": betting_bound}
BOUNDS: dict[str, Bound] = {
    **SHIPPED,
    "empirical Bernstein": empirical_bernstein,
    "Hoeffding-Bentkus": hoeffding_bentkus,
    "(binomial, Kish)": binomial_kish,
    "(binomial, estimated)": binomial_estimated,
}


def of_type(found: Evidence, name: str) -> Evidence:
    """The entities of one type."""
    chosen = found.types == found.names.index(name)
    arrays = (found.probabilities, found.types, found.correct, found.unit)
    probabilities, types, correct, unit = (array[chosen] for array in arrays)
    return Evidence(probabilities, types, found.names, correct, unit, found.units)


def measure(
    found: Evidence, scores: Any, what: str, precision: float, confidence: float, samples: int, bounds: dict[str, Bound]
) -> None:
    """Print a line for each bound."""
    thresholds = candidates(precision)
    counts = count_units(scores, found.correct, found.unit, found.units, thresholds)
    given, right = counts.sum(axis=1).T
    kept = right >= precision * given - 1e-9
    oracle = max((given[kept] / max(1, len(scores))).tolist(), default=0.0)
    print(
        f"{what}, {precision:g}: {len(scores):,} entities in {found.units:,} units, {found.correct.mean():.3f} right",
        end="",
    )
    print(f"; oracle gives {oracle:.3f}")
    for name, bound in bounds.items():
        random, started = np.random.default_rng(0), time.perf_counter()
        draws = (random.integers(0, found.units, found.units) for _ in range(samples))
        chosen = [lowest((rows[draw] for rows in counts), precision, confidence, bound) for draw in draws]
        _print_line(name, chosen, kept, given / max(1, len(scores)), (time.perf_counter() - started) / samples)


def measure_refitted(found: Evidence, temperature: float, precision: float, confidence: float, samples: int) -> None:
    """The same with the betting bound, the curves of the scores fitted to each sample."""
    members = [np.flatnonzero(found.unit == unit) for unit in range(found.units)]
    thresholds, random, started = candidates(precision), np.random.default_rng(0), time.perf_counter()
    broken = refused = 0
    shares = []
    for _ in range(samples):
        draw = random.integers(0, found.units, found.units)
        sizes = np.array([len(members[unit]) for unit in draw])
        picked = np.concatenate([members[unit] for unit in draw])
        sample = Evidence(
            found.probabilities[picked],
            found.types[picked],
            found.names,
            found.correct[picked],
            np.repeat(np.arange(found.units), sizes),
            found.units,
        )
        curves = choose_curves(sample, temperature)
        own = sample.scores(curves)
        counts = count_units(own, sample.correct, sample.unit, sample.units, thresholds)
        passed = lowest(counts, precision, confidence)
        if passed is None:
            refused += 1
            continue
        chosen = found.scores(curves) >= thresholds[passed]
        broken += int(found.correct[chosen].sum() < precision * chosen.sum() - 1e-9)
        shares.append(chosen.mean())
    took = (time.perf_counter() - started) / samples
    print(
        f"  {'betting, refitted':<24}{1 - broken / samples:>8.3f} kept{refused:>7,} refused"
        f"{np.mean(shares) if shares else 0:>8.3f} given{1000 * took:>8.0f} ms"
    )


def _print_line(name: str, chosen: list[int | None], kept: Any, shares: Any, seconds: float) -> None:
    passed = [i for i in chosen if i is not None]
    broken = sum(not kept[i] for i in passed)
    mean = float(np.mean([shares[i] for i in passed])) if passed else 0.0
    print(
        f"  {name:<24}{1 - broken / len(chosen):>8.3f} kept{len(chosen) - len(passed):>7,} refused"
        f"{mean:>8.3f} given{1000 * seconds:>8.1f} ms",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN[=FILE]")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="of the logits, from one time to the next")
    parser.add_argument("--precision", type=float, action="append", help="default: 0.8, 0.9 and 0.95")
    parser.add_argument("--confidence", type=float, default=0.9)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--refitted", type=int, default=0, metavar="SAMPLES", help="of the lines that fit curves anew")
    arguments = parser.parse_args()
    for run in arguments.runs:
        splits = tagged_splits(run, arguments.keep)
        weights = splits if "=" not in run else tagged_splits(run.partition("=")[0], arguments.keep)
        calibration = fit(weights["validation"])
        found = pooled(list(splits.values())).evidence(calibration.temperature)
        scores = found.scores(calibration)
        for precision in arguments.precision or [0.8, 0.9, 0.95]:
            options = (precision, arguments.confidence)
            measure(found, scores, run, *options, arguments.samples, BOUNDS)
            if arguments.refitted:
                measure_refitted(found, calibration.temperature, *options, arguments.refitted)
            for i, name in enumerate(found.names if len(found.names) > 1 else []):
                own = scores[found.types == i]
                measure(of_type(found, name), own, f"{run}, {name}", *options, arguments.samples, SHIPPED)


if __name__ == "__main__":
    main()
