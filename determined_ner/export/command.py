"""The command ``determined-ner export``: a trained model as files to ship, each checked against the trained model.

The directory is written atomically: either every file in it has passed its check, or there is no directory.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path
from typing import Any

from determined_ner.errors import UserError
from determined_ner.export.card import CARD_FILE, Measurements, write_card
from determined_ner.export.int8 import Attempt, quantize_within
from determined_ner.export.parity import LEAVE_OUT, Check, Comparison, Tolerances, onnx_logits, torch_logits
from determined_ner.export.public import public_copy
from determined_ner.export.speed import relative_speeds
from determined_ner.files.atomic import atomic_directory, read_json, write_json
from determined_ner.files.checksums import write_checksums
from determined_ner.hub_repository import HubRepository
from determined_ner.logs import set_up_logging
from determined_ner.model.directory import (
    CALIBRATION_FILE,
    HALF_FILE,
    ONNX_FILE,
    QUANTIZED_FILE,
    SETTINGS_FILE,
    THRESHOLDS_FILE,
    ModelDirectory,
)
from determined_ner.model.lora import save_adapters
from determined_ner.model.onnx_export import copy_onnx, export_onnx, fuse, halve_onnx
from determined_ner.model.onnx_session import find_device, require
from determined_ner.model.quiet import quiet_transformers
from determined_ner.model.torch_model import load_model, untrained_model
from determined_ner.model.weights import load_weights
from determined_ner.tagging.cost import Cost, find_backends, measure_with_bar
from determined_ner.training.trained import REMEDY, Trained, best_checkpoint, find_trained

logger = logging.getLogger("determined_ner")

ADAPTER_FOLDER = "adapter"
WEIGHTS_FILE = "model.safetensors"
FUSED, PLAIN = "fused", "plain"
"""Graphs of a model: with operators that ONNX Runtime has for several at once, or as exported."""


def run(arguments: argparse.Namespace) -> None:
    """Export as the command line says.

    Args:
        arguments: as `determined_ner.cli` parses them.

    Raises:
        UserError: as `export`.
    """
    set_up_logging(chief=True)
    if arguments.public and not arguments.push_to_hub:
        raise UserError("--public", "has no meaning without --push-to-hub", "leave it out")
    repository = None
    if arguments.push_to_hub:  # before anything takes time
        _check_output(arguments.output)
        repository = HubRepository.open(arguments.push_to_hub, not arguments.public, "--push-to-hub", "--public")
    export(
        arguments.source,
        arguments.output,
        arguments.onnx,
        arguments.fp16,
        arguments.quantize,
        arguments.data,
        arguments.trust_remote_code,
        adapters=arguments.adapters,
        measured=arguments.measure,
    )
    if repository is not None:
        _upload(arguments.output, repository)


def _upload(output: Path, repository: HubRepository) -> None:
    """
    Raises:
        UserError: the hub does not take it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        public = Path(scratch) / "model"
        public_copy(output, public, (output / CARD_FILE).read_text(encoding="utf-8"))
        try:
            logger.info(f"uploaded {repository.upload(public)}")
        except UserError as error:
            remedy = f"{output} is complete; upload it with the same command and another --output"
            raise type(error)(error.where, error.problem, remedy) from error


