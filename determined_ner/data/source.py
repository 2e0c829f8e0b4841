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

WHOLE = "whole"
"""The split that is all of the training data, where folds are cut from it: all of them predict its labels."""

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
    corpora: tuple[int, ...] = ()
    """Number of the corpus of each of ``files``, where train is several."""

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


@dataclass(frozen=True)
class HeldOut:
    """What of the training documents validates: a share of them, or one of several equal parts."""

    per_cent: float | None
    fold: tuple[int, int] | None
    """Which part, from 1, and of how many."""

    @classmethod
    def of(cls, settings: DataSettings) -> HeldOut | None:
        """None: the validation data is a part of its own."""
        fold = (settings.fold, settings.folds) if settings.fold and settings.folds else None
        share = settings.validation_split_percentage
        return cls(share, fold) if share or fold else None

    def key(self, split: str) -> list[object]:
        """What tells the two parts from other data, for the key of a cache."""
        return [split, self.per_cent if self.fold is None else ["fold", *self.fold]]

    def holds(self, unit: int) -> bool:
        """Whether a document, numbered from 0, is held out; such documents are evenly spread."""
        if self.fold is not None:
            return unit % self.fold[1] == self.fold[0] - 1
        assert self.per_cent is not None
        return int((unit + 1) * self.per_cent / 100) > int(unit * self.per_cent / 100)


def hold_out(
    sentences: Callable[[], Iterable[Numbered]], marked: Callable[[], bool], split: str, held_out: HeldOut, where: str
) -> Callable[[], Iterable[Numbered]]:
    """What of the training data is held out (validation) or is not (train), the same each time.

    Whole documents, so that none is trained and validated on; single sentences where no documents are marked.

    Args:
        marked: as `documents_marked` makes it of the same sentences.
        where: they are read from, for messages.

    Raises:
        UserError: while they are read to their end: they are fewer than the folds, or one, of which nothing is chosen.
    """

    def chosen() -> Iterator[Numbered]:
        documents, units, row, sentence, any_chosen = marked(), 0, 0, None, False
        for row, (file, sentence) in enumerate(sentences()):
            unit = sentence.document if documents else row
            units = unit + 1  # neither documents nor rows leave out a number
            if held_out.holds(unit) == (split == "validation"):
                any_chosen = True
                yield file, sentence
        if held_out.fold is not None and 0 < units < held_out.fold[1]:
            what = "document" if documents else "sentence"
            raise UserError(
                where,
                f"has {units} {what}{'s' if units > 1 else ''}, which cannot be cut into {held_out.fold[1]} folds",
                "ask for fewer folds" if units > 1 else "give more text",
            )
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
