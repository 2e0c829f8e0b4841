"""CoNLL-2012 (OntoNotes): eleven columns and more, entities in brackets over lines: ``(PERSON*``, ``*``, ``*)``.

The columns after the eleventh differ from sentence to sentence: one for each verb, and coreference.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from determined_ner.data.readers.conll import split_cells
from determined_ner.data.readers.lines import BLANK, Line
from determined_ner.data.readers.messages import count_noun, shown
from determined_ner.data.readers.sentences import Choice, DocumentCounter, Layout, Repair, Sentence
from determined_ner.errors import UserError

CONLL2012 = Layout("conll-2012", "4", "11", " ")

_PART, _NUMBER, _WORD, _ENTITY = 1, 2, 3, 10
_BRACKETS = re.compile(r"((?:\([^()*\s]+)*)\*?(\)*)")
_BEGIN, _END = re.compile(r"#begin document\b"), re.compile(r"#end document\b")


def is_conll2012(head: list[Line], choice: Choice) -> bool:
    """Whether a file has the columns of CoNLL-2012, and no others are asked for."""
    if choice.text_column not in (None, CONLL2012.text_column) or choice.label_column not in (
        None,
        CONLL2012.tag_column,
    ):
        return False
    data = [split_cells(text, " ") for _, text in head if text.strip(BLANK) and not text.startswith("#")]
    rows = [cells for cells in data if len(cells) > _ENTITY and cells[_PART].isdecimal() and cells[_NUMBER].isdecimal()]
    bracketed = [cells[_ENTITY] for cells in rows if _BRACKETS.fullmatch(cells[_ENTITY])]
    return choice.task == "ner" and 2 * len(bracketed) > len(data) and any("*" in cell for cell in bracketed)


def read_conll2012(lines: Iterator[Line], choice: Choice, path: Path) -> Iterator[Sentence]:
    """Yield the sentences; each part of a document is a document.

    Of entities that nest, the outermost are kept.

    Raises:
        UserError: at a line with other columns, a number out of order, or a bracket that has no other.
    """
    documents = DocumentCounter()
    rows: list[tuple[int, list[str]]] = []
    for number, text in itertools.chain(lines, [(0, "")]):  # a last blank line ends the last sentence
        if text.strip(BLANK) and not (_BEGIN.match(text) or _END.match(text)):
            rows.append((number, _checked(text, rows, path, number)))
            continue
        if rows:
            words = [cells[_WORD] for _, cells in rows]
            tags, repairs = _tags(rows, choice, path)
            document = tuple(rows[0][1][: _PART + 1])
            yield Sentence(words, tags, rows[0][0], documents.number(document), tuple(repairs))
            rows = []
        if _BEGIN.match(text):
            documents.mark()


def _checked(text: str, rows: list[tuple[int, list[str]]], path: Path, number: int) -> list[str]:
    """The cells of a line that follows ``rows`` in its sentence."""
    cells, where = split_cells(text, " "), f"{path}:{number}"
    if len(cells) <= _ENTITY or (rows and len(cells) != len(rows[0][1])):
        wanted = f"line {rows[0][0]} has {len(rows[0][1])}" if rows else "CoNLL-2012 has 12 or more"
        raise UserError(
            where,
            f"{count_noun(len(cells), 'column')} in {shown(text)} but {wanted}",
            "give the words of a sentence the same columns, and put a blank line between sentences",
        )
    before = int(rows[-1][1][_NUMBER]) if rows else -1
    if not cells[_NUMBER].isdecimal() or int(cells[_NUMBER]) <= before:
        raise UserError(
            where,
            f"word number {shown(cells[_NUMBER])} follows {before}" if rows else f"{shown(text)} has no word number",
            "number the words 0, 1, 2, … in column 3, and put a blank line between sentences",
        )
    if cells[_WORD] == "[WORD]":
        raise UserError(
            where,
            "[WORD] stands for a word: this is a skeleton file (_skel)",
            "fill in the words of OntoNotes with skeleton2conll",
        )
    return cells


def _tags(rows: list[tuple[int, list[str]]], choice: Choice, path: Path) -> tuple[list[str], list[Repair]]:
    """IOB2 tags of one sentence, and what they leave out."""
    tags: list[str] = []
    repairs: list[Repair] = []
    opened: list[tuple[int, str]] = []  # line and type
    for number, cells in rows:
        where, cell = f"{path}:{number}", cells[_ENTITY]
        match = _BRACKETS.fullmatch(cell)
        if match is None or cell == "":
            problem = f"{shown(cell)} in column {_ENTITY + 1} is not like (PERSON*, *, *) or (PERSON)"
            raise UserError(where, problem, "fix the brackets")
        begins = not opened
        for type_ in match[1].split("(")[1:]:
            if opened:
                if choice.on_bad_spans == "error":
                    problem = f"{type_} in {shown(cell)} lies in {opened[0][1]} of line {opened[0][0]}"
                    raise UserError(where, problem, "keep one of them, or set data.on_bad_spans=snap")
                repairs.append(Repair("entities inside others", f"{type_} in {opened[0][1]}, left out"))
            opened.append((number, type_))
        tags.append(f"{'B' if begins else 'I'}-{opened[0][1]}" if opened else "O")
        for _ in match[2]:
            if not opened:
                raise UserError(where, f"{shown(cell)} closes an entity that no line opens", "fix the brackets")
            opened.pop()
    if opened:
        number, type_ = opened[-1]
        problem = f"({type_} is not closed before its sentence ends in line {rows[-1][0]}"
        raise UserError(f"{path}:{number}", problem, "close it with ) on its last word")
    return tags, repairs
