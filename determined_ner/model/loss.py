"""The loss of a micro-batch."""

from __future__ import annotations

import torch


def word_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross entropy summed over labelled pieces, in float32.

    Args:
        logits: (B, L, K) of any float type.
        labels: (B, L) int64, -100 at pieces that have no label.

    Returns:
        () a sum, not a mean: the caller weighs it, so that a step's gradient does not depend on how the step is cut
        into micro-batches.
    """
    return torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum"
    )
