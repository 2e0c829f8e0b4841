"""Attention of several groups at once: what PyTorch's own computes of each window, values and gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from determined_ner.model.cpu.attention import AsTheyAre, AttentionCall, Group, additive, attend

SHAPES = [(2, 3, 5, 5), (1, 3, 9, 7), (4, 3, 1, 1)]
"""(windows, heads, queries, keys) of each group."""


@pytest.mark.parametrize("value_size", [4, 6])
def test_each_group_is_what_pytorch_computes_of_it(value_size):
    torch.manual_seed(0)
    groups, inputs, expected, factors = [], [], [], []
    for windows, heads, queries, keys in SHAPES:
        mask = torch.rand(windows, 1, 1, keys) < 0.7
        mask[..., 0] = True
        groups.append(Group(windows, heads, queries, keys, additive(mask, torch.float32) if keys > 1 else None))
        sizes = ((queries, 4), (keys, 4), (keys, value_size))
        query, key, value = (torch.randn(windows, heads, *size, requires_grad=True) for size in sizes)
        drawn = torch.rand(windows, heads, queries, keys)
        scores = 0.3 * query @ key.transpose(-1, -2)
        weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
        expected.append((weights * drawn) @ value)
        inputs.append((query, key, value))
        factors.append(drawn.flatten())
    rows = [torch.cat([x.flatten(0, 2) for x in parts])[None, None] for parts in zip(*inputs, strict=True)]
    call = AttentionCall(*rows, mask=None, dropout_p=0.1, scale=0.3)
    found = attend(call, groups, torch.cat(factors), AsTheyAre())[0, 0]
    reference = torch.cat([x.flatten(0, 2) for x in expected])
    torch.testing.assert_close(found, reference)
    upstream, leaves = torch.randn_like(reference), [x for parts in inputs for x in parts]
    for a, b in zip(*(torch.autograd.grad(y, leaves, upstream) for y in (found, reference)), strict=True):
        torch.testing.assert_close(a, b)


def test_calls_that_encoders_do_not_make_are_told_apart():
    query, key = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 7, 4)
    call = AttentionCall.of(query, key, key, None, 0.1)
    assert call is not None and call.dropout_p == 0.1 and call.scale == 0.5
    assert AttentionCall.of(query, key, key, scale=0.3, enable_gqa=False).scale == 0.3
    assert AttentionCall.of(query, key, key, is_causal=True) is None
    assert AttentionCall.of(query, key[:, :1], key[:, :1], enable_gqa=True) is None
    assert AttentionCall.of(query[0], key[0], key[0]) is None
    assert AttentionCall.of(query, key, key, torch.zeros(5, 7, requires_grad=True)) is None
    with torch.autocast("cpu", torch.bfloat16):
        assert AttentionCall.of(query, key, key).value.dtype == torch.bfloat16


def test_a_mask_says_what_is_seen_or_what_is_added():
    seen = torch.tensor([True, False])
    for dtype in (torch.bfloat16, torch.float32):
        for mask in (seen, torch.tensor([0.5, torch.finfo(torch.float32).min]), torch.tensor([0.5, -torch.inf])):
            added = additive(mask, dtype)
            assert added.dtype == dtype and added.isfinite().all()
            assert functional.softmax(added + torch.tensor([3, -3], dtype=dtype), -1).tolist() == [1, 0]
