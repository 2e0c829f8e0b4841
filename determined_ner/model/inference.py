"""What computes logits for a tagger, of arrays: an ONNX file here, PyTorch in `torch_model`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from determined_ner.errors import UserError, first_line
from determined_ner.model.onnx_session import CPU, EXPORT_AGAIN, OnnxSession, find_device, open_session, read_metadata


class Model(Protocol):
    """What computes logits. It can be pickled."""

    @property
    def description(self) -> str:
        """What computes, and where, in words."""

    @property
    def max_seq_length(self) -> int | None:
        """Pieces of a window, special ones included, where the directory does not say it; None: nor does the model."""

    def __call__(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """
        Args:
            input_ids: (B, L), as the mask.

        Returns:
            (B, L, K) logits.
        """


def check_logits(logits: NDArray[np.float32], mask: NDArray[np.int64], where: Path) -> NDArray[np.float32]:
    """The logits, if each is a number; of padding, none is looked at.

    Args:
        logits: (B, L, K).
        mask: (B, L), 1 where there is no padding.
        where: the model directory or the file that they come from.

    Raises:
        UserError: one is not: no tag and no score can be made of it.
    """
    if not np.isfinite(logits[mask == 1]).all():
        raise UserError(
            where,
            "gives logits that are not finite (NaN or infinite), so no tags can be told from them",
            "take another model: the training that made this one went wrong",
        )
    return logits


class OnnxModel:
    """An ONNX file in ONNX Runtime. Its pickle holds the path: the file has to be there where it is read.

    Attributes:
        session: the file, opened.
    """

    def __init__(self, path: Path, threads: int | None, device: str | None) -> None:
        """
        Args:
            threads: on the CPU; None: one a core.
            device: None: a GPU where there is one that ONNX Runtime can use; for int8 the CPU, whose format it is.

        Raises:
            UserError: as `open_session`.
            ValueError: no such device.
        """
        self._path, self._threads, self._device = path, threads, device
        self.session: OnnxSession = open_session(path, find_device(device), device is not None, threads)
        if device is None and self.session.device != CPU and read_metadata(self.session).get("precision") == "int8":
            self.session = open_session(path, threads=threads)

    @property
    def description(self) -> str:
        """What computes, and where, in words."""
        return f"ONNX Runtime ({self.session.provider}) on {self.session.device}"

    @property
    def max_seq_length(self) -> int | None:
        """Pieces of a window for which it was exported, special ones included; None: it does not say."""
        stated = read_metadata(self.session).get("max_seq_length", "")
        return int(stated) if stated.isascii() and stated.isdecimal() and len(stated) < 8 else None

    def __call__(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        try:
            logits = self.session.logits(input_ids, attention_mask)
        except Exception as error:  # of ONNX Runtime, of one kind for each thing that can be wrong with a graph
            problem = f"fails at {len(input_ids)} × {input_ids.shape[1]} pieces: {first_line(error)}"
            raise UserError(self._path, problem, EXPORT_AGAIN) from error
        return check_logits(logits, attention_mask, self._path)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self._path.absolute(), "threads": self._threads, "device": self._device}

    def __setstate__(self, state: dict[str, Any]) -> None:
        OnnxModel.__init__(self, **state)
