"""Steps without padding: the windows of a batch one after the other, as one text, each attending to itself alone.

All that a model does to a token by itself (products with weights, norms, activations, dropout) then costs what the
tokens cost, however different their windows' lengths are. Attention alone is padded, on a CPU in groups of windows of
like length, on a GPU to one of few lengths: it is a small part of a step.

(PyTorch's kernel for attention without padding, behind ``scaled_dot_product_attention`` of nested tensors, takes other
numbers for dropout in its backward pass than in its forward pass: its host code gives the forward pass no length.)

Nothing in the model is replaced: its calls of ``scaled_dot_product_attention`` are caught (`FlatAttention`). Whether an
architecture makes all its attention by that function, and takes positions that begin anew with each window, is found by
asking the model itself (`find_flat`); a model that would let windows see each other is told from the others by its
logits.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from determined_ner.data.packing import Packing
from determined_ner.data.tokenizer import WordTokenizer
from determined_ner.model.probe import made_up_batch
from determined_ner.model.quiet import quiet_transformers

CPU = torch.device("cpu")
GROUP = 8
"""Windows that are padded to one length for their attention, at most."""
LENGTHS = 8
"""Of what that length is a multiple where sizes are to be few."""
SIZES = 16
"""Of the sizes that batches are filled up to there, as many lie between a power of two and the next."""
TOLERANCE = 1e-4
"""Of the largest logit: another order of summing in fp32 differs by less; the sight of another window by far more."""

LONGEST = 160
"""Pieces of the longest text that a model is asked for: more than local attention sees (ModernBERT's: 128)."""
PARTS = (5, 9, 1, 7, 3, 8, 2, 5, 4)
"""Sixteenths of it that the other texts have."""


@dataclass(frozen=True)
class Layout:
    """Where the tokens of a batch lie: flat (T), padded (B, L), and padded by groups for attention (P).

    The T may include what fills up to one of few sizes, of which `place` knows nothing.
    """

    input_ids: torch.Tensor
    """(1, T) int64; on a CPU, windows by falling length."""
    positions: torch.Tensor
    """(1, T) int64, from 0 in each window."""
    place: torch.Tensor
    """(T,) int64, of each token in the batch's own (B · L); of a packed batch, of those of its windows."""
    grouped: torch.Tensor
    """(T,) int64, of each token in the rows of the groups, (P)."""
    groups: tuple[tuple[int, int], ...]
    """(windows, length) of each group: windows · length rows of P."""
    masks: tuple[torch.Tensor | None, ...]
    """Of each group, (windows, 1, 1, length) bool: which keys are tokens; None: all."""
    shape: tuple[int, int]
    """(B, L)."""

    @classmethod
    def of(cls, input_ids: torch.Tensor, attention_mask: torch.Tensor, few_sizes: bool = False) -> Layout:
        """
        Args:
            input_ids: (B, L) int64.
            attention_mask: (B, L) int64, padding on the right.
            few_sizes: whether T is filled up, by windows of one token, and lengths of attention are rounded up.
        """
        count, length = attention_mask.shape
        unit = LENGTHS if few_sizes else 1
        sizes, order = attention_mask.sum(1).sort(descending=True, stable=True)
        inner = torch.arange(-(-length // unit) * unit).expand(count, -1)
        is_token = inner < sizes[:, None]
        place = (order[:, None] * length + inner)[is_token]
        groups, masks, rows, at = [], [], [], 0
        lengths: list[int] = sizes.tolist()
        for begin in range(0, count, GROUP):
            members = lengths[begin : begin + GROUP]
            longest = -(-members[0] // unit) * unit
            groups.append((len(members), longest))
            there = is_token[begin : begin + len(members), :longest]
            masks.append(None if members[-1] == longest else there[:, None, None])
            rows.append(torch.arange(at, at + len(members) * longest).view(-1, longest)[there])
            at += len(members) * longest
        ids, positions = input_ids.flatten()[place], inner[is_token]
        if few_sizes and (more := -len(place) % unit_of(len(place))):
            groups.append((more, 1))
            masks.append(None)
            rows.append(torch.arange(at, at + more))
            ids, positions = torch.cat([ids, ids[:1].expand(more)]), torch.cat([positions, positions.new_zeros(more)])
        return cls(
            ids[None],
            positions[None],
            place,
            torch.cat(rows),
            tuple(groups),
            tuple(masks),
            (count, length),
        )

    @classmethod
    def packed(cls, batch: Mapping[str, torch.Tensor]) -> Layout:
        """Of a batch that `Packing` has packed, in one group; does not wait for the GPU.

        Args:
            batch: of `BatchDataset`, on any device.
        """
        keys = batch["packed_keys"]
        windows, length = keys.shape
        count, longest = batch["input_ids"].shape
        return cls(
            batch["packed_ids"],
            batch["packed_positions"],
            batch["packed_place"],
            batch["packed_rows"],
            ((windows, length),),
            (keys[:, None, None],),
            (count, longest),
        )

    @functools.cached_property
    def rows(self) -> int:
        """P."""
        return sum(windows * length for windows, length in self.groups)

    @functools.cached_property
    def tokens(self) -> torch.Tensor:
        """(P,) int64, the token of each row of the groups; 0 where it is padding."""
        grouped = self.grouped
        numbers = torch.arange(len(grouped), device=grouped.device)
        return grouped.new_zeros(self.rows).index_copy_(0, grouped, numbers)

    def padded(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits as if the batch had been padded: (1, T, K) to (B, L, K), 0 where no token is."""
        count, length = self.shape
        rows = logits.new_zeros(count * length, logits.shape[-1])
        rows = rows.index_copy(0, self.place, logits[0, : len(self.place)])
        return rows.view(count, length, -1)


def unit_of(tokens: int) -> int:
    """Of what a number of tokens is filled up to a multiple: a power of two, at most 1/SIZES of them.

    A CPU's library makes a kernel for each shape of matrices in half precision, and keeps what it works in.
    """
    return 1 << max(0, (tokens // SIZES).bit_length() - 1)


class FlatAttention(TorchFunctionMode):
    """A context in which attention over the T tokens of a layout is that of each window by itself."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self._layout = layout

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


@dataclass(frozen=True)
class Flat:
    """How a model is computed on a flat batch."""

    first_position: int
    """Position of a window's first token: RoBERTa's begin after the row of the padding piece."""
    names_segments: bool
    """Whether the model has to be told that all tokens are of segment 0: its own list of them may be too short."""
    packing: Packing | None = None
    """How its batches are packed, on a GPU; None: they are not."""
    few_sizes: bool = False
    """Whether its batches are filled up to one of few sizes, on a CPU."""

    def inputs(self, batch: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], Layout]:
        """What a model is called with inside of `FlatAttention`, by its names, and the layout of it.

        Args:
            batch: of `BatchDataset`, with this packing.
        """
        padded = batch["input_ids"], batch["attention_mask"]
        layout = Layout.packed(batch) if self.packing else Layout.of(*padded, self.few_sizes)
        inputs = {"input_ids": layout.input_ids, "position_ids": layout.positions + self.first_position}
        if self.names_segments:
            inputs["token_type_ids"] = torch.zeros_like(layout.input_ids)
        return inputs, layout

    def logits(self, model: Any, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The model's logits for a padded batch, of windows that are computed one after the other.

        Args:
            model: as `find_flat` saw it, or what wraps it.
            batch: of `BatchDataset`, with this packing.

        Returns:
            (B, L, K), 0 at padding.
        """
        inputs, layout = self.inputs(batch)
        with FlatAttention(layout):
            return layout.padded(model(**inputs).logits)


def find_flat(
    model: Any, tokenizer: WordTokenizer, max_seq_length: int, device: torch.device = CPU, few_sizes: bool = False
) -> Flat | None:
    """How this model computes flat batches; None: it does not.

    It is asked for some texts together, more pieces than it takes of one text, and for each of them alone.

    Args:
        model: of Transformers, on the CPU.
        max_seq_length: pieces of a window, special ones included.
        device: on which it is asked, and will be trained.
        few_sizes: whether batches are filled up on a CPU.
    """
    taken = inspect.signature(model.forward).parameters
    if "position_ids" not in taken:
        return None
    rows = getattr(model.config, "vocab_size", None) or 64
    batch = made_up_batch(tokenizer, rows, _sizes(max_seq_length, tokenizer.specials + 1))
    packing = Packing(max_seq_length, tokenizer.pad_id) if device.type == "cuda" else None
    batch = {name: value.to(device) for name, value in (packing.added_to(batch) if packing else batch).items()}
    padding = [
        getattr(part, "padding_idx", None) for name, part in model.named_modules() if name.endswith("_embeddings")
    ]
    was_training = model.training
    model.eval().to(device)
    try:
        with quiet_transformers(), torch.no_grad(), torch.random.fork_rng(devices=[]):
            alone = _alone(model, batch["input_ids"], batch["attention_mask"])
            for first in dict.fromkeys([0, *(number + 1 for number in padding if number is not None)]):
                flat = Flat(first, "token_type_ids" in taken, packing, few_sizes)
                try:
                    together = flat.logits(model, batch)
                except Exception:  # as many kinds as architectures
                    continue
                if (together - alone).abs().max() <= TOLERANCE * alone.abs().max():
                    return flat
    finally:
        model.train(was_training).to("cpu")
    return None


def _sizes(max_seq_length: int, least: int) -> Sequence[int]:
    """Lengths of texts that are more than one window together, in no order, of more than one group."""
    longest = min(max_seq_length, LONGEST)
    sizes = [longest]
    while len(sizes) <= GROUP + 1 or sum(sizes) <= max_seq_length:
        sizes.append(max(least, longest * PARTS[len(sizes) % len(PARTS)] // 16))
    return sizes


def _alone(model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """(B, L, K) logits of each text by itself, 0 at padding."""
    result = torch.zeros(*input_ids.shape, model.config.num_labels, device=input_ids.device)
    for i, size in enumerate(attention_mask.sum(1).tolist()):
        ids, mask = input_ids[i : i + 1, :size], attention_mask[i : i + 1, :size]
        result[i, :size] = model(input_ids=ids, attention_mask=mask).logits[0]
    return result
