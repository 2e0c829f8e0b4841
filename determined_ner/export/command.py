"""A trained model as files to ship: a Hugging Face directory, ONNX, int8; each checked against the trained model.

The directory is complete and every file in it has passed its check, or it is not there.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path
from typing import Any

from determined_ner.errors import UserError
from determined_ner.export.card import write_card
from determined_ner.export.parity import (
    LOGIT_TOLERANCE,
    POINTS_TOLERANCE,
    Check,
    Comparison,
    onnx_logits,
    torch_logits,
)
from determined_ner.files.atomic import atomic_directory, write_json
from determined_ner.hub import quiet_transformers
from determined_ner.logs import set_up_logging
from determined_ner.model.directory import ONNX_FILE, SETTINGS_FILE, ModelDirectory
from determined_ner.model.onnx_export import export_onnx, fuse, quantize_onnx
from determined_ner.model.onnx_session import require
from determined_ner.training.trained import REMEDY, Trained, find_trained

logger = logging.getLogger("determined_ner")

WEIGHTS_FILE = "model.safetensors"
QUANTIZED_FILE = "model_quantized.onnx"


def run(arguments: argparse.Namespace) -> None:
    """Export as the command line says.

    Raises:
        UserError: as `export`.
    """
    set_up_logging(chief=True)
    export(
        arguments.source,
        arguments.output,
        arguments.onnx,
        arguments.quantize,
        arguments.data,
        arguments.trust_remote_code,
    )


def export(
    source: str,
    output: Path,
    onnx: bool = False,
    quantize: bool = False,
    data: str | None = None,
    trust_remote_code: bool = False,
) -> None:
    """Make the directory ``output``.

    Args:
        source: a run's folder, a model directory, a checkpoint's directory or UUID.
        data: labelled text to check on; None: the run's own validation data.
        trust_remote_code: run code that the model brings along.

    Raises:
        UserError: the source is none, there is nothing to check on, a check fails, or the directory cannot be written.
    """
    with atomic_directory(output, _check_output) as folder, tempfile.TemporaryDirectory() as scratch:
        if onnx or quantize:
            require("onnx")  # before anything takes time
            require("onnxruntime")
        (downloads := Path(scratch) / "checkpoint").mkdir()
        trained = find_trained(source, downloads, trust_remote_code)
        if trained.settings is None:
            problem = f"holds no model of this trial, it has no {SETTINGS_FILE}"
            raise UserError(trained.path, problem, REMEDY)
        model = trained.directory.load_model()
        check = Check(trained, model, data)
        if check.changed:
            logger.warning(f"{', '.join(check.files)}: is no longer the text that the training validated on")
        checks = {WEIGHTS_FILE: _directory(folder, trained, model, check, trust_remote_code)}
        if onnx or quantize:
            graph = folder / ONNX_FILE if onnx else Path(scratch) / ONNX_FILE
            compared = _onnx(graph, trained, model, check)
            if onnx:
                checks[ONNX_FILE] = compared
            if quantize:
                checks[QUANTIZED_FILE] = _quantized(folder / QUANTIZED_FILE, graph, check)
        write_card(folder, trained, model, check.files, checks)
        for name, compared in checks.items():
            logger.info(f"{output / name}: {compared.describe()}")


def _directory(folder: Path, trained: Trained, model: Any, check: Check, trust_remote_code: bool) -> Comparison:
    """Write the Hugging Face directory, load it again as its readers will, and compare."""
    with quiet_transformers():
        model.save_pretrained(folder)
        trained.directory.tokenizer.tokenizer.save_pretrained(folder)
        if trained.directory.described is not None:
            write_json(folder / SETTINGS_FILE, trained.directory.described)
        again = ModelDirectory(folder, trust_remote_code=trust_remote_code).load_model()
    return _passed_as_same(check.compare(torch_logits(again), WEIGHTS_FILE), WEIGHTS_FILE)


def _onnx(graph: Path, trained: Trained, model: Any, check: Check) -> Comparison:
    directory = trained.directory
    export_onnx(model, graph, directory.labels, directory.scheme.value, directory.max_seq_length)
    fuse(graph, graph, directory.config)
    return _passed_as_same(check.compare(onnx_logits(graph), ONNX_FILE), ONNX_FILE)


def _quantized(target: Path, graph: Path, check: Check) -> Comparison:
    for word_vectors in (True, False):  # of those that pass the smallest
        quantize_onnx(graph, target, word_vectors)
        compared = check.compare(onnx_logits(target), target.name)
        if compared.loses_little():
            return compared
    raise UserError(
        target.name,
        f"the int8 model loses {compared.points_lost:.2f} points of {compared.metric} on {', '.join(check.files)}, "
        f"more than the {POINTS_TOLERANCE} allowed ({compared.describe()})",
        "export without --quantize",
    )


def _passed_as_same(compared: Comparison, name: str) -> Comparison:
    if not compared.is_same():
        raise UserError(
            name,
            f"is not the trained model: {compared.describe()}, where {LOGIT_TOLERANCE:.0e} and no other tag is allowed",
            "this model cannot be exported so",
        )
    return compared


def _check_output(output: Path) -> None:
    if output.exists() or output.is_symlink():
        raise UserError(f"--output {output}", "exists already", "name a directory that does not")
