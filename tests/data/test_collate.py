"""Windows as the padded tensors of a batch."""

from __future__ import annotations

import pytest
import torch

from determined_ner.data.batches import MicroBatch
from determined_ner.data.collate import BatchDataset, only_item
from determined_ner.data.padding import Padding
from determined_ner.data.split import IGNORED
from tests.data.corpora import make_split


class Specials:
    prefix, suffix, pad_id = (1,), (2, 3), 0


def test_collating_pads_to_the_longest_window():
    batch = BatchDataset(make_split([2, 4, 1]), Specials())[MicroBatch((1, 2), 0.5)]
    assert batch["input_ids"].tolist() == [[1, 12, 13, 14, 15, 2, 3], [1, 16, 2, 3, 0, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1] * 7, [1, 1, 1, 1, 0, 0, 0]]
    x = IGNORED
    assert batch["labels"].tolist() == [[x, 2, 0, 1, 2, x, x], [x, 0, x, x, x, x, x]]
    assert batch["is_first_piece"].sum() == 5
    assert batch["windows"].tolist() == [1, 2]
    assert batch["loss_weight"].item() == 0.5
    assert next(iter(batch)) == "input_ids"  # Determined counts records by the first entry


def test_collating_pads_to_a_given_length():
    batch = BatchDataset(make_split([2, 4, 1]), Specials(), Padding(least=12))[MicroBatch((0,))]
    assert batch["input_ids"].shape == (1, 12) and batch["attention_mask"].sum() == 5


@pytest.mark.parametrize(("most", "length"), [(100, 8), (7, 7)])
def test_collating_rounds_a_length_up_but_not_beyond_what_the_model_takes(most, length):
    batch = BatchDataset(make_split([2, 4, 1]), Specials(), Padding(multiple=4, most=most))[MicroBatch((0, 1, 2))]
    assert batch["input_ids"].shape == (3, length)
    assert batch["attention_mask"].sum(1).tolist() == [5, 7, 4]


def test_an_empty_micro_batch_takes_part_without_a_word():
    batch = BatchDataset(make_split([2, 4, 1]), Specials())[MicroBatch(())]
    assert batch["input_ids"].shape == (1, 5)
    assert (batch["labels"] == IGNORED).all() and not batch["is_first_piece"].any() and len(batch["windows"]) == 0


def test_batches_are_plain_tensors_with_int64_ids():
    batch = BatchDataset(make_split([2]), Specials())[MicroBatch((0,))]
    assert all(isinstance(value, torch.Tensor) for value in batch.values())
    assert batch["input_ids"].dtype == batch["labels"].dtype == torch.int64


def test_a_loader_hands_out_batches_as_the_dataset_makes_them():
    dataset = BatchDataset(make_split([2, 4, 1]), Specials())
    loader = torch.utils.data.DataLoader(
        dataset, batch_sampler=[[MicroBatch((0,))], [MicroBatch((1, 2))]], collate_fn=only_item
    )
    assert [batch["windows"].tolist() for batch in loader] == [[0], [1, 2]]
