"""A linear-chain CRF on the logits of a model: what it adds is learnt scores of transitions between labels.

Lafferty et al. 2001, "Conditional Random Fields"; the sums over all sequences by the forward algorithm, in log space.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from determined_ner.errors import HyperparameterError

if TYPE_CHECKING:  # who only tags needs no pydantic
    from determined_ner.settings.data import DataSettings
    from determined_ner.settings.hyperparameters import Hyperparameters

CRF = "crf"
"""Name of the module in the model that it was attached to."""
LEARNING_RATE = 1e-2
"""Of the transitions, unless ``crf_learning_rate`` says another."""


class Crf(torch.nn.Module):
    """The transitions, all 0 at the beginning; there are none into a text or out of it, which may be a part of one.

    Attributes:
        transitions: (K, K) score of each label after each label, by the one before.
    """

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.transitions = torch.nn.Parameter(torch.zeros(labels, labels))

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The negative log-likelihood of each window's labels, summed over windows, in float32.

        The words of a window that it does not own have no labels here, so that they are counted in none but their own.

        Args:
            logits: (B, L, K) of any float type.
            labels: (B, L) int64, -100 at pieces that have no label; the others are one sequence.

        Returns:
            () a sum over windows: as that of the cross entropy, it does not depend on how a step is cut.
        """
        owned = labels != -100
        counts = owned.sum(1)
        longest = int(counts.max())
        if not longest:  # every slot takes part in every step
            return (logits.float() * 0).sum() + (self.transitions * 0).sum()
        places = torch.argsort((~owned).to(torch.uint8), dim=1, stable=True)[:, :longest]
        tags, valid = labels.gather(1, places).clamp(min=0), owned.gather(1, places)
        scores = logits.float().gather(1, places[..., None].expand(-1, -1, logits.shape[-1]))
        transitions = self.transitions.float()

        sums = scores[:, 0]
        for word in range(1, longest):
            further = torch.logsumexp(sums[:, :, None] + transitions, dim=1) + scores[:, word]
            sums = torch.where(valid[:, word, None], further, sums)
        words = (scores.gather(2, tags[..., None])[..., 0] * valid).sum(1)
        steps = (transitions[tags[:, :-1], tags[:, 1:]] * valid[:, 1:]).sum(1)
        return ((torch.logsumexp(sums, dim=1) - words - steps) * (counts > 0)).sum()

    def scores(self) -> NDArray[np.float32]:
        """(K, K) the transitions as they are now."""
        scores: NDArray[np.float32] = self.transitions.detach().float().cpu().numpy()
        return scores


def crf_of(model: Any) -> Crf | None:
    """That of a model; None: it has none."""
    found: Crf | None = getattr(model, CRF, None)
    return found


def attach_crf(model: Any) -> Crf:
    """Give a model transitions, as a part of it that is trained, moved and saved in checkpoints with it."""
    crf = Crf(model.config.num_labels)
    setattr(model, CRF, crf)
    return crf


def weights_without_crf(model: Any) -> dict[str, torch.Tensor]:
    """The weights that a token classifier of transformers has; transitions are kept beside them."""
    return {name: weights for name, weights in model.state_dict().items() if not name.startswith(f"{CRF}.")}


def check_crf(hparams: Hyperparameters, data: DataSettings) -> None:
    """Check that a CRF can be what the settings ask for.

    Raises:
        HyperparameterError: naming what it excludes.
    """
    if hparams.head != CRF:
        return
    for setting, given, reason, instead in (
        ("backend: ort", hparams.backend == "ort", "ONNX Runtime's graph has no transitions", "backend: eager"),
        ("use_apex_amp: true", hparams.use_apex_amp, "Apex would halve the transitions", "precision: fp16"),
        ("class_weights", hparams.class_weights is not None, "its loss is of sequences, not of words", "none"),
        ("label_smoothing", hparams.label_smoothing > 0, "its loss is of sequences, not of words", "none"),
        ("data.label_all_tokens: true", data.label_all_tokens, "its sequences are of words", "false"),
        ("data.folds", data.folds is not None, "they are put together from probabilities of single words", "none"),
        (
            "data.context: document",
            data.context == "document",
            "a window then has several sentences, and its sequences are of one",
            "context: sentence",
        ),
    ):
        if given:
            raise HyperparameterError(
                "hyperparameters.head", f"'crf' excludes {setting}: {reason}", f"write {instead}, or head: linear"
            )
