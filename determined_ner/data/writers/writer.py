"""What all writers share: a text in, its lines out, and a count of what the format cannot say."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, ClassVar

from determined_ner.data.writers.labelled import LabelledSpan, LabelledText


class Writer(ABC):
    """Formats the texts of one output, in their order.

    Attributes:
        lost: how often each thing that the format cannot say was left out or changed.
        types: the types of entities that the tool has to know.
        texts: how many texts were written.
        entities: how many entities were written in them.
    """

    title: ClassVar[str]
    """The format's own name, for messages."""
    head: ClassVar[str] = ""
    """What the output begins with."""
    between: ClassVar[str] = ""
    """What stands between two texts."""
    tail: ClassVar[str] = ""
    """What the output ends with."""
    keeps_scores: ClassVar[bool] = False
    keeps_documents: ClassVar[bool] = True
    by_spans: ClassVar[bool] = True
    """Whether entities are told by their characters, of which each has to have one."""

    def __init__(self, model: str | None = None, types: Iterable[str] = ()) -> None:
        """
        Args:
            model: the name of the model that found the entities; None: they are those of the data.
            types: types that are known to the model, whether or not entities of them are found.
        """
        self.model = model
        self.lost: Counter[str] = Counter()
        self.types = set(types)
        self.texts = self.entities = 0

    def format(self, text: LabelledText) -> str:
        """What is written for one text; "" where it is left out."""
        if self.by_spans and (empty := sum(span.start == span.end for span in text.spans)):
            self.lost["entities of empty words, which have no place in the text"] += empty
            text = replace(text, spans=[span for span in text.spans if span.start < span.end])
        written = self.format_text(text)
        if not written:
            return ""
        if not self.keeps_scores:
            self.lost["scores, which are not written"] += sum(span.score is not None for span in text.spans)
        if not self.keeps_documents:
            self.lost["texts whose documents are not written"] += text.document is not None
        self.types.update(span.type for span in text.spans)
        self.texts += 1
        self.entities += len(text.spans)
        return (self.head if self.texts == 1 else self.between) + written

    @abstractmethod
    def format_text(self, text: LabelledText) -> str:
        """A text in this format, without what stands around it."""

    def end(self) -> str:
        """What is written after the last text."""
        return self.tail if self.texts else self.head + self.tail

    def advice(self) -> str:
        """What the tool has to be told before it imports the output; "" for nothing."""
        return ""

    def remarks(self) -> list[str]:
        """What the user has to know of the output, a line each: the advice, and what the format cannot say."""
        lost = [f"{what}: {count:,}" for what, count in self.lost.items() if count]
        return [f"{self.title}: {line}" for line in (self.advice(), *lost) if line]


def json_line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def rounded(score: float) -> float:
    """A score as it is written."""
    return round(score, 6)


def count_overlaps(spans: Iterable[LabelledSpan]) -> int:
    """How many spans begin before an earlier one ends."""
    found = last = 0
    for span in sorted(spans, key=lambda span: span[:2]):
        found += span.start < last
        last = max(last, span.end)
    return found
