"""What every reader is asked for and gives back: a ``Choice`` of columns in, a ``Layout`` and ``Sentence`` objects out.

Beside them stands what formats with columns share: the names that columns go by, and the numbering of documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # for its type alone it would take a second of the command line's help
    from determined_ner.data.words import WordSplitting

TEXT_NAMES = ("tokens", "words", "text", "word", "token", "sentence")
"""Names that columns of words go by, best first; "sentence" may also be the number of one."""

TAG_NAMES = (
    *("ner_tags", "tags", "labels", "ner", "tag", "label", "pos_tags", "entities"),
    *("ner_tag", "ne", "ne_tags", "ne_tag", "iob_tags", "bio_tags", "iob", "bio"),
)
"""Names that columns of tags go by, best first."""

DOCUMENT_NAMES = (
    *("doc_id", "document_id", "document", "doc", "filename", "file_name", "file", "docid", "file_id"),
    *("document_name", "doc_name"),
)
"""Names that columns with the document of a sentence go by, best first."""


@dataclass(frozen=True, slots=True)
class Repair:
    """Something that was read otherwise than it stands in the file, by a rule that the docs state."""

    kind: str
    """What was wrong, as a plural noun that can be counted: ``spans that begin or end inside a word``."""
    example: str
    """The thing itself and what it was read as, short enough for a message."""
    line: int | None = None
    """Where it stands, if that is not where its sentence begins."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence (or one row of a table) as its file has it."""

    words: list[str]
    """Never empty; a word that is empty in its file is "", which has no piece of its own."""
    tags: list[str] | None
    """One for each word; None where the file has no tags at all (input for prediction)."""
    line: int
    """Where it begins: 1-based line (CoNLL, CSV, TSV, JSON Lines) or row (Parquet, JSON array)."""
    document: int
    """0-based running number of the document that it belongs to, non-decreasing."""
    repairs: tuple[Repair, ...] = ()
    """What was repaired in it."""
    cut_by: WordSplitting | None = None
    """How its text was cut into words; None: its file has words."""


@dataclass(frozen=True, slots=True)
class ConllNumbers:
    """Columns of a CoNLL file by 1-based number, which files of one layout share even where one has no header."""

    columns: int
    """How many there are."""
    text: int
    tag: int | None


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is read; columns by name, or by 1-based number ("2") where the file names none.

    The names of the fields are part of the key of cached text (``data.sources``).
    """

    format: str
    """What kind of file it is, as the data check says it: conll, jsonl, doccano …"""
    text_column: str
    tag_column: str | None
    """None: the file has no tags."""
    separator: str | None = None
    """Between columns; None where the format has no such thing."""
    sentence_column: str | None = None
    """Set where rows are tokens and a column tells their sentences."""
    document_column: str | None = None
    tag_names: tuple[str, ...] | None = None
    """What integer tags mean, where the file itself says so (Parquet), or the user."""
    by_spans: bool = False
    """Whether it marks spans of characters in texts, which have yet to be cut into words."""
    numbers: ConllNumbers | None = field(default=None, compare=False)
    """The same columns by number; CoNLL alone."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the user says of a file (None: to be detected), and what guides detection."""

    text_column: str | None = None
    label_column: str | None = None
    document_column: str | None = None
    sentence_column: str | None = None
    """Of rows that are tokens."""
    label_names: tuple[str, ...] | None = None
    """What integer tags mean."""
    need_tags: bool = True
    """Refuse a file without tags; if False, one that has no tag column, or not the ``label_column`` asked for, yields
    sentences whose tags are None."""
    task: str = "ner"
    """The column of tags is looked for as ``ner_tags`` first."""
    like: Layout | None = None
    """Layout of another file (the first training file), whose columns of words and tags are preferred."""
    text_only: bool = False
    """Neither tags nor spans are looked at, and a string is raw text, cut by ``splitting``."""
    splitting: WordSplitting = "rules"
    """How a text that is annotated by spans of characters is cut into words."""
    on_bad_spans: Literal["snap", "error"] = "snap"
    """Spans that do not begin and end with words, or overlap: read by the rule, or refused."""
    span_offsets: Literal["characters", "utf16"] = "characters"
    """What spans count in."""
    text_option: str = "data.text_column_name"
    """By which setting or option the user names ``text_column``, for messages; the next ones are those of the other
    columns."""
    label_option: str = "data.label_column_name"
    document_option: str = "data.document_column_name"
    sentence_option: str = "data.sentence_column_name"

    @property
    def tag_names(self) -> tuple[str, ...]:
        """Names that columns of tags go by, best first."""
        return tuple(dict.fromkeys((f"{self.task}_tags", *TAG_NAMES)))


def empty_word(tag: str | None, place: str) -> Repair:
    """A word that is kept though nothing stands there."""
    return Repair("words that are empty", f"{place}: no word" + ("" if tag is None else f", tagged {tag!r}"))


def invisible_in_tag(given: str, tag: str, place: str) -> Repair:
    """A tag that is read without the characters in it that nobody sees."""
    return Repair("tags with invisible characters", f"{place}: {given!a} is read as {tag!r}")


DETECTED = Choice()
"""Nothing is said: all is detected."""


def known_name(names: Sequence[str], known: Sequence[str]) -> str | None:
    """The one of ``names`` that stands first in ``known``, whatever its case; None where there is none."""
    folded = {name.strip().casefold(): name for name in reversed(names)}
    return next((folded[name] for name in known if name in folded), None)


class DocumentCounter:
    """Numbers documents 0, 1, 2, … as sentences go by, from marks between them or from the values of a column."""

    def __init__(self) -> None:
        self._number = -1
        self._begins = True
        self._key: Any = None

    def mark(self) -> None:
        """The next sentence begins a document (several marks in a row begin one)."""
        self._begins = True

    def number(self, key: Any = None) -> int:
        """Document of the next sentence; ``key`` is its document column, None or "" meaning "as before"."""
        if key is not None and key != "" and key != self._key:
            self._key, self._begins = key, True
        self._number += self._begins
        self._begins = False
        return self._number
