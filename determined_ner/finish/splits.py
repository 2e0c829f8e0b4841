"""What a run's model gives to its validation and test data, computed once for all that the end of the run says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from determined_ner.report.intervals import reported_scores
from determined_ner.report.statistics import LEVEL
from determined_ner.report.tagged_text import Ints, ScoredTags, unit_starts
from determined_ner.tags.decoding import allowed_transitions, best_tags
from determined_ner.tags.entities import TagTable
from determined_ner.tags.fitting import Labelled
from determined_ner.tags.schemes import Scheme
from determined_ner.training.setup import Training


@dataclass(frozen=True)
class SplitLogits:
    """One split."""

    text: Labelled
    documents: Ints
    """(S,) number of the document that each text is in, non-decreasing."""


def read_splits(training: Training) -> dict[str, SplitLogits]:
    """Validation and, if there is any, test data with the logits of the model that the training has.

    No weight is touched, and no random generator of the training.
    """
    names = [name for name in ("validation", "test") if name in training.corpus.splits]
    return {name: _read(training, name) for name in names}


def _read(training: Training, split: str) -> SplitLogits:
    data, labels = training.corpus.splits[split], training.labels
    numbers = [d for batch in training.corpus.texts[split].batches() for d in batch.column("document").to_pylist()]
    sentences, documents = np.array(data.sentences), np.array(numbers, np.int64)
    units = unit_starts(sentences, documents)[1]
    gold, plain = np.asarray(data.tags, np.int64), labels.scheme is Scheme.PLAIN
    logits = training.word_logits(split)
    text = Labelled(logits, gold, sentences, units, labels.names, plain, training.transitions)
    return SplitLogits(text, documents)


def find_intervals(splits: dict[str, SplitLogits]) -> dict[str, dict[str, object]]:
    """What a run's summary says of how sure its scores are, by split (`report.intervals.reported_scores`)."""
    return {name: _intervals(split) for name, split in splits.items()}


def _intervals(split: SplitLogits) -> dict[str, object]:
    text, table = split.text, TagTable(split.text.labels, plain=split.text.plain)
    if text.transitions is None:
        tags = text.logits.argmax(1)
    else:
        allowed = allowed_transitions(text.labels, Scheme.IOB2)
        tags = best_tags(text.logits, text.starts, allowed, transitions=text.transitions)
    scored = ScoredTags(table, text.starts.astype(np.int64), split.documents, text.gold, tags)
    unit, starts = scored.units()
    return {
        "level": LEVEL,
        "drawn": {"unit": unit, "number": len(starts) - 1},
        "scores": {name: score.as_json() for name, score in reported_scores(scored).items()},
    }
