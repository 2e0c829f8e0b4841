"""Mixed precision: the types in which matrices are multiplied, and what that asks of a batch's length."""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from determined_ner.model.cpu.products import LENGTHS, faster_than_mkl
from determined_ner.settings.hyperparameters import Hyperparameters

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""By ``hyperparameters.precision``; fp32 needs no autocast."""


def make_scaler() -> Any:
    """The loss scaler that keeps small gradients of fp16 from becoming zero."""
    return torch.amp.GradScaler("cuda")


def autocast(
    hparams: Hyperparameters, device: torch.device, cached: bool = True
) -> contextlib.AbstractContextManager[Any]:
    """The context of every forward pass.

    Args:
        cached: whether a weight that is used twice is cast once.
    """
    if hparams.precision in DTYPES:
        return torch.autocast(device.type, DTYPES[hparams.precision], cache_enabled=cached)
    return contextlib.nullcontext()


def length_multiple(hparams: Hyperparameters, device: torch.device) -> int:
    """The number of which the length of a batch should be a multiple.

    GPUs multiply half-precision matrices fastest by eights. On a CPU, where oneDNN multiplies, a quarter of the shapes
    save a tenth of a first epoch and a quarter of the memory.
    """
    if device.type == "cuda":
        half = hparams.precision in DTYPES or (hparams.use_apex_amp and hparams.apex_opt_level != "O0")
        return 8 if half else 1
    return LENGTHS if device.type == "cpu" and (hparams.precision == "bf16" or faster_than_mkl()) else 1
