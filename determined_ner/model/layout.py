"""Where the tokens of a batch without padding lie: the windows one after the other, for attention in groups."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import torch

GROUP = 8
"""Windows that are padded to one length for their attention, at most."""
LENGTHS = 8
"""Of what that length is a multiple where sizes are to be few."""
SIZES = 16
"""Of the sizes that batches are filled up to there, as many lie between a power of two and the next."""


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
    """Of each group, (windows, 1, 1, length) bool: which keys are tokens of the window; None: all."""
    shape: tuple[int, int]
    """(B, L)."""

    @classmethod
    def of(cls, input_ids: torch.Tensor, attention_mask: torch.Tensor, few_sizes: bool = False) -> Layout:
        """
        Args:
            input_ids: (B, L) int64.
            attention_mask: (B, L) int64, padding on the right.
            few_sizes: whether T is filled up, and lengths of attention are rounded up.
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
            is_free = torch.ones(at, dtype=torch.bool).index_fill_(0, torch.cat(rows), False)
            rows.append(is_free.nonzero()[:more, 0])  # where padding would be, which no window sees
            if beyond := more - len(rows[-1]):
                groups.append((beyond, 1))
                masks.append(None)
                rows.append(torch.arange(at, at + beyond))
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
        """Of a batch that ``Packing`` has packed, in one group; does not wait for the GPU.

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

    oneDNN makes a kernel for each shape of matrices, and keeps it.
    """
    return 1 << max(0, (tokens // SIZES).bit_length() - 1)
