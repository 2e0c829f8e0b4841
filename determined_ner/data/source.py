"""Where the sentences of one split come from, and which of them are taken."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

from determined_ner.data.readers.sentences import Choice, Layout, Sentence
from determined_ner.errors import UserError
from determined_ner.settings.data import DataSettings

Numbered: TypeAlias = tuple[int, Sentence]
"""A sentence, and the position of its file in the list of its source."""


@dataclass(frozen=True)
class Source:
    """Where the sentences of one split come from."""

    split: str
    key: str
    """Hash of its content and of how it is read."""
    sentences: Callable[[], Iterable[Numbered]]
    """Reads them from the beginning at every call, each with the position of its file in ``files``."""
    files: tuple[str, ...]
    """Where they are read from, for messages: paths, or the name of a data set's part."""
    names: tuple[str, ...] | None = None
    """Label names in their own order, where the data set or the user declares them."""
    layouts: Callable[[], list[Layout]] = list
    """Finds how each of ``files`` is read; nothing for a data set, which has no files."""

    @property
    def title(self) -> str:
        """All files, for a message."""
        return ", ".join(self.files)


def choice_of(settings: DataSettings, task: str) -> Choice:
    """What the readers are asked for.

    Args:
        task: prefix of the label column looked for first, ``ner`` for ``ner_tags``.
    """
    return Choice(
        settings.text_column_name,
        settings.label_column_name,
        settings.document_column_name,
        settings.sentence_column_name,
        None if settings.label_names is None else tuple(settings.label_names),
        task=task,
        splitting="whitespace" if settings.word_splitting == "whitespace" else "rules",
        on_bad_spans=settings.on_bad_spans,
        span_offsets=settings.span_offsets,
    )


def documents_marked(sentences: Callable[[], Iterable[Numbered]]) -> Callable[[], bool]:
    """Whether any documents are marked: looked for at the first call only, and remembered for all splits of a file."""
    return functools.cache(lambda: any(sentence.document for _, sentence in sentences()))


def hold_out(
    sentences: Callable[[], Iterable[Numbered]], marked: Callable[[], bool], split: str, per_cent: float, where: str
) -> Callable[[], Iterable[Numbered]]:
    """What of the training data is held out (validation) or is not (train), the same each time.

    Whole documents, so that none is trained and validated on; single sentences where no documents are marked.

    Args:
        marked: as `documents_marked` makes it of the same sentences.
        where: they are read from, for the message if there is but one.
    """

    def chosen() -> Iterator[Numbered]:
        documents = marked()
        row, sentence, any_chosen = 0, None, False
        for row, (file, sentence) in enumerate(sentences()):
            unit = sentence.document if documents else row
            held_out = int((unit + 1) * per_cent / 100) > int(unit * per_cent / 100)  # evenly spread
            if held_out == (split == "validation"):
                any_chosen = True
                yield file, sentence
        if sentence is not None and row == 0 and not any_chosen:
            raise UserError(
                where,
                f"all of it is one sentence of {len(sentence.words):,} words, of which no part can be held out",
                "put a blank line (in a table: another sentence id) between sentences",
            )

    return chosen


def take_first(sentences: Callable[[], Iterable[Numbered]], limit: int | None) -> Callable[[], Iterable[Numbered]]:
    """The first ``limit`` sentences; None: all."""
    return (lambda: islice(sentences(), limit)) if limit else sentences
