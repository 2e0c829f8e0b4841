"""Linear layers by oneDNN: PyTorch's numbers and gradients, on the processors where they are faster, of fp32 alone."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from determined_ner import machine
from determined_ner.model.calls import replaced
from determined_ner.model.cpu import products
from determined_ner.model.cpu.products import fast_products, faster_than_mkl, linear

LINEAR = {functional.linear: linear}
THERE = torch.backends.mkldnn.is_available()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 33), (2, 5, 33), (1, 1, 33), (3, 64, 33)])
def test_values_and_gradients_are_those_of_pytorch(shape, bias, onednn_products):
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(33, 19, bias=bias), torch.randn(shape, requires_grad=True)
    upstream = torch.randn(*shape[:-1], 19)
    expected = layer(x)
    with replaced(LINEAR):
        found = layer(x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    leaves = (x, *layer.parameters())
    for a, b in zip(*(torch.autograd.grad(y, leaves, upstream) for y in (found, expected)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert len(onednn_products) == 3


def test_views_of_other_tensors_are_read_as_what_they_are(onednn_products):
    torch.manual_seed(0)
    tensors = {
        "transposed": (torch.randn(33, 7).t(), torch.randn(33, 19).t(), torch.randn(19)),
        "every other": (torch.randn(7, 66)[:, ::2], torch.randn(38, 33)[::2], torch.randn(38)[::2]),
        "one row for all": (torch.randn(1, 33).expand(7, 33), torch.randn(19, 33), torch.randn(1).expand(19)),
    }
    for name, (x, weight, bias) in tensors.items():
        x, weight, bias = (t.detach().requires_grad_() for t in (x, weight, bias))
        expected = functional.linear(x, weight, bias)
        with replaced(LINEAR):
            found = functional.linear(x, weight, bias=bias)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5, msg=name)
        for upstream in (torch.randn(7, 19), torch.randn(19, 7).t(), torch.ones(()).expand(7, 19)):
            gradients = [
                torch.autograd.grad(y, (x, weight, bias), upstream, retain_graph=True) for y in (found, expected)
            ]
            for a, b in zip(*gradients, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5, msg=name)


def test_what_needs_no_gradient_gets_none(onednn_products):
    layer = torch.nn.Linear(8, 4).requires_grad_(False)
    layer.bias.requires_grad_()
    with replaced(LINEAR):
        layer(torch.randn(3, 8)).sum().backward()
    assert onednn_products == [(3, 8, 4)] and layer.weight.grad is None and layer.bias.grad.tolist() == [3] * 4


def test_of_a_layer_that_is_not_trained_the_input_is_not_kept(onednn_products):
    layer, kept = torch.nn.Linear(8, 4).requires_grad_(False), []
    with replaced(LINEAR), torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t):
        layer(torch.randn(3, 8, requires_grad=True))
        layer.requires_grad_()(torch.randn(3, 8))
    assert kept == [(4, 8), (3, 8)]


def test_products_of_other_kinds_are_left_alone(onednn_products):
    layer, empty = torch.nn.Linear(8, 4), torch.randn(0, 8)
    with replaced(LINEAR):
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(torch.randn(3, 8)).dtype == torch.bfloat16
        assert layer.double()(torch.randn(3, 8, dtype=torch.float64)).dtype == torch.float64
        assert layer.float()(empty).shape == (0, 4)
    assert onednn_products == []


@pytest.mark.parametrize(
    ("maker", "flags", "mkl", "expected"),
    [
        ("AuthenticAMD", {"avx2", "avx512f"}, True, THERE),
        ("AuthenticAMD", {"avx2"}, True, False),
        ("AuthenticAMD", {"avx2", "avx512f"}, False, False),
        ("GenuineIntel", {"avx2", "avx512f"}, True, False),
        ("", set(), True, False),
    ],
)
def test_it_is_for_processors_whose_vectors_mkl_leaves_unused(maker, flags, mkl, expected, monkeypatch):
    monkeypatch.setattr(machine, "maker", lambda: maker)
    monkeypatch.setattr(machine, "flags", lambda: flags)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: mkl)
    assert faster_than_mkl.__wrapped__() is expected
    with torch.autocast("cpu", torch.bfloat16):  # where the first question may come from
        assert faster_than_mkl.__wrapped__() is expected


@pytest.mark.parametrize("kind", [AttributeError, RuntimeError])
def test_a_pytorch_whose_product_is_another_or_none_keeps_its_own(kind, monkeypatch):
    monkeypatch.setattr(machine, "maker", lambda: "AuthenticAMD")
    monkeypatch.setattr(machine, "flags", lambda: {"avx512f"})
    monkeypatch.setattr(products, "_product", lambda x, weight, bias: x @ weight.t())
    assert not faster_than_mkl.__wrapped__()

    def refuse(*_):
        raise kind("no such operator")

    monkeypatch.setattr(products, "_product", refuse)
    assert not faster_than_mkl.__wrapped__()


def test_only_eager_passes_on_a_cpu_use_it(monkeypatch):
    monkeypatch.setattr(products, "faster_than_mkl", lambda: True)
    assert fast_products(torch.device("cpu")) == LINEAR
    assert fast_products(torch.device("cpu"), "compile") == {}
    assert fast_products(torch.device("cuda")) == {}
    monkeypatch.setattr(products, "faster_than_mkl", lambda: False)
    assert fast_products(torch.device("cpu")) == {}
