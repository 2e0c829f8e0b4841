"""What the whole of a CoNLL file shows of its columns, gathered in a pass of bounded memory before the one that reads.

Which column is which is decided on it in ``conll_columns``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from determined_ner.data.readers.conll import COMMENT, NOT_A_WORD, begins_document, is_blank, is_tag, split_cells
from determined_ner.data.readers.lines import Line, looked_through
from determined_ner.tags.spelling import Spelling, find_spelling

MOST_VALUES = 4096
"""Different cells of a column that are counted; a column of more holds no tags."""
_MOST_LABEL_LENGTH = 200
"""Characters; a column with a longer cell holds no tags."""
_BLOCK = 1024
"""Rows that are counted at a time."""
_ENOUGH_ROWS = 100
"""From which on it says something that no cell stands twice: words of a text do."""
_FEW_FOLLOWERS = 10
"""Of no more words that follow others in their sentences, nothing is told though all are like those before."""

_CHUNKS = frozenset("np vp pp advp adjp sbar prt conjp intj lst ucp nc vc pc ac advc nx vx px advx adjx ap".split())
"""Types of chunks, as CoNLL-2000 and German and other chunkers name them."""
_FEW_OUTSIDE = 0.3
"""Share of the words; more are outside of entities, fewer outside of chunks."""
_ENOUGH_MARKS = 0.1
"""Share of the words that a mark for O has at least."""
MOST_CLASSES = 100
"""A column of fewer different cells may be one of classes."""

_DIGITS = re.compile(r"[0-9]+")


class Column:
    """What is known of one column."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """How often each different cell occurs; of the first `MOST_VALUES` of them, where there are more."""
        self.lines: dict[str, int] = {}
        """Where each of them stands first."""
        self.complete = True
        """Whether all cells are counted."""
        self.constant = True
        """Whether all words of a sentence have the same cell, in each sentence."""
        self._shapes: set[str] = set()
        self._numbered = True

    def add(self, cells: Sequence[str], numbers: Sequence[int]) -> None:
        """Count cells that stand in the lines of these numbers."""
        if not self.complete and len(self._shapes) > 1 and not self._numbered:
            return
        counted = Counter(cell.strip() for cell in cells)
        if len(self._shapes) < 2:
            self._shapes.update(_DIGITS.sub("0", cell) for cell in counted)
        self._numbered = self._numbered and all(map(_DIGITS.search, counted))
        if not self.complete:
            return
        new = counted.keys() - self.counts.keys()
        if len(self.counts) + len(new) > MOST_VALUES or max(map(len, new), default=0) > _MOST_LABEL_LENGTH:
            self.complete = False
            return
        if new:
            for number, cell in zip(numbers, cells, strict=True):
                if cell.strip() in new:
                    self.lines.setdefault(cell.strip(), number)
        self.counts.update(counted)

    def merge(self, *others: Column) -> None:
        """Add what is known of other cells of the same column."""
        for other in others:
            self.counts.update(other.counts)
            for cell, number in other.lines.items():
                self.lines[cell] = min(number, self.lines.get(cell, number))
            self.complete &= other.complete
            self.constant &= other.constant
            self._numbered &= other._numbered
            self._shapes |= other._shapes

    @property
    def distinct(self) -> int:
        """Number of different cells, at most one more than `MOST_VALUES`."""
        return len(self.counts) if self.complete else MOST_VALUES + 1

    @property
    def counts_on(self) -> bool:
        """Whether the cells are numbers, or numbered (``T7``, ``2-1``), or have digits and are each another."""
        if self._numbered and len(self._shapes) == 1:
            return True
        return self._numbered and len(self.counts) == sum(self.counts.values()) >= _ENOUGH_ROWS

    def spelling(self) -> Spelling | None:
        """How its cells spell entity tags; None: they do not."""
        return find_spelling(self.counts) if self.complete else None

    def share(self, spelling: Spelling) -> float:
        """Share of its cells that stand for O."""
        outside = sum(count for cell, count in self.counts.items() if (spelling.split(cell) or "?")[0] == "O")
        return outside / max(1, sum(self.counts.values()))

    def types(self, spelling: Spelling) -> set[str]:
        """The types of entities that it names, in small letters."""
        parts = (spelling.split(cell) for cell in self.counts)
        return {part[1].casefold() for part in parts if part is not None and part[0] != "O"}

    def names_chunks(self, spelling: Spelling) -> bool:
        """Whether the types of its tags are those of chunks."""
        types = self.types(spelling)
        return 2 * len(types & _CHUNKS) > len(types)

    def has_chunks(self, spelling: Spelling) -> bool:
        """Whether its tags are of chunks rather than entities: their types say it, or few words are outside."""
        return self.names_chunks(spelling) or self.share(spelling) < _FEW_OUTSIDE

    def has_marks(self) -> bool:
        """Whether it may have tags in an unknown spelling: a few classes, and a mark for none of them."""
        total = sum(self.counts.values())
        marks = [mark for mark in ("O", "o", "0") if self.counts[mark] > _ENOUGH_MARKS * total]
        others = [cell for cell in self.counts if cell not in marks]
        return bool(marks and others) and len(others) < MOST_CLASSES and not any(cell[:1].isdigit() for cell in others)


@dataclass
class Evidence:
    """What the rows of a file show."""

    columns: list[Column]
    rows: int = 0
    followers: int = 0
    """Those that follow another one in their sentence."""
    hash_cells: list[Counter[str]] = field(default_factory=list)
    """By column: cells of lines that begin with # and have all columns, and may be data."""

    @classmethod
    def of(cls, width: int) -> Evidence:
        return cls([Column() for _ in range(width)], hash_cells=[Counter() for _ in range(width)])

    def add(self, sentences: Sequence[Sequence[tuple[int, list[str]]]]) -> None:
        """Take in sentences, each as its numbered rows."""
        rows = [row for sentence in sentences for row in sentence]
        if not rows:
            return
        self.rows += len(rows)
        numbers = [number for number, _ in rows]
        for column, cells in zip(self.columns, zip(*(cells for _, cells in rows), strict=True), strict=True):
            column.add(cells, numbers)
        for sentence in sentences:
            self.followers += len(sentence) - 1
            first = sentence[0][1]
            for i, column in enumerate(self.columns):
                if column.constant and any(cells[i] != first[i] for _, cells in sentence):
                    column.constant = False

    def is_id(self, column: int) -> bool:
        """Whether a column counts or names words, sentences or documents."""
        known = self.columns[column]
        return known.counts_on or (known.constant and self.followers > _FEW_FOLLOWERS)


