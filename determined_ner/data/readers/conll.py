"""CoNLL columns: one word a line, its tag in another column, blank lines between the sentences.

`find_columns` tells from the head of a file which column is which, `read_conll` reads on from there. Both take lines
from `ner_text`, the one reading room below; memory holds one sentence and, while columns are detected, the head.
"""

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from determined_ner.data.readers.lines import (
    BLANK,
    DOCUMENT_NAMES,
    TEXT_NAMES,
    Choice,
    ConllNumbers,
    DocumentCounter,
    Layout,
    Line,
    Sentence,
    count_noun,
    empty_file_error,
    known_name,
    shown,
)
from determined_ner.errors import UserError

_TAG = re.compile(r"O|[BIESLU]-\S.*")
_DOCSTART = re.compile(r"-DOCSTART-(?:\s|$)")
_NEW_DOCUMENT = re.compile(r"# +newdoc(?: |$)|#begin document\b")
_COMMENT = re.compile(r"# *[\w.:-]+ = |# +new(?:doc|par)(?: |$)|#(?:begin|end) document\b")  # never data
_NUMBER = re.compile(r"-?[0-9]{1,6}")  # a column given by number
_COLUMN_NAMES = re.compile(r"#\s*global\.columns\s*=\s*(.+)")
_NOT_A_WORD = re.compile(r"\d+[-.]\d+")  # CoNLL-U: a multiword token (1-2) or an empty node (8.1)


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a CoNLL file keeps what. Indices are 0-based."""

    names: list[str]  # as many as columns, all "" where the file names none
    first: int  # line number of the first row, which set the number of columns
    separator: str  # "\t", or " " for runs of spaces
    word: int
    tag: int | None
    ident: int | None  # CoNLL-U's ID column
    document: int | None
    header: int  # line number of the header row, 0 where there is none
    seen: frozenset[str]  # tags of the head, for telling `# NN` (a word and its tag) from a comment

    def layout(self) -> Layout:
        """The same as the public `Layout`."""

        def title(column: int | None) -> str | None:
            return None if column is None else self.names[column] or str(column + 1)

        text, tag = title(self.word) or "", title(self.tag)
        numbers = ConllNumbers(len(self.names), self.word + 1, None if self.tag is None else self.tag + 1)
        return Layout("conll", text, tag, self.separator, document_column=title(self.document), numbers=numbers)

    def cells(self, line: Line, path: Path) -> list[str] | None:
        """Cells of a line of data; None for all else: a blank line, comment, header, -DOCSTART- or CoNLL-U extra."""
        number, text = line
        if not text.strip(BLANK) or number == self.header or _DOCSTART.match(text):
            return None
        cells = _split(text, self.separator)
        if text[0] == "#" and not self._is_data(line, cells, path):
            return None
        if len(cells) != len(self.names):
            found, separator = count_noun(len(cells), "column"), "a tab" if self.separator == "\t" else "spaces"
            raise UserError(
                f"{path}:{number}: {found} in {shown(text)} but {len(self.names)} in line {self.first}: give every line"
                f" the same columns, separated by {separator}, and a blank line between sentences"
            )
        return None if self.ident is not None and _NOT_A_WORD.fullmatch(cells[self.ident]) else cells

    def _is_data(self, line: Line, cells: list[str], path: Path) -> bool:
        """Whether a line that begins with # is data: tweets have words such as `#` and `#WNUT`.

        It is where it has all the columns and a tag among them. A tab file's `#WNUT` with something else for a tag is
        refused: to drop the word as a comment would hide the mistake.
        """
        number, text = line
        if len(cells) != len(self.names) or _COMMENT.match(text):
            return False
        if self.tag is None or _is_tag(cells[self.tag]) or cells[self.tag].strip() in self.seen:
            return True
        if self.separator == " " or text.startswith("# "):
            return False
        raise UserError(
            f"{path}:{number}: {shown(text)} is a comment or the word {shown(cells[self.word])}, but"
            f" {shown(cells[self.tag])} is not a tag: begin a comment with '# ', or give the word a tag"
        )


def _split(text: str, separator: str) -> list[str]:
    """Cells of a line: parted at every tab (and a word may hold spaces), or at runs of spaces (and of stray tabs)."""
    return text.split("\t") if separator == "\t" else [cell for cell in text.replace("\t", " ").split(" ") if cell]


def _is_tag(cell: str) -> bool:
    return _TAG.fullmatch(cell.strip()) is not None


def read_conll(lines: Iterator[Line], columns: Columns, path: Path) -> Iterator[Sentence]:
    """Yield the sentences of CoNLL lines; blank lines, -DOCSTART- and `# newdoc` end one, other comments do not."""
    documents = DocumentCounter()
    rows: list[list[str]] = []
    start = 0
    for number, text in itertools.chain(lines, [(0, "")]):  # a last blank line ends the last sentence
        cells = columns.cells((number, text), path)
        if cells is not None:
            start = start if rows else number
            rows.append(checked_row(cells, columns, number, path))
            continue
        if rows and ends_sentence(text):
            yield _sentence(rows, columns, start, documents)
            rows = []
        if begins_document(text):
            documents.mark()


def begins_document(text: str) -> bool:
    """Whether a line that is no data marks a new document."""
    return bool(_DOCSTART.match(text) or _NEW_DOCUMENT.match(text))


def ends_sentence(text: str) -> bool:
    """Whether a line that is no data parts sentences; other comments do not."""
    return begins_document(text) or not text.strip(BLANK)


def checked_row(cells: list[str], columns: Columns, number: int, path: Path) -> list[str]:
    """The cells of a line of data, its tag without white space around it; raises UserError where one is empty."""
    if not cells[columns.word]:
        raise UserError(f"{path}:{number}: no word in column {columns.word + 1} of {shown(cells)}: write the word")
    if columns.tag is not None:
        cells[columns.tag] = cells[columns.tag].strip()
        if not cells[columns.tag]:
            raise UserError(
                f"{path}:{number}: no tag for the word {shown(cells[columns.word])}: write one in column"
                f" {columns.tag + 1} ('O' where it is no entity)"
            )
    return cells


def _sentence(rows: list[list[str]], columns: Columns, start: int, documents: DocumentCounter) -> Sentence:
    words = [row[columns.word] for row in rows]
    tags = None if columns.tag is None else [row[columns.tag] for row in rows]
    key = None if columns.document is None else rows[0][columns.document]
    return Sentence(words, tags, start, documents.number(key))


class _Detection:
    """What the head of a file tells about its columns; each method answers one question or raises UserError."""

    def __init__(self, head: list[Line], choice: Choice, path: Path) -> None:
        self.head, self.choice, self.path = head, choice, path
        data = _data_lines(head)
        if not data:
            raise empty_file_error(path)
        _refuse_other_formats(len(head), data[0], path)
        self.separator = "\t" if 2 * sum("\t" in text for _, text in data) >= len(data) else " "
        table = [(number, _split(text, self.separator)) for number, text in data]
        self.first, self.example = table[0]  # the row that sets the number of columns
        self.names, self.header = self._names()
        self.rows = [row for row in table if len(row[1]) == len(self.names) and row[0] != self.header]

    def columns(self) -> Columns:
        ident = self._ident()
        word = self._word(ident)
        if ident == word:
            ident = None
        if ident is not None:
            self.rows = [row for row in self.rows if not _NOT_A_WORD.fullmatch(row[1][ident])]
        tag = self._tag([column for column in range(len(self.names)) if column not in (word, ident)], ident)
        seen = frozenset(cells[tag].strip() for _, cells in self.rows) - {""} if tag is not None else frozenset()
        document = self._document()
        return Columns(self.names, self.first, self.separator, word, tag, ident, document, self.header, seen)

    def _names(self) -> tuple[list[str], int]:
        """Names of the columns ("" where unknown), and the line of the header row (0: none)."""
        titles = [cell.strip() for cell in self.example]
        wanted = {name for name in (self.choice.text, self.choice.label) if name and not _NUMBER.fullmatch(name)}
        if wanted & set(titles) or (known_name(titles, TEXT_NAMES) and known_name(titles, self.choice.tag_names)):
            return titles, self.first
        for line, text in self.head:
            if match := _COLUMN_NAMES.match(text):
                names = match[1].split()
                if len(names) != len(titles):
                    counts = f"{count_noun(len(names), 'column')} but line {self.first} has {len(titles)}"
                    raise UserError(f"{self.path}:{line}: {shown(text)} names {counts}: make them agree")
                return names, 0
        return [""] * len(titles), 0

    def _ident(self) -> int | None:
        """CoNLL-U's ID column: the first, if it counts 1, 2, 3, … in every sentence and leaves a column for words."""
        if len(self.names) < 2 or not self.rows:
            return None
        if len(self.names) == 2 and all(_is_tag(cells[1]) for _, cells in self.rows):
            return None  # words that are numbers, and their tags
        cell_of = {number: cells[0] for number, cells in self.rows}
        expected = 1
        for number, text in self.head:
            cell = cell_of.get(number)
            if not text.strip(BLANK) or _DOCSTART.match(text):
                expected = 1
            elif cell == str(expected):
                expected += 1
            elif cell is not None and not _NOT_A_WORD.fullmatch(cell):
                return None
        return 0

    def _word(self, ident: int | None) -> int:
        followed = self._followed()[0]
        if self.choice.text is None and followed is not None:
            return followed
        name = self.choice.text or known_name(self.names, ("form", *TEXT_NAMES))
        if name is not None:
            return self._chosen(name, self.choice.text_option, range(len(self.names)))
        return 0 if ident is None else 1

    def _followed(self) -> tuple[int | None, int | None]:
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

    def _document(self) -> int | None:
        name = self.choice.document or known_name(self.names, DOCUMENT_NAMES)
        return None if name is None else self._chosen(name, self.choice.document_option, range(len(self.names)))

    def _index(self, wanted: str) -> int | None:
        """0-based index of a column given by name, by number ("3") or from the end ("-1"); None: no such column."""
        if self.names.count(wanted) == 1:
            return self.names.index(wanted)
        if _NUMBER.fullmatch(wanted) and int(wanted):
            return int(wanted) - 1 if int(wanted) > 0 else len(self.names) + int(wanted)
        return None

    def _chosen(self, wanted: str, option: str, candidates: Sequence[int]) -> int:
        column = self._index(wanted)
        if column is not None and column in candidates:
            return column
        trouble = "more than one column is" if self.names.count(wanted) > 1 else "there is no column"
        if column is not None and 0 <= column < len(self.names):
            trouble = "the words or their numbers are in"
        raise UserError(
            f"{self.path}:{self.first}: {trouble} {shown(wanted)}, asked for by {option}: choose by name or number"
            f" among {self._listing()}"
        )

    def _tag(self, candidates: list[int], ident: int | None) -> int | None:
        label, need_tags = self.choice.label, self.choice.need_tags
        if label is not None and (need_tags or self._index(label) in candidates):
            return self._chosen(label, self.choice.label_option, candidates)
        if label is not None:
            return None
        followed = self._followed()[1]
        if followed in candidates:
            self._kind(followed)  # refuses an odd tag
            return followed
        if self.names.count(f"{self.choice.task}_tags") == 1:
            return self._chosen(f"{self.choice.task}_tags", self.choice.label_option, candidates)
        tag = self._detected_tag(candidates)
        if tag is not None:
            return tag
        name = known_name([self.names[column] for column in candidates], self.choice.tag_names)
        if name is not None:
            return self._chosen(name, self.choice.label_option, candidates)
        # Two columns are a word and a plain tag (POS), unless the file may be plain text that has two words a line.
        if len(self.names) == 2 and candidates and ident is None and (need_tags or self.separator == "\t"):
            return candidates[-1]
        if need_tags:
            raise UserError(
                f"{self.path}:{self.first}: no column holds tags (O, B-X, I-X, …) among {self._listing()}: choose it"
                f" with {self.choice.label_option}, by name or number"
            )
        if len(self.names) > 1 and self.separator == " " and ident is None and self.choice.text is None:
            raise UserError(
                f"{self.path}:{self.first}: {shown(' '.join(self.example))} may be columns or plain text: write one"
                f" word a line, or choose the column of the words with {self.choice.text_option} (1 is the first)"
            )
        return None

    def _detected_tag(self, candidates: list[int]) -> int | None:
        """The rightmost column of nothing but tags, some of them not O; else the rightmost of O alone.

        Columns of both kinds, that of O alone to the right, are told apart by their names or not at all: chunks and
        then entities, none of them so far, look just like entities and then nothing.
        """
        outside: list[int] = []
        for column in reversed(candidates):
            kind = self._kind(column)
            if kind == "typed":
                return self._of_several(column, outside) if outside else column
            if kind == "outside":
                outside.append(column)
        return outside[0] if outside else None

    def _kind(self, column: int) -> str | None:
        """Whether a column has tags, some of them not O ("typed"), O alone ("outside"), or no tags at all."""
        tags = [(cells[column], _is_tag(cells[column])) for _, cells in self.rows]
        good = sum(is_tag for _, is_tag in tags)
        typed = any(is_tag and cell.strip() != "O" for cell, is_tag in tags)
        if tags and good == len(tags):
            return "typed" if typed else "outside"
        if typed and good * 2 > len(tags):
            self._refuse_odd_tag(column)
        return None

    def _of_several(self, typed: int, outside: list[int]) -> int:
        columns = [typed, *outside]
        name = known_name([self.names[column] for column in columns], self.choice.tag_names)
        if name is not None:
            return self._chosen(name, self.choice.label_option, columns)
        raise UserError(
            f"{self.path}:{self.first}: the tags may be in column {typed + 1} or, O alone in the first"
            f" {count_noun(len(self.rows), 'word')}, in column {outside[0] + 1} of {self._listing()}: choose with"
            f" {self.choice.label_option}, by name or number"
        )

    def _refuse_odd_tag(self, column: int) -> None:
        """A column of tags with a stranger in it: a slip or a header, and either would be learnt as one more tag."""
        number, cells = next(row for row in self.rows if not _is_tag(row[1][column]))
        raise UserError(
            f"{self.path}:{number}: {shown(cells[column])} is not a tag (O, B-X) as most of column {column + 1} are:"
            f" mend it; or choose the column with {self.choice.label_option},"
            " by its name if this is a header row, else by number"
        )

    def _listing(self) -> str:
        names = list(zip(self.names, self.example, strict=True))[:12]
        titles = [f"{i} {name + ' ' if name else ''}({shown(cell)})" for i, (name, cell) in enumerate(names, 1)]
        return "the columns " + ", ".join(titles) + (", …" if len(self.names) > 12 else "")


def find_columns(head: list[Line], choice: Choice, path: Path) -> Columns:
    """Tell the columns of a CoNLL file from its head; raises UserError where they cannot be told."""
    return _Detection(head, choice, path).columns()


def _data_lines(head: list[Line]) -> list[Line]:
    """Lines that are surely data; where all begin with #, those that end in a tag."""
    filled = [line for line in head if line[1].strip(BLANK) and not _DOCSTART.match(line[1])]
    plain = [line for line in filled if not line[1].startswith("#")]
    return plain or [line for line in filled if not _COMMENT.match(line[1]) and _is_tag(re.split("[\t ]", line[1])[-1])]


def _refuse_other_formats(lines: int, line: Line, path: Path) -> None:
    """Refuse what would be read as nonsense: old Mac line ends, JSON under a name that promises columns."""
    number, text = line
    if lines == 1 and "\r" in text:
        raise UserError(rf"{path}:{number}: old Mac line ends (\r) in {shown(text)}: tr '\r' '\n' < {path} > NEW")
    try:
        value = json.loads(text) if text[0] in "[{" else None
    except (ValueError, RecursionError):
        return
    if value:
        raise UserError(f"{path}:{number}: {shown(text)} is JSON, not columns: rename the file to .jsonl or .json")
