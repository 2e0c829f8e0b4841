"""A model as an ONNX file: made, fused, quantized to int8, opened again.

The graph takes ``input_ids`` and ``attention_mask``, (B, L) int64 for any B and L, and gives ``logits``, (B, L, K)
float32. The label map is in the file's metadata, so that the file is a tagger without its config.
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from determined_ner.errors import UserError, first_line
from determined_ner.model.onnx_session import INPUTS, OUTPUT, needed

OPSET = 17
"""The newest that torch 2.3's exporter and torch 2.13's both write."""
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
    model: Any, path: Path, label_names: Sequence[str], scheme: str | None = None, max_seq_length: int | None = None
) -> None:
    """Write a token classification model of transformers as an ONNX file.

    The model may be in training, on any device: a twin on the CPU is traced, and neither the model nor any random
    generator is touched. The twin computes attention step by step, as this is what fuses into one operator; torch's
    exporter by tracing is used, as the newer one needs another package, takes twice as long, and writes attention in a
    form that does not fuse.

    Args:
        path: of the file; replaced if there is one, and then whole or as it was.
        label_names: in the order of the logits.

    Raises:
        UserError: onnx is not installed, the architecture cannot be exported, or the file cannot be written.
    """
    import torch

    onnx = needed("onnx")

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = _twin(model)

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits

    ids = torch.arange(16).reshape(2, 8) % getattr(model.config, "vocab_size", 16)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    dynamic = {name: {0: "batch", 1: "length"} for name in (*INPUTS, OUTPUT)}
    options: dict[str, Any] = {"input_names": list(INPUTS), "output_names": [OUTPUT], "dynamic_axes": dynamic}
    if "dynamo" in torch.onnx.export.__code__.co_varnames:  # absent before torch 2.5, True unless told since 2.9
        options["dynamo"] = False
    with _file_in_making(path) as traced:
        try:
            with _quietly():
                torch.onnx.export(Logits().eval(), (ids, mask), str(traced), opset_version=OPSET, **options)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # of dozens of kinds
            raise UserError(
                f"a model of type {model.config.model_type!r} cannot be written as ONNX: "
                f"{first_line(error)}; use the Hugging Face directory"
            ) from error
        graph = onnx.load(str(traced))
        metadata = {"id2label": json.dumps(dict(enumerate(label_names)), ensure_ascii=False)}
        metadata |= {"scheme": scheme} if scheme is not None else {}
        metadata |= {"max_seq_length": str(max_seq_length)} if max_seq_length is not None else {}
        onnx.helper.set_model_props(graph, metadata)
        _save(graph, path)


def _twin(model: Any) -> Any:
    """The same weights on the CPU in float32 and evaluation mode, with attention that fuses."""
    import torch

    config = copy.deepcopy(model.config)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        twin = type(model)._from_config(config, attn_implementation="eager").float()
    twin.load_state_dict(model.state_dict())
    return twin.eval()


def fuse(source: Path, target: Path, config: Any) -> dict[str, int]:
    """Fuse attention, GELU and layer norms by onnxruntime's transformer optimizer; labels stay.

    Args:
        config: of the model, which tells architecture and heads.

    Returns:
        how many of each fused operator there are; empty where the optimizer does not know the architecture: then
        ``target`` is a copy.

    Raises:
        UserError: onnxruntime is not installed, or the file cannot be written.
    """
    onnx = needed("onnx")
    kind = FUSIBLE.get(getattr(config, "model_type", ""))
    graph = onnx.load(str(source))
    fused: dict[str, int] = {}
    if kind is not None:
        metadata = {entry.key: entry.value for entry in graph.metadata_props}
        optimizer = needed("onnxruntime.transformers.optimizer")
        with _quietly(), _file_in_making(target) as copied:
            _save(graph, copied)  # the optimizer runs onnxruntime on a file
            optimized = optimizer.optimize_model(
                str(copied),
                kind,
                num_heads=getattr(config, "num_attention_heads", 0) or 0,
                hidden_size=getattr(config, "hidden_size", 0) or 0,
                opt_level=1,  # no higher: beyond, what onnxruntime writes is for this processor alone
                use_gpu=False,
            )
        graph = optimized.model
        fused = {name: count for name, count in optimized.get_fused_operator_statistics().items() if count}
        onnx.helper.set_model_props(graph, metadata)
    _save(graph, target)
    return fused


def quantize_onnx(source: Path, target: Path, word_vectors: bool = True) -> None:
    """Matrix products in 8 bits: weights per output channel, activations by their range in each batch.

    Weights have a sign and all 8 bits, which processors with VNNI multiply at once. One without may overflow on them;
    weights of 7 bits would not, but lose more (README, «Export»).

    Args:
        word_vectors: in 8 bits too, where they are fused: most of a small model's size.

    Raises:
        UserError: onnxruntime is not installed, or the file cannot be written.
    """
    quantization = needed("onnxruntime.quantization")
    onnx = needed("onnx")
    metadata = {entry.key: entry.value for entry in onnx.load(str(source), load_external_data=False).metadata_props}
    operators = ["MatMul", "Attention", "Gemm"] + ["EmbedLayerNormalization"] * word_vectors
    with _quietly(), _file_in_making(target) as made:
        quantization.quantize_dynamic(
            str(source),
            str(made),
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=operators,
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},  # behind operators of onnxruntime's own
            use_external_data_format=source.with_name(source.name + ".data").exists(),
        )
        graph = onnx.load(str(made))
        onnx.helper.set_model_props(graph, metadata)
        _save(graph, target)


def _save(graph: Any, path: Path) -> None:
    """Whole or not at all; weights in a file beside it where one file cannot hold them."""
    onnx = needed("onnx")
    with _file_in_making(path) as made:
        data = path.name + ".data"
        external = graph.ByteSize() > PROTOBUF_LIMIT
        (made.parent / data).unlink(missing_ok=True)
        if external:
            onnx.save_model(graph, str(made), save_as_external_data=True, location=data)
            (made.parent / data).replace(path.with_name(data))
        else:
            onnx.save_model(graph, str(made))
            path.with_name(data).unlink(missing_ok=True)
        made.replace(path)


@contextlib.contextmanager
def _file_in_making(path: Path) -> Iterator[Path]:
    """A path for the file in a folder of its own beside it (exporters leave files), which is removed."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            yield folder / path.name
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}; make room or rights") from error


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without what exporter and optimizer tell their developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
