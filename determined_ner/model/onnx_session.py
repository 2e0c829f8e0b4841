"""An ONNX file in ONNX Runtime, on the CPU or a GPU: opened, read, run.

A graph of ours takes ``input_ids`` and ``attention_mask``, (B, L) int64 for any B and L, and gives ``logits``,
(B, L, K) float32 (see `onnx_export`). Whoever runs it needs NumPy alone, not PyTorch.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from determined_ner.errors import DeviceError, UserError, first_line
from determined_ner.model.cuda_libraries import count_gpus, load_cuda_libraries

logger = logging.getLogger("determined_ner")

INPUTS = ("input_ids", "attention_mask")
OUTPUT = "logits"
EXPORT_AGAIN = "make it again with determined-ner export --onnx"
CPU = "cpu"
CPU_PROVIDER, CUDA_PROVIDER = "CPUExecutionProvider", "CUDAExecutionProvider"
CUDA_OPTIONS = {"use_tf32": "0", "arena_extend_strategy": "kSameAsRequested"}
"""float32 is float32, as in PyTorch; and no more memory than is needed, as PyTorch has its own beside it."""


@dataclass(frozen=True)
class OnnxSession:
    """An ``onnxruntime.InferenceSession`` and where it runs."""

    session: Any
    provider: str
    """Of ONNX Runtime's execution providers, the one that computes."""
    device: str
    """On which it does, as PyTorch spells it: ``cpu``, ``cuda``, ``cuda:1``."""

    def logits(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Run the graph.

        Args:
            input_ids: (B, L), as the mask.

        Returns:
            (B, L, K).
        """
        if not len(input_ids):  # a slot has no rows where others have some, and not every graph takes none
            return np.empty((*input_ids.shape, self._labels), np.float32)
        logits: NDArray[np.float32]
        (logits,) = self.session.run([OUTPUT], {"input_ids": input_ids, "attention_mask": attention_mask})
        return logits

    @property
    def _labels(self) -> int:
        """K, which a graph's shapes need not say."""
        width = self.session.get_outputs()[0].shape[-1]
        return width if isinstance(width, int) else len(json.loads(read_metadata(self)["id2label"]))


def open_session(
    path: Path,
    device: str = CPU,
    asked: bool = False,
    threads: int | None = None,
    remedy: str = EXPORT_AGAIN,
) -> OnnxSession:
    """An ONNX file, opened on a device.

    Args:
        device: where it should run.
        asked: whether the user named the device. Else it runs on the CPU where ONNX Runtime cannot use a GPU.
        threads: on the CPU; as many as there are cores unless given.
        remedy: what to do where it is no such file; of one that was exported just now, not to export it.

    Raises:
        UserError: onnxruntime is not installed or cannot use the device that was asked for, or the file is not a token
            classification model of ours.
    """
    ort = require("onnxruntime")
    if not path.is_file():
        raise UserError(path, "is not a file", "make it with determined-ner export --onnx")
    provider = choose_provider(device, asked, ort.get_available_providers())
    if provider == CUDA_PROVIDER:
        try:
            load_cuda_libraries(Path(ort.__file__).parent, f"device {device}")
        except UserError as error:
            if asked:
                raise
            logger.warning(f"{error.problem}; {path.name} runs on the CPU. For the GPU: {error.remedy}")
            provider = CPU_PROVIDER
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors
    if threads is not None:
        options.intra_op_num_threads = threads
    providers: list[Any] = [CPU_PROVIDER]  # also of what the other has no kernel for
    if provider == CUDA_PROVIDER:
        providers.insert(0, (CUDA_PROVIDER, {"device_id": device.partition(":")[2] or "0", **CUDA_OPTIONS}))
    try:
        with contextlib.redirect_stdout(sys.stderr):  # there it prints that a GPU failed, before it takes the CPU
            session = ort.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # of a dozen kinds, one for each way to be broken
        raise UserError(path, f"cannot be opened by onnxruntime: {first_line(error)}", remedy) from error
    if provider not in session.get_providers():  # ONNX Runtime leaves out what does not start
        problem = f"ONNX Runtime's {provider} does not start here"
        if asked:
            raise UserError(f"device {device}", problem, _NAME_THE_CPU)
        logger.warning(f"{problem}; {path.name} runs on the CPU")
        provider = CPU_PROVIDER
    inputs, outputs = ({x.name for x in xs} for xs in (session.get_inputs(), session.get_outputs()))
    if inputs != set(INPUTS) or outputs != {OUTPUT}:
        raise UserError(
            path,
            f"takes {', '.join(sorted(inputs))} and gives {', '.join(sorted(outputs))}, where a tagger takes "
            f"{' and '.join(INPUTS)} and gives {OUTPUT}",
            remedy,
        )
    return OnnxSession(session, provider, device if provider == CUDA_PROVIDER else CPU)


_NAME_THE_CPU = "name the device cpu, or take PyTorch (backend torch)"


def choose_provider(device: str, asked: bool, available: list[str]) -> str:
    """The execution provider that computes.

    Args:
        device: where it should.
        asked: whether the user named it.
        available: what the installed onnxruntime was built with.

    Raises:
        UserError: it was asked for and is none of ONNX Runtime's here.
    """
    of_cuda = device.partition(":")[0] == "cuda"
    if device == CPU:
        return CPU_PROVIDER
    if of_cuda and CUDA_PROVIDER in available:
        return CUDA_PROVIDER
    if not asked:
        return CPU_PROVIDER
    raise UserError(
        f"device {device}",
        f"the onnxruntime installed here cannot compute on it (it has {', '.join(available)})",
        f"pip uninstall onnxruntime; pip install onnxruntime-gpu, or {_NAME_THE_CPU}" if of_cuda else _NAME_THE_CPU,
    )


def find_device(name: str | None) -> str:
    """A device by its name; None: a GPU where there is one that ONNX Runtime can use.

    Raises:
        UserError: onnxruntime is not installed.
        DeviceError: there is none of this name here.
    """
    if name is None:
        usable = CUDA_PROVIDER in require("onnxruntime").get_available_providers()
        return "cuda" if usable and count_gpus() else CPU
    if name == CPU:
        return CPU
    here = [f"cuda:{i}" for i in range(count_gpus())]
    if name not in here and not (here and name == "cuda"):
        raise DeviceError(name, [CPU, *here])
    return name


def read_labels(session: OnnxSession, path: Path) -> tuple[str, ...]:
    """Names of the labels, in the order of the logits, from the file's metadata.

    Args:
        path: of the file, for messages.

    Raises:
        UserError: there are none, or not as many as logits.
    """
    stored = read_metadata(session).get("id2label")
    if stored is None:
        raise UserError(path, "has no label map (id2label) in its metadata", EXPORT_AGAIN)
    try:
        id2label = {int(i): str(name) for i, name in json.loads(stored).items()}
        names = tuple(id2label[i] for i in range(len(id2label)))
    except (ValueError, AttributeError, KeyError):
        raise UserError(path, f"its label map (id2label) is {stored[:80]!r}, which is none", EXPORT_AGAIN) from None
    width = session.session.get_outputs()[0].shape[-1]
    if isinstance(width, int) and width != len(names):
        raise UserError(path, f"its label map has {len(names)} labels, its logits are {width}", EXPORT_AGAIN)
    return names


def read_metadata(session: OnnxSession) -> dict[str, str]:
    """What the file says of itself: ``id2label``; ``scheme``, ``max_seq_length``, ``precision`` where known."""
    return dict(session.session.get_modelmeta().custom_metadata_map)


def require(module: str) -> Any:
    """Import a module that only ONNX files need.

    Raises:
        UserError: it is not installed.
    """
    try:
        with without_cuda_warning():
            return importlib.import_module(module)
    except ImportError as error:
        missing = (error.name or module).split(".")[0]
        problem = f"the package {missing} is not installed, which ONNX files need"
        extra = "export" if missing == "onnx" else "onnx"
        # (Beside an onnxruntime of another kind, for GPUs or for training, the extras would install a second one.)
        there = missing != "onnxruntime" and importlib.util.find_spec("onnxruntime") is not None
        wanted = missing if there else f"'determined-ner[{extra}]'"
        raise UserError("", problem, f"pip install {wanted}") from error


@contextlib.contextmanager
def without_cuda_warning() -> Iterator[None]:
    """Around what may import onnxruntime first, whose CUDA build warns on a machine without CUDA.

    PyTorch imports it, wherever it is installed, together with its compiler.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "WARNING: failed to get cudart_version")
        yield
