"""Batches packed for a GPU: every token in its place, of few sizes; and the attention of each window by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from determined_ner.data.packing import WINDOWS, Packing
from determined_ner.data.pretrained_tokenizer import load_tokenizer
from determined_ner.hub import Pretrained
from determined_ner.model.flat import Flat
from determined_ner.model.probe import made_up_batch
from tests.model.test_flat import alone, make
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
    borders = packed["packed_borders"]
    assert np.diff(borders)[: len(sizes)].tolist() == sizes
    assert borders[-1] == packed["packed_ids"].shape[1] and (np.diff(borders) >= 0).all()
    assert np.diff(borders).max() <= longest
    positions = np.concatenate([np.arange(size) for size in np.diff(borders)])
    assert packed["packed_positions"][0].tolist() == positions.tolist()
    assert (len(borders) - 1) % WINDOWS == 0


def test_sizes_are_few_and_at_most_an_eighth_is_filled_up():
    found = {}
    for tokens in range(65, 20_000, 7):
        sizes = [65] * (tokens // 65) + [tokens % 65 or 65]
        rounded = pack(sizes, 65)[2]["packed_ids"].shape[1]
        assert sum(sizes) <= rounded
        found[rounded] = max(found.get(rounded, 0), rounded - sum(sizes))
    assert all(waste <= max(64, rounded / 8) for rounded, waste in found.items())
    assert len([rounded for rounded in found if 4096 < rounded <= 8192]) == 8


def attention_by_windows(query, key, value, bias, borders, others, longest, _, dropout, mask, lse, scale=None):
    """What the kernel of a GPU computes, on a CPU: (1, R, H, D)."""
    assert bias is None and borders is others and dropout == 0 and mask == 0 and lse
    parts = []
    for begin, end in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True):
        assert end - begin <= longest <= query.shape[1]
        if end > begin:
            q, k, v = (x[:, begin:end].transpose(1, 2) for x in (query, key, value))
            parts.append(functional.scaled_dot_product_attention(q, k, v, scale=scale).transpose(1, 2))
    return (torch.cat(parts, 1),)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_packed_text_has_the_logits_that_it_has_alone(kind, tiny_encoder, monkeypatch):
    monkeypatch.setattr(torch.ops.aten, "_efficient_attention_forward", attention_by_windows)
    tokenizer = load_tokenizer(Pretrained(str(tiny_encoder)))
    model = make(kind, tokenizer)
    batch = made_up_batch(tokenizer, SIZES["vocab_size"], [9, 64, 3, 31, 30, 5, 5, 40, 12, 17, 8, 3])
    packing = Packing(64, 0)
    arrays = packing(batch["input_ids"].numpy(), batch["attention_mask"].numpy())
    batch |= {name: torch.from_numpy(array) for name, array in arrays.items()}
    flat = Flat(tokenizer.pad_id + 1 if kind == "roberta" else 0, True, packing)
    with torch.no_grad():
        logits = flat.logits(model, batch)
        for i, (size, expected) in enumerate(alone(model, batch)):
            torch.testing.assert_close(logits[i, :size], expected, rtol=1e-5, atol=1e-5)
            assert not logits[i, size:].any()
