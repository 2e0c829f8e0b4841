"""Label schemes, entities, counts and scores of token classification.

Pure functions on tag strings and NumPy arrays: no files, no Determined, and neither seqeval nor scikit-learn,
whose rules are restated here (and compared with the originals in ``tests/test_utils.py``).

A *tag* is ``O`` or ``<prefix>-<type>`` with a prefix of ``BIESLU``; the type may itself contain dashes. A *label*
is a tag or any other word class (``ADJ``) that a model predicts; a *tag id* is its index in the label list. Inside
the trial every entity tag is IOB2; other schemes are converted on the way in and back on the way out.

Documents lie end to end in one array of ``n`` words. ``starts`` of shape ``(d + 1,)`` holds the offset of each of
the ``d`` documents and, last, ``n``; a document may be empty. No entity reaches across a document's border.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

IntArray: TypeAlias = npt.NDArray[np.integer[Any]]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

UNNAMED_TYPE = "_"  # seqeval's name for the type of `B-`, and of `O`


class Scheme(str, Enum):
    """How tags spell entities; PLAIN tags (part of speech, say) spell none."""

    IOB1 = "IOB1"  # I everywhere; B only to part two touching entities of one type
    IOB2 = "IOB2"  # B begins every entity
    BIOES = "BIOES"  # IOB2 with E for the last word and S for an only one; also called IOBES
    BILOU = "BILOU"  # BIOES with L for E and U for S
    PLAIN = "PLAIN"


# -- Tags ------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def split_tag(tag: str) -> tuple[str, str] | None:
    """Split `tag` into prefix and type, or return None if it is no entity tag.

    As in seqeval, only the first dash divides (``B-a-b`` has the type ``a-b``) and ``O`` and an empty type are
    named ``_``. Unlike in seqeval, ``ADJ`` is no tag of type ``DJ``, and a bare ``B`` is none either.
    """
    if tag == "O":
        return "O", UNNAMED_TYPE
    if tag[1:2] == "-" and tag[0] in "BIESLU":
        return tag[0], tag[2:] or UNNAMED_TYPE
    return None


def detect_scheme(sequences: Iterable[Sequence[str]]) -> Scheme:
    """Tell the scheme of a training set from its tags, in one pass that keeps no tags.

    - PLAIN: some tag is neither ``O`` nor ``<prefix>-<type>``.
    - BIOES: E or S occurs. BILOU: L or U occurs.
    - IOB1: some I begins an entity (first, after ``O`` or after another type), and every B directly follows a tag
      of its own type, as it must where B only parts neighbours.
    - IOB2: everything else, so also ``O`` alone. One B that parts no neighbours proves IOB2; an I that begins an
      entity is then a broken tag, which `to_iob2` repairs.

    Raises:
        ValueError: tags of BIOES and of BILOU both occur.
    """
    first_tag: dict[str, str] = {}  # by prefix
    inside_begins, begin_parts = False, True
    for tags in sequences:
        previous_type = None
        for tag in tags:
            parts = split_tag(tag)
            if parts is None:
                return Scheme.PLAIN
            prefix, entity_type = parts
            if prefix == "O":
                previous_type = None
                continue
            first_tag.setdefault(prefix, tag)
            if prefix == "I":
                inside_begins |= entity_type != previous_type
            elif prefix == "B":
                begin_parts &= entity_type == previous_type
            previous_type = entity_type

    bioes = first_tag.get("E") or first_tag.get("S")
    bilou = first_tag.get("L") or first_tag.get("U")
    if bioes and bilou:
        raise ValueError(f"the tags mix two schemes: {bioes!r} is BIOES, {bilou!r} is BILOU; convert one to the other")
    if bioes or bilou:
        return Scheme.BIOES if bioes else Scheme.BILOU
    return Scheme.IOB1 if inside_begins and begin_parts else Scheme.IOB2


def to_iob2(tags: Sequence[str], scheme: Scheme) -> tuple[list[str], int]:
    """Convert one document's tags from `scheme` to valid IOB2.

    Broken tags are repaired by reading them as seqeval's default mode does (with L for E and U for S): an I, E or L
    that continues nothing (first, after ``O``, after another type, after an entity already closed) begins an
    entity, and an entity that is never closed ends where its tags end. ``B-`` becomes ``B-_``, and PLAIN tags are
    returned unchanged.

    Returns:
        The tags, and how many of the given ones were repaired: those that differ from the spelling that `scheme`
        has for the entities read. It is 0 if and only if the given tags were valid.

    Raises:
        ValueError: a tag that is no entity tag, under another scheme than PLAIN.
    """
    if scheme is Scheme.PLAIN:
        return list(tags), 0
    iob2 = [_join(prefix, entity_type) for prefix, entity_type in _read(tags)]
    return iob2, len(_differing(tags, iob2, scheme))


def bad_tags(tags: Sequence[str], scheme: Scheme) -> list[int]:
    """Positions of the tags that `to_iob2` repairs: those that `scheme` spells otherwise.

    Raises:
        ValueError: as `to_iob2`.
    """
    return _differing(tags, to_iob2(tags, scheme)[0], scheme)


def _differing(tags: Sequence[str], iob2: Sequence[str], scheme: Scheme) -> list[int]:
    spelled = from_iob2(iob2, scheme)
    return [i for i, (given, valid) in enumerate(zip(tags, spelled, strict=True)) if given != valid]


def from_iob2(tags: Sequence[str], scheme: Scheme) -> list[str]:
    """Spell one document's IOB2 tags in `scheme`; the inverse of `to_iob2` for valid tags.

    IOB2 and PLAIN return the tags unchanged. For the others, broken tags, which a model may well predict, are read
    as `to_iob2` reads them, so that the result is valid.

    Raises:
        ValueError: a tag that is no entity tag, under a scheme that has to read it.
    """
    if scheme in (Scheme.IOB2, Scheme.PLAIN):
        return list(tags)
    words = [("O", UNNAMED_TYPE), *_read(tags), ("O", UNNAMED_TYPE)]
    spelled = []
    for before, (prefix, entity_type), (next_prefix, _) in zip(words, words[1:], words[2:], strict=False):
        if prefix != "O":
            if scheme is Scheme.IOB1:
                parts_neighbours = prefix == "B" and before[0] != "O" and before[1] == entity_type
                prefix = "B" if parts_neighbours else "I"
            elif next_prefix != "I":  # the entity's last word
                only, last = ("S", "E") if scheme is Scheme.BIOES else ("U", "L")
                prefix = only if prefix == "B" else last
        spelled.append(_join(prefix, entity_type))
    return spelled


def label_list(tags: Iterable[str], scheme: Scheme) -> list[str]:
    """Return the labels to predict, sorted and distinct, given the training set's tags after `to_iob2`.

    The ids are those that Hugging Face's ``run_ner.py`` gives to tags stored as strings; like it, this adds no
    ``I-X`` where only ``B-X`` occurs.

    Raises:
        ValueError: a tag is not IOB2 though `scheme` is not PLAIN.
    """
    labels = sorted(set(tags))
    for label in labels:
        if scheme is not Scheme.PLAIN and (split_tag(label) or "?")[0] not in "OBI":
            raise ValueError(f"{label!r} is not IOB2: convert {scheme.value} with to_iob2 first")
    return labels


def _read(tags: Iterable[str]) -> list[tuple[str, str]]:
    """Read tags of any scheme as valid IOB2 pairs of prefix and type, by the rule that `to_iob2` states."""
    words = []
    open_type = None
    for tag in tags:
        parts = split_tag(tag)
        if parts is None:
            raise ValueError(f"{tag!r} is no entity tag: expected 'O' or '<prefix>-<type>' with a prefix of BIESLU")
        prefix, entity_type = parts
        if prefix != "O":
            begins = prefix in "BSU" or entity_type != open_type
            words.append(("B" if begins else "I", entity_type))
        else:
            words.append(parts)
        open_type = None if prefix in "OESLU" else entity_type
    return words


def _join(prefix: str, entity_type: str) -> str:
    return "O" if prefix == "O" else f"{prefix}-{entity_type}"


# -- Entities --------------------------------------------------------------------------------------------------


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

    prefixes: str  # that may occur
    opens: str  # an entity begins after the boundary
    closes: str  # an entity ends before it
    continues: str  # an entity goes on across it; only strict readings ask


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


def _compile(table: TagTable, strict: Scheme | None) -> tuple[BoolArray, BoolArray, BoolArray]:
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
        result = np.zeros_like(same_type)
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

    begin: npt.NDArray[np.int64]  # (m,) first word
    end: npt.NDArray[np.int64]  # (m,) one past the last word
    type_id: npt.NDArray[np.int32]  # (m,) index in TagTable.types


def entity_spans(tags: IntArray, starts: IntArray, table: TagTable, strict: Scheme | None = None) -> Spans:
    """Find the entities that tag ids spell, without a loop over words.

    Args:
        tags: int ``(n,)``, tag ids of `table`.
        starts: int ``(d + 1,)``, see the module.
        table: the labels.
        strict: None reads like seqeval's default mode (conlleval), in which broken tags still make entities; a
            scheme reads like its ``mode="strict"`` under that scheme, in which they make none. Unlike there, dashes
            at either end of a type belong to it in both.

    Raises:
        ValueError: tag ids outside the table, `starts` that do not cover the words in order, a plain table, or a
            label that is not of the scheme `strict`.
    """
    opening, closing, heading = _compile(table, strict)
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


@dataclass(frozen=True)
class EntityCounts:
    """Exact counts of entities, int64 ``(len(table.types),)`` each; sums over parts are counts of the whole."""

    true_positive: npt.NDArray[np.int64]
    gold: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]


def count_entities(
    gold: IntArray, pred: IntArray, starts: IntArray, table: TagTable, strict: Scheme | None = None
) -> EntityCounts:
    """Count entities per type; a predicted one is right if begin, end and type all are.

    Arguments and errors are those of `entity_spans`, for `gold` and `pred` alike.
    """
    true, guess = entity_spans(gold, starts, table, strict), entity_spans(pred, starts, table, strict)
    # No two entities of one reading share an end, so equal ends pair the candidates.
    _, i, j = np.intersect1d(true.end, guess.end, assume_unique=True, return_indices=True)
    right = (true.begin[i] == guess.begin[j]) & (true.type_id[i] == guess.type_id[j])

    def per_type(type_id: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        return np.bincount(type_id, minlength=len(table.types)).astype(np.int64)

    return EntityCounts(per_type(true.type_id[i[right]]), per_type(true.type_id), per_type(guess.type_id))


def scores(counts: EntityCounts, table: TagTable) -> dict[str, float]:
    """Return ``precision``, ``recall`` and ``f1`` over all entities, and ``f1_<type>`` for every type of `table`.

    The keys depend on the table alone; a score without entities to divide by is 0.0. So that no type can take the
    name of ``f1_strict`` (see `evaluate`), the type ``strict`` reports as ``f1__strict``, and each type that is
    ``strict`` behind underscores likewise gets one more.
    """
    right, gold, predicted = (int(count.sum()) for count in (counts.true_positive, counts.gold, counts.predicted))
    result = {
        "precision": _ratio(right, predicted),
        "recall": _ratio(right, gold),
        "f1": _ratio(2 * right, gold + predicted),
    }
    for name, *row in zip(table.types, counts.true_positive, counts.gold, counts.predicted, strict=True):
        right, gold, predicted = map(int, row)
        key = f"f1__{name}" if name.lstrip("_") == "strict" else f"f1_{name}"
        result[key] = _ratio(2 * right, gold + predicted)
    return result


def evaluate(gold: IntArray, pred: IntArray, starts: IntArray, table: TagTable) -> dict[str, float]:
    """Score predicted against true IOB2 (or PLAIN) tag ids, both int ``(n,)``.

    Returns:
        ``accuracy``, the share of words whose tag is right. Unless the table is plain, also the `scores` of
        seqeval's default mode, and ``f1_strict``, the F1 of its strict mode under IOB2.

    Raises:
        ValueError: as `entity_spans`, or `gold` and `pred` differ in shape.
    """
    if gold.shape != pred.shape:
        raise ValueError(f"gold and pred differ in shape: {gold.shape} and {pred.shape}")
    result = {"accuracy": _ratio(int(np.count_nonzero(gold == pred)), gold.size)}
    if not table.plain:
        result |= scores(count_entities(gold, pred, starts, table), table)
        result["f1_strict"] = scores(count_entities(gold, pred, starts, table, Scheme.IOB2), table)["f1"]
    return result


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else 0.0
