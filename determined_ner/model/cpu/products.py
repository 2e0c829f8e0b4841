"""Linear layers in fp32 by oneDNN on a CPU where PyTorch's own choice, MKL, computes at half of its speed.

MKL asks who made a processor: on one that is not Intel's it multiplies in vectors of 256 bits, though there be AVX-512.
oneDNN, which PyTorch has too and multiplies bf16 by, asks what the processor can do. The products are of fp32 either
way, and differ by rounding alone.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from determined_ner import machine
from determined_ner.model.calls import Functions
from determined_ner.model.cpu.attention import autocast_dtype

LENGTHS = 4
"""Of what the length of a padded batch should be a multiple: oneDNN makes a kernel for each shape, and keeps it."""


def fast_products(device: torch.device, backend: str = "eager") -> Functions:
    """In the place of what `linear` is called where it is faster and nothing traces the model."""
    return {functional.linear: linear} if device.type == "cpu" and backend == "eager" and faster_than_mkl() else {}


def linear(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """``torch.nn.functional.linear``, by oneDNN where all is fp32 and on a CPU; so are its gradients."""
    given = [input, weight] if bias is None else [input, weight, bias]
    ours = all(x.dtype == torch.float32 and x.device.type == "cpu" for x in given) and weight.dim() == 2
    if not ours or input.numel() == 0 or autocast_dtype():
        return functional.linear(input, weight, bias)
    result: torch.Tensor = _Linear.apply(input.reshape(-1, input.shape[-1]).contiguous(), weight, bias)
    return result.view(*input.shape[:-1], len(weight))


@functools.cache
def faster_than_mkl() -> bool:
    """Whether oneDNN is there, and MKL leaves half of this processor's vectors unused."""
    mkl_looks_away = torch.backends.mkl.is_available() and machine.maker() not in ("", "GenuineIntel")
    if not mkl_looks_away or "avx512f" not in machine.flags() or not torch.backends.mkldnn.is_available():
        return False
    # What torch.compile calls for linear layers on a CPU, and no documented name: asked before it is relied upon.
    x, weight, bias = (torch.arange(n, dtype=torch.float32, device="cpu") / n for n in (12, 20, 5))
    x, weight = x.view(3, 4), weight.view(5, 4)
    with torch.autocast("cpu", enabled=False):  # whoever asks first may be within it
        try:
            return torch.allclose(_product(x, weight, bias), functional.linear(x, weight, bias), atol=1e-5)
        except (AttributeError, RuntimeError):
            return False


class _Linear(torch.autograd.Function):
    """(M, K) times the transpose of (N, K), and (N,) added: (M, N)."""

    @staticmethod
    def forward(ctx: Any, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        of_input, of_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(input if of_weight else None, weight if of_input else None)
        return _product(input, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        input, weight = ctx.saved_tensors
        of_input, of_weight, of_bias = ctx.needs_input_grad
        return (
            _product(gradient, weight.t()) if of_input else None,
            _product(gradient.t(), input.t()) if of_weight else None,
            gradient.sum(0) if of_bias else None,
        )


def _product(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """(M, K) times the transpose of (N, K), and (N,) added, by oneDNN: (M, N)."""
    if bias is not None:
        bias = bias.contiguous()  # it is read as such
    result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")
    return result
