"""The command ``determined-ner thresholds``: from which score on a precision is promised, kept beside a model."""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path

import numpy as np

from determined_ner.errors import UserError, write_errors_explained
from determined_ner.files.atomic import write_json
from determined_ner.logs import set_up_logging
from determined_ner.masks import file_name, printable
from determined_ner.model.directory import CALIBRATION_FILE, ONNX_FILE, THRESHOLDS_FILE
from determined_ner.report.text import read_labelled, tag_text
from determined_ner.tags.entities import TagTable
from determined_ner.tags.fitting import same_spans
from determined_ner.tags.guarantees import Promise, Threshold, fit_threshold, why_no_share
from determined_ner.tags.schemes import Scheme
from determined_ner.training.trained import Trained, find_trained

logger = logging.getLogger("determined_ner")


def run(arguments: argparse.Namespace) -> None:
    """Run ``determined-ner thresholds`` with parsed arguments.

    Raises:
        UserError: as `thresholds`.
    """
    set_up_logging(chief=True)
    promise, file = thresholds(
        arguments.source,
        arguments.precision,
        arguments.text,
        arguments.per_type,
        arguments.confidence,
        arguments.onnx_file,
        arguments.trust_remote_code,
    )
    for line in describe(promise):
        print(printable(line))
    print(printable(f"thresholds   {file}"))


def thresholds(
    source: str,
    precision: float,
    data: str | None = None,
    per_type: bool = False,
    confidence: float = 0.9,
    onnx_file: str | None = None,
    trust_remote_code: bool = False,
) -> tuple[Promise, Path]:
    """Find thresholds, and keep them in the model directory.

    Args:
        source: a run's folder or a model directory.
        precision: to promise.
        data: labelled text; None: the validation data of the training.
        per_type: promise it of each type by itself.
        confidence: that a promise is kept.
        onnx_file: of the directory, whose scores they are of; None: those of the weights.
        trust_remote_code: run code that the model brings along.

    Returns:
        what is promised, and the file.

    Raises:
        UserError: the precision or the confidence is none that can be asked for, the model has no calibration or no
            entities, or there is no text.
    """
    for name, value in (("--precision", precision), ("--confidence", confidence)):
        if problem := why_no_share(value):
            raise UserError(f"{name} {value:g}", problem, "write a number above 0 and below 1, such as 0.95")
    if not Path(source).expanduser().exists():
        raise UserError(source, "no such directory", "name a run's folder or a model directory, where thresholds stay")
    with tempfile.TemporaryDirectory() as downloads:
        trained = find_trained(source, Path(downloads), trust_remote_code)
    directory = trained.directory
    if directory.label_scheme is not Scheme.IOB2 or "O" not in directory.labels:
        problem = f"its labels are {directory.label_scheme.value}, of which no entity can be withheld"
        raise UserError(directory.path, problem, "give a model whose labels are IOB2, with an O")
    if not directory.is_calibrated:
        problem = f"has no {CALIBRATION_FILE}, so that its scores are not calibrated"
        raise UserError(directory.path, problem, "give the model of a run that has ended, or an export of it")
    if not TagTable(directory.labels, plain=False).types:
        raise UserError(directory.path, "its only label is O: it finds no entity", "give a model that knows types")
    own_file = None if onnx_file == ONNX_FILE else onnx_file
    model = None if onnx_file is None else directory.onnx_model(onnx_file)
    remedy = f"name a labelled file: determined-ner thresholds {source} TEXT --precision {precision:g}"
    text = read_labelled(trained, data, "thresholds are fitted to", remedy)
    if text.fingerprint == trained.fingerprint("train"):
        problem = "is the text that the model was trained on, where it is surer and more often right than on any other"
        raise UserError(", ".join(text.files), problem, remedy)
    tagged, _ = tag_text(trained, trained.name, text, directory.labels, model)
    if text.as_trained or data is None:
        logger.info(
            "fitted to the validation data, which chose the checkpoint and calibrated the scores: fitted to TEXT that "
            "the training has not seen, a promise is safer"
        )
    unit, starts = tagged.units()
    found = tagged.entities
    assert found is not None or not len(text.gold)
    if found is None:
        fits = {name: Threshold(None, 0) for name in (tagged.types if per_type else ["all types"])}
    else:
        correct = same_spans(found.spans, tagged.spans(tagged.gold))
        units = np.searchsorted(starts, found.spans.begin, side="right") - 1
        of = found.spans.type_id
        chosen = {name: of == i for i, name in enumerate(tagged.types)} if per_type else {"": np.ones(len(of), bool)}
        fits = {
            name: fit_threshold(found.scores[c], correct[c], units[c], len(starts) - 1, precision, confidence)
            for name, c in chosen.items()
        }
    overall = None if per_type else next(iter(fits.values()))
    files = ", ".join(map(file_name, text.files))
    promise = Promise(precision, confidence, unit, len(starts) - 1, files, overall, fits if per_type else {}, own_file)
    return promise, _keep(trained, promise)


def _keep(trained: Trained, promise: Promise) -> Path:
    """Add a promise to those of a model directory; one of the same precision is replaced."""
    directory = trained.directory
    key = (promise.precision, promise.onnx_file)
    # Another command may have added one since the directory was opened.
    others = [other for other in directory.read_promises() if (other.precision, other.onnx_file) != key]
    promises = sorted([*others, promise], key=lambda each: (each.onnx_file or "", each.precision))
    file = directory.path / THRESHOLDS_FILE
    kept = {"calibration": directory.calibration.as_json(), "promises": [each.as_json() for each in promises]}
    with write_errors_explained(file, "make room or rights, and run it again"):
        write_json(file, kept)
    return file


def describe(promise: Promise) -> list[str]:
    """Lines for a terminal."""
    drawn = f"{promise.units:,} {promise.unit} of {promise.text}"
    lines = [f"precision {promise.precision:g} with confidence {promise.confidence:g}, from {drawn}:"]
    width = max(map(len, promise.thresholds))
    for name, each in promise.thresholds.items():
        if each.score is None:
            said = f"cannot be promised with {each.found:,} entities"
        else:
            said = f"score {each.score:.3f} or more: {each.given:,} of {each.found:,} entities are given, "
            said += f"{each.correct:,} of them right here"
        lines.append(f"  {name:<{width}}  {said}")
    return lines
