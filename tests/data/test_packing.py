"""Batches packed for a GPU: every token in its place, of few sizes; and the attention of each window by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from determined_ner.data.packing import WINDOWS, Packing
from determined_ner.data.pretrained_tokenizer import load_tokenizer
from determined_ner.hub import Pretrained
from determined_ner.model.flat import Flat
from determined_ner.model.probe import made_up_batch
from tests.model.test_flat import alone, assert_same_gradients, make
from tests.model.test_probe import SIZES


def pack(sizes, longest):
    mask = (np.arange(max(sizes)) < np.array(sizes)[:, None]).astype(np.int64)
    ids = np.arange(1, mask.size + 1).reshape(mask.shape)
    return ids, mask, Packing(longest, 0)(ids, mask)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=300), st.integers(12, 70))
def test_tokens_are_in_the_order_of_the_batch_and_what_fills_up_is_in_windows_of_its_own(sizes, longest):
    ids, mask, packed = pack(sizes, longest)
    tokens = sum(sizes)
    assert packed["packed_ids"][0, :tokens].tolist() == ids[mask == 1].tolist()
    assert packed["packed_place"].tolist() == np.flatnonzero(mask).tolist()
    keys, rows = packed["packed_keys"], packed["packed_rows"]
    windows, length = keys.shape
    filled = np.bincount(rows // length, minlength=windows)
    assert filled[: len(sizes)].tolist() == sizes and filled.sum() == packed["packed_ids"].shape[1]
    assert length <= max(longest, 32)
    assert not filled[len(sizes) : -(-len(sizes) // WINDOWS) * WINDOWS].any()
    positions = np.concatenate([np.arange(size) for size in filled])
    assert packed["packed_positions"][0].tolist() == (rows % length).tolist() == positions.tolist()
    assert keys.sum(1).tolist() == np.maximum(filled, 1).tolist() and keys.ravel()[rows].all()


def test_sizes_are_few_and_at_most_an_eighth_is_filled_up():
    found = {}
    for tokens in range(65, 20_000, 7):
        sizes = [65] * (tokens // 65) + [tokens % 65 or 65]
        rounded = pack(sizes, 65)[2]["packed_ids"].shape[1]
        assert sum(sizes) <= rounded
        found[rounded] = max(found.get(rounded, 0), rounded - sum(sizes))
    assert all(waste <= max(64, rounded / 8) for rounded, waste in found.items())
    assert len([rounded for rounded in found if 4096 < rounded <= 8192]) == 8


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_packed_batch_has_the_logits_of_each_text_and_the_gradient_of_the_padded_batch(kind, tiny_encoder):
    tokenizer = load_tokenizer(Pretrained(str(tiny_encoder)))
    model = make(kind, tokenizer)
    batch = made_up_batch(tokenizer, SIZES["vocab_size"], [9, 64, 3, 31, 30, 5, 5, 40, 12, 17, 8, 3])
    packing = Packing(64, tokenizer.pad_id)
    packed = packing.added_to(batch)
    flat = Flat(tokenizer.pad_id + 1 if kind == "roberta" else 0, True, packing)
    with torch.no_grad():
        logits = flat.logits(model, packed)
        for i, (size, expected) in enumerate(alone(model, batch)):
            torch.testing.assert_close(logits[i, :size], expected, rtol=1e-5, atol=1e-5)
            assert not logits[i, size:].any()
    labels = torch.randint(3, batch["input_ids"].shape).masked_fill(batch["attention_mask"] == 0, -100)
    assert_same_gradients(model, labels, flat.logits(model, packed), model(**batch).logits)
