"""An ONNX file in ONNX Runtime, on the CPU: opened, read, run.

A graph of ours takes ``input_ids`` and ``attention_mask``, (B, L) int64 for any B and L, and gives ``logits``,
(B, L, K) float32 (see `onnx_export`).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from determined_ner.errors import UserError, first_line

INPUTS = ("input_ids", "attention_mask")
OUTPUT = "logits"
EXPORT_AGAIN = "make it again with determined-ner export --onnx"


def open_session(path: Path, threads: int | None = None, remedy: str = EXPORT_AGAIN) -> Any:
    """An ``onnxruntime.InferenceSession`` on the CPU.

    Args:
        threads: as many as there are cores unless given.
        remedy: what to do where it is no such file; of one that was exported just now, not to export it.

    Raises:
        UserError: onnxruntime is not installed, or the file is not a token classification model of ours.
    """
    ort = require("onnxruntime")
    if not path.is_file():
        raise UserError(path, "is not a file", "make it with determined-ner export --onnx")
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of a dozen kinds, one for each way to be broken
        raise UserError(path, f"cannot be opened by onnxruntime: {first_line(error)}", remedy) from error
    inputs, outputs = ({x.name for x in xs} for xs in (session.get_inputs(), session.get_outputs()))
    if inputs != set(INPUTS) or outputs != {OUTPUT}:
        raise UserError(
            path,
            f"takes {', '.join(sorted(inputs))} and gives {', '.join(sorted(outputs))}, where a tagger takes "
            f"{' and '.join(INPUTS)} and gives {OUTPUT}",
            remedy,
        )
    return session


def read_labels(session: Any, path: Path) -> tuple[str, ...]:
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
    width = session.get_outputs()[0].shape[-1]
    if isinstance(width, int) and width != len(names):
        raise UserError(path, f"its label map has {len(names)} labels, its logits are {width}", EXPORT_AGAIN)
    return names


def read_metadata(session: Any) -> dict[str, str]:
    """What the file says of itself: ``id2label``; ``scheme`` and ``max_seq_length`` where known."""
    return dict(session.get_modelmeta().custom_metadata_map)


def run_session(session: Any, input_ids: Any, attention_mask: Any) -> NDArray[np.float32]:
    """(B, L, K) float32 logits of (B, L) int64 arrays or tensors on the CPU."""
    feeds = {"input_ids": np.asarray(input_ids), "attention_mask": np.asarray(attention_mask)}
    logits: NDArray[np.float32] = session.run([OUTPUT], feeds)[0]
    return logits


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
        raise UserError(
            "",
            f"the package {missing} is not installed, which ONNX files need",
            "pip install onnx onnxruntime (the extra [onnx])",
        ) from error


@contextlib.contextmanager
def without_cuda_warning() -> Iterator[None]:
    """Around what may import onnxruntime first, whose CUDA build warns on a machine without CUDA.

    PyTorch imports it, wherever it is installed, together with its compiler.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "WARNING: failed to get cudart_version")
        yield
