"""How files write entity tags: ``B_PER``, ``PER-B``, ``b-per``, ``B``, ``PER``, ``M-PER``, and ``O`` in other ways.

Everything else here reads ``O`` and ``B-PER`` (`schemes`). Which spelling a column of tags is of is told from how often
each different tag occurs in it; what fits none, or two alike, is no column of entity tags.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from itertools import product
from typing import Any

from determined_ner.tags.schemes import UNNAMED_TYPE, split_tag

IGNORED_MARK = "-100"
"""What data sets that were already cut into pieces have for the tag of a piece that does not count."""

_OUTSIDE_MARKS = ("o", "0", "_", "-", "")
"""What stands for ``O`` where at least half of the words carry it."""

_ALPHABETS = {
    "BIESLU": dict(zip("BIESLU", "BIESLU", strict=True)),
    "BMESW": dict(zip("BMESW", "BIESS", strict=True)),  # M: middle, W: whole
}

_FEW = 0.05
"""Except beside B-PER, more strays than these, of the tagged words, are a sign of other tags."""

_TYPE = re.compile(r"[^\W\d_][^\s=|]*")
"""A type where nothing else marks it as one; features (``Case=Nom``) are none."""

_PARTS_OF_SPEECH = frozenset(
    # UPOS, Penn Treebank, STTS
    "ADJ ADP ADV AUX CCONJ CONJ DET INTJ NOUN PRON PROPN PUNCT SCONJ VERB PRT CC CD DT EX FW IN JJ JJR JJS LS MD NN NNS"
    " NNP NNPS PDT POS PRP PRP$ RB RBR RBS RP TO UH VB VBD VBG VBN VBP VBZ WDT WP WP$ WRB ADJA ADJD APPR APPRART ART"
    " CARD KON KOUS PDS PIS PPER PPOSAT PRELS PTKNEG VAFIN VVFIN VVINF VVPP".split()
)


class Form(str, Enum):
    """What a tag is made of."""

    PREFIX = "prefix"
    """``B-PER``."""
    SUFFIX = "suffix"
    """``PER-B``."""
    BARE = "bare"
    """``B``: all entities are of one type, which has no name."""
    TYPE = "type"
    """``PER``: words of one type in a row are one entity."""


@dataclass(frozen=True)
class Spelling:
    """How a file writes entity tags."""

    form: Form = Form.PREFIX
    separator: str = "-"
    """Between prefix and type, where there are both."""
    outside: str = "O"
    """What stands for ``O``, which is read as well."""
    lower: bool = False
    """Whether prefixes are small letters."""
    alphabet: str = "BIESLU"
    """The letters of prefixes: those of `schemes`, or BMESW, which has M for I and W for S."""

    @property
    def standard(self) -> bool:
        """Whether tags are read as they stand."""
        return self == Spelling()

    def split(self, tag: str) -> tuple[str, str] | None:
        """Prefix and type of a tag as `schemes.split_tag` gives them; None: it is no tag of this spelling.

        Characters that nobody sees do not count.
        """
        tag = cleaned(tag)
        if tag in ("O", self.outside):
            return "O", UNNAMED_TYPE
        if self.standard:
            return split_tag(tag)
        if self.form is Form.TYPE:
            return ("I", tag) if _TYPE.fullmatch(tag) and split_tag(tag) is None else None
        if self.form is Form.BARE:
            letter, separator, entity_type = tag, self.separator, UNNAMED_TYPE
        elif self.form is Form.PREFIX:
            letter, separator, entity_type = tag[:1], tag[1:2], tag[2:]
        else:
            letter, separator, entity_type = tag[-1:], tag[-2:-1], tag[:-2]
        prefix = _ALPHABETS[self.alphabet].get(letter.upper() if self.lower else letter)
        if prefix is None or separator != self.separator or not entity_type or (self.lower and letter.isupper()):
            return None
        return prefix, entity_type

    def respell(self, tags: Sequence[str]) -> list[str]:
        """One sentence's tags as `schemes` has them; those that are none of this spelling stay as they are.

        Where a run of one type is an entity, its first word gets a B.
        """
        if self.standard:
            return [cleaned(tag) for tag in tags]
        respelled, before = [], None
        for tag in tags:
            parts = self.split(tag)
            if parts is None:
                respelled.append(tag)
            elif parts[0] == "O":
                respelled.append("O")
            else:
                prefix = "B" if self.form is Form.TYPE and parts != before else parts[0]
                respelled.append(f"{prefix}-{parts[1]}")
            before = parts
        return respelled

    def strays(self, counts: Mapping[str, int]) -> list[str]:
        """The tags that are none of this spelling."""
        return [tag for tag in counts if self.split(tag) is None]

    def describe(self, counts: Mapping[str, int]) -> str:
        """How tags such as these are read, in one line; "" where it is as they stand.

        Args:
            counts: how often each occurs; an example is one of the most frequent.
        """
        if self.standard:
            return ""
        ranked = sorted(counts, key=lambda tag: -counts[tag])
        typed = [tag for tag in ranked if (self.split(tag) or "O")[0] != "O"]
        mark = repr(self.outside) if self.outside else "nothing"
        outside = "" if self.outside == "O" else f" and {mark} as O"
        if self.form is Form.TYPE:
            return f"tags have no prefix: words of one type in a row ({typed[0]}) are read as one entity{outside}"
        if self.form is Form.BARE:
            return f"tags name no type: {', '.join(sorted(typed))} are read as of one type, {UNNAMED_TYPE}{outside}"
        example = next((tag for tag in typed if self.respell([tag]) != [tag]), None)
        if example is None:
            return f"tags have {mark} for O: it is read as O"
        return f"tags are spelled {example}: read as {self.respell([example])[0]}{outside}"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_json(cls, value: dict[str, Any]) -> Spelling:
        """The inverse of `as_json`."""
        return cls(**{**value, "form": Form(value["form"])})


STANDARD = Spelling()
"""``O`` and ``B-PER``."""


def why_stray(tag: str) -> tuple[str, str]:
    """Problem and remedy where a tag is none though the others are tags of entities."""
    if tag == IGNORED_MARK:
        return "is the mark of ignored pieces", "train on the words and their tags, as they were before tokenizing"
    if tag == "-":
        remedy = "write O where the word is no entity; where that is unknown, leave its sentence out"
        return "is no tag (spaCy writes - for a word whose tag is unknown)", remedy
    if not tag:
        return "is empty", "write one (O where the word is no entity)"
    return "is not a tag of entities as most are", "correct it"


def cleaned(tag: str) -> str:
    """A tag without white space around it and without characters that nobody sees.

    A joiner stays between two characters that are not ASCII: Persian and Indic words are written with it.
    """
    if tag.isascii() and tag.isprintable():
        return tag
    seen = (c for i, c in enumerate(tag) if unicodedata.category(c) not in ("Cf", "Cc") or _joins(tag, i))
    return "".join(seen).strip()


def _joins(tag: str, at: int) -> bool:
    return tag[at] in "\u200c\u200d" and 0 < at < len(tag) - 1 and not (tag[at - 1] + tag[at + 1]).isascii()


def find_spelling(counts: Mapping[str, int]) -> Spelling | None:
    """Which spelling of entity tags a column of tags is of; None: of none, or it may be read in two ways.

    A few tags may be strays, which the spelling found does not read (`Spelling.strays`): a slip does not make all
    others something else. ``O`` alone is a column of entity tags, without one.

    Args:
        counts: how often each different tag occurs.
    """
    merged: Counter[str] = Counter()
    for tag, count in counts.items():
        merged[cleaned(tag)] += count
    counts = merged
    if not counts:
        return None
    if all(split_tag(tag) for tag in counts):
        return STANDARD
    best: list[Spelling] = []
    most = 0
    for spelling in _candidates(counts):
        if best and spelling.form is Form.TYPE:
            break  # B_PER could be the name of a type, too
        read = _read_words(spelling, counts)
        if read > most:
            best, most = [], read
        if read and read == most:
            best.append(spelling)
    # Spellings that read all of these tags alike are one; of others, nobody knows which is meant.
    alike = best and all(one.split(tag) == best[0].split(tag) for one in best[1:] for tag in counts)
    return best[0] if alike else None


def _candidates(counts: Mapping[str, int]) -> Iterator[Spelling]:
    """The spellings that these tags may be of, plainest first."""
    total = sum(counts.values())
    main = next((mark for mark in _OUTSIDE_MARKS if counts.get(mark, 0) * 2 >= total), None)
    outside = "O" if main is None or counts.get("O", 0) * 2 >= total else main
    separators = dict.fromkeys(
        tag[at] for tag in counts if len(tag) > 2 for at in (1, -2) if tag[at] == "_" or not tag[at].isalnum()
    )
    for form, separator in product((Form.PREFIX, Form.SUFFIX), separators):
        # Types that end in a small letter (hepatitis-b) are too many for it to be a prefix.
        for lower, alphabet in product((False, True) if form is Form.PREFIX else (False,), _ALPHABETS):
            # Small o goes with small prefixes, however rare it is.
            mark = "o" if lower and outside == "O" and "O" not in counts else outside
            yield Spelling(form, separator, mark, lower, alphabet)
    for lower, alphabet in product((False, True), _ALPHABETS):
        mark = "o" if lower and outside == "O" and "O" not in counts else outside
        yield Spelling(Form.BARE, "", mark, lower, alphabet)
    if counts.get(outside, 0) * 2 >= total:
        yield Spelling(Form.TYPE, "", outside)


def _read_words(spelling: Spelling, counts: Mapping[str, int]) -> int:
    """How many tagged words a spelling reads; 0 where it cannot be the spelling of these tags."""
    read: Counter[str] = Counter()  # by prefix; "" for strays
    types = set()
    for tag, count in counts.items():
        prefix, entity_type = spelling.split(tag) or ("", "")
        read[prefix] += count
        if prefix not in ("", "O"):
            types.add(entity_type)
    tagged = sum(count for prefix, count in read.items() if prefix not in ("", "O"))
    strays = read[""]
    if tagged <= strays:
        return 0
    # spaCy has - for a word whose tag is unknown beside its own letters.
    if spelling.outside == "-" and read["L"] + read["U"]:
        return 0
    plainly_entities = (spelling.form, spelling.separator, spelling.lower) == (Form.PREFIX, "-", False)
    if strays > max(1, _FEW * tagged) and not plainly_entities:
        return 0
    if spelling.form in (Form.PREFIX, Form.SUFFIX):
        begins = "BSU" if spelling.form is Form.SUFFIX else "BSUI"  # class-I may be a type
        return tagged if set(begins) & set(+read) else 0
    if not read["O"]:
        return 0
    if spelling.form is Form.BARE:
        return tagged if read["B"] or set(+read) <= {"I", "O", ""} else 0
    spoken = {entity_type.upper() for entity_type in types} & _PARTS_OF_SPEECH
    if len(spoken) * 2 >= len(types) or len(types) > max(10, tagged / 3):
        return 0
    if spelling.outside != "O" and all(len(entity_type) == 1 for entity_type in types):
        return 0  # a column of marks, such as Y and _
    return tagged
