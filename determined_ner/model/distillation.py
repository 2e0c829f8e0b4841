"""The loss of a student: cross entropy with the labels, and the distance from what its teacher says of each word.

Hinton et al. 2015, "Distilling the Knowledge in a Neural Network".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from determined_ner.data.split import Split
from determined_ner.model.loss import WordLoss, describe_cross_entropy, describe_loss, weights_of_labels
from determined_ner.settings.hyperparameters import Hyperparameters
from determined_ner.tags.labels import Labels

WEIGHT, TEMPERATURE = 0.5, 2.0
"""Unless the settings say others: those of the distillation example of Hugging Face's Transformers."""


@dataclass(frozen=True)
class DistillationLoss:
    """A sum over words, in float32: ``(1 - w) · cross entropy + w · T² · KL(teacher ‖ student)``.

    Both distributions are softened: proportional to the probabilities to the power of 1 / T. T² keeps the size of the
    gradient whatever T is. A word without a label has the second term alone, with a weight of 1.
    """

    labelled: WordLoss
    """The cross entropy; class weights and smoothing are its alone."""
    weight: float
    """w, from 0 to 1."""
    temperature: float
    """T."""

    def __call__(
        self,
        logits: torch.Tensor,
        labels: torch.Tensor,
        teacher: torch.Tensor,
        words: torch.Tensor,
        window_weights: torch.Tensor | None = None,
        possible: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """
        Args:
            logits: (B, L, K) of any float type.
            labels: (B, L) int64, as of `WordLoss`.
            teacher: (N, K) log-probabilities of the N words, of any float type.
            words: (N,) int64 place of each word in B · L.
            window_weights: as of `WordLoss`, of both terms.
            possible: as of `WordLoss`; the teacher knows all labels.

        Returns:
            () a sum, as that of `WordLoss`.
        """
        softened = (logits.float().flatten(0, 1)[words] / self.temperature).log_softmax(-1)
        target = (teacher.float() / self.temperature).log_softmax(-1)
        divergence = (target.exp() * (target - softened)).sum(-1)
        weights = torch.where(labels.flatten()[words] == -100, 1.0, self.weight)
        if window_weights is not None:
            weights = weights * window_weights[words // logits.shape[1]]
        of_labels = self.labelled(logits, labels, window_weights, possible)
        return (1 - self.weight) * of_labels + self.temperature**2 * (weights * divergence).sum()


def build_loss(
    hparams: Hyperparameters, labels: Labels, train: Split, device: torch.device, distilled: bool
) -> WordLoss | DistillationLoss:
    """The loss that the settings ask for.

    Args:
        train: whose labels are counted for balanced weights.
        device: of the logits.
        distilled: whether a teacher is learnt from.

    Raises:
        HyperparameterError: class weights of what is no label.
    """
    loss = WordLoss(smoothing=hparams.label_smoothing)
    if hparams.class_weights is not None:
        counts = train.count_labels(len(labels.names))
        weights = weights_of_labels(hparams.class_weights, labels.names, labels.scheme, counts)
        loss = WordLoss(torch.tensor(weights, dtype=torch.float32, device=device), hparams.label_smoothing)
    if not distilled:
        return loss
    weight = WEIGHT if hparams.distillation_weight is None else hparams.distillation_weight
    return DistillationLoss(loss, weight, hparams.distillation_temperature or TEMPERATURE)


def describe(loss: WordLoss | DistillationLoss, names: Sequence[str]) -> str | None:
    """What is trained on where it is not the plain cross entropy, in words; None: it is."""
    if isinstance(loss, WordLoss):
        return describe_loss(loss, names)
    of_labels = f"{1 - loss.weight:g} × {describe_cross_entropy(loss.labelled, names)} + " if loss.weight < 1 else ""
    return (
        f"loss: of training, {of_labels}{loss.weight:g} × the divergence from the teacher (temperature "
        f"{loss.temperature:g}, × {loss.temperature**2:g}); of validation and test, plain cross entropy"
    )
