"""Embedding rows of pieces that the training data never shows are left out of gradient, optimizer and all-reduce.

Their gradient is zero in every step. With AdamW and no weight decay a zero gradient from the start leaves a weight as
it is, to the bit, and adds nothing to the norm that clipping measures: leaving these rows out is exact, and on a small
encoder saves half of what the optimizer touches.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from determined_ner.data.batches import Ints

ROWS = 4096
"""That are compared at a time."""


class PartlyTrainedEmbedding(nn.Module):
    """An embedding of V rows of which only R train. Its state dict is that of the ``nn.Embedding`` it stands for.

    Training mode looks up rows that train; evaluation mode looks up any.
    """

    _rows: torch.Tensor
    """(R,) int64: the rows that train, ascending."""
    _slot: torch.Tensor
    """(V,) int64: where a row is in `trained`; -1 where it does not train."""
    _table: torch.Tensor
    """(V, D); the rows that train are stale here."""

    def __init__(self, whole: nn.Embedding, rows: Ints) -> None:
        """
        Args:
            rows: (R,) the rows that train, ascending.
        """
        super().__init__()
        self.num_embeddings, self.embedding_dim = whole.num_embeddings, whole.embedding_dim
        self.padding_idx = whole.padding_idx
        index = torch.from_numpy(rows)
        slot = torch.full((whole.num_embeddings,), -1, dtype=torch.int64)
        slot[index] = torch.arange(len(rows))
        self.register_buffer("_rows", index, persistent=False)
        self.register_buffer("_slot", slot, persistent=False)
        self.register_buffer("_table", whole.weight.detach(), persistent=False)
        self._padding_slot = None if whole.padding_idx is None else int(slot[whole.padding_idx])
        self.trained = nn.Parameter(whole.weight.detach()[index])  # (R, D)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """
        Args:
            ids: (B, L) int64. In training mode only rows that train.

        Returns:
            (B, L, D).
        """
        slots = self._slot[ids]
        if self.training:
            padding = self._padding_slot if self._padding_slot != -1 else None
            return nn.functional.embedding(slots, self.trained, padding)
        known = nn.functional.embedding(slots.clamp(min=0), self.trained)
        return torch.where((slots >= 0).unsqueeze(-1), known, nn.functional.embedding(ids, self._table))

    @property
    def weight(self) -> torch.Tensor:
        """(V, D): a copy of all rows."""
        return self._table.index_copy(0, self._rows, self.trained.detach())

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        if keep_vars:  # whoever traces the model asks so, and looks for its very tensors
            for name, tensor in (*self.named_parameters(), *self.named_buffers()):
                destination[prefix + name] = tensor
        else:
            destination[prefix + "weight"] = self.weight

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *arguments: Any) -> None:
        missing = arguments[2]
        weight = state_dict.get(prefix + "weight")
        if weight is None:
            missing.append(prefix + "weight")
            return
        with torch.no_grad():
            parts = (tensor.split(ROWS) for tensor in (self._table, weight, self._slot))
            for own, other, slot in zip(*parts, strict=True):  # what is written to is no longer a file's page
                other = other.to(own)
                differs = (own != other).any(1) & (slot < 0)
                if differs.any():
                    own[differs] = other[differs]
            self.trained.copy_(weight[self._rows.to(weight.device)])


def train_only_rows(model: Any, ids: Ints) -> None:
    """Have the model's input embedding train only the rows of ``ids``, where that is exact and leaves any out.

    An embedding that is no plain ``nn.Embedding``, or whose weight is used elsewhere in the model too, stays as it is.

    Args:
        ids: (N,) every piece that a training batch may hold, the special ones included.
    """
    try:
        embedding = model.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return
    rows = np.unique(ids).astype(np.int64)
    plain = type(embedding) is nn.Embedding and not (embedding.sparse or embedding.scale_grad_by_freq)
    if not plain or embedding.max_norm is not None or not embedding.weight.requires_grad:
        return
    holders = [m for m in model.modules() if any(p is embedding.weight for p in m.parameters(recurse=False))]
    if len(holders) > 1 or len(rows) >= embedding.num_embeddings:
        return
    partly = PartlyTrainedEmbedding(embedding, rows)
    model.set_input_embeddings(partly)
    # DistributedDataParallel would broadcast the table at every step.
    name = next(name for name, module in model.named_modules() if module is partly)
    model._ddp_params_and_buffers_to_ignore = [f"{name}.{buffer}" for buffer, _ in partly.named_buffers()]
