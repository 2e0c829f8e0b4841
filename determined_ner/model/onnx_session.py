"""TODO."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from determined_ner.errors import UserError, first_line

INPUTS = ("input_ids", "attention_mask")


OUTPUT = "logits"


def open_session(path: Path, threads: int | None = None) -> Any:
    """An ``onnxruntime.InferenceSession`` on the CPU.

    Args:
        threads: as many as there are cores unless given.

    Raises:
        UserError: onnxruntime is not installed, or the file is not a token classification model of ours.
    """
    ort = needed("onnxruntime")
    if not path.is_file():
        raise UserError(f"{path}: is not a file; make it with ner_export.py --onnx")
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of a dozen kinds, one for each way to be broken
        raise UserError(
            f"{path}: cannot be opened by onnxruntime: {first_line(error)[:200]}; make it again with ner_export.py"
        ) from error
    inputs, outputs = ({x.name for x in xs} for xs in (session.get_inputs(), session.get_outputs()))
    if inputs != set(INPUTS) or outputs != {OUTPUT}:
        raise UserError(
            f"{path}: takes {', '.join(sorted(inputs))} and gives {', '.join(sorted(outputs))}; a tagger takes "
            f"{' and '.join(INPUTS)} and gives {OUTPUT}: make it with ner_export.py --onnx"
        )
    return session


def read_labels(session: Any, path: Path) -> tuple[str, ...]:
    """Names of the labels, in the order of the logits, from the file's metadata.

    Raises:
        UserError: there are none, or not as many as logits.
    """
    stored = read_metadata(session).get("id2label")
    remedy = "make it again with ner_export.py --onnx, which writes them"
    if stored is None:
        raise UserError(f"{path}: has no label map (id2label) in its metadata; {remedy}")
    try:
        id2label = {int(i): str(name) for i, name in json.loads(stored).items()}
        names = tuple(id2label[i] for i in range(len(id2label)))
    except (ValueError, AttributeError, KeyError):
        raise UserError(f"{path}: its label map (id2label) is {stored[:80]!r}, which is none; {remedy}") from None
    width = session.get_outputs()[0].shape[-1]
    if isinstance(width, int) and width != len(names):
        raise UserError(f"{path}: its label map has {len(names)} labels, its logits are {width}; {remedy}")
    return names


def read_metadata(session: Any) -> dict[str, str]:
    """What the file says of itself: ``id2label``; ``scheme`` and ``max_seq_length`` where known."""
    return dict(session.get_modelmeta().custom_metadata_map)


def run_session(session: Any, input_ids: Any, attention_mask: Any) -> NDArray[np.float32]:
    """(B, L, K) float32 logits of (B, L) int64 arrays or tensors on the CPU."""
    feeds = {"input_ids": np.asarray(input_ids), "attention_mask": np.asarray(attention_mask)}
    logits: NDArray[np.float32] = session.run([OUTPUT], feeds)[0]
    return logits


def needed(module: str) -> Any:
    """Import what only ONNX files need.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = (error.name or module).split(".")[0]
        raise UserError(
            f"the package {missing} is not installed, which ONNX files need; "
            f"install it: python3 -m pip install {missing}"
        ) from error