@dataclass(frozen=True)
class Rows:
    """How the rows of a file are known."""

    separator: str
    width: int
    """Number of columns."""
    first: int
    """Line of the first row, which is left out: it may be a header."""
    hashes: bool
    """Whether lines that begin with # are data, as no others are."""


@dataclass(frozen=True)
class Gathered:
    """Evidence of the rows, and of those kept apart since they may be no words: ``1-2`` of CoNLL-U."""

    words: Evidence
    ranges: Evidence


def gather(lines: Iterable[Line], known: Rows) -> Gathered:
    """Look at all lines; those with another number of columns are left to whoever reads them."""
    found = Gathered(Evidence.of(known.width), Evidence.of(known.width))
    sentences: list[list[tuple[int, list[str]]]] = [[]]
    held = 0
    for number, text in lines:
        if not text or is_blank(text, known.width, known.separator) or (text[0] in "-#" and begins_document(text)):
            if sentences[-1]:
                sentences.append([])
            if held >= _BLOCK:
                found.words.add(sentences[:-1])
                sentences, held = [[]], 0
            continue
        if number == known.first:
            continue
        if text[0] == "#" and (COMMENT.match(text) or not known.hashes):
            _count_hash_line(text, known, found.words.hash_cells)
            continue
        cells = split_cells(text, known.separator)
        if len(cells) != known.width or (known.hashes and not is_tag(cells[-1])):
            continue
        if cells[0][:1].isdigit() and NOT_A_WORD.fullmatch(cells[0]):
            found.ranges.add([[(number, cells)]])
            continue
        sentences[-1].append((number, cells))
        held += 1
        if len(sentences[-1]) >= 16 * _BLOCK:  # a file without blank lines: its one sentence is looked at in parts
            found.words.add(sentences)
            sentences, held = [[]], 0
    found.words.add([sentence for sentence in sentences if sentence])
    return found


def _count_hash_line(text: str, known: Rows, counters: list[Counter[str]]) -> None:
    """Count the cells of a line such as ``#WNUT O``."""
    cells = split_cells(text, known.separator)
    if len(cells) != known.width or COMMENT.match(text) or text.startswith("# "):
        return
    for counter, cell in zip(counters, cells, strict=True):
        if len(counter) < MOST_VALUES and len(cell) <= _MOST_LABEL_LENGTH:
            counter[cell.strip()] += 1


@looked_through
def gather_from_file(lines: Iterator[Line], known: Rows) -> Gathered:
    """Look at a whole file."""
    return gather(lines, known)


def merged(one: Evidence, other: Evidence) -> Evidence:
    """Evidence of the rows of both."""
    both = Evidence.of(len(one.columns))
    both.rows, both.followers = one.rows + other.rows, one.followers + other.followers
    both.hash_cells = [a + b for a, b in zip(one.hash_cells, other.hash_cells, strict=True)]
    for column, parts in zip(both.columns, zip(one.columns, other.columns, strict=True), strict=True):
        column.merge(*parts)
    return both


def of_row(number: int, cells: list[str]) -> Evidence:
    """Evidence of a single row."""
    evidence = Evidence.of(len(cells))
    evidence.add([[(number, cells)]])
    return evidence
