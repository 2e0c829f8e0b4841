"""One message where a GPU has not enough memory for what is asked of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from determined_ner.errors import UserError, first_line

OF_A_TRAINING = (
    "hyperparameters.global_batch_size",
    "raise optimizations.aggregation_frequency, which computes a batch in so many parts, or lower data.max_seq_length",
)
"""Place and remedy where a training lacks memory."""


class DeviceMemoryError(UserError):
    """A GPU has not enough memory; a search goes on with its other points."""


@contextlib.contextmanager
def enough_memory(where: object, remedy: str) -> Iterator[None]:
    """
    Raises:
        DeviceMemoryError: in place of what PyTorch raises where a GPU has not enough memory.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise DeviceMemoryError(where, f"the GPU has not enough memory: {first_line(error)}", remedy) from error
