"""What a tagger gives back: tags and entity spans of texts given as words, entities of raw text.

It holds arrays over all words of all texts, end to end; lists of tags and spans are made when they are asked for.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from determined_ner.tags.schemes import Scheme, from_iob2, iob2_entities, to_iob2


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity found in a raw text. A model with plain labels (parts of speech) makes every word one."""

    type: str
    text: str
    """The characters ``start`` to ``end``."""
    start: int
    """Position of its first character in the text, from 0."""
    end: int
    """Position after its last character."""
    score: float
    """The mean, over its words, of the softmax probability of the word's tag."""


@dataclass(frozen=True)
class Tagged:
    """What a model predicts for S texts of N words in all, given K labels."""

    labels: tuple[str, ...]
    """(K,) the model's label names, by id."""
    label_scheme: Scheme
    """Scheme of ``labels``: IOB2 or PLAIN for a model of this trial."""
    scheme: Scheme
    """Scheme in which ``tags`` are written: that of the training files."""
    logits: NDArray[np.float32]
    """(N, K) at the first piece of each word."""
    ids: NDArray[np.int64]
    """(N,) id of the label chosen for each word."""
    starts: NDArray[np.int64]
    """(S + 1,) index of each text's first word, and N at the end."""
    cut_words: int = 0
    """Words longer than a window, which were read by their beginning."""

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """(N, K) softmax of the logits."""
        shifted = self.logits.astype(np.float64)
        shifted -= shifted.max(1, keepdims=True)
        exponentials = np.exp(shifted)
        probabilities: NDArray[np.float64] = exponentials / exponentials.sum(1, keepdims=True)
        return probabilities

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """(N,) softmax probability of each word's chosen label."""
        return np.take_along_axis(self.probabilities, self.ids[:, None], 1)[:, 0]

    def score(self, text: int, first: int, end: int) -> float:
        """The score of an entity: the mean of those of its words, ``first`` up to ``end`` of a text."""
        begin = int(self.starts[text])
        return float(self.scores[begin + first : begin + end].mean())

    @cached_property
    def tags(self) -> list[list[str]]:
        """The tags of each text, one a word, in ``scheme``."""
        if self.scheme is self.label_scheme:
            return list(self._names())
        return [from_iob2(to_iob2(names, self.label_scheme)[0], self.scheme) for names in self._names()]

    @cached_property
    def spans(self) -> list[list[tuple[str, int, int]]]:
        """The entity spans of each text as (type, first word, word after the last).

        Tags that the scheme does not allow are read as seqeval's default mode reads them.
        """
        found: list[list[tuple[str, int, int]]] = []
        for names in self._names():
            spans: list[tuple[str, int, int]] = []
            if self.label_scheme is Scheme.PLAIN:
                spans.extend((name, i, i + 1) for i, name in enumerate(names))
            elif any(name != "O" for name in names):
                spans = iob2_entities(to_iob2(names, self.label_scheme)[0])
            found.append(spans)
        return found

    def _names(self) -> Iterator[list[str]]:
        """The chosen labels of each text."""
        names = [self.labels[i] for i in self.ids.tolist()]
        for begin, end in itertools.pairwise(self.starts.tolist()):
            yield names[begin:end]
