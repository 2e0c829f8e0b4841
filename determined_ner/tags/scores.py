"""Counts of entities as integers, and the scores made of them.

seqeval's rules are restated here, and compared with the original in ``tests/tags/test_scores.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from determined_ner.tags.entities import IntArray, TagTable, entity_spans
from determined_ner.tags.schemes import Scheme


@dataclass(frozen=True)
class EntityCounts:
    """Exact counts of entities, int64 ``(len(table.types),)`` each; sums over parts are counts of the whole."""

    true_positive: npt.NDArray[np.int64]
    """Predicted entities that are correct."""
    gold: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]


def count_entities(
    gold: IntArray, pred: IntArray, starts: IntArray, table: TagTable, strict: Scheme | None = None
) -> EntityCounts:
    """Count entities per type; a predicted one is correct if begin, end and type all are.

    Arguments and errors are those of `entity_spans`, for `gold` and `pred` alike.
    """
    true, guess = entity_spans(gold, starts, table, strict), entity_spans(pred, starts, table, strict)
    # No two entities of one reading share an end, so equal ends pair the candidates.
    _, i, j = np.intersect1d(true.end, guess.end, assume_unique=True, return_indices=True)
    correct = (true.begin[i] == guess.begin[j]) & (true.type_id[i] == guess.type_id[j])

    def per_type(type_id: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        return np.bincount(type_id, minlength=len(table.types)).astype(np.int64)

    return EntityCounts(per_type(true.type_id[i[correct]]), per_type(true.type_id), per_type(guess.type_id))


def scores(counts: EntityCounts, table: TagTable, per_type: bool = False) -> dict[str, float]:
    """``precision``, ``recall`` and ``f1`` over all entities, and ``f1_<type>`` for every type of `table`.

    The keys depend on the table alone (types by their `type_key`); a score without entities to divide by is 0.0.

    Args:
        per_type: also ``precision_<type>``, ``recall_<type>`` and ``support_<type>``, the number of its gold entities.
    """
    correct, gold, predicted = (int(count.sum()) for count in (counts.true_positive, counts.gold, counts.predicted))
    result = {
        "precision": _ratio(correct, predicted),
        "recall": _ratio(correct, gold),
        "f1": _ratio(2 * correct, gold + predicted),
    }
    for name, *row in zip(table.types, counts.true_positive, counts.gold, counts.predicted, strict=True):
        correct, gold, predicted = map(int, row)
        key = type_key(name)
        result[f"f1_{key}"] = _ratio(2 * correct, gold + predicted)
        if per_type:
            result[f"precision_{key}"] = _ratio(correct, predicted)
            result[f"recall_{key}"] = _ratio(correct, gold)
            result[f"support_{key}"] = gold
    return result


def type_key(name: str) -> str:
    """What stands behind ``f1_`` for a type: its name.

    So that no type can take the name of ``f1_strict`` (see `evaluate`), the type ``strict`` reports as ``f1__strict``,
    and each type that is ``strict`` behind underscores likewise gets one more.
    """
    return f"_{name}" if name.lstrip("_") == "strict" else name


def evaluate(
    gold: IntArray, pred: IntArray, starts: IntArray, table: TagTable, per_type: bool = False
) -> dict[str, float]:
    """Score predicted against true IOB2 (or PLAIN) tag ids, both int ``(n,)``.

    Args:
        per_type: as of `scores`.

    Returns:
        ``accuracy``, the share of words with the gold tag. Unless the table is plain, also the `scores` of
        seqeval's default mode, and ``f1_strict``, the F1 of its strict mode under IOB2.

    Raises:
        ValueError: as `entity_spans`, or `gold` and `pred` differ in shape.
    """
    if gold.shape != pred.shape:
        raise ValueError(f"gold and pred differ in shape: {gold.shape} and {pred.shape}")
    result = {"accuracy": _ratio(int(np.count_nonzero(gold == pred)), gold.size)}
    if not table.plain:
        result |= scores(count_entities(gold, pred, starts, table), table, per_type)
        result["f1_strict"] = scores(count_entities(gold, pred, starts, table, Scheme.IOB2), table)["f1"]
    return result


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else 0.0
