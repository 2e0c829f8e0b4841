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
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from determined_ner.model.cpu.attention import AttentionCall, Group, additive, attend

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

    def _attention(self, *arguments: Any, **options: Any) -> torch.Tensor:
        call = AttentionCall.of(*arguments, **options)
        if call is None or not 0 < round(call.dropout_p * LEVELS) < LEVELS:
            return functional.scaled_dot_product_attention(*arguments, **options)
        (windows, heads, queries, _), keys, dtype = call.query.shape, call.key.shape[2], call.query.dtype
        mask = None if call.mask is None else additive(call.mask, dtype)
        factors = self.factors(torch.Size((windows * heads * queries * keys,)), call.dropout_p, dtype)
        # Of the transposed views that models pass, products would copy each operand of each anew.
        query, key, value = (x.reshape(-1, x.shape[-1]) for x in (call.query, call.key, call.value))
        attended = attend(query, key, value, [Group(windows, heads, queries, keys, mask)], factors, call.scale)
        return attended.view(windows, heads, queries, -1)


def fast_dropout(seed: int, device: torch.device, backend: str) -> contextlib.AbstractContextManager[Any]:
    """The context of a training step's forward pass: `FastDropout` where it is faster and nothing traces the model."""
    return FastDropout(seed) if device.type == "cpu" and backend == "eager" else contextlib.nullcontext()
