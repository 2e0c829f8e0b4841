"""Attention of each window of a batch without padding by itself: the calls of a model are caught.

On a CPU, windows of like length are computed together (`attend`); elsewhere by PyTorch's own attention, padded.

(PyTorch's kernel for attention without padding, behind ``scaled_dot_product_attention`` of nested tensors, takes other
numbers for dropout in its backward pass than in its forward pass: its host code gives the forward pass no length.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from determined_ner.model.cpu.attention import AttentionCall, Group, additive, attend
from determined_ner.model.layout import Layout


class FlatAttention(TorchFunctionMode):
    """A context in which attention over the T tokens of a layout is that of each window by itself."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self._layout = layout
        self._rows: dict[int, _HeadRows] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is functional.scaled_dot_product_attention:
            return self._attention(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _attention(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        *more: Any,
        **options: Any,
    ) -> torch.Tensor:
        """(1, H, T, D) each, and a mask that can be broadcast to (1, H, T, T), such as a sliding window's."""
        layout = self._layout
        if layout.input_ids.device.type == "cpu":
            call = AttentionCall.of(query, key, value, attn_mask, *more, **options)
            if call is not None and call.dropout_p:
                return self._with_dropout(call)
        sizes = [windows * length for windows, length in layout.groups]
        # (Not by slices: the gradient of each would be as large as the whole.)
        padded = [_Pad.apply(x[0].transpose(0, 1), layout).split(sizes) for x in (query, key, value)]  # (·, H, D)
        results, at = [], 0
        for (windows, length), mask, *parts in zip(layout.groups, layout.masks, *padded, strict=True):
            q, k, v = (x.unflatten(0, (windows, length)).transpose(1, 2) for x in parts)
            if attn_mask is not None:
                mask = self._of_group(attn_mask, at, windows, length, mask)
            result = functional.scaled_dot_product_attention(q, k, v, mask, *more, **options)
            results.append(result.transpose(1, 2).flatten(0, 1))  # (windows · length, H, D)
            at += windows * length
        attended: torch.Tensor = _Unpad.apply(torch.cat(results), layout)
        return attended.transpose(0, 1)[None]

    def _with_dropout(self, call: AttentionCall) -> torch.Tensor:
        """(1, H, T, D): what `attend` makes of the rows of the groups."""
        layout, heads, dtype = self._layout, call.query.shape[1], call.query.dtype
        if heads not in self._rows:
            self._rows[heads] = _HeadRows.of(layout, heads)
        rows = self._rows[heads]
        groups, at = [], 0
        for (windows, length), mask in zip(layout.groups, layout.masks, strict=True):
            if call.mask is not None:
                mask = self._of_group(call.mask, at, windows, length, mask)
            groups.append(Group(windows, heads, length, length, None if mask is None else additive(mask, dtype)))
            at += windows * length
        count = sum(group.scores for group in groups)
        factors = functional.dropout(torch.ones((), dtype=dtype).expand(count), call.dropout_p)
        query, key, value = (_ToGroups.apply(_by_token(x), rows) for x in (call.query, call.key, call.value))
        attended: torch.Tensor = _FromGroups.apply(attend(query, key, value, groups, factors, call.scale), rows)
        return attended.view(-1, heads, attended.shape[1]).transpose(0, 1)[None]

    def _of_group(
        self, mask: torch.Tensor, at: int, windows: int, length: int, keys: torch.Tensor | None
    ) -> torch.Tensor | None:
        """(windows, heads, length, length): the model's own mask, of the tokens of each window of a group."""
        tokens = len(self._layout.grouped)
        mask = mask.expand(1, mask.shape[1], tokens, tokens)[0]
        rows = self._layout.tokens[at : at + windows * length].view(windows, length)
        own = mask[:, rows[:, :, None], rows[:, None, :]].transpose(0, 1)
        if keys is None:
            return own
        padding = ~keys.transpose(-1, -2)  # looks at all keys: at none, its gradient would be NaN, and theirs with it
        if own.dtype == torch.bool:
            return (own | padding) & keys
        return own.masked_fill(padding, 0.0).masked_fill(~keys, -torch.inf)


class _HeadRows(NamedTuple):
    """Where the rows of a model with H heads lie, one of each token and head: in the batch, (T, H), and in groups."""

    of_groups: torch.Tensor
    """(H · P,) int64: the row in the batch of each row in groups, (windows, H, length) after each other; T · H where it
    is padding."""
    of_batch: torch.Tensor
    """(T · H,) int64: the row in groups of each row in the batch."""
    padded: bool
    """Whether there is padding."""

    @classmethod
    def of(cls, layout: Layout, heads: int) -> _HeadRows:
        count, head = len(layout.grouped), torch.arange(heads)
        tokens = layout.grouped.new_full((layout.rows,), count)
        tokens[layout.grouped] = torch.arange(count)
        of_groups, at = [], 0
        for windows, length in layout.groups:
            own = tokens[at : at + windows * length].view(windows, 1, length) * heads + head[:, None]
            of_groups.append(own.flatten())
            at += windows * length
        rows = torch.cat(of_groups).clamp_(max=count * heads)
        of_batch = rows.new_empty(count * heads + 1)
        of_batch[rows] = torch.arange(len(rows))
        return cls(rows, of_batch[:-1], layout.rows > count)


class _ToGroups(torch.autograd.Function):
    """(T · H, D) to (H · P, D), 0 where no token is. Each row has one place, so the gradient is `_FromGroups`."""

    @staticmethod
    def forward(ctx: Any, flat: torch.Tensor, rows: _HeadRows) -> torch.Tensor:
        ctx.rows = rows
        return _grouped(flat, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        return gradient.index_select(0, ctx.rows.of_batch), None


class _FromGroups(torch.autograd.Function):
    """(H · P, D) to (T · H, D)."""

    @staticmethod
    def forward(ctx: Any, grouped: torch.Tensor, rows: _HeadRows) -> torch.Tensor:
        ctx.rows = rows
        return grouped.index_select(0, rows.of_batch)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        return _grouped(gradient, ctx.rows), None


def _by_token(heads: torch.Tensor) -> torch.Tensor:
    """(1, H, T, D) as (T · H, D)."""
    return heads[0].transpose(0, 1).reshape(-1, heads.shape[-1])


def _grouped(flat: torch.Tensor, rows: _HeadRows) -> torch.Tensor:
    assert len(flat) == len(rows.of_batch)
    if rows.padded:
        flat = torch.cat([flat, flat.new_zeros(1, flat.shape[1])])
    return flat.index_select(0, rows.of_groups)


class _Pad(torch.autograd.Function):
    """(T, H, D) to (P, H, D), 0 where no token is. Each token has one place, so the gradient is `_Unpad`."""

    @staticmethod
    def forward(ctx: Any, flat: torch.Tensor, layout: Layout) -> torch.Tensor:
        ctx.layout = layout
        return _pad(flat, layout)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        return gradient.index_select(0, ctx.layout.grouped), None


class _Unpad(torch.autograd.Function):
    """(P, H, D) to (T, H, D)."""

    @staticmethod
    def forward(ctx: Any, padded: torch.Tensor, layout: Layout) -> torch.Tensor:
        ctx.layout = layout
        return padded.index_select(0, layout.grouped)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        return _pad(gradient, ctx.layout), None


def _pad(flat: torch.Tensor, layout: Layout) -> torch.Tensor:
    return flat.new_zeros(layout.rows, *flat.shape[1:]).index_copy_(0, layout.grouped, flat)
