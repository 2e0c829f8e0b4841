"""Attention with dropout on a CPU, over windows of several lengths in one pass.

PyTorch's own, with dropout on a CPU, is composed of single operations, and computes bf16 inputs in fp32. Here it is
matrix products of the inputs' type, group by group, into one buffer for all groups: what is done to each element (mask,
dropout, conversions) is done once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class AttentionCall:
    """A call of ``scaled_dot_product_attention`` as encoders make it, in the type that autocast computes it in."""

    query: torch.Tensor
    """(B, H, L, D)."""
    key: torch.Tensor
    """(B, H, S, D)."""
    value: torch.Tensor
    """(B, H, S, D)."""
    mask: torch.Tensor | None
    """Of a shape that broadcasts to (B, H, L, S): which keys are seen, or what is added to their scores."""
    dropout_p: float
    scale: float

    @classmethod
    def of(
        cls,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        **more: Any,
    ) -> AttentionCall | None:
        """None: it asks for more than that."""
        further = is_causal or any(more.values()) or (attn_mask is not None and attn_mask.requires_grad)
        if further or query.dim() != 4 or query.shape[:2] != key.shape[:2]:
            return None
        if dtype := autocast_dtype():
            query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
        return cls(query, key, value, attn_mask, dropout_p, query.shape[-1] ** -0.5 if scale is None else scale)


class Group(NamedTuple):
    """Windows whose attention has one shape: N windows of H heads, L queries and S keys."""

    windows: int
    heads: int
    queries: int
    keys: int
    mask: torch.Tensor | None = None
    """Of a shape that broadcasts to (N, H, L, S): what is added to the scores; None: nothing."""

    @property
    def scores(self) -> int:
        """N · H · L · S."""
        return self.windows * self.heads * self.queries * self.keys


class Rows(Protocol):
    """Where the rows of groups lie in what a model computes, each of one token and head."""

    def to_groups(self, heads: torch.Tensor, zeros: bool = False) -> torch.Tensor:
        """(B, H, L, D) to (R, D), group after group, each as (N, H, L, D).

        Args:
            zeros: whether rows that no token has are to be zeros; else they are those of some token.
        """

    def from_groups(self, rows: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        """(R, D) to this shape, (B, H, L, D)."""


class AsTheyAre:
    """The rows of a padded batch: it is one group."""

    def to_groups(self, heads: torch.Tensor, zeros: bool = False) -> torch.Tensor:
        return heads.reshape(-1, heads.shape[-1])

    def from_groups(self, rows: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        return rows.view(shape)


def attend(call: AttentionCall, groups: Sequence[Group], factors: torch.Tensor, rows: Rows) -> torch.Tensor:
    """dropout(softmax(scale · Q Kᵀ + mask)) V of each window and head of each group.

    Args:
        call: its mask and its probability of dropout are not looked at.
        factors: (sum of N · H · L · S), of dropout, in the type of the call.
        rows: of the groups.

    Returns:
        (B, H, L, D).
    """
    result: torch.Tensor = _Attention.apply(call.query, call.key, call.value, groups, factors, rows, call.scale)
    return result


def additive(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What is added to scores of this type, of a mask that says so or that says which keys are seen.

    It is finite, so that a query that sees no key at all, such as one at padding, has no NaN.
    """
    lowest = torch.finfo(dtype).min
    if mask.dtype == torch.bool:
        return torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, lowest)
    return mask.to(dtype).clamp(min=lowest)


