"""Counts of several slots, brought together, are those of one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from determined_ner.data.split import IGNORED, Split
from determined_ner.tags.labels import Labels
from determined_ner.tags.schemes import Scheme
from determined_ner.training.metrics import EvaluationMetrics, TrainingMetrics

LABELS = Labels(("B-LOC", "B-PER", "I-PER", "O"), Scheme.IOB2)


def make_split(words_of_windows: list[int], sentences: list[int], tags: list[int]) -> Split:
    """One piece a word; windows own so many words each, sentences begin at these words."""
    words = np.concatenate([[0], np.cumsum(words_of_windows)]).astype(np.int64)
    pieces = np.zeros(len(tags), np.int32)
    return Split(
        "validation",
        pieces,
        np.array(tags, np.int16),
        np.ones(len(tags), np.bool_),
        words.copy(),
        words,
        np.array(tags, np.int16),
        np.array([*sentences, len(tags)], np.int64),
        {},
    )


def make_batch(split: Split, windows: list[int]) -> dict[str, torch.Tensor]:
    sizes = np.diff(split.words)[windows]
    length = int(sizes.max()) if windows else 1
    first = torch.zeros(len(windows), length, dtype=torch.bool)
    labels = torch.full((len(windows), length), IGNORED)
    for row, window in enumerate(windows):
        begin, end = split.words[window : window + 2]
        first[row, : end - begin] = True
        labels[row, : end - begin] = torch.from_numpy(split.tags[begin:end].astype(np.int64))
    return {
        "labels": labels,
        "is_first_piece": first,
        "windows": torch.tensor(windows, dtype=torch.int64),
        "attention_mask": first.long(),
    }


def logits_of(split: Split, windows: list[int], predicted: list[int]) -> torch.Tensor:
    batch = make_batch(split, windows)
    logits = torch.zeros(*batch["labels"].shape, 4)
    for row, window in enumerate(windows):
        for column, word in enumerate(range(*split.words[window : window + 2])):
            logits[row, column, predicted[word]] = 1.0
    return logits


GOLD = [1, 2, 3, 0, 3, 1, 3]
PREDICTED = [1, 2, 3, 3, 3, 1, 3]
SPLIT = make_split([3, 2, 2], [0, 3, 5], GOLD)


@pytest.mark.parametrize("dealt", [[[[0, 1, 2]]], [[[2], [0]], [[1]]], [[[1]], [], [[2, 0]]]])
def test_scores_do_not_depend_on_slots_or_batches(dealt: list[list[list[int]]]) -> None:
    slots = []
    for batches in dealt:
        metrics = EvaluationMetrics(SPLIT, LABELS, {"accuracy_score": "accuracy"})
        for windows in batches:
            metrics.update(logits_of(SPLIT, windows, PREDICTED), make_batch(SPLIT, windows))
        slots.append(metrics.per_slot_reduce())
    scores = EvaluationMetrics(SPLIT, LABELS, {"accuracy_score": "accuracy"}).cross_slot_reduce(slots)
    assert scores["accuracy"] == scores["accuracy_score"] == pytest.approx(6 / 7)
    assert scores["precision"] == 1.0 and scores["recall"] == pytest.approx(2 / 3)
    right, wrong = np.log(np.e + 3) - 1, np.log(np.e + 3)
    assert scores["loss"] == pytest.approx((6 * right + wrong) / 7)


def test_the_loss_is_the_same_to_the_digit_however_batches_are_dealt() -> None:
    losses = [0.1, 1e16, 0.3, -1e16, 0.7]  # summed one by one, each order gives another number
    windows, tags = SPLIT.windows[:-1] * 0, np.array(PREDICTED, np.int16)
    windows = np.arange(len(windows), dtype=np.int32)
    found = {
        EvaluationMetrics(SPLIT, LABELS).cross_slot_reduce(
            [(losses[:cut][::way], windows, tags), (losses[cut:], windows[:0], tags[:0])]
        )["loss"]
        for cut in range(len(losses) + 1)
        for way in (1, -1)
    }
    assert len(found) == 1


def test_where_a_part_is_evaluated_whole_sentences_are_scored() -> None:
    """As det's local test does: one batch."""
    metrics = EvaluationMetrics(SPLIT, LABELS)
    metrics.update(logits_of(SPLIT, [0], PREDICTED), make_batch(SPLIT, [0]))
    scores = metrics.cross_slot_reduce([metrics.per_slot_reduce()])
    assert scores["accuracy"] == scores["f1"] == 1.0


def test_reset_forgets() -> None:
    metrics = EvaluationMetrics(SPLIT, LABELS)
    metrics.update(logits_of(SPLIT, [0, 1, 2], GOLD), make_batch(SPLIT, [0, 1, 2]))
    metrics.reset()
    losses, windows, tags = metrics.per_slot_reduce()
    assert losses == [] and len(windows) == len(tags) == 0


def test_names_are_those_that_are_reported() -> None:
    metrics = EvaluationMetrics(SPLIT, LABELS, {"accuracy_score": "accuracy"}, per_type=True)
    metrics.update(logits_of(SPLIT, [0, 1, 2], GOLD), make_batch(SPLIT, [0, 1, 2]))
    assert set(metrics.cross_slot_reduce([metrics.per_slot_reduce()])) == set(metrics.names())


def test_training_loss_is_a_mean_over_words_of_all_slots() -> None:
    slots = []
    for windows, loss in (([0, 1], 4.0), ([2], 3.0)):
        metrics = TrainingMetrics()
        metrics.update(torch.tensor(loss), make_batch(SPLIT, windows))
        slots.append(metrics.per_slot_reduce())
    report = TrainingMetrics().cross_slot_reduce(slots)
    assert report["loss"] == 1.0


def test_speed_leaves_out_what_a_backend_compiled() -> None:
    report = TrainingMetrics().cross_slot_reduce([([2.0, 2.0, 30.0], 6, 5.0, 2.0), ([2.0, 2.0, 30.0], 6, 4.0, 0.0)])
    assert report["samples_per_second"] == 12 / 3 and report["tokens_per_second"] == 60 / 3
    compiled = TrainingMetrics()
    compiled.update(torch.tensor(1.0), make_batch(SPLIT, [0]), compile_seconds=1.0)
    (loss, words, pieces), samples, _, seconds = compiled.per_slot_reduce()
    assert (loss, words, pieces, samples, seconds) == (1.0, 3.0, 0.0, 0, 1.0)
