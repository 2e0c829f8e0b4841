"""How tags spell entities: schemes, and one converted to another.

A *tag* is ``O`` or ``<prefix>-<type>`` with a prefix of ``BIESLU``; the type may itself contain dashes. Inside the
trial every entity tag is IOB2; other schemes are converted on the way in and back on the way out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from functools import lru_cache

UNNAMED_TYPE = "_"
"""seqeval's name for the type of ``B-``, and of ``O``."""


class Scheme(str, Enum):
    """How tags spell entities; PLAIN tags (part of speech, say) spell none."""

    IOB1 = "IOB1"
    """I everywhere; B only to part two touching entities of one type."""
    IOB2 = "IOB2"
    """B begins every entity."""
    BIOES = "BIOES"
    """IOB2 with E for the last word and S for an only one; also called IOBES."""
    BILOU = "BILOU"
    """BIOES with L for E and U for S."""
    PLAIN = "PLAIN"
    """No entities."""


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


class SchemeDetector:
    """Tells the scheme of a training set from its tags.

    - PLAIN: some tag is neither ``O`` nor ``<prefix>-<type>``.
    - BIOES: E or S occurs. BILOU: L or U occurs.
    - IOB1: some I begins an entity (first, after ``O`` or after another type), and every B directly follows a tag
      of its own type, as it must where B only parts neighbours.
    - IOB2: everything else, so also ``O`` alone. One B that parts no neighbours proves IOB2; an I that begins an
      entity is then a broken tag, which `to_iob2` repairs.
    """

    def __init__(self) -> None:
        self._first_tag: dict[str, str] = {}  # by prefix
        self._plain = False
        self._inside_begins, self._begin_parts = False, True

    def add(self, tags: Sequence[str]) -> None:
        """Take the tags of one document."""
        for before, tag in zip((None, *tags), tags, strict=False):
            self.add_pair(before, tag)

    def add_pair(self, before: str | None, tag: str) -> None:
        """Take a tag that follows another one, or none: nothing else matters."""
        parts = split_tag(tag)
        if parts is None:
            self._plain = True
            return
        prefix, entity_type = parts
        if prefix == "O":
            return
        self._first_tag.setdefault(prefix, tag)
        previous = None if before in (None, "O") else split_tag(before)
        continues = previous is not None and previous[1] == entity_type
        if prefix == "I":
            self._inside_begins |= not continues
        elif prefix == "B":
            self._begin_parts &= continues

    def scheme(self) -> Scheme:
        """
        Raises:
            ValueError: tags of BIOES and of BILOU both occur.
        """
        if self._plain:
            return Scheme.PLAIN
        bioes = self._first_tag.get("E") or self._first_tag.get("S")
        bilou = self._first_tag.get("L") or self._first_tag.get("U")
        if bioes and bilou:
            raise ValueError(
                f"the tags mix two schemes: {bioes!r} is BIOES, {bilou!r} is BILOU; convert one to the other"
            )
        if bioes or bilou:
            return Scheme.BIOES if bioes else Scheme.BILOU
        return Scheme.IOB1 if self._inside_begins and self._begin_parts else Scheme.IOB2


def detect_scheme(sequences: Iterable[Sequence[str]]) -> Scheme:
    """The scheme of documents' tags, as `SchemeDetector` tells it.

    Raises:
        ValueError: tags of BIOES and of BILOU both occur.
    """
    detector = SchemeDetector()
    for tags in sequences:
        detector.add(tags)
    return detector.scheme()


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
    iob2 = [_join(prefix, entity_type) for prefix, entity_type in _read_tags(tags)]
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
    words = [("O", UNNAMED_TYPE), *_read_tags(tags), ("O", UNNAMED_TYPE)]
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


def iob2_entities(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """The entities of one document's IOB2 tags, as (type, first word, word after the last).

    Tags that IOB2 does not allow are read as `to_iob2` reads them.

    Raises:
        ValueError: a tag that is no entity tag.
    """
    entities: list[tuple[str, int, int]] = []
    for i, (prefix, entity_type) in enumerate(_read_tags(tags)):
        if prefix == "B":
            entities.append((entity_type, i, i + 1))
        elif prefix == "I":
            entities[-1] = (entity_type, entities[-1][1], i + 1)
    return entities


def _read_tags(tags: Iterable[str]) -> list[tuple[str, str]]:
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
