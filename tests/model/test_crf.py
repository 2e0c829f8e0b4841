"""The CRF's loss and gradient are those of all sequences, one by one; what it excludes is refused by name."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from determined_ner.errors import HyperparameterError
from determined_ner.model.crf import Crf, check_crf

IGNORED = -100


def made(labels: int = 3, seed: int = 0) -> Crf:
    torch.manual_seed(seed)
    crf = Crf(labels).double()
    torch.nn.init.normal_(crf.transitions)
    return crf


def by_hand(crf: Crf, scores: torch.Tensor, tags: list[int]) -> torch.Tensor:
    """Of one sequence, in float64 as all else here."""

    def score(sequence: Any) -> torch.Tensor:
        words = sum(scores[i, tag] for i, tag in enumerate(sequence))
        return words + sum(crf.transitions[a, b] for a, b in itertools.pairwise(sequence))

    every = [score(sequence) for sequence in itertools.product(range(scores.shape[1]), repeat=len(tags))]
    return torch.stack(every).logsumexp(0) - score(tags)


@pytest.mark.parametrize("seed", range(5))
def test_loss_and_gradient_are_those_of_all_sequences(seed, monkeypatch):
    """Of windows of four, one and no words, whose other pieces, owned by other windows, count for nothing."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)  # so that both are compared to the last digits
    crf = made(seed=seed)
    logits = torch.randn(3, 7, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.full((3, 7), IGNORED)
    places, tags = [0, 2, 3, 6], torch.randint(3, (4,)).tolist()
    labels[0, places] = torch.tensor(tags)
    labels[1, 5] = 2
    expected = by_hand(crf, logits[0, places], tags) + by_hand(crf, logits[1, [5]], [2])
    found = crf(logits, labels)
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(
        torch.autograd.grad(found, [logits, crf.transitions]),
        torch.autograd.grad(expected, [logits, crf.transitions]),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_without_transitions_it_is_the_cross_entropy():
    logits, labels = torch.randn(2, 5, 3), torch.tensor([[0, 2, IGNORED, 1, IGNORED], [IGNORED, 1, 1, 0, IGNORED]])
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
    torch.testing.assert_close(Crf(3)(logits, labels), expected)


def test_a_batch_without_words_has_a_gradient_of_zero():
    """Every slot takes part in every step."""
    crf, logits = Crf(3), torch.randn(1, 4, 3, requires_grad=True)
    crf(logits, torch.full((1, 4), IGNORED)).backward()
    assert crf.transitions.grad is not None and not crf.transitions.grad.any()
    assert logits.grad is not None and not logits.grad.any()


def test_great_scores_of_half_precision_stay_finite():
    crf = made().float()
    loss = crf((1e4 * torch.randn(2, 30, 3)).half(), torch.randint(3, (2, 30)))
    assert loss.dtype == torch.float32 and loss.isfinite()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("backend", "ort"),
        ("use_apex_amp", True),
        ("class_weights", "balanced"),
        ("label_smoothing", 0.1),
        ("teacher", ["runs/big"]),
        ("label_all_tokens", True),
        ("folds", 3),
        ("context", "document"),
    ],
)
def test_what_a_crf_excludes_is_refused_by_name(setting, value):
    given = {
        "head": "crf",
        "backend": "eager",
        "use_apex_amp": False,
        "class_weights": None,
        "label_smoothing": 0.0,
        "teacher": None,
        "label_all_tokens": False,
        "folds": None,
        "context": "sentence",
    }
    fine: Any = SimpleNamespace(**given)
    check_crf(fine, fine)
    wrong: Any = SimpleNamespace(**{**given, setting: value})
    with pytest.raises(HyperparameterError, match=rf"'crf' excludes (data\.)?{setting}"):
        check_crf(wrong, wrong)
    linear: Any = SimpleNamespace(**{**given, setting: value, "head": "linear"})
    check_crf(linear, linear)
