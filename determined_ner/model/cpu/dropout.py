"""Dropout at the speed of memory on a CPU, where PyTorch's own takes a tenth to a fifth of a training step.

PyTorch draws for each element from a serial Mersenne twister (``bernoulli_``, about 6 ns an element). Here one 64-bit
draw of NumPy's SFC64 decides about four elements, 16 bits each, and comparing and scaling are vectorized (1 ns in all).

What differs from ``torch.nn.functional.dropout``: the stream of random numbers, and the probability, which is the
nearest multiple of 1/65536 (0.1 becomes 0.100006); what is kept is scaled by 1 / (1 - that), so that the expectation
is exact in fp32. In bf16 the scale is rounded to bf16, as PyTorch's own is.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from determined_ner.model.calls import Functions
from determined_ner.model.cpu.attention import AsTheyAre, AttentionCall, Group, additive, attend

LEVELS = 1 << 16
"""Dropout probabilities are multiples of 1 / LEVELS."""


class FastDropout:
    """Dropout, and that of scaled dot-product attention, by a generator of its own.

    For CPU tensors in eager mode; elsewhere PyTorch fuses dropout itself.
    """

    def __init__(self, seed: int) -> None:
        self._bits = np.random.SFC64(seed)

    @property
    def functions(self) -> Functions:
        """What is called in the place of PyTorch's."""
        return {functional.dropout: self._dropout, functional.scaled_dot_product_attention: self._attention}

    def repeated(self) -> FastDropout:
        """Another that draws what this one is about to draw."""
        other = FastDropout(0)
        other._bits.state = self._bits.state
        return other

    def factors(self, shape: tuple[int, ...], p: float, dtype: torch.dtype) -> torch.Tensor:
        """Independent factors, 0 with probability p, else 1 / (1 - p), with p rounded to a multiple of 1/65536.

        Returns:
            (shape) of ``dtype``.
        """
        dropped = round(p * LEVELS)
        count = math.prod(shape)
        draws = self._bits.random_raw(-(-count // 4)).view(np.int16)[:count]  # uniform on -32768 … 32767
        kept = torch.from_numpy(draws).view(shape).ge_(dropped - LEVELS // 2)  # 0 or 1
        scale = LEVELS / (LEVELS - dropped)
        if dtype == torch.bfloat16:  # its bits are as many: nothing is converted
            return kept.mul_(int(torch.tensor(scale, dtype=dtype).view(torch.int16))).view(dtype)
        return kept.to(dtype).mul_(scale)

    def draws(self, p: float) -> bool:
        """Whether a probability is neither, to the nearest multiple of 1/65536, none nor all."""
        return 0 < round(p * LEVELS) < LEVELS

    def _dropout(self, input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
        if not training or inplace or not self.draws(p):
            return functional.dropout(input, p, training, inplace)
        return input * self.factors(input.shape, p, input.dtype)

    def _attention(self, *arguments: Any, **options: Any) -> torch.Tensor:
        call = AttentionCall.of(*arguments, **options)
        if call is None or not self.draws(call.dropout_p):
            return functional.scaled_dot_product_attention(*arguments, **options)
        (windows, heads, queries, _), keys, dtype = call.query.shape, call.key.shape[2], call.query.dtype
        mask = None if call.mask is None else additive(call.mask, dtype)
        group = Group(windows, heads, queries, keys, mask)
        return attend(call, [group], self.factors((group.scores,), call.dropout_p, dtype), AsTheyAre())


def fast_dropout(seed: int, device: torch.device, backend: str) -> FastDropout | None:
    """The dropout of a training step's forward pass where it is faster and nothing traces the model."""
    return FastDropout(seed) if device.type == "cpu" and backend == "eager" else None
