"""The types of matrix products, and the lengths that suit them."""

from __future__ import annotations

import pytest
import torch

from determined_ner.model import precision
from determined_ner.model.precision import autocast, length_multiple
from determined_ner.settings.hyperparameters import Hyperparameters

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def settings(**hyperparameters) -> Hyperparameters:
    return Hyperparameters(pretrained_model_name_or_path="x", **hyperparameters)


@pytest.mark.parametrize(("kind", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_matrices_are_multiplied_in_the_type_that_is_asked_for(kind, dtype):
    with autocast(settings(precision=kind), CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


@pytest.mark.parametrize(
    ("device", "changes", "multiple"),
    [
        (CPU, {}, 1),
        (CPU, {"precision": "bf16"}, 4),
        (CUDA, {}, 1),
        (CUDA, {"precision": "fp16"}, 8),
        (CUDA, {"precision": "bf16"}, 8),
        (CUDA, {"use_apex_amp": True}, 8),
        (CUDA, {"use_apex_amp": True, "apex_opt_level": "O0"}, 1),
        (CUDA, {"backend": "compile", "precision": "bf16"}, 8),
    ],
)
def test_lengths_suit_the_matrix_units(device, changes, multiple, monkeypatch):
    monkeypatch.setattr(precision, "faster_than_mkl", lambda: False)
    assert length_multiple(settings(**changes), device) == multiple


@pytest.mark.parametrize(
    ("device", "changes", "multiple"), [(CPU, {}, 4), (CPU, {"backend": "compile"}, 4), (CUDA, {}, 1)]
)
def test_where_onednn_multiplies_fp32_too_lengths_are_few(device, changes, multiple, monkeypatch):
    monkeypatch.setattr(precision, "faster_than_mkl", lambda: True)
    assert length_multiple(settings(**changes), device) == multiple
