"""What was read otherwise than it stands in the files: counted by kind, each with the first place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from determined_ner.data.readers.sentences import Sentence
from determined_ner.data.readers.spans.text import AnnotatedText
from determined_ner.data.source import Source
from determined_ner.masks import printable


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
