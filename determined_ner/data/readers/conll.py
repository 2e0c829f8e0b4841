"""CoNLL columns: one word a line, its tag in another column, blank lines between the sentences.

Which column is which is detected in ``conll_columns``; here the lines are read once that is known. Memory holds one
sentence.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from determined_ner.data.readers.lines import BLANK, Line
from determined_ner.data.readers.messages import count_noun, shown
from determined_ner.data.readers.sentences import (
    ConllNumbers,
    DocumentCounter,
    Layout,
    Repair,
    Sentence,
    empty_word,
    invisible_in_tag,
)
from determined_ner.errors import UserError
from determined_ner.tags.spelling import cleaned

DOCSTART = re.compile(r"-DOCSTART-(?:\s|$)")

COMMENT = re.compile(r"# *[\w.:-]+ = |# +new(?:doc|par)(?: |$)|#(?:begin|end) document\b")
"""Lines that are never data, unlike others that begin with #."""

NOT_A_WORD = re.compile(r"\d+[-.]\d+")
"""What CoNLL-U's ID column has for a multiword token (1-2) or an empty node (8.1)."""

_TAG = re.compile(r"O|[BIESLU]-\S.*")
_NEW_DOCUMENT = re.compile(r"# +newdoc(?: |$)|#begin document\b")


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a CoNLL file keeps what. Indices are 0-based."""

    names: list[str]
    """As many as columns, all "" where the file names none."""
    first: int
    """Line number of the first row, which set the number of columns."""
    separator: str
    """A tab, or " " for runs of spaces."""
    word: int
    tag: int | None
    ident: int | None
    """CoNLL-U's ID column."""
    document: int | None
    header: int
    """Line number of the header row, 0 where there is none."""
    seen: frozenset[str]
    """Tags of the file, which tell ``# NN`` (a word and its tag) from a comment."""
    hash_tags: frozenset[str] = frozenset()
    """Where tags spell no entities: others, which words such as ``#fun`` have."""
    empty_tags: bool = False
    """Whether nothing stands for O."""
    sentence: int | None = None
    """A column that changes from sentence to sentence."""

    def layout(self) -> Layout:
        """The same as the ``Layout`` that all formats share."""

        def title(column: int | None) -> str | None:
            return None if column is None else self.names[column] or str(column + 1)

        text, tag = title(self.word) or "", title(self.tag)
        numbers = ConllNumbers(len(self.names), self.word + 1, None if self.tag is None else self.tag + 1)
        sentence, document = title(self.sentence), title(self.document)
        return Layout("conll", text, tag, self.separator, sentence, document, numbers=numbers)

    def cells(self, line: Line, path: Path) -> list[str] | None:
        """Cells of a line of data; None for a blank line, a comment, a header, -DOCSTART- or an extra of CoNLL-U.

        Raises:
            UserError: another number of columns than in the first row, or what may be a comment or a word.
        """
        number, text = line
        if is_blank(text, len(self.names), self.separator) or number == self.header or DOCSTART.match(text):
            return None
        cells = split_cells(text, self.separator)
        if text[0] == "#" and not self._is_data(line, cells, path):
            return None
        if len(cells) != len(self.names):
            found, separator = count_noun(len(cells), "column"), "a tab" if self.separator == "\t" else "spaces"
            raise UserError(
                f"{path}:{number}",
                f"{found} in {shown(text)} but {len(self.names)} in line {self.first}",
                f"give every line the same columns, separated by {separator}, and put a blank line between sentences",
            )
        return None if self.ident is not None and NOT_A_WORD.fullmatch(cells[self.ident]) else cells

    def ids(self, cells: list[str], before: tuple[str, str]) -> tuple[str, str]:
        """The sentence and the document that a row says it is of, "" where no column does.

        Args:
            before: those of the row above, which count where a cell is empty.
        """
        sentence, document = before
        if self.sentence is not None:
            sentence = cells[self.sentence] or sentence
        if self.document is not None:
            document = cells[self.document] or document
        return sentence, document

    def _is_data(self, line: Line, cells: list[str], path: Path) -> bool:
        """Whether a line that begins with # is data: tweets have words such as ``#`` and ``#WNUT``.

        It is where it has all the columns and a tag among them. ``#WNUT`` with something else for a tag is refused: to
        drop the word as a comment would hide the mistake.
        """
        number, text = line
        if len(cells) != len(self.names) or COMMENT.match(text):
            return False
        if self.tag is None or is_tag(cells[self.tag]) or cells[self.tag].strip() in self.seen:
            return True
        if text.startswith("# "):
            return False
        if cells[self.tag].strip() in self.hash_tags:
            return True
        raise UserError(
            f"{path}:{number}",
            f"{shown(text)} is a comment or the word {shown(cells[self.word])}, but {shown(cells[self.tag])} is not"
            " a tag",
            "begin a comment with '# ', or give the word a tag",
        )


