"""TODO."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from determined_ner.tags.schemes import Scheme, from_iob2, split_tag, to_iob2


@dataclass(frozen=True, slots=True)
class Entity:
    """What was found in a text. Of a model with plain labels (parts of speech) every word is one."""

    type: str
    text: str
    """The characters from start to end."""
    start: int
    """Its first character in the text, from 0."""
    end: int
    """One past its last character."""
    score: float
    """The mean, over its words, of the softmax probability of the word's tag."""


@dataclass(frozen=True)
class Tagged:
    """What a model says of the N words of S texts, end to end, K labels each."""

    labels: tuple[str, ...]
    """(K,) names by id, of the model."""
    label_scheme: Scheme
    """Scheme of these labels."""
    scheme: Scheme
    """Scheme of ``tags``: that of the training files."""
    logits: NDArray[np.float32]
    """(N, K), of the first piece of each word."""
    ids: NDArray[np.int64]
    """(N,) chosen labels."""
    starts: NDArray[np.int64]
    """(S + 1,) first word of each text."""

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """(N, K), softmax of the logits."""
        shifted = self.logits.astype(np.float64)
        shifted -= shifted.max(1, keepdims=True)
        exponentials = np.exp(shifted)
        return exponentials / exponentials.sum(1, keepdims=True)

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """(N,) probability of each word's chosen label."""
        return np.take_along_axis(self.probabilities, self.ids[:, None], 1)[:, 0]

    @cached_property
    def tags(self) -> list[list[str]]:
        """Tags of each text, as many as it has words."""
        spelled = []
        for names in self._names():
            same = self.scheme is self.label_scheme
            spelled.append(names if same else from_iob2(to_iob2(names, self.label_scheme)[0], self.scheme))
        return spelled

    @cached_property
    def spans(self) -> list[list[tuple[str, int, int]]]:
        """Entities of each text as (type, first word, one past the last), broken tags read as seqeval reads them."""
        found: list[list[tuple[str, int, int]]] = []
        for names in self._names():
            spans: list[tuple[str, int, int]] = []
            if self.label_scheme is Scheme.PLAIN:
                spans.extend((name, i, i + 1) for i, name in enumerate(names))
            elif any(name != "O" for name in names):
                for i, tag in enumerate(to_iob2(names, self.label_scheme)[0]):
                    prefix, entity_type = split_tag(tag) or ("O", "")
                    if prefix == "B":
                        spans.append((entity_type, i, i + 1))
                    elif prefix == "I":
                        spans[-1] = (entity_type, spans[-1][1], i + 1)
            found.append(spans)
        return found

    def _names(self) -> Iterator[list[str]]:
        names = [self.labels[i] for i in self.ids.tolist()]
        for begin, end in itertools.pairwise(self.starts.tolist()):
            yield names[begin:end]
