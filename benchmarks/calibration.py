"""How well scores of entities are calibrated: on random halves of validation and test text, and on the test split.

    python3 benchmarks/calibration.py RUN[=FILE] [RUN[=FILE] …] [--keep DIR]

Each RUN is a run's folder with ``data.test_file``; FILE is an ONNX file of an export of it, which computes in place of
the weights. Its validation and test text is tagged once; the logits are kept in DIR, if one is named, and taken from
there the next time. The error is the expected calibration error of entity scores in 15 bins of equal mass; beside it
stands the mean error that outcomes drawn from the scores themselves show.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from determined_ner.report.statistics import adaptive_reliability, error_by_chance
from determined_ner.report.text import read_labelled, tagged_parts
from determined_ner.tagging.tagger import Tagger
from determined_ner.tags.calibration import Calibration
from determined_ner.tags.decoding import allowed_transitions, best_tags
from determined_ner.tags.fitting import Labelled, choose_curves, fit, losses, temperature_of
from determined_ner.tags.lattice import softmax
from determined_ner.tags.schemes import Scheme
from determined_ner.training.trained import find_trained


def tagged_splits(run: str, keep: Path | None) -> dict[str, Labelled]:
    """Validation and test text of a run with the logits of its model.

    Args:
        run: RUN or RUN=FILE.
    """
    folder, _, graph = run.partition("=")
    file = keep / f"{Path(folder).name}-{Path(graph).stem or 'weights'}.npz" if keep else None
    if file is None or not file.exists():
        with tempfile.TemporaryDirectory() as downloads:
            trained = find_trained(folder, Path(downloads) / "unused")
            exported = find_trained(str(Path(graph).parent), Path(downloads) / "unused") if graph else None
        assert trained.settings is not None
        model = exported.directory.onnx_model(Path(graph).name) if exported else None
        tagger, transitions = Tagger.from_directory(trained.directory, model), trained.directory.transitions
        arrays: dict[str, Any] = {"labels": np.array(trained.directory.labels)}
        arrays |= {} if transitions is None else {"transitions": transitions}
        for split, data in (("validation", None), ("test", trained.settings.data.test_file)):
            text = read_labelled(trained, data)
            logits = np.concatenate([part.logits for _, part in tagged_parts(tagger, folder, text)])
            arrays |= {f"{split}_logits": logits, f"{split}_gold": text.gold, f"{split}_starts": text.sentences}
        if file is None:
            return _of_arrays(arrays)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, **arrays)
    with np.load(file) as kept:
        return _of_arrays(dict(kept))


def _of_arrays(arrays: dict[str, Any]) -> dict[str, Labelled]:
    labels, transitions = tuple(arrays["labels"].tolist()), arrays.get("transitions")
    splits = {}
    for split in ("validation", "test"):
        logits, gold, starts = (arrays[f"{split}_{name}"] for name in ("logits", "gold", "starts"))
        splits[split] = Labelled(logits, gold.astype(np.int64), starts, starts, labels, False, transitions)
    return splits


def pooled(parts: list[Labelled]) -> Labelled:
    """Texts one after the other."""
    starts = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(part.starts) for part in parts]))])
    logits, gold = (np.concatenate([getattr(part, name) for part in parts]) for name in ("logits", "gold"))
    return replace(parts[0], logits=logits, gold=gold, starts=starts, units=starts)


def taken(text: Labelled, sentences: Any) -> Labelled:
    """Some sentences of a text."""
    lengths = np.diff(text.starts)[sentences]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    words = np.repeat(text.starts[:-1][sentences] - starts[:-1], lengths) + np.arange(starts[-1])
    return replace(text, logits=text.logits[words], gold=text.gold[words], starts=starts, units=starts)


def simple_scores(text: Labelled) -> dict[str, Any]:
    """What else could be the score of an entity: made of the softmax of its words' tags."""
    allowed = allowed_transitions(text.labels, Scheme.IOB2)
    tags = best_tags(text.logits, text.starts, allowed, transitions=text.transitions)
    words = softmax(text.logits)[np.arange(len(tags)), tags]
    spans = text.spans(tags)
    each = [words[begin:end] for begin, end in zip(spans.begin.tolist(), spans.end.tolist(), strict=True)]
    return {
        "mean of its words": np.array([part.mean() for part in each]),
        "least of its words": np.array([part.min() for part in each]),
        "product of its words": np.array([part.prod() for part in each]),
    }


