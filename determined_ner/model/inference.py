"""What computes logits for a tagger: a model of PyTorch or an ONNX file, as objects that can be pickled."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from determined_ner.errors import UserError
from determined_ner.model.onnx_session import CPU, OnnxSession, open_session, read_metadata


class Model(Protocol):
    """What computes logits."""

    @property
    def description(self) -> str:
        """What computes, and where, in words."""

    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> NDArray[np.float32]:
        """
        Args:
            input_ids: (B, L) int64, as the mask; on the CPU.

        Returns:
            (B, L, K) logits.
        """


def find_device(name: str | None) -> torch.device:
    """A device by its name; None: a GPU where there is one.

    Raises:
        ValueError: there is none of this name here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # an AssertionError: torch without CUDA
        here = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise ValueError(f"device {name!r} is not here; there is {', '.join(here)}") from error
    return device


def check_logits(logits: NDArray[np.float32], mask: torch.Tensor, where: Path) -> NDArray[np.float32]:
    """The logits, if each is a number; of padding, none is looked at.

    Args:
        logits: (B, L, K).
        mask: (B, L), 1 where there is no padding.
        where: the model directory or the file that they come from.

    Raises:
        UserError: one is not: no tag and no score can be made of it.
    """
    if not np.isfinite(logits[mask.numpy() == 1]).all():
        raise UserError(
            where,
            "gives logits that are not finite (NaN or infinite), so no tags can be told from them",
            "take another model: the training that made this one went wrong",
        )
    return logits


class TorchModel:
    """A model of PyTorch. Its pickle holds the weights; where it is read, it runs on a device of that machine."""

    def __init__(self, module: Any, path: Path, device: torch.device, asked: bool) -> None:
        """
        Args:
            module: of transformers, in evaluation mode.
            path: its directory, for messages.
            asked: whether the user named the device; else a pickle runs on what there is where it is read.
        """
        self._module, self._path, self._device, self._asked = module.to(device), path, device, asked

    @property
    def description(self) -> str:
        """What computes, and where, in words."""
        return f"PyTorch on {self._device}"

    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> NDArray[np.float32]:
        device = self._device
        with torch.inference_mode():
            logits = self._module(input_ids=input_ids.to(device), attention_mask=attention_mask.to(device)).logits
        array: NDArray[np.float32] = logits.float().cpu().numpy()
        return check_logits(array, attention_mask, self._path)

    def __getstate__(self) -> dict[str, Any]:
        module = self._module if self._device.type == "cpu" else copy.deepcopy(self._module).cpu()
        return {"module": module, "path": self._path, "device": str(self._device) if self._asked else None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        device = state["device"]
        TorchModel.__init__(self, state["module"], state["path"], find_device(device), device is not None)


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

    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = self.session.logits(input_ids, attention_mask).cpu().numpy()
        return check_logits(logits, attention_mask, self._path)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self._path.absolute(), "threads": self._threads, "device": self._device}

    def __setstate__(self, state: dict[str, Any]) -> None:
        OnnxModel.__init__(self, **state)
