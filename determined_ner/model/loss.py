"""The loss of a micro-batch."""

from __future__ import annotations

import torch


def word_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    window_weights: torch.Tensor | None = None,
    possible: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross entropy summed over labelled pieces, in float32.

    Args:
        logits: (B, L, K) of any float type.
        labels: (B, L) int64, -100 at pieces that have no label; K + g: one of the labels that row g of ``possible``
            allows, whose loss is -log of the sum of their probabilities.
        window_weights: (B,) factor of the loss of each row; None: 1.
        possible: (G, K) bool; None: every label is what it says.

    Returns:
        () a sum, not a mean: the caller weighs it, so that a step's gradient does not depend on how the step is cut
        into micro-batches.
    """
    if window_weights is None and possible is None:
        return torch.nn.functional.cross_entropy(
            logits.float().flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum"
        )
    logits, count = logits.float(), logits.shape[-1]
    is_open = labels >= count
    losses = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), labels.masked_fill(is_open, -100), ignore_index=-100, reduction="none"
    )
    if possible is not None:
        allowed = possible[(labels - count).clamp(min=0)]
        open_losses = logits.logsumexp(-1) - logits.masked_fill(~allowed, float("-inf")).logsumexp(-1)
        losses = torch.where(is_open, open_losses, losses)
    if window_weights is not None:
        losses = losses * window_weights[:, None]
    return losses.sum()
