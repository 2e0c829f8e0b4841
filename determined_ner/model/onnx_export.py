"""A model as an ONNX file: exported, fused, cast to float16, quantized to int8.

The graph takes ``input_ids`` and ``attention_mask``, (B, L) int64 for any B and L, and gives ``logits``, (B, L, K)
float32. The label map is in the file's metadata, so that the file is a tagger without its config.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import inspect
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from determined_ner.errors import UserError, first_line, why_unwritable, write_errors_explained
from determined_ner.files.workplace import workplace
from determined_ner.model.crf import without_crf
from determined_ner.model.onnx_session import INPUTS, OUTPUT, require
from determined_ner.model.ort import without_its_operators

OPSET = 17
"""The newest that torch 2.3's exporter and torch 2.13's both write."""
FLOAT = 1
"""``TensorProto.FLOAT``: float32."""
PROTOBUF_LIMIT = 2**31 - 2**20
"""Bytes; weights beyond it go to a file beside the graph, with ``.data`` added to its name."""

FUSIBLE = {
    "albert": "bert",
    "bert": "bert",
    "camembert": "bert",
    "deberta-v2": "bert",
    "distilbert": "bert",
    "electra": "bert",
    "ernie": "bert",
    "mpnet": "bert",
    "roberta": "bert",
    "xlm-roberta": "bert",
}
"""Architecture (``config.model_type``) → what onnxruntime's transformer optimizer calls its kind."""


def export_onnx(
    model: Any,
    path: Path,
    label_names: Sequence[str],
    scheme: str | None = None,
    max_seq_length: int | None = None,
    file_limit: int = PROTOBUF_LIMIT,
    transitions: NDArray[np.float32] | None = None,
) -> None:
    """Write a token classification model of transformers as an ONNX file.

    The model may be in training, on any device: a twin on the CPU is traced, and neither the model nor any random
    generator is touched. The twin computes attention step by step, as this is what fuses into one operator. torch's
    exporter by tracing is used: the newer one needs another package, takes twice as long, and writes attention in a
    form that does not fuse.

    Args:
        path: of the file; if there is one, it is replaced when the new one is complete.
        label_names: in the order of the logits.
        scheme: of the tags that the labels stand for, for the metadata.
        max_seq_length: pieces of a window, special ones included, for the metadata.
        file_limit: bytes beyond which weights go to a file beside the graph.
        transitions: (K, K) of a CRF, for the metadata: whoever decodes the logits needs them.

    Raises:
        UserError: onnx is not installed, the architecture cannot be exported, or the file cannot be written.
    """
    onnx = require("onnx")
    ids = torch.arange(16).reshape(2, 8) % getattr(model.config, "vocab_size", 16)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    dynamic = {name: {0: "batch", 1: "length"} for name in (*INPUTS, OUTPUT)}
    options: dict[str, Any] = {"input_names": list(INPUTS), "output_names": [OUTPUT], "dynamic_axes": dynamic}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:  # absent before torch 2.5, the default since 2.9
        options["dynamo"] = False
    metadata = {"id2label": json.dumps(dict(enumerate(label_names)), ensure_ascii=False)}
    metadata |= {"scheme": scheme} if scheme is not None else {}
    metadata |= {"max_seq_length": str(max_seq_length)} if max_seq_length is not None else {}
    metadata |= {"transitions": json.dumps(transitions.tolist())} if transitions is not None else {}
    with _replacing(path) as file:
        try:
            with _without_messages(), without_its_operators():
                torch.onnx.export(_Logits(model).eval(), (ids, mask), str(file), opset_version=OPSET, **options)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # of dozens of kinds
            if why_unwritable(error) is not None:
                raise
            raise UserError(
                "",
                f"a model of type {model.config.model_type!r} cannot be written as ONNX: {first_line(error)}",
                "leave out what asks for ONNX (--onnx, --fp16, --quantize, evaluate_with_ort)",
            ) from error
        graph = onnx.load(str(file))
        onnx.helper.set_model_props(graph, metadata)
        _save(graph, file, file_limit)


