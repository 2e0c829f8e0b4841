"""A linear-chain CRF on the logits of a model: what it adds is learnt scores of transitions between labels.

Lafferty et al. 2001, "Conditional Random Fields"; the sums over all sequences by the forward algorithm, in log space.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from determined_ner.errors import HyperparameterError
from determined_ner.files.atomic import read_json
from determined_ner.hub import Pretrained
from determined_ner.tags.schemes import Scheme

if TYPE_CHECKING:  # who only tags needs no pydantic
    from determined_ner.settings.data import DataSettings
    from determined_ner.settings.hyperparameters import Hyperparameters

logger = logging.getLogger("determined_ner")

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

    @classmethod
    def of_scores(cls, scores: NDArray[np.float32]) -> Crf:
        """With these transitions (K, K)."""
        crf = cls(len(scores))
        crf.transitions.data.copy_(torch.from_numpy(scores))
        return crf

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


def _take_transitions(crf: Crf | None, described: dict[str, Any], labels: Sequence[str]) -> None:
    """Have a training go on with the transitions of the model that it begins from; those of new labels stay 0.

    Args:
        described: what its training wrote beside it.
    """
    before, rows = described.get("labels"), described.get("transitions")
    if rows is None or not isinstance(before, list):
        return
    if crf is None:
        logger.warning("head: linear: the transitions of the CRF that the training begins from are left out")
        return
    kept = [(i, before.index(name)) for i, name in enumerate(labels) if name in before]
    ours, theirs = (torch.tensor(indices) for indices in zip(*kept, strict=True))
    crf.transitions.data[ours[:, None], ours] = torch.tensor(rows)[theirs[:, None], theirs]
    logger.info("head: the transitions of the CRF go on")


def crf_of(model: Any) -> Crf | None:
    """That of a model; None: it has none."""
    found: Crf | None = getattr(model, CRF, None)
    return found


def add_crf(model: Any, hparams: Hyperparameters, labels: Sequence[str], settings_file: str) -> Crf | None:
    """Give a model the transitions that the settings ask for: those of the model that it begins from, else 0.

    They are a part of it that is trained, moved and saved in checkpoints with it.

    Args:
        labels: (K,) of the training.
        settings_file: name of the file in a model directory that has its transitions.
    """
    crf = None
    if hparams.head == CRF:
        crf = Crf(len(labels))
        setattr(model, CRF, crf)
    if hparams.use_pretrained_weights and not hparams.ignore_mismatched_sizes:
        file = Pretrained.of_setting(hparams, "pretrained_model_name_or_path").find_file(settings_file)
        _take_transitions(crf, (file and read_json(file, "the model directory")) or {}, labels)
    if crf is not None and not crf.transitions.any():
        logger.info("head: the transitions of the CRF begin at 0")
    return crf


def without_crf(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Of a model's weights by name those that a token classifier of transformers has; transitions are kept beside."""
    return {name: tensor for name, tensor in weights.items() if not name.startswith(f"{CRF}.")}


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
        ("teacher", hparams.teacher is not None, "its loss is of sequences, not of words", "none"),
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


def check_crf_data(hparams: Hyperparameters, scheme: Scheme) -> None:
    """Check that a CRF can learn from tags of this scheme.

    Raises:
        HyperparameterError: it cannot.
    """
    if hparams.head == CRF and scheme is Scheme.PLAIN:
        raise HyperparameterError(
            "hyperparameters.head",
            "'crf' is for tags of entities, whose scheme says what may follow what, and these tags are plain",
            "write head: linear",
        )
