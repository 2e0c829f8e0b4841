"""The loss of a student, against its formula in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from determined_ner.model.distillation import DistillationLoss, describe
from determined_ner.model.loss import WordLoss

LABELS = torch.tensor([[-100, 0, 2, -100, 1, -100], [-100, -100, 1, -100, -100, -100]])
WORDS = torch.tensor([1, 2, 4, 8, 9])
"""Places of the words in (2, 6); the last has no label."""
WEIGHTS = np.array([0.3, 0.3, 0.3, 0.3, 1.0])


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def divergences(logits: np.ndarray, teacher: np.ndarray, temperature: float) -> np.ndarray:
    """(N,) KL of what both say of each word."""
    p, q = softmax(teacher / temperature), softmax(logits / temperature)
    return (p * np.log(p / q)).sum(-1)


@pytest.fixture
def made() -> tuple[torch.Tensor, torch.Tensor]:
    """(2, 6, 3) logits, and (5, 3) log-probabilities of a teacher."""
    generator = torch.Generator().manual_seed(3)
    return 3 * torch.randn(2, 6, 3, generator=generator), (4 * torch.randn(5, 3, generator=generator)).log_softmax(-1)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_the_loss_is_that_of_the_formula(made, temperature):
    logits, teacher = made
    of_words = logits.flatten(0, 1)[WORDS].numpy().astype(np.float64)
    expected_divergence = divergences(of_words, teacher.numpy().astype(np.float64), temperature)
    right = softmax(of_words)[range(4), [0, 2, 1, 1]]
    expected = 0.7 * -np.log(right).sum() + temperature**2 * (WEIGHTS * expected_divergence).sum()
    found = DistillationLoss(WordLoss(), 0.3, temperature)(logits, LABELS, teacher, WORDS)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_class_weights_and_smoothing_are_of_the_labels_and_weights_of_windows_of_both(made):
    logits, teacher = made
    labelled, windows = WordLoss(torch.tensor([2.0, 1.0, 0.5]), 0.1), torch.tensor([1.5, 0.25])
    of_words = logits.flatten(0, 1)[WORDS].numpy()
    rows = np.array([1.5, 1.5, 1.5, 0.25, 0.25])
    expected = 4 * (rows * WEIGHTS * divergences(of_words, teacher.numpy(), 2.0)).sum()
    expected += 0.7 * labelled(logits, LABELS, windows).item()
    found = DistillationLoss(labelled, 0.3, 2.0)(logits, LABELS, teacher, WORDS, windows)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_without_weight_it_is_the_cross_entropy_and_its_gradient(made):
    logits, teacher = made
    gradients = []
    for loss, more in ((WordLoss(), ()), (DistillationLoss(WordLoss(), 0.0, 2.0), (teacher[:4], WORDS[:4]))):
        given = logits.clone().requires_grad_()
        loss(given, LABELS, *more).backward()
        gradients.append(given.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_sum_over_words_however_they_are_cut_into_batches(made, dtype):
    logits, teacher = made[0].to(dtype), made[1].half()
    loss = DistillationLoss(WordLoss(), 0.5, 2.0)
    whole = loss(logits, LABELS, teacher, WORDS)
    parts = [
        loss(logits[:1], LABELS[:1], teacher[:3], WORDS[:3]),
        loss(logits[1:], LABELS[1:], teacher[3:], WORDS[3:] - 6),
    ]
    assert whole.dtype == torch.float32
    torch.testing.assert_close(whole, parts[0] + parts[1])
    nothing = loss(logits[:1].requires_grad_(), torch.full((1, 6), -100), teacher[:0], WORDS[:0])
    nothing.backward()  # every slot takes part in every step
    assert nothing == 0


def test_a_student_that_says_what_its_teacher_says_loses_nothing_to_it(made):
    logits, _ = made
    teacher = logits.flatten(0, 1)[WORDS].log_softmax(-1)
    alone = 0.5 * WordLoss()(logits, LABELS)
    torch.testing.assert_close(DistillationLoss(WordLoss(), 0.5, 3.0)(logits, LABELS, teacher, WORDS), alone)


def test_the_loss_is_told_in_one_line():
    assert describe(WordLoss(), ["O"]) is None
    said = describe(DistillationLoss(WordLoss(smoothing=0.1), 0.25, 2.0), ["O"])
    assert said == (
        "loss: of training, 0.75 × cross entropy with label smoothing 0.1 + 0.25 × the divergence from the teacher "
        "(temperature 2, × 4); of validation and test, plain cross entropy"
    )
    assert "cross entropy + " not in str(describe(DistillationLoss(WordLoss(), 1.0, 1.0), ["O"]))
