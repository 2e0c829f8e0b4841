"""What a tagger gives back: tags and entity spans of texts given as words, entities of raw text.

It holds arrays over all words of all texts, end to end; lists of tags and spans are made when they are asked for.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from determined_ner.tags.calibration import Calibration
from determined_ner.tags.entities import Spans, TagTable
from determined_ner.tags.lattice import entity_probabilities, label_probabilities, softmax
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
    """The probability that exactly these words are an entity of this type; see `Tagged.entity_scores`."""


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
    calibration: Calibration = field(default_factory=Calibration)
    """What makes scores of the logits; by default, they are the model's own probabilities."""
    transitions: NDArray[np.float32] | None = None
    """(K, K) of a model with a CRF, by the label before."""
    withheld_scores: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    """Of entities whose score is below what a promised precision asks for; their words are tagged O."""

    def withhold(self, least_scores: NDArray[np.float64]) -> Tagged:
        """The same without the entities of low scores.

        Args:
            least_scores: (types,) from which those of each type stay.
        """
        found, scores = self.entities, self._scores
        low = np.flatnonzero(scores < least_scores[found.type_id])
        sizes = found.end[low] - found.begin[low]
        words = np.repeat(found.end[low] - np.cumsum(sizes), sizes) + np.arange(sizes.sum())
        ids = self.ids.copy()
        ids[words] = self.labels.index("O")
        return replace(self, ids=ids, withheld_scores=np.concatenate([self.withheld_scores, scores[low]]))

    @property
    def withheld(self) -> int:
        """Number of entities that are not given because of their scores."""
        return len(self.withheld_scores)

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """(N, K) softmax of the logits, divided by the temperature; of a CRF, summed over sequences."""
        if self.transitions is not None:
            return label_probabilities(
                *(self.logits, self.starts, self.labels, self.label_scheme),
                self.transitions,
                self.calibration.temperature,
            )
        return softmax(self.logits.astype(np.float64) / self.calibration.temperature)

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """(N,) probability of each word's chosen label."""
        return np.take_along_axis(self.probabilities, self.ids[:, None], 1)[:, 0]

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

    @cached_property
    def entities(self) -> Spans:
        """The M entities of all texts, in order, their words counted over all texts."""
        names = self.types
        ids = {name: i for i, name in enumerate(names)}
        found = [
            (begin + first, begin + end, ids[name])
            for begin, spans in zip(self.starts.tolist(), self.spans, strict=False)
            for name, first, end in spans
        ]
        begin, end, type_id = np.array(found, np.int64).reshape(-1, 3).T
        return Spans(begin, end, type_id.astype(np.int32))

    @property
    def types(self) -> list[str]:
        """Of entities; where labels are plain, the labels."""
        plain = self.label_scheme is Scheme.PLAIN
        return list(self.labels) if plain else TagTable(self.labels, plain=False).types

    @cached_property
    def entity_probabilities(self) -> NDArray[np.float64]:
        """(M,) the model's probability, at the temperature, that exactly these words are an entity of this type.

        It is summed over the sequences of tags that the scheme allows (`tags.lattice`).
        """
        temperature = self.calibration.temperature
        return entity_probabilities(
            self.logits,
            self.starts,
            self.labels,
            self.label_scheme,
            self.entities,
            temperature,
            transitions=self.transitions,
        )

    @cached_property
    def entity_scores(self) -> list[list[float]]:
        """The score of each of `spans`: `entity_probabilities`, calibrated."""
        in_order = iter(self._scores.tolist())
        return [list(itertools.islice(in_order, len(spans))) for spans in self.spans]

    @property
    def found_scores(self) -> NDArray[np.float64]:
        """The scores of all entities that were found, those withheld last."""
        return np.concatenate([self._scores, self.withheld_scores])

    @cached_property
    def _scores(self) -> NDArray[np.float64]:
        """(M,) of `entities`."""
        return self.calibration.scores(self.entity_probabilities, self.entities.type_id, self.types)

    def _names(self) -> Iterator[list[str]]:
        """The chosen labels of each text."""
        names = [self.labels[i] for i in self.ids.tolist()]
        for begin, end in itertools.pairwise(self.starts.tolist()):
            yield names[begin:end]
