"""CoNLL-U whose entities stand in the last column: ``name=B-PER|SpaceAfter=No``, one tag a word.

NorNE and DaNE write ``name=``, Stanza ``ner=``; any key whose values are tags will do.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from determined_ner.data.readers.conll import NOT_A_WORD, begins_document, ends_sentence, is_tag
from determined_ner.data.readers.lines import BLANK, Line
from determined_ner.data.readers.messages import shown
from determined_ner.data.readers.sentences import Choice, DocumentCounter, Layout, Repair, Sentence
from determined_ner.errors import UserError
from determined_ner.tags.spelling import find_spelling

_NAMES = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
_FORM = 1
_USUAL = ("name", "ner", "ne", "named_entity", "namedentity")
_ITEM = re.compile(r"(?:^|[| ])([^=| ]+)=((?:[^| ]| (?![^=| ]+=))*)")
"""Ends at a blank, too, where another key follows: some write one where | belongs."""


@dataclass(frozen=True, slots=True)
class Entities:
    """Where a CoNLL-U file keeps its entities."""

    key: str
    """In the last column."""
    says_o: bool
    """Whether words outside entities are marked O; else they have no such key."""

    def layout(self) -> Layout:
        return Layout("conllu", _NAMES[_FORM], self.key, "\t")


def find_entities(head: list[Line], choice: Choice, path: Path) -> Entities | None:
    """The key of the entities of a CoNLL-U file; None where it is none, or its tags are asked for in a column.

    Raises:
        UserError: several keys have tags, or the entities are mentions that may nest.
    """
    data = [text.split("\t") for _, text in head if text.strip(BLANK) and not text.startswith("#")]
    rows = [cells for cells in data if len(cells) == len(_NAMES)]
    if 2 * len(rows) <= len(data) or not _counts(rows):
        return None
    if choice.text_column not in (None, _NAMES[_FORM], str(_FORM + 1)):
        return None
    values: dict[str, list[str]] = defaultdict(list)
    for cells in rows:
        for name, value in _items(cells[-1]):
            values[name].append(value)
    key = _key(rows, values, choice, path)
    return None if key is None else Entities(key, "O" in values[key])


def _counts(rows: list[list[str]]) -> bool:
    """Whether the first column counts words, 1, 2, 3, …, a slip here and there aside."""
    idents = [cells[0] for cells in rows if not NOT_A_WORD.fullmatch(cells[0])]
    steps = itertools.pairwise(["0", *idents])
    right = (after == "1" or (before.isdecimal() and after == str(int(before) + 1)) for before, after in steps)
    return 2 * sum(right) > len(idents)


def _key(rows: list[list[str]], values: dict[str, list[str]], choice: Choice, path: Path) -> str | None:
    if choice.label_column is not None:
        return choice.label_column if choice.label_column in values else None
    if choice.like is not None and choice.like.format == "conllu":
        return choice.like.tag_column
    if any(all(is_tag(cells[column]) for cells in rows) for column in range(2, len(_NAMES) - 1)):
        return None  # a column of tags
    if choice.task != "ner":
        return choice.task if choice.task in values else None
    tagged = [key for key, tags in values.items() if _holds_tags(key, tags, len(rows))]
    typed = [key for key in tagged if set(values[key]) != {"O"}] or tagged
    typed = [key for key in typed if key.casefold() in _USUAL] or typed
    if len(typed) > 1:
        raise UserError(
            path,
            f"the tags may be under {' or '.join(f'{key}=' for key in typed)} in the last column",
            f"choose the key with {choice.label_option}",
        )
    if not typed and any("(" in value for value in values["Entity"]):
        raise UserError(
            path,
            "CoNLL-U whose Entity= holds mentions (CorefUD), which nest and have no tag a word",
            "write a tag a word, name=B-PER, in its last column, or train on a file with a column of tags",
        )
    return typed[0] if typed else None


def _holds_tags(key: str, tags: list[str], words: int) -> bool:
    """Whether a key has tags of entities, in any spelling if it has one of the usual names."""
    if key.casefold() in _USUAL:
        return find_spelling(Counter(tags) + Counter({"O": words - len(tags)})) is not None
    return 2 * sum(map(is_tag, tags)) > len(tags)


def _items(misc: str) -> list[tuple[str, str]]:
    """Keys and values of the last column."""
    return [(key, value.strip(" ")) for key, value in _ITEM.findall(misc)]


def read_conllu(lines: Iterator[Line], entities: Entities, path: Path) -> Iterator[Sentence]:
    """Yield the sentences of a CoNLL-U file; a word without the key is outside all entities.

    Where O is written elsewhere, such a word is counted as repaired.

    Raises:
        UserError: at a line with other columns, a number out of order, or an entity on a multiword token.
    """
    documents = DocumentCounter()
    words: list[str] = []
    tags: list[str] = []
    repairs: list[Repair] = []
    spread: dict[int, str] = {}
    start = 0
    for number, text in itertools.chain(lines, [(0, "")]):  # a last blank line ends the last sentence
        if not text.strip(BLANK) or text.startswith("#"):
            if words and ends_sentence(text):
                yield Sentence(words, tags, start, documents.number(), tuple(repairs))
                words, tags, repairs, spread = [], [], [], {}
            if begins_document(text):
                documents.mark()
            continue
        where = f"{path}:{number}"
        cells = _checked(text, entities, len(words), where)
        tag = dict(_items(cells[-1])).get(entities.key)
        if NOT_A_WORD.fullmatch(cells[0]):
            spread |= _spread(cells[0], tag, entities, where)
            continue
        start = start if words else number
        words.append(cells[_FORM])
        whole = spread.pop(len(words), None)
        if tag is not None and whole not in (None, "O"):
            problem = f"the word has {entities.key}={tag}, and the token that it is a part of {entities.key}={whole}"
            raise UserError(where, problem, "write it on one of them")
        tag = whole if tag is None else tag
        if tag is None and entities.says_o:
            repairs.append(Repair(f"words without {entities.key}= in the last column", f"{cells[_FORM]!r} as O"))
        tags.append("O" if tag is None else tag)


def _spread(ident: str, tag: str | None, entities: Entities, where: str) -> dict[int, str]:
    """The tags of the words of a multiword token that has a tag, as Stanza writes it, by their numbers."""
    first, _, last = ident.partition("-")
    if tag is None or (tag == "O" and not last):
        return {}
    if not last or int(last) - int(first) not in range(100) or not is_tag(tag):
        problem = f"{entities.key}={tag} stands on {shown(ident)}, which is no word of its own"
        raise UserError(where, problem, "write it on the words")
    numbers = range(int(first), int(last) + 1)
    spread = dict.fromkeys(numbers, tag)
    if tag != "O" and len(numbers) > 1:
        prefix, rest = tag[0], tag[1:]
        spread = dict.fromkeys(numbers, "I" + rest)
        spread[numbers[0]] = {"S": "B", "U": "B", "B": "B"}.get(prefix, "I") + rest
        spread[numbers[-1]] = {"S": "E", "U": "L", "E": "E", "L": "L"}.get(prefix, "I") + rest
    return spread


def _checked(text: str, entities: Entities, before: int, where: str) -> list[str]:
    """The cells of a word that follows ``before`` others, or of a multiword token or an empty node."""
    cells = text.split("\t")
    if len(cells) != len(_NAMES):
        raise UserError(where, f"{len(cells)} columns in {shown(text)} but CoNLL-U has 10", "separate 10 by tabs")
    tags = [value for key, value in _items(cells[-1]) if key == entities.key]
    if len(tags) > 1 or "" in tags:
        raise UserError(where, f"{shown(cells[-1])} has no single {entities.key}=", "give the word one tag")
    if NOT_A_WORD.fullmatch(cells[0]):
        return cells
    if cells[0] != str(before + 1):
        problem = f"word number {shown(cells[0])} follows {before}"
        raise UserError(where, problem, "number the words 1, 2, 3, …, and put a blank line between sentences")
    if not cells[_FORM]:
        raise UserError(where, f"no word in column 2 of {shown(text)}", "write the word, or remove the line")
    return cells