def split_cells(text: str, separator: str) -> list[str]:
    """Cells of a line: split at every tab (and a word may hold spaces), or at runs of spaces (and of stray tabs)."""
    return text.split("\t") if separator == "\t" else [cell for cell in text.replace("\t", " ").split(" ") if cell]


def is_tag(cell: str) -> bool:
    """Whether a cell is a tag of a chunking scheme, O or B-X, whatever the white space around it."""
    return _TAG.fullmatch(cell.strip()) is not None


def is_blank(text: str, width: int, separator: str) -> bool:
    """Whether a line has nothing in it: white space, or, where a row has more ``width``, other characters unseen."""
    if not text.strip(BLANK):
        return True
    if width == 1 or not (text.isspace() or (len(text) < 4 and not cleaned(text))):
        return False
    return len(split_cells(text, separator)) != width


def begins_document(text: str) -> bool:
    """Whether a line that is not data marks a new document."""
    return bool(DOCSTART.match(text) or _NEW_DOCUMENT.match(text))


def ends_sentence(text: str) -> bool:
    """Whether a line that is not data separates sentences; comments do not, unless they mark a document."""
    return begins_document(text) or not cleaned(text.strip())


def checked_row(cells: list[str], columns: Columns, number: int, path: Path, repairs: list[Repair]) -> list[str]:
    """The cells of line ``number``, which is data, its tag without white space around it or characters unseen in it.

    Args:
        repairs: gets one for a word that is empty, and for a tag that had such characters.

    Raises:
        UserError: the tag is empty, unless nothing stands for O.
    """
    tag = None
    if columns.tag is not None:
        given = cells[columns.tag].strip()
        tag = cells[columns.tag] = cleaned(given)
        if tag != given:
            repairs.append(invisible_in_tag(given, tag, f"line {number}"))
        if not tag and not columns.empty_tags:
            raise UserError(
                f"{path}:{number}",
                f"no tag for the word {shown(cells[columns.word])}",
                f"write one in column {columns.tag + 1} ('O' where it is no entity)",
            )
    if not cells[columns.word]:
        repairs.append(empty_word(tag, f"line {number}"))
    return cells


def read_conll(lines: Iterator[Line], columns: Columns, path: Path) -> Iterator[Sentence]:
    """Yield the sentences of CoNLL lines.

    Blank lines, -DOCSTART- and ``# newdoc`` end one, and so does another sentence or document in the column for it.

    Raises:
        UserError: at a line that does not have the columns, or has no tag in them.
    """
    documents = DocumentCounter()
    rows: list[list[str]] = []
    repairs: list[Repair] = []
    start = 0
    ids = ("", "")

    def sentence() -> Sentence:
        words = [row[columns.word] for row in rows]
        tags = None if columns.tag is None else [row[columns.tag] for row in rows]
        return Sentence(words, tags, start, documents.number(ids[1]), tuple(repairs))

    for number, text in itertools.chain(lines, [(0, "")]):  # a last blank line ends the last sentence
        cells = columns.cells((number, text), path)
        after = ids if cells is None else columns.ids(cells, ids)
        if rows and (after != ids or (cells is None and ends_sentence(text))):
            yield sentence()
            rows, repairs = [], []
        ids = after
        if cells is not None:
            start = start if rows else number
            rows.append(checked_row(cells, columns, number, path, repairs))
        elif begins_document(text):
            documents.mark()