def export(
    source: str,
    output: Path,
    onnx: bool = False,
    fp16: bool = False,
    quantize: bool = False,
    data: str | None = None,
    trust_remote_code: bool = False,
    tolerances: Tolerances | None = None,
    adapters: bool = False,
    measured: bool = False,
) -> None:
    """Write the directory ``output``.

    Args:
        source: a run's folder, a model directory, a checkpoint's directory or UUID.
        onnx: also write an ONNX file in float32.
        fp16: also write an ONNX file in float16.
        quantize: also write an ONNX file in int8.
        data: labelled text to check on; None: the run's own validation data.
        trust_remote_code: run Python code that the model contains.
        tolerances: what the files may differ by; None: the usual.
        adapters: also write the adapters and the head alone, as PEFT does.
        measured: also measure what each file costs to run here, for the card.

    Raises:
        UserError: the source holds no model, there is nothing to check on, a check fails, or the directory cannot be
            written.
    """
    tolerances = tolerances or Tolerances()
    with atomic_directory(output, _check_output) as folder, tempfile.TemporaryDirectory() as scratch:
        if onnx or fp16 or quantize:
            require("onnx")  # before anything takes time
            require("onnxruntime")
        (downloads := Path(scratch) / "checkpoint").mkdir()
        trained = find_trained(source, downloads, trust_remote_code)
        if trained.settings is None:
            problem = f"holds no model of this trial, it has no {SETTINGS_FILE}"
            raise UserError(trained.path, problem, REMEDY)
        adapted = _find_adapters(trained, trust_remote_code) if adapters else None
        model = load_model(trained.directory)
        check = Check(trained, model, data)
        if check.changed:
            logger.warning(f"{', '.join(check.files)}: is no longer the text that the training validated on")
        _write_directory(folder, trained, model)
        with quiet_transformers():  # loaded again as its readers will
            exported = load_model(ModelDirectory(folder, trust_remote_code=trust_remote_code))
        speeds: dict[str, float] = {}
        tried: list[Attempt] = []
        checks = {WEIGHTS_FILE: _check_same(torch_logits(exported), WEIGHTS_FILE, check, tolerances)}
        if onnx or fp16 or quantize:
            graphs, compared = write_graphs(Path(scratch), trained, model, check, tolerances)
            if onnx or quantize:
                speeds = relative_speeds({name: onnx_logits(graph) for name, graph in graphs.items()}, check.sample)
                fastest = max(speeds, key=speeds.__getitem__)
            if onnx:
                copy_onnx(graphs[fastest], folder / ONNX_FILE)
                checks[ONNX_FILE] = compared[fastest]
            if fp16:
                graph = next(iter(graphs.values()))  # the fused one, where it passes: a GPU runs fewer operators
                checks[HALF_FILE] = _halve(folder / HALF_FILE, graph, check, tolerances)
            if quantize:
                int8 = folder / QUANTIZED_FILE
                checks[QUANTIZED_FILE], tried = quantize_within(int8, graphs, fastest, check, tolerances)
        if adapted is not None:
            _write_adapters(folder / ADAPTER_FOLDER, adapted)
        write_checksums(folder)  # not of the card, which is there to be edited, nor of promises, which may be added to
        _write_promises(folder, trained.directory)
        costs = _measure(folder, check, trust_remote_code) if measured else []
        measurements = Measurements(speeds if onnx else {}, tried, costs)
        write_card(folder, trained, model, check.files, checks, measurements)
        for name, result in checks.items():
            logger.info(f"{output / name}: {result.describe()}")


def _check_output(output: Path) -> None:
    if output.exists() or output.is_symlink():
        raise UserError(f"--output {output}", "exists already", "name a directory that does not")


def _find_adapters(trained: Trained, trust_remote_code: bool) -> ModelDirectory:
    """The checkpoint that has them: what is beside a run's is merged.

    Raises:
        UserError: there is none.
    """
    directory = trained.directory
    if trained.run is not None and not directory.is_checkpoint:
        directory = ModelDirectory(best_checkpoint(trained.run), REMEDY, trust_remote_code)
    if directory.lora is None:
        raise UserError(
            "--adapters",
            f"{trained.path} has no adapters: it was trained without hyperparameters.peft, or is merged",
            "name the folder or a checkpoint of a run with hyperparameters.peft, or leave --adapters out",
        )
    if (directory.described or {})["hyperparameters"].get("student_layers") is not None:
        problem = f"{trained.path} has adapters of a student, which is no encoder that PEFT could put them into"
        raise UserError("--adapters", problem, "leave it out: the export has them merged")
    return directory