class _Logits(torch.nn.Module):
    """A twin of a model, with the inputs and the output of the graph."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = _twin(model)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


def _twin(model: Any) -> Any:
    """The same weights on the CPU in float32 and evaluation mode, with attention that fuses."""
    config = copy.deepcopy(model.config)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        twin = type(model)._from_config(config, attn_implementation="eager").float()
    twin.load_state_dict(without_crf(model.state_dict()))
    return twin.eval()


def fuse(source: Path, target: Path, config: Any, file_limit: int = PROTOBUF_LIMIT) -> dict[str, int]:
    """Fuse attention, GELU and layer norms by onnxruntime's transformer optimizer; the metadata stays.

    Args:
        config: of the model, with its architecture and its number of heads.
        file_limit: as in `export_onnx`.

    Returns:
        how many of each fused operator there are; empty where the optimizer does not know the architecture: then
        ``target`` is a copy.

    Raises:
        UserError: onnxruntime is not installed, or the file cannot be written.
    """
    onnx = require("onnx")
    kind = FUSIBLE.get(getattr(config, "model_type", ""))
    graph = onnx.load(str(source))
    fused: dict[str, int] = {}
    with _replacing(target) as file:
        if kind is not None:
            metadata = {entry.key: entry.value for entry in graph.metadata_props}
            optimizer = require("onnxruntime.transformers.optimizer")
            _save(graph, file, file_limit)  # the optimizer runs onnxruntime on a file
            with _without_messages():
                optimized = optimizer.optimize_model(
                    str(file),
                    kind,
                    num_heads=getattr(config, "num_attention_heads", 0) or 0,
                    hidden_size=getattr(config, "hidden_size", 0) or 0,
                    opt_level=1,  # no higher: beyond, what onnxruntime writes is for this processor alone
                    use_gpu=False,
                )
            graph = optimized.model
            fused = {name: count for name, count in optimized.get_fused_operator_statistics().items() if count}
            onnx.helper.set_model_props(graph, metadata)
        _save(graph, file, file_limit)
    return fused


def halve_onnx(source: Path, target: Path, file_limit: int = PROTOBUF_LIMIT) -> None:
    """Weights and arithmetic in float16, for GPUs; inputs and logits stay as they are.

    Args:
        file_limit: as in `export_onnx`.

    Raises:
        UserError: onnxruntime is not installed, or the file cannot be written.
    """
    onnx = require("onnx")
    convert = require("onnxruntime.transformers.float16").convert_float_to_float16
    graph = onnx.load(str(source))
    _leave_out_means(graph)
    # (Shapes cannot be inferred of a graph that one file cannot hold.)
    with _without_messages():
        halved = convert(graph, keep_io_types=True, disable_shape_infer=graph.ByteSize() > file_limit)
    metadata = {entry.key: entry.value for entry in graph.metadata_props}
    onnx.helper.set_model_props(halved, {**metadata, "precision": "float16"})
    with _replacing(target) as file:
        _save(halved, file, file_limit)


def _leave_out_means(graph: Any) -> None:
    """Leave out the means and deviations of layer norms that nobody reads, whose float32 the cast would not know.

    Where ORTModule has been imported, torch's exporter names them in every graph.
    """
    read = {name for node in graph.graph.node for name in node.input} | {output.name for output in graph.graph.output}
    for node in graph.graph.node:
        if node.op_type == "LayerNormalization":
            while len(node.output) > 1 and node.output[-1] not in read:
                del node.output[-1]


def copy_onnx(source: Path, target: Path, file_limit: int = PROTOBUF_LIMIT) -> None:
    """Write a graph by another name, which its file of weights goes by too.

    Raises:
        UserError: the file cannot be written.
    """
    with _replacing(target) as file:
        _save(require("onnx").load(str(source)), file, file_limit)


QUANTIZED = ("MatMul", "Gemm", "Attention", "Gather", "EmbedLayerNormalization")
"""Operators whose weights int8 rounds: products and, in the last two, vectors of words."""


def quantizable_layers(source: Path) -> list[str]:
    """Names of the nodes of a graph whose weights int8 rounds, from the input to the logits."""
    graph = require("onnx").load(str(source), load_external_data=False).graph
    weights = {weight.name for weight in graph.initializer if weight.data_type == FLOAT}
    return [node.name for node in graph.node if node.op_type in QUANTIZED and weights & set(node.input[:5])]


def quantize_onnx(
    source: Path,
    target: Path,
    layers: Sequence[str] | None = None,
    reduced: bool = False,
    file_limit: int = PROTOBUF_LIMIT,
) -> None:
    """Weights in 8 bits, per output channel; activations too, by their range in each batch.

    Args:
        layers: those to round, of `quantizable_layers`; None: all.
        reduced: 7 bits for weights. A processor without VNNI adds pairs of products in 16 bits, which those of 8 bits
            overflow.
        file_limit: as in `export_onnx`.

    Raises:
        UserError: onnxruntime is not installed, or the file cannot be written.
    """
    quantization = require("onnxruntime.quantization")
    onnx = require("onnx")
    layers = quantizable_layers(source) if layers is None else layers
    assert layers  # of none, onnxruntime rounds all
    metadata = {entry.key: entry.value for entry in onnx.load(str(source), load_external_data=False).metadata_props}
    with _replacing(target) as file:
        with _without_messages(), _as_user_error("int8"):
            # (It writes a Gemm as a MatMul of this other name.)
            quantization.quantize_dynamic(
                str(source),
                str(file),
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                reduce_range=reduced,
                op_types_to_quantize=list(QUANTIZED),
                nodes_to_quantize=[name for layer in layers for name in (layer, f"{layer}_MatMul")],
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},  # behind operators of onnxruntime's own
                use_external_data_format=_weights_file(source).exists(),
            )
        graph = onnx.load(str(file))
        onnx.helper.set_model_props(graph, {**metadata, "precision": "int8"})
        _save(graph, file, file_limit)


@contextlib.contextmanager
def _as_user_error(precision: str) -> Iterator[None]:
    """
    Raises:
        UserError: in place of what onnxruntime raises for a graph that it cannot write in this precision.
    """
    try:
        yield
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:  # of a dozen kinds
        if why_unwritable(error) is not None or type(error).__name__ == "InvalidProtobuf":
            raise
        problem = f"onnxruntime cannot write the graph in {precision}: {first_line(error)}"
        raise UserError("", problem, "export without --quantize") from error


def _weights_file(path: Path) -> Path:
    """The file beside a graph, for weights that are too large for it."""
    return path.with_name(path.name + ".data")


def _save(graph: Any, path: Path, file_limit: int) -> None:
    """Write a graph, with its weights in a file beside it where one file cannot hold them."""
    onnx = require("onnx")
    _weights_file(path).unlink(missing_ok=True)  # it would be appended to
    if graph.ByteSize() > file_limit:
        onnx.save_model(graph, str(path), save_as_external_data=True, location=_weights_file(path).name)
    else:
        onnx.save_model(graph, str(path))


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """The path of a graph to write, which takes the place of ``path``, with its file of weights, at the end.

    In a folder of its own beside it: a graph knows its weights by their file's name, and exporters leave other files.
    """
    with (
        write_errors_explained(path, "free disk space, or write where you may"),
        _writes_of_onnxruntime(),
        workplace(path) as folder,
    ):
        file = folder / path.name
        yield file
        if _weights_file(file).exists():
            _weights_file(file).replace(_weights_file(path))
        else:
            _weights_file(path).unlink(missing_ok=True)
        file.replace(path)


@contextlib.contextmanager
def _writes_of_onnxruntime() -> Iterator[None]:
    """
    Raises:
        OSError: in place of what onnxruntime raises where it cannot write a file, or read again what it wrote.
    """
    try:
        yield
    except Exception as error:
        if type(error).__name__ != "InvalidProtobuf":
            raise
        full = f"No space left on device (or in {tempfile.gettempdir()})"
        raise OSError(errno.ENOSPC, full) from error


@contextlib.contextmanager
def _without_messages() -> Iterator[None]:
    """Without what exporter and optimizer say to their developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
