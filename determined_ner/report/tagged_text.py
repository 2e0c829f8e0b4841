"""A labelled text beside the tags that one model gives to it: what facts and changes are computed from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from determined_ner.report.mistakes import Matching, match, word_spans
from determined_ner.tags.entities import Spans, TagTable, entity_spans

Ints = NDArray[np.int64]
ENOUGH_DOCUMENTS = 20
"""With at least so many documents in the text, they are the units that are drawn at random; else sentences are."""


@dataclass(frozen=True)
class ScoredEntities:
    """The M entities that a tagger finds, in order."""

    spans: Spans
    """``type_id`` is an index in the types of the text."""
    probabilities: NDArray[Any]
    """(M,) the model's own, before calibration."""
    scores: NDArray[Any]
    """(M,) as a tagger gives them."""


@dataclass(frozen=True)
class ScoredTags:
    """The tags of N words in S sentences by people and by a model: all that scores are made of."""

    table: TagTable
    """The labels: IOB2 or plain."""
    sentences: Ints
    """(S + 1,) first word of each sentence, and N."""
    documents: Ints
    """(S,) number of the document that each sentence is in, non-decreasing."""
    gold: NDArray[Any]
    """(N,) tag ids."""
    tags: NDArray[Any]
    """(N,) the most probable tag of each word by itself (with a CRF, together), which training scores too; all facts
    are about these."""

    @property
    def types(self) -> list[str]:
        """Entity types; of plain tags, the tags."""
        return self.table.labels if self.table.plain else self.table.types

    def spans(self, tags: NDArray[Any]) -> Spans:
        """Entities as training scores them (seqeval's default mode); of plain tags, the words."""
        return word_spans(tags) if self.table.plain else entity_spans(tags, self.sentences, self.table)

    def matching(self) -> Matching:
        """Gold and predicted entities, matched."""
        return match(self.spans(self.gold), self.spans(self.tags))

    def units(self) -> tuple[str, Ints]:
        """What is drawn at random, see `unit_starts`."""
        return unit_starts(self.sentences, self.documents)


@dataclass(frozen=True)
class TaggedText(ScoredTags):
    """The same with the words, and what else a report shows of a model."""

    name: str
    """Of the model."""
    words: Sequence[Sequence[str]]
    """The words of each sentence."""
    place: Callable[[int], str]
    """``file:line`` of a sentence."""
    decoded: NDArray[Any]
    """(N,) tags that the tagger gives: of all valid sequences the most probable one."""
    confidence: NDArray[Any]
    """(N,) probability of the tag in `tags`."""
    entities: ScoredEntities | None = None
    """That `decoded` spells; None: nothing scored them."""


def unit_starts(sentences: Ints, documents: Ints) -> tuple[str, Ints]:
    """Which parts of a text are independent of each other.

    Args:
        sentences: (S + 1,) first word of each, and N.
        documents: (S,) number of the document that each sentence is in, non-decreasing.

    Returns:
        the name of the units in the plural, and (U + 1,) the first word of each, and N.
    """
    changes = np.flatnonzero(np.diff(documents)) + 1
    if len(changes) + 1 >= ENOUGH_DOCUMENTS:
        return "documents", sentences[np.concatenate([[0], changes, [len(documents)]])]
    return "sentences", sentences
