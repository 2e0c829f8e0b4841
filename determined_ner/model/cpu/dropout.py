"""Dropout at the speed of memory on a CPU, where PyTorch's own takes a tenth to a fifth of a training step.

PyTorch draws for each element from a serial Mersenne twister (``bernoulli_``, about 6 ns an element). Here one 64-bit
draw of NumPy's SFC64 decides about four elements, 16 bits each, and comparing and scaling are vectorized (1 ns in all).

What differs from ``torch.nn.functional.dropout``: the stream of random numbers, and the probability, which is the
nearest multiple of 1/65536 (0.1 becomes 0.100006); what is kept is scaled by 1 / (1 - that), so that the expectation
is exact in fp32. In bf16 the scale is rounded to bf16, as PyTorch's own is.

Only the forward pass runs inside; nothing in the model is replaced, so weights and checkpoints are as they were.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode

LEVELS = 1 << 16
"""Dropout probabilities are multiples of 1 / LEVELS."""


class FastDropout(TorchFunctionMode):
    """A context in which dropout, and that of scaled dot-product attention, draw from a generator of their own.

    Every call of ``torch.nn.functional`` passes through here, whatever module makes it; what is no dropout goes on
    unchanged. For CPU tensors in eager mode; elsewhere PyTorch fuses dropout itself.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._bits = np.random.SFC64(seed)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.dropout:
            return self._dropout(*args, **kwargs)
        if func is functional.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        return func(*args, **kwargs)

    def repeated(self) -> FastDropout:
        """A context that draws what this one is about to draw."""
        other = FastDropout(0)
        other._bits.state = self._bits.state
        return other

    def factors(self, shape: torch.Size, p: float, dtype: torch.dtype) -> torch.Tensor:
        """Independent factors, 0 with probability p, else 1 / (1 - p), with p rounded to a multiple of 1/65536.

        Returns:
            (shape) of ``dtype``.
        """
        dropped = round(p * LEVELS)
        count = shape.numel()
        draws = self._bits.random_raw(-(-count // 4)).view(np.int16)[:count]  # uniform on -32768 … 32767
        kept = torch.from_numpy(draws).view(shape).ge_(dropped - LEVELS // 2)  # 0 or 1
        return kept.to(dtype).mul_(LEVELS / (LEVELS - dropped))

    def _dropout(self, input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
        if not training or inplace or not 0 < round(p * LEVELS) < LEVELS:
            return functional.dropout(input, p, training, inplace)
        return input * self.factors(input.shape, p, input.dtype)

    def _attention(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        **options: Any,
    ) -> Any:
        ours = 0 < round(dropout_p * LEVELS) < LEVELS and query.dim() == 4 and query.shape[:2] == key.shape[:2]
        if not ours or is_causal or options.get("enable_gqa") or (attn_mask is not None and attn_mask.requires_grad):
            return functional.scaled_dot_product_attention(
                query, key, value, attn_mask, dropout_p, is_causal, scale=scale, **options
            )
        if dtype := _autocast_dtype():  # as autocast does for PyTorch's own
            query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
        factors = self.factors(torch.Size((*query.shape[:3], key.shape[2])), dropout_p, query.dtype)
        if scale is None:
            scale = query.shape[-1] ** -0.5
        return _Attention.apply(query, key, value, attn_mask, factors, scale)


def fast_dropout(seed: int, device: torch.device, backend: str) -> contextlib.AbstractContextManager[Any]:
    """The context of a training step's forward pass: `FastDropout` where it is faster and nothing traces the model."""
    return FastDropout(seed) if device.type == "cpu" and backend == "eager" else contextlib.nullcontext()


def _autocast_dtype() -> torch.dtype | None:
    """The type in which autocast multiplies matrices on a CPU; None: it is off."""
    if hasattr(torch, "get_autocast_dtype"):  # torch 2.4
        return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
    return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None


class _Attention(torch.autograd.Function):
    """dropout(softmax(scale · Q Kᵀ + mask)) V, and its gradient, in matrix products of the inputs' type.

    PyTorch's own, with dropout on a CPU, is composed of single operations, and computes bf16 inputs in fp32.
    Shapes: query (B, H, L, D), key and value (B, H, S, D), mask broadcast to (B, H, L, S), factors (B, H, L, S).
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        factors: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        # Of the transposed views that models pass, matmul would copy each operand of each product anew.
        query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
        with torch.autocast("cpu", enabled=False):
            scores = (query * scale) @ key.transpose(-1, -2)  # (B, H, L, S)
            if mask is not None:
                if mask.dtype == torch.bool:
                    mask = torch.zeros(mask.shape, dtype=scores.dtype).masked_fill_(~mask, -torch.inf)
                scores += mask.to(scores.dtype)
            precise = torch.promote_types(scores.dtype, torch.float32)  # bf16 takes four times as long
            weights = torch.softmax(scores, -1, dtype=precise)
            ctx.save_for_backward(query, key, value, weights, factors)
            ctx.scale = scale
            return (weights.to(value.dtype) * factors) @ value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        query, key, value, weights, factors = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_value = (weights.to(value.dtype) * factors).transpose(-1, -2) @ gradient
        of_weights = (gradient @ value.transpose(-1, -2)).mul_(factors).to(weights.dtype)
        of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype).to(value.dtype)
        of_query = (of_scores @ key).mul_(ctx.scale)
        of_key = (of_scores.transpose(-1, -2) @ query).mul_(ctx.scale)
        return of_query, of_key, of_value, None, None, None