def _write_adapters(folder: Path, checkpoint: ModelDirectory) -> None:
    model = untrained_model(checkpoint)
    load_weights(model, checkpoint.path)
    assert checkpoint.lora is not None and checkpoint.described is not None
    base = checkpoint.described["hyperparameters"]["pretrained_model_name_or_path"]
    save_adapters(model, checkpoint.lora, base, folder)


def _write_directory(folder: Path, trained: Trained, model: Any) -> None:
    """Write a Hugging Face directory: weights, config, tokenizer; the settings of the training; the calibration."""
    with quiet_transformers():
        model.save_pretrained(folder)
    trained.directory.copy_tokenizer(folder)
    if trained.directory.described is not None:
        write_json(folder / SETTINGS_FILE, trained.directory.described)
    if (kept := read_json(trained.directory.path / CALIBRATION_FILE, "the model directory")) is not None:
        write_json(folder / CALIBRATION_FILE, kept)


def _write_promises(folder: Path, directory: ModelDirectory) -> None:
    """Write what is promised of the weights, and so of a float32 ONNX file.

    What is promised of another file of the directory is not of one that is made here.
    """
    promises = [promise.as_json() for promise in directory.promises if promise.onnx_file is None]
    if promises:
        kept = {"calibration": directory.calibration.as_json(), "promises": promises}
        write_json(folder / THRESHOLDS_FILE, kept)


def write_graphs(
    folder: Path, trained: Trained, model: Any, check: Check, tolerances: Tolerances
) -> tuple[dict[str, Path], dict[str, Comparison]]:
    """Write float32 ONNX files: with fused operators, where there are any, and without.

    Returns:
        those that are the trained model, and each beside it.

    Raises:
        UserError: none is.
    """
    directory = trained.directory
    plain, fused = folder / f"{PLAIN}.onnx", folder / f"{FUSED}.onnx"
    export_onnx(
        *(model, plain, directory.labels, directory.scheme.value, trained.max_seq_length),
        transitions=directory.transitions,
    )
    graphs = {FUSED: fused, PLAIN: plain} if fuse(plain, fused, model.config) else {PLAIN: plain}
    compared: dict[str, Comparison] = {}
    errors = []
    for name, graph in graphs.items():
        try:
            compared[name] = _check_same(onnx_logits(graph), ONNX_FILE, check, tolerances)
        except UserError as error:
            errors.append(error)
            logger.warning(f"the {name} graph is left out: {error.problem}")
    if not compared:
        raise errors[0]
    return {name: graphs[name] for name in compared}, compared


def _measure(folder: Path, check: Check, trust_remote_code: bool) -> list[Cost]:
    """What each file of the export costs to run here.

    Raises:
        UserError: one does not run.
    """
    backends, _ = find_backends(folder)
    return measure_with_bar(folder, backends, check.words, trust_remote_code)


def _check_same(exported: Any, name: str, check: Check, tolerances: Tolerances) -> Comparison:
    """Compare a float32 file with the trained model.

    Args:
        exported: as `Check.compare` takes it.

    Raises:
        UserError: it gives other logits or tags.
    """
    compared = check.compare(exported, name)
    if not tolerances.is_same(compared):
        raise UserError(
            name,
            f"is not the trained model: {compared.describe()}, where {tolerances.logit:.0e} and no other tag may be",
            LEAVE_OUT,
        )
    return compared


def _halve(target: Path, graph: Path, check: Check, tolerances: Tolerances) -> Comparison:
    """Write a float16 ONNX file, and check it on a GPU where there is one.

    Args:
        graph: the float32 ONNX file.

    Raises:
        UserError: it loses too much.
    """
    halve_onnx(graph, target)
    compared = check.compare(onnx_logits(target, find_device(None)), target.name)
    if not tolerances.is_nearly_same(compared):
        raise UserError(
            target.name,
            f"float16 is too far from the trained model: {compared.describe()}, where {tolerances.half_logit} and "
            f"{tolerances.half_points} points of {compared.metric} may be",
            "export without --fp16",
        )
    return compared
