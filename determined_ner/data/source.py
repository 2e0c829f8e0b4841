"""Where the sentences of one split come from, and which of them are taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

from determined_ner.data.readers.sentences import Layout, Sentence

Numbered: TypeAlias = tuple[int, Sentence]
"""A sentence, and the position of its file in the list of its source."""


@dataclass(frozen=True)
class Source:
    """Where the sentences of one split come from."""

    split: str
    key: str
    """Names its content."""
    sentences: Callable[[], Iterable[Numbered]]
    """Each with the position of its file in ``files``; reads from the beginning at every call."""
    files: tuple[str, ...]
    names: tuple[str, ...] | None = None
    """Label names in their own order, where the data set declares them."""
    layouts: Callable[[], list[Layout]] = list
    """How each of ``files`` is read; of a data set, which has no files, nothing."""

    @property
    def title(self) -> str:
        """All files, for a message."""
        return ", ".join(self.files)


def hold_out(
    sentences: Callable[[], Iterable[Numbered]], split: str, per_cent: float
) -> Callable[[], Iterable[Numbered]]:
    """What of the training data is (validation) or is not (train) held out, the same each time.

    Whole documents, so that none is trained and validated on; single sentences where no documents are marked.
    """

    def chosen() -> Iterator[Numbered]:
        documents = any(sentence.document for _, sentence in sentences())
        for row, (file, sentence) in enumerate(sentences()):
            unit = sentence.document if documents else row
            held_out = int((unit + 1) * per_cent / 100) > int(unit * per_cent / 100)  # evenly spread
            if held_out == (split == "validation"):
                yield file, sentence

    return chosen


def take_first(sentences: Callable[[], Iterable[Numbered]], limit: int | None) -> Callable[[], Iterable[Numbered]]:
    """The first sentences alone, where there is a limit."""
    return (lambda: islice(sentences(), limit)) if limit else sentences
