"""Lengths to which batches are padded, and the share of padding that they make."""

from __future__ import annotations

import numpy as np
import pytest

from determined_ner.data.batches import EvaluationBatches
from determined_ner.data.collate import BatchDataset
from determined_ner.data.padding import Padding, evaluation_padding, padded_sizes, padding_share
from tests.data.corpora import make_split


@pytest.mark.parametrize(
    ("padding", "expected"),
    [
        (Padding(), [1, 7, 8, 20]),
        (Padding(multiple=8), [8, 8, 8, 24]),
        (Padding(least=5), [5, 7, 8, 20]),
        (Padding(multiple=8, least=12, most=22), [12, 12, 12, 22]),
    ],
)
def test_lengths_are_rounded_up_within_bounds(padding, expected):
    assert padding(np.array([1, 7, 8, 20])).tolist() == expected


def test_the_share_of_padding_is_of_whole_batches():
    lengths, borders = np.array([4, 2, 3, 3]), np.array([0, 2, 2, 4])  # the second batch is empty
    assert padded_sizes(lengths, borders, Padding()).tolist() == [8, 0, 6]
    assert padding_share(lengths, borders, Padding()) == pytest.approx(1 - 12 / 14)
    assert padding_share(lengths, borders, Padding(least=8)) == pytest.approx(1 - 12 / 32)


@pytest.mark.parametrize("padding", [Padding(), Padding(multiple=16), Padding(least=400)])
def test_padding_of_an_evaluation_is_that_of_its_tensors(padding):
    class Specials:
        prefix, suffix, pad_id = (1,), (2, 3), 0

    split = make_split(np.random.default_rng(0).integers(1, 400, 300).tolist())
    dataset = BatchDataset(split, Specials(), padding)
    masks = [dataset[batch]["attention_mask"].numpy() for (batch,) in EvaluationBatches(split, 3, 1)]
    share = 1 - sum(mask.sum() for mask in masks) / sum(mask.size for mask in masks)
    assert evaluation_padding(split, 3, padding) == pytest.approx(share)
