"""What was read otherwise than it stands in the files: counted by kind, each with the first place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from determined_ner.data.readers.sentences import Sentence
from determined_ner.data.readers.spans.text import AnnotatedText
from determined_ner.data.source import Source
from determined_ner.errors import UserError
from determined_ner.masks import printable
from determined_ner.tags.schemes import Scheme


@dataclass
class RepairsOfAKind:
    """How often something was repaired, and where first."""

    kind: str
    """As `Repair.kind`."""
    example: str
    """The first of them."""
    file: int
    """Its file, as a position in the source's list: the cache outlives a move of the file."""
    line: int
    count: int = 0

    def describe(self, source: Source) -> str:
        """One line for a person."""
        return f"{self.kind}: {self.count:,}, the first at {source.files[self.file]}:{self.line}: {self.example}"


class RepairCounts:
    """Counts the repairs of a split as its sentences go by."""

    def __init__(self) -> None:
        self._kinds: dict[str, RepairsOfAKind] = {}

    def add(self, read: Sentence | AnnotatedText, file: int) -> None:
        """Count those of one sentence or text, which is of the file at this position."""
        for repair in read.repairs:
            line = read.line if repair.line is None else repair.line
            first = RepairsOfAKind(repair.kind, printable(repair.example), file, line)
            self._kinds.setdefault(repair.kind, first).count += 1

    def as_json(self) -> list[dict[str, Any]]:
        return [asdict(kind) for kind in self._kinds.values()]

    @staticmethod
    def of_json(value: Iterable[dict[str, Any]]) -> list[RepairsOfAKind]:
        """The counts that `as_json` has written."""
        return [RepairsOfAKind(**kind) for kind in value]


@dataclass(frozen=True)
class BadTag:
    """A tag that was repaired."""

    file: int
    """A position in the source's list, not a path: the cache outlives a move of the file."""
    line: int
    """Where its sentence begins."""
    word: int
    """Its 1-based number in the sentence."""
    text: str
    tag: str
    before: str | None
    """The tag before it; None: it is the first."""

    def place(self, source: Source) -> str:
        """``file:line`` where its sentence begins."""
        return f"{source.files[self.file]}:{self.line}"

    def describe(self, source: Source) -> str:
        """The tag with its place and what stands before it."""
        return f"{self.place(source)}: {self}"

    def refused(self, source: Source, scheme: Scheme, remedy: str) -> UserError:
        """The error to raise where it may not be repaired."""
        return UserError(self.place(source), f"{self}, is not allowed in {scheme.value}", remedy)

    def __str__(self) -> str:
        before = "nothing" if self.before is None else repr(self.before)
        return f"tag {self.tag!r} of word {self.word} ({self.text!r}) of the sentence that begins here, after {before}"
