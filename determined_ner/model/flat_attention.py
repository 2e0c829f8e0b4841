"""Attention of each window of a batch without padding by itself.

In training on a CPU, windows of like length are computed together (`attend`); else by PyTorch's own attention, padded.

(PyTorch's kernel for attention without padding, behind ``scaled_dot_product_attention`` of nested tensors, takes other
numbers for dropout in its backward pass than in its forward pass: its host code gives the forward pass no length.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from determined_ner.model.cpu.attention import AttentionCall, Group, additive, attend
from determined_ner.model.cpu.dropout import FastDropout
from determined_ner.model.layout import Layout

_Move = Callable[[torch.Tensor], torch.Tensor]


class FlatAttention:
    """In the place of ``scaled_dot_product_attention``: over the T tokens of a layout, each window by itself."""

    def __init__(self, layout: Layout, dropout: FastDropout | None = None) -> None:
        """
        Args:
            dropout: of a training on a CPU; None: PyTorch's.
        """
        self._layout, self._dropout = layout, dropout
        self._rows: dict[int, _HeadRows] = {}
        self._groups: dict[tuple[int, torch.dtype], list[Group]] = {}

    def __call__(
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
        if self._dropout:
            call = AttentionCall.of(query, key, value, attn_mask, *more, **options)
            if call is not None and self._dropout.draws(call.dropout_p):
                return self._with_dropout(call, self._dropout)
        sizes = [windows * length for windows, length in layout.groups]
        # (Not by slices: the gradient of each would be as large as the whole.)
        pad, unpad = self._pad, self._unpad
        padded = [_Moved.apply(x[0].transpose(0, 1), pad, unpad).split(sizes) for x in (query, key, value)]  # (·, H, D)
        results, at = [], 0
        for (windows, length), mask, *parts in zip(layout.groups, layout.masks, *padded, strict=True):
            q, k, v = (x.unflatten(0, (windows, length)).transpose(1, 2) for x in parts)
            if attn_mask is not None:
                mask = self._of_group(attn_mask, at, windows, length, mask)
            result = functional.scaled_dot_product_attention(q, k, v, mask, *more, **options)
            results.append(result.transpose(1, 2).flatten(0, 1))  # (windows · length, H, D)
            at += windows * length
        attended: torch.Tensor = _Moved.apply(torch.cat(results), unpad, pad)
        return attended.transpose(0, 1)[None]

    def _with_dropout(self, call: AttentionCall, dropout: FastDropout) -> torch.Tensor:
        """(1, H, T, D): what `attend` makes of the rows of the groups."""
        heads, dtype = call.query.shape[1], call.query.dtype
        if heads not in self._rows:
            self._rows[heads] = _HeadRows.of(self._layout, heads)
        groups = self._groups.get((heads, dtype))
        if groups is None or call.mask is not None:
            groups = self._groups_of(heads, dtype, call.mask)
        if call.mask is None:  # which is the same in each layer
            self._groups[heads, dtype] = groups
        factors = dropout.factors((sum(group.scores for group in groups),), call.dropout_p, dtype)
        return attend(call, groups, factors, self._rows[heads])

    def _groups_of(self, heads: int, dtype: torch.dtype, own: torch.Tensor | None) -> list[Group]:
        """
        Args:
            own: the model's mask.
        """
        groups, at = [], 0
        for (windows, length), mask in zip(self._layout.groups, self._layout.masks, strict=True):
            if own is not None:
                mask = self._of_group(own, at, windows, length, mask)
            groups.append(Group(windows, heads, length, length, None if mask is None else additive(mask, dtype)))
            at += windows * length
        return groups

    def _pad(self, flat: torch.Tensor) -> torch.Tensor:
        """(T, H, D) to (P, H, D), 0 where no token is."""
        layout = self._layout
        return flat.new_zeros(layout.rows, *flat.shape[1:]).index_copy_(0, layout.grouped, flat)

    def _unpad(self, padded: torch.Tensor) -> torch.Tensor:
        """(P, H, D) to (T, H, D)."""
        return padded.index_select(0, self._layout.grouped)

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
    """(H · P,) int64: the row in the batch of each row in groups, (windows, H, length) after each other; 0 where it is
    padding."""
    of_batch: torch.Tensor
    """(T · H,) int64: the row in groups of each row in the batch."""
    padding: torch.Tensor | None
    """(H · P,) int64: the same as of groups, but T · H where it is padding; None: there is none."""

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
        if layout.rows == count:
            return cls(rows, of_batch[:-1], None)
        return cls(rows.masked_fill(rows == count * heads, 0), of_batch[:-1], rows)

    def to_groups(self, heads: torch.Tensor, zeros: bool = False) -> torch.Tensor:
        """(1, H, T, D) to (H · P, D)."""
        rows = heads[0].transpose(0, 1).reshape(-1, heads.shape[-1])
        assert len(rows) == len(self.of_batch)
        if not zeros or self.padding is None:
            return rows.index_select(0, self.of_groups)
        return torch.cat([rows, rows.new_zeros(1, rows.shape[1])]).index_select(0, self.padding)

    def from_groups(self, rows: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        """(H · P, D) to (1, H, T, D)."""
        return rows.index_select(0, self.of_batch).view(shape[2], shape[1], shape[3]).transpose(0, 1)[None]


class _Moved(torch.autograd.Function):
    """Rows at other places, by a function that gives each at most one; by its inverse, their gradient."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, move: _Move, back: _Move) -> torch.Tensor:
        ctx.back = back
        return move(rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        return ctx.back(gradient), None, None
