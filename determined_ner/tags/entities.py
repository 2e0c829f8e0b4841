"""Entities found in tag ids, by arithmetic on whole arrays.

Documents lie end to end in one array of ``n`` words. ``starts`` of shape ``(d + 1,)`` holds the offset of each of
the ``d`` documents and, last, ``n``; a document may be empty. No entity reaches across a document's border.

seqeval's rules are restated here, and compared with the original in ``tests/tags/test_entities.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from determined_ner.tags.schemes import UNNAMED_TYPE, Scheme, split_tag

IntArray: TypeAlias = npt.NDArray[np.integer[Any]]
BoolArray: TypeAlias = npt.NDArray[np.bool_]


class TagTable:
    """A label list, compiled for arithmetic on tag ids.

    Attributes:
        labels: the labels by id.
        plain: whether the labels spell no entities, so that only accuracy is defined; by default, whether one of
            them is no entity tag. Where it is given as False, such labels count as ``O``.
        types: the sorted entity types; empty if plain.
        prefix: str ``(k + 1,)`` for ``k`` labels, each one's prefix and, last, the ``O`` around documents.
        type_id: int32 ``(k + 1,)`` likewise, the type's index in `types`; -1 where there is none.

    Raises:
        ValueError: a label occurs twice.
    """

    def __init__(self, labels: Iterable[str], plain: bool | None = None) -> None:
        self.labels = list(labels)
        if len(set(self.labels)) < len(self.labels):
            raise ValueError(f"labels must be distinct: {self.labels}")
        parts = [split_tag(label) for label in self.labels]
        self.plain = None in parts if plain is None else plain
        outside = ("O", UNNAMED_TYPE)
        tags = [*(outside if self.plain or part is None else part for part in parts), outside]
        self.types = sorted({entity_type for prefix, entity_type in tags if prefix != "O"})
        ids = {entity_type: i for i, entity_type in enumerate(self.types)}
        self.prefix = np.array([prefix for prefix, _ in tags], dtype="<U1")
        # As in seqeval, `O` shares the type of `B-` if there is one.
        self.type_id = np.array([ids.get(entity_type, -1) for _, entity_type in tags], dtype=np.int32)


class _Reading(NamedTuple):
    """What the boundary between two words does to entities: whatever one of its rules says.

    The rule ``BI>I=`` holds where the prefix before the boundary is B or I, the one after it is I, and the two
    types are equal (``=``) or differ (``!``); with neither sign, types do not matter.
    """

    prefixes: str
    """That may occur."""
    opens: str
    """An entity begins after the boundary."""
    closes: str
    """An entity ends before it."""
    continues: str
    """An entity goes on across it; only strict readings ask."""


# seqeval 1.2.2, metrics/sequence_labeling.py: start_of_chunk and end_of_chunk, which are conlleval's. They know no
# L and U, which therefore open and close by a change of type alone.
_DEFAULT_READING = _Reading("OBIESLU", "OBIESLU>BS OES>IE OBIESLU>BIESLU!", "ES>OBIESLU BI>OBS BIESLU>OBIESLU!", "")
# seqeval 1.2.2, scheme.py: allowed_prefix, start_patterns, end_patterns and inside_patterns of the classes.
_STRICT_READINGS = {
    Scheme.IOB1: _Reading("OBI", "OB>I I>I! BI>B=", "BI>O BI>I! I>B B>B=", "BI>I="),
    Scheme.IOB2: _Reading("OBI", "OBI>B", "BI>OB BI>I!", "BI>I="),
    Scheme.BIOES: _Reading("OBIES", "OBIES>BS", "ES>OBIES", "BI>IE="),
    Scheme.BILOU: _Reading("OBILU", "OBILU>BU", "LU>OBILU", "BI>IL="),
}


def boundary_rules(table: TagTable, strict: Scheme | None) -> tuple[BoolArray, BoolArray, BoolArray]:
    """Compile a reading for a table of ``k`` labels.

    Returns:
        Where an entity opens, where one closes, and where the word after continues none: three bool
        ``(k + 1, k + 1)`` by the ids before and after a boundary, in which ``k`` is the ``O`` around a document.
    """
    if table.plain or strict is Scheme.PLAIN:
        raise ValueError("plain labels spell no entities; only their accuracy is defined")
    reading = _DEFAULT_READING if strict is None else _STRICT_READINGS[strict]
    foreign = set(table.prefix.tolist()) - set(reading.prefixes)
    if foreign:
        raise ValueError(f"no strict reading of labels with {', '.join(sorted(foreign))}: not in {reading.prefixes}")
    same_type = table.type_id[:, None] == table.type_id

    def matrix(rules: str) -> BoolArray:
        result: BoolArray = np.zeros_like(same_type)
        for rule in rules.split():
            before, after = rule.rstrip("=!").split(">")
            pairs = np.isin(table.prefix, list(before))[:, None] & np.isin(table.prefix, list(after))
            result |= pairs & (same_type if rule[-1] == "=" else ~same_type if rule[-1] == "!" else True)
        return result

    opens = matrix(reading.opens)
    heads = opens if strict is None else ~matrix(reading.continues) & (table.prefix != "O")
    return opens, matrix(reading.closes), heads


class Spans(NamedTuple):
    """Entities in the order of their ends, no two of which are equal."""

    begin: npt.NDArray[np.int64]
    """(m,) first word."""
    end: npt.NDArray[np.int64]
    """(m,) one past the last word."""
    type_id: npt.NDArray[np.int32]
    """(m,) index in `TagTable.types`."""


def entity_spans(tags: IntArray, starts: IntArray, table: TagTable, strict: Scheme | None = None) -> Spans:
    """Find the entities that tag ids spell, without a loop over words.

    Args:
        tags: int ``(n,)``, tag ids of `table`.
        starts: int ``(d + 1,)``, see above.
        table: the labels.
        strict: None reads like seqeval's default mode (conlleval), in which broken tags still make entities; a
            scheme reads like its ``mode="strict"`` under that scheme, in which they make none. Unlike there, dashes
            at either end of a type belong to it in both.

    Raises:
        ValueError: tag ids outside the table, `starts` that do not cover the words in order, a plain table, or a
            label that is not of the scheme `strict`.
    """
    opening, closing, heading = boundary_rules(table, strict)
    tags, starts = np.asarray(tags, dtype=np.intp), np.asarray(starts, dtype=np.intp)
    outside = len(table.labels)
    if tags.ndim != 1 or (tags.size and not 0 <= tags.min() <= tags.max() < outside):
        raise ValueError(f"tags must be one row of ids from 0 to {outside - 1}")
    if starts.ndim != 1 or not starts.size or starts[0] != 0 or starts[-1] != tags.size or (np.diff(starts) < 0).any():
        raise ValueError(f"starts must rise from 0 to the number of words, {tags.size}")

    first_words = starts[starts < tags.size]
    before, after = np.roll(tags, 1), np.roll(tags, -1)
    before[first_words] = outside
    after[first_words - 1] = outside  # a last word each; 0 - 1 wraps to that of the last document
    opens, closes, heads = opening[before, tags], closing[tags, after], heading[before, tags]
    # Strict IOB1 can both open and continue at I after B: it continues if the B opened, or else it opens.
    heads[1:] |= opens[1:] & ~opens[:-1]
    # seqeval keeps a begin until the next one, hence overlaps from mixed L and E; never from an earlier document.
    heads[first_words] = True

    last, head = np.flatnonzero(closes), np.flatnonzero(heads)
    begin = head[np.searchsorted(head, last, side="right") - 1]
    if strict is not None:
        opened = opens[begin]
        begin, last = begin[opened], last[opened]
    return Spans(begin.astype(np.int64), last.astype(np.int64) + 1, table.type_id[tags[last]])


# -- Scores ----------------------------------------------------------------------------------------------------