def autocast_dtype() -> torch.dtype | None:
    """The type in which autocast multiplies matrices on a CPU; None: it is off."""
    if hasattr(torch, "get_autocast_dtype"):  # torch 2.4
        return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
    return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        groups: Sequence[Group],
        factors: torch.Tensor,
        rows: Rows,
        scale: float,
    ) -> torch.Tensor:
        with torch.autocast("cpu", enabled=False):
            # (Of the transposed views that models pass, products would copy each operand of each anew.)
            queries, keys, values = rows.to_groups(query * scale), rows.to_groups(key), rows.to_groups(value)
            scores = query.new_empty(sum(group.scores for group in groups))
            products = zip(groups, _queries(queries, groups), _keys(keys, groups), _scores(scores, groups), strict=True)
            for group, q, k, part in products:
                torch.bmm(q, k.transpose(1, 2), out=part)
                if group.mask is not None:
                    part.view(group.windows, group.heads, group.queries, group.keys).add_(group.mask)
            scores = scores.to(torch.promote_types(scores.dtype, torch.float32))  # bf16 takes four times as long
            weights = torch.empty_like(scores)
            for part, found in zip(_scores(scores, groups), _scores(weights, groups), strict=True):
                torch.softmax(part, -1, out=found)
            del scores
            ctx.save_for_backward(queries, keys, values, weights, factors)
            ctx.groups, ctx.rows, ctx.scale = [group._replace(mask=None) for group in groups], rows, scale
            ctx.shapes = query.shape, key.shape, value.shape
            dropped = weights.to(value.dtype) * factors
            result = queries.new_empty(len(queries), value.shape[-1])
            of_results = zip(_scores(dropped, groups), _keys(values, groups), _queries(result, groups), strict=True)
            for part, v, found in of_results:
                torch.bmm(part, v, out=found)
            return rows.from_groups(result, (*query.shape[:3], value.shape[3]))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        queries, keys, values, weights, factors = ctx.saved_tensors
        groups, rows, gradient = ctx.groups, ctx.rows, ctx.rows.to_groups(gradient, zeros=True)
        of_values, of_queries, of_keys = torch.empty_like(values), torch.empty_like(queries), torch.empty_like(keys)
        dropped = weights.to(values.dtype) * factors
        of_dropped = torch.empty_like(dropped)
        parts = zip(_keys(values, groups), _queries(gradient, groups), _keys(of_values, groups), strict=True)
        matrices = zip(_scores(dropped, groups), _scores(of_dropped, groups), strict=True)
        for (v, g, of_v), (part, of_part) in zip(parts, matrices, strict=True):
            torch.bmm(part.transpose(1, 2), g, out=of_v)
            torch.bmm(g, v.transpose(1, 2), out=of_part)
        of_weights = of_dropped.mul_(factors).to(weights.dtype)
        of_scores = torch.empty_like(weights)
        softmaxes = zip(_scores(of_weights, groups), _scores(weights, groups), _scores(of_scores, groups), strict=True)
        for of_part, part, found in softmaxes:
            torch._softmax_backward_data(of_part, part, -1, part.dtype, grad_input=found)
        left = zip(_queries(queries, groups), _queries(of_queries, groups), strict=True)
        right = zip(_keys(keys, groups), _keys(of_keys, groups), strict=True)
        for (q, of_q), (k, of_k), part in zip(left, right, _scores(of_scores.to(values.dtype), groups), strict=True):
            torch.bmm(part, k, out=of_q)
            torch.bmm(part.transpose(1, 2), q, out=of_k)  # (the query is scaled already)
        gradients = (of_queries.mul_(ctx.scale), of_keys, of_values)
        return *(rows.from_groups(x, shape) for x, shape in zip(gradients, ctx.shapes, strict=True)), *(None,) * 4


def _queries(rows: torch.Tensor, groups: Sequence[Group]) -> Iterator[torch.Tensor]:
    """(N · H, L, D) of each group."""
    return _matrices(rows, groups, [group.queries for group in groups])


def _keys(rows: torch.Tensor, groups: Sequence[Group]) -> Iterator[torch.Tensor]:
    """(N · H, S, D) of each group."""
    return _matrices(rows, groups, [group.keys for group in groups])


def _matrices(rows: torch.Tensor, groups: Sequence[Group], lengths: Sequence[int]) -> Iterator[torch.Tensor]:
    parts = rows.split([group.windows * group.heads * length for group, length in zip(groups, lengths, strict=True)])
    return (part.view(-1, length, rows.shape[1]) for part, length in zip(parts, lengths, strict=True))


def _scores(scores: torch.Tensor, groups: Sequence[Group]) -> Iterator[torch.Tensor]:
    """(N · H, L, S) of each group."""
    parts = scores.split([group.scores for group in groups])
    return (part.view(-1, group.queries, group.keys) for part, group in zip(parts, groups, strict=True))
