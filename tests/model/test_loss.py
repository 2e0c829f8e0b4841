"""The loss is a sum, in float32, whatever type the logits have."""

import pytest
import torch

from determined_ner.model.loss import word_loss


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loss_is_the_sum_over_labelled_pieces(dtype):
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 3).to(dtype)
    labels = torch.tensor([[0, 2, -100, 1, -100], [-100, 1, 1, 0, -100]])
    likelihood = logits.double().log_softmax(-1)
    expected = -sum(likelihood[b, i, labels[b, i]] for b in range(2) for i in range(5) if labels[b, i] >= 0)
    torch.testing.assert_close(word_loss(logits, labels).double(), expected)
    assert word_loss(logits, torch.full_like(labels, -100)) == 0
