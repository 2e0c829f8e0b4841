"""The loss is a sum, in float32, whatever type the logits have; weights and smoothing by hand."""

import math

import numpy as np
import pytest
import torch
from transformers.trainer_pt_utils import LabelSmoother

from determined_ner.errors import HyperparameterError
from determined_ner.model.loss import WordLoss, describe_loss, weights_of_labels
from determined_ner.tags.schemes import Scheme

NAMES = ("B-LOC", "B-PER", "I-PER", "O")
COUNTS = np.array([2, 4, 2, 12])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loss_is_the_sum_over_labelled_pieces(dtype):
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 3).to(dtype)
    labels = torch.tensor([[0, 2, -100, 1, -100], [-100, 1, 1, 0, -100]])
    likelihood = logits.double().log_softmax(-1)
    expected = -sum(likelihood[b, i, labels[b, i]] for b in range(2) for i in range(5) if labels[b, i] >= 0)
    torch.testing.assert_close(WordLoss()(logits, labels).double(), expected)
    for loss in (WordLoss(), WordLoss(torch.ones(3)), WordLoss(torch.ones(3), 0.1)):
        assert loss(logits, torch.full_like(labels, -100)) == 0


def test_weights_and_smoothing_by_hand():
    """Two words of two labels, with probabilities 1/4 and 3/4 of the right one."""
    logits = torch.tensor([[[0.0, math.log(3)], [5.0, -2.0], [0.0, math.log(3)]]])
    labels = torch.tensor([[0, -100, 1]])
    right, wrong = math.log(4 / 3), math.log(4)
    weights = torch.tensor([1.5, 0.5])
    assert WordLoss(weights)(logits, labels).item() == pytest.approx(1.5 * wrong + 0.5 * right)
    smoothed = [0.9 * wrong + 0.05 * (wrong + right), 0.9 * right + 0.05 * (wrong + right)]
    assert WordLoss(smoothing=0.1)(logits, labels).item() == pytest.approx(sum(smoothed))
    both = 1.5 * smoothed[0] + 0.5 * smoothed[1]
    assert WordLoss(weights, 0.1)(logits, labels).item() == pytest.approx(both)


def test_smoothing_is_that_of_transformers():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 5, 3), torch.tensor([[0, 2, -100, 1, -100], [-100, 1, 1, 0, -100]])
    mean = LabelSmoother(epsilon=0.2)({"logits": logits}, labels)
    torch.testing.assert_close(WordLoss(smoothing=0.2)(logits, labels), mean * 6)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("balanced", [2.5, 1.25, 2.5, 5 / 12]),  # 20 words of 4 labels: 5 for each
        ({"PER": 3.0}, np.array([1, 3, 3, 1]) * 20 / 32),
        ({"PER": 3.0, "B-PER": 1.0, "O": 0.5}, np.array([1, 1, 3, 0.5]) * 20 / 18),
        ({}, [1, 1, 1, 1]),
    ],
)
def test_class_weights_by_hand_are_of_mean_1_over_the_training_words(asked, expected):
    found = weights_of_labels(asked, NAMES, Scheme.IOB2, COUNTS)
    np.testing.assert_allclose(found, expected)
    assert (found * COUNTS).sum() == pytest.approx(COUNTS.sum())


def test_balanced_weights_pass_over_labels_without_words():
    found = weights_of_labels("balanced", NAMES, Scheme.IOB2, np.array([0, 4, 4, 12]))
    np.testing.assert_allclose(found, [1, 20 / 12, 20 / 12, 20 / 36])


def test_plain_labels_have_no_types():
    np.testing.assert_allclose(
        weights_of_labels({"I-X": 3.0}, ("I-X", "X"), Scheme.PLAIN, np.array([1, 1])), [1.5, 0.5]
    )
    with pytest.raises(HyperparameterError, match="'DET' is no label or type of the training data"):
        weights_of_labels({"DET": 3.0}, ("I-X", "X"), Scheme.PLAIN, np.array([1, 1]))


def test_what_is_trained_on_is_said_where_it_is_not_the_cross_entropy():
    assert describe_loss(WordLoss(), NAMES) is None
    said = describe_loss(WordLoss(torch.tensor([2.0, 1.0, 1.0, 0.5]), 0.1), NAMES)
    assert said is not None and "class weights B-LOC 2, B-PER 1, I-PER 1, O 0.5 and label smoothing 0.1" in said
    assert said.endswith("of validation and test, plain cross entropy")
