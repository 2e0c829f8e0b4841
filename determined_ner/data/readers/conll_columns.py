"""Which column of a CoNLL file is which, detected from its head; what that leaves open is refused, not guessed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from determined_ner.data.readers.conll import COMMENT, DOCSTART, NOT_A_WORD, Columns, is_tag, split_cells
from determined_ner.data.readers.lines import BLANK, Line
from determined_ner.data.readers.messages import count_noun, empty_file_error, shown
from determined_ner.data.readers.sentences import DOCUMENT_NAMES, TEXT_NAMES, Choice, known_name
from determined_ner.errors import UserError

_NUMBER = re.compile(r"-?[0-9]{1,6}")  # a column given by number
_COLUMN_NAMES = re.compile(r"#\s*global\.columns\s*=\s*(.+)")


def find_columns(head: list[Line], choice: Choice, path: Path) -> Columns:
    """Detect the columns of a CoNLL file from its head.

    Raises:
        UserError: the head has no columns, or leaves open which column is meant.
    """
    return _Detection(head, choice, path).columns()


class _Detection:
    """What the head of a file says of its columns; each method answers one question or raises ``UserError``."""

    def __init__(self, head: list[Line], choice: Choice, path: Path) -> None:
        self.head, self.choice, self.path = head, choice, path
        data = _data_lines(head)
        if not data:
            raise empty_file_error(path)
        _refuse_other_formats(len(head), data[0], path)
        self.separator = "\t" if 2 * sum("\t" in text for _, text in data) >= len(data) else " "
        table = [(number, split_cells(text, self.separator)) for number, text in data]
        self.first, self.example = table[0]
        """Number and cells of the row that sets the number of columns."""
        self.where = f"{path}:{self.first}"
        self.names, self.header = self._names()
        self.rows = [row for row in table if len(row[1]) == len(self.names) and row[0] != self.header]
        self.like_word, self.like_tag = self._columns_of_like()

    def columns(self) -> Columns:
        ident = self._ident()
        word = self._word(ident)
        if ident == word:
            ident = None
        if ident is not None:
            self.rows = [row for row in self.rows if not NOT_A_WORD.fullmatch(row[1][ident])]
        tag = self._tag([column for column in range(len(self.names)) if column not in (word, ident)], ident)
        seen = frozenset(cells[tag].strip() for _, cells in self.rows) - {""} if tag is not None else frozenset()
        document = self._document()
        return Columns(self.names, self.first, self.separator, word, tag, ident, document, self.header, seen)

    def _names(self) -> tuple[list[str], int]:
        """Names of the columns ("" where unknown), and the line of the header row (0: none)."""
        titles = [cell.strip() for cell in self.example]
        wanted = {
            name for name in (self.choice.text_column, self.choice.label_column) if name and not _NUMBER.fullmatch(name)
        }
        if wanted & set(titles) or (known_name(titles, TEXT_NAMES) and known_name(titles, self.choice.tag_names)):
            return titles, self.first
        for line, text in self.head:
            if match := _COLUMN_NAMES.match(text):
                names = match[1].split()
                if len(names) != len(titles):
                    counts = f"{count_noun(len(names), 'column')} but line {self.first} has {len(titles)}"
                    raise UserError(f"{self.path}:{line}", f"{shown(text)} names {counts}", "make them agree")
                return names, 0
        return [""] * len(titles), 0

    def _columns_of_like(self) -> tuple[int | None, int | None]:
        """0-based columns of words and tags in the layout to follow, which must have as many columns; None: unknown.

        A file that names its columns is followed by name, for its order may be another.
        """
        like = self.choice.like
        numbers = None if like is None else like.numbers
        if like is None or numbers is None or numbers.columns != len(self.names):
            return None, None

        def same(name: str | None, number: int | None) -> int | None:
            if any(self.names):
                return self.names.index(name) if name is not None and self.names.count(name) == 1 else None
            return None if number is None else number - 1

        return same(like.text_column, numbers.text), same(like.tag_column, numbers.tag)

    def _ident(self) -> int | None:
        """CoNLL-U's ID column: the first, if it counts 1, 2, 3, … in every sentence and leaves a column for words."""
        if len(self.names) < 2 or not self.rows:
            return None
        if len(self.names) == 2 and all(is_tag(cells[1]) for _, cells in self.rows):
            return None  # words that are numbers, and their tags
        cell_of = {number: cells[0] for number, cells in self.rows}
        expected = 1
        for number, text in self.head:
            cell = cell_of.get(number)
            if not text.strip(BLANK) or DOCSTART.match(text):
                expected = 1
            elif cell == str(expected):
                expected += 1
            elif cell is not None and not NOT_A_WORD.fullmatch(cell):
                return None
        return 0

    def _word(self, ident: int | None) -> int:
        if self.choice.text_column is None and self.like_word is not None:
            return self.like_word
        name = self.choice.text_column or known_name(self.names, ("form", *TEXT_NAMES))
        if name is not None:
            return self._chosen(name, self.choice.text_option, range(len(self.names)))
        return 0 if ident is None else 1

    def _document(self) -> int | None:
        name = self.choice.document_column or known_name(self.names, DOCUMENT_NAMES)
        return None if name is None else self._chosen(name, self.choice.document_option, range(len(self.names)))

    def _tag(self, candidates: list[int], ident: int | None) -> int | None:
        label, option, need_tags = self.choice.label_column, self.choice.label_option, self.choice.need_tags
        if label is not None:
            wanted = need_tags or self._index(label) in candidates
            return self._chosen(label, option, candidates) if wanted else None
        if self.like_tag in candidates:
            self._tag_kind(self.like_tag)  # refuses an odd tag
            return self.like_tag
        if self.names.count(f"{self.choice.task}_tags") == 1:
            return self._chosen(f"{self.choice.task}_tags", option, candidates)
        tag = self._detected_tag(candidates)
        if tag is not None:
            return tag
        name = known_name([self.names[column] for column in candidates], self.choice.tag_names)
        if name is not None:
            return self._chosen(name, option, candidates)
        # Two columns are a word and a plain tag (POS), unless the file may be plain text that has two words a line.
        if len(self.names) == 2 and candidates and ident is None and (need_tags or self.separator == "\t"):
            return candidates[-1]
        if need_tags:
            raise UserError(
                self.where,
                f"no column holds tags (O, B-X, I-X, …) among {self._listing()}",
                f"choose it with {option}, by name or number",
            )
        if len(self.names) > 1 and self.separator == " " and ident is None and self.choice.text_column is None:
            raise UserError(
                self.where,
                f"{shown(' '.join(self.example))} may be columns or plain text",
                f"write one word a line, or choose the column of the words with {self.choice.text_option}"
                " (1 is the first)",
            )
        return None

    def _detected_tag(self, candidates: list[int]) -> int | None:
        """The rightmost column of nothing but tags, some of them not O; else the rightmost of O alone.

        Columns of both kinds, that of O alone to the right, can only be told apart by their names: chunks and
        then entities, none of them so far, look just like entities and then nothing.
        """
        outside: list[int] = []
        for column in reversed(candidates):
            kind = self._tag_kind(column)
            if kind == "typed":
                return self._choose_by_name(column, outside) if outside else column
            if kind == "outside":
                outside.append(column)
        return outside[0] if outside else None

    def _tag_kind(self, column: int) -> Literal["typed", "outside"] | None:
        """Whether a column has tags, some of them not O ("typed"), O alone ("outside"), or no tags at all.

        A column of tags with a stranger in it is refused: that is a slip or a header, and either would be learned as
        one more tag.
        """
        odd = [(number, cells[column]) for number, cells in self.rows if not is_tag(cells[column])]
        typed = any(is_tag(cells[column]) and cells[column].strip() != "O" for _, cells in self.rows)
        if self.rows and not odd:
            return "typed" if typed else "outside"
        if typed and len(odd) * 2 < len(self.rows):
            number, cell = odd[0]
            raise UserError(
                f"{self.path}:{number}",
                f"{shown(cell)} is not a tag (O, B-X) as most of column {column + 1} are",
                f"fix it; or choose the column with {self.choice.label_option}, by its name if this is a header row,"
                " else by number",
            )
        return None

    def _choose_by_name(self, typed: int, outside: list[int]) -> int:
        columns = [typed, *outside]
        name = known_name([self.names[column] for column in columns], self.choice.tag_names)
        if name is not None:
            return self._chosen(name, self.choice.label_option, columns)
        raise UserError(
            self.where,
            f"the tags may be in column {typed + 1} or, O alone in the first {count_noun(len(self.rows), 'word')},"
            f" in column {outside[0] + 1} of {self._listing()}",
            f"choose with {self.choice.label_option}, by name or number",
        )

    def _index(self, wanted: str) -> int | None:
        """0-based index of a column given by name, by number ("3") or from the end ("-1"); None: no such column."""
        if self.names.count(wanted) == 1:
            return self.names.index(wanted)
        if _NUMBER.fullmatch(wanted) and int(wanted):
            return int(wanted) - 1 if int(wanted) > 0 else len(self.names) + int(wanted)
        return None

    def _chosen(self, wanted: str, option: str, candidates: Sequence[int]) -> int:
        """The column of ``candidates`` that ``wanted`` names, which the user could have said with ``option``."""
        column = self._index(wanted)
        if column is not None and column in candidates:
            return column
        trouble = "more than one column is" if self.names.count(wanted) > 1 else "there is no column"
        if column is not None and 0 <= column < len(self.names):
            trouble = "the words or their numbers are in"
        raise UserError(
            self.where,
            f"{trouble} {shown(wanted)}, asked for by {option}",
            f"choose by name or number among {self._listing()}",
        )

    def _listing(self) -> str:
        names = list(zip(self.names, self.example, strict=True))[:12]
        titles = [f"{i} {name + ' ' if name else ''}({shown(cell)})" for i, (name, cell) in enumerate(names, 1)]
        return "the columns " + ", ".join(titles) + (", …" if len(self.names) > 12 else "")


def _data_lines(head: list[Line]) -> list[Line]:
    """Lines that are surely data; where all begin with #, those that end in a tag."""
    filled = [line for line in head if line[1].strip(BLANK) and not DOCSTART.match(line[1])]
    plain = [line for line in filled if not line[1].startswith("#")]
    return plain or [line for line in filled if not COMMENT.match(line[1]) and is_tag(re.split("[\t ]", line[1])[-1])]


def _refuse_other_formats(lines: int, line: Line, path: Path) -> None:
    """Refuse what would be read as nonsense: old Mac line ends, JSON under a name that promises columns."""
    number, text = line
    where = f"{path}:{number}"
    if lines == 1 and "\r" in text:
        raise UserError(where, rf"old Mac line ends (\r) in {shown(text)}", rf"run tr '\r' '\n' < {path} > NEW")
    try:
        value = json.loads(text) if text[0] in "[{" else None
    except (ValueError, RecursionError):
        return
    if value:
        raise UserError(where, f"{shown(text)} is JSON, not columns", "rename the file to .jsonl or .json")
