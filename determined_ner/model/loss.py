"""The loss of a micro-batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from determined_ner.errors import HyperparameterError
from determined_ner.tags.schemes import Scheme, split_tag


@dataclass(frozen=True)
class WordLoss:
    """Cross entropy summed over labelled pieces, in float32; a sum over words, each by its weight.

    With smoothing, a word of label y out of K counts as one that is y with probability ``1 - smoothing`` and any of the
    K, y included, with ``smoothing / K`` each (Szegedy et al. 2016, "Rethinking the Inception Architecture", section
    7).
    """

    weights: torch.Tensor | None = None
    """(K,) float32, by which a word of each label counts, on the device; of mean 1 over the training words. None: 1."""
    smoothing: float = 0.0
    """From 0 to less than 1."""

    def __call__(
        self,
        logits: torch.Tensor,
        labels: torch.Tensor,
        window_weights: torch.Tensor | None = None,
        possible: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """
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
        logits = logits.float()
        if self.weights is None and window_weights is None and possible is None:
            return torch.nn.functional.cross_entropy(
                logits.flatten(0, 1),
                labels.flatten(),
                ignore_index=-100,
                reduction="sum",
                label_smoothing=self.smoothing,
            )
        is_open = labels >= logits.shape[-1]
        closed = labels.masked_fill(is_open, -100)
        losses = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), closed, ignore_index=-100, reduction="none", label_smoothing=self.smoothing
        )  # (B, L), 0 without a label
        if self.weights is not None:
            # (torch's own weights would not weigh a word as a whole: its smoothed part by those of the other labels.)
            losses = losses * self.weights[closed.clamp(min=0)]
        if possible is not None:
            allowed = possible[(labels - logits.shape[-1]).clamp(min=0)]
            of_open = logits.logsumexp(-1) - logits.masked_fill(~allowed, -torch.inf).logsumexp(-1)
            losses = torch.where(is_open, of_open, losses)
        if window_weights is not None:
            losses = losses * window_weights[:, None]
        return losses.sum()


def weights_of_labels(
    asked: Mapping[str, float] | Literal["balanced"],
    names: Sequence[str],
    scheme: Scheme,
    counts: NDArray[np.int64],
) -> NDArray[np.float64]:
    """By how much a word of each label counts, of mean 1 over the training words.

    Args:
        asked: by label or by type (which its labels share; what is not named is 1), or ``balanced``: the inverse of
            the label's share of the words, so that all labels count the same in all.
        names: (K,) of the labels.
        scheme: of the labels.
        counts: (K,) training words of each label.

    Returns:
        (K,); of labels without training words 1, or what is asked for them, scaled as the others are.

    Raises:
        HyperparameterError: something is named that is neither a label nor a type.
    """
    weights = np.ones(len(names))
    if asked == "balanced":
        seen = counts > 0
        weights[seen] = counts.sum() / (seen.sum() * counts[seen])
        return weights
    types = {} if scheme is Scheme.PLAIN else {name: (split_tag(name) or ("", ""))[1] for name in names}
    known = {*names, *types.values()} - {""}
    if unknown := sorted(set(asked) - known):
        raise HyperparameterError(
            "hyperparameters.class_weights",
            f"{unknown[0]!r} is no label or type of the training data",
            f"it has {' '.join(sorted(known))}",
        )
    for i, name in enumerate(names):  # a label's own weight counts before that of its type
        weights[i] = asked.get(name, asked.get(types.get(name, ""), 1.0))
    scaled: NDArray[np.float64] = weights * (counts.sum() / (weights * counts).sum())
    return scaled


def describe_loss(loss: WordLoss, names: Sequence[str]) -> str | None:
    """What is trained on where it is not the plain cross entropy, in words; None: it is."""
    if loss.weights is None and not loss.smoothing:
        return None
    return f"loss: of training, {describe_cross_entropy(loss, names)}; of validation and test, plain cross entropy"


def describe_cross_entropy(loss: WordLoss, names: Sequence[str]) -> str:
    """With class weights and smoothing, if it has them."""
    parts = []
    if loss.weights is not None:
        by_label = sorted(zip(loss.weights.tolist(), names, strict=True), key=lambda pair: -pair[0])
        shown = [f"{name} {weight:.3g}" for weight, name in by_label]
        shown = shown if len(shown) <= 12 else [*shown[:6], "…", *shown[-6:]]
        parts.append(f"class weights {', '.join(shown)}")
    if loss.smoothing:
        parts.append(f"label smoothing {loss.smoothing:g}")
    return f"cross entropy with {' and '.join(parts)}" if parts else "cross entropy"
