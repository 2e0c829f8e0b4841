"""The loss of a micro-batch."""

from __future__ import annotations

import torch


def word_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross entropy summed over labelled pieces.

    Args:
        logits: (B, L, K) of any float type.
        labels: (B, L) int64, -100 where nothing is learnt.
    """
    return torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum"
    )