def halvings(text: Labelled, count: int) -> list[tuple[Any, Any]]:
    """Pairs of halves of the sentences, at random."""
    random, sentences = np.random.default_rng(1), len(text.starts) - 1
    orders = [random.permutation(sentences) for _ in range(count)]
    return [(np.sort(order[: sentences // 2]), np.sort(order[sentences // 2 :])) for order in orders]


def error(scores: Any, correct: Any) -> float:
    return adaptive_reliability(scores, correct).error


def measure(name: str, splits: dict[str, Labelled], count: int) -> None:
    whole = pooled(list(splits.values()))
    rows = []
    for one, other in halvings(whole, count):
        for fitted, measured in ((one, other), (other, one)):
            text = taken(whole, measured)
            calibration = fit(taken(whole, fitted))
            found, raw = text.evidence(calibration.temperature), text.evidence(1.0)
            scores = found.scores(calibration)
            rows.append(
                [
                    len(scores),
                    error(raw.probabilities, raw.correct),
                    error(found.probabilities, found.correct),
                    error(scores, found.correct),
                    error_by_chance(scores, draws=50),
                    calibration.temperature,
                    0 if calibration.curve is None else 1 + len(calibration.of_type),
                ]
            )
    mean = np.mean(rows, axis=0)
    excess = np.array(rows)[:, 3] - np.array(rows)[:, 4]
    print(f"\n{name}: {count} halvings of validation + test, fitted on one half, measured on the other")
    print(f"  entities found in a half {mean[0]:.0f}; temperature {mean[5]:.2f}, curves {mean[6]:.1f}")
    print(f"  error: raw {mean[1]:.4f}, with the temperature {mean[2]:.4f}, calibrated {mean[3]:.4f}")
    print(f"  by chance {mean[4]:.4f}; above it {excess.mean():+.4f}, at most {excess.max():+.4f}")
    _on_own_test(splits)
    _beside_simple_scores(whole, count)


def _on_own_test(splits: dict[str, Labelled]) -> None:
    calibration = fit(splits["validation"])
    test = splits["test"]
    raw, found = test.evidence(1.0), test.evidence(calibration.temperature)
    scores = found.scores(calibration)
    simple = simple_scores(test)["mean of its words"]
    own = splits["validation"].evidence(calibration.temperature)
    own_scores = own.scores(calibration)
    curves = "no curve" if calibration.curve is None else f"{1 + len(calibration.of_type)} curves"
    print(f"  fitted on validation (temperature {calibration.temperature:.2f}, {curves}), measured on test:")
    print(f"  {len(scores):,} entities; error: raw {error(raw.probabilities, raw.correct):.4f}", end="")
    print(f" (mean of words {error(simple, found.correct):.4f}), calibrated {error(scores, found.correct):.4f}", end="")
    print(f", by chance {error_by_chance(scores):.4f}")
    for split, its_scores, its in (("validation", own_scores, own), ("test", scores, found)):
        print(f"  {split}: mean score {its_scores.mean():.3f}, share correct {its.correct.mean():.3f}")


def _beside_simple_scores(whole: Labelled, count: int) -> None:
    """Each kind of score, with a curve of its own fitted on the other half: loss an entity, and order."""
    found = whole.evidence(temperature_of(whole))
    raw = whole.evidence(1.0)
    kinds = {"lattice": raw.probabilities, "lattice, temperature": found.probabilities, **simple_scores(whole)}
    print(f"  {'score':<24}{'loss':>8}{'loss, calibrated':>18}{'error, calibrated':>19}{'AUROC':>8}")
    for kind, scores in kinds.items():
        evidence = type(found)(scores, found.types, found.names, found.correct, found.unit, found.units)
        fitted_losses, errors = [], []
        for one, other in halvings(whole, count):
            for fitted in (one, other):
                units = np.zeros(found.units, np.bool_)
                units[fitted] = True
                calibration, held_out = choose_curves(evidence.take(units), 1.0), evidence.take(~units)
                fitted_losses.append(losses(calibration, held_out).mean())
                its = held_out.scores(calibration)
                errors.append(error(its, held_out.correct))
        plain = losses(Calibration(), evidence).mean()
        print(f"  {kind:<24}{plain:>8.4f}{np.mean(fitted_losses):>18.4f}{np.mean(errors):>19.4f}", end="")
        print(f"{auroc(scores, found.correct):>8.4f}")


def auroc(scores: Any, correct: Any) -> float:
    """How often a right entity has a higher score than a wrong one; of equal ones, half counts."""
    _, ranks, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle = (np.cumsum(counts) - (counts - 1) / 2)[ranks]
    right = int(correct.sum())
    return float((middle[correct].sum() - right * (right + 1) / 2) / max(1, right * (len(correct) - right)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN[=FILE]")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="of the logits, from one time to the next")
    parser.add_argument("--halvings", type=int, default=20)
    arguments = parser.parse_args()
    for run in arguments.runs:
        measure(run, tagged_splits(run, arguments.keep), arguments.halvings)


if __name__ == "__main__":
    main()
