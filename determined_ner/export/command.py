"""A trained model as files to ship: a Hugging Face directory, ONNX, int8; each checked against the trained model.

    python3 ner_export.py CHECKPOINT_OR_RUN --output DIR [--onnx] [--quantize] [--data FILE]

The directory is complete and every file in it has passed its check, or it is not there.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from determined_ner.errors import UserError
from determined_ner.files.atomic import directory_in_making

if TYPE_CHECKING:
    from determined_ner.training.trained import Trained
    from determined_ner.export.parity import Check, Comparison

logger = logging.getLogger("ner")

WEIGHTS_FILE = "model.safetensors"
ONNX_FILE = "model.onnx"
QUANTIZED_FILE = "model_quantized.onnx"


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line of ``ner_export.py``."""
    parser = argparse.ArgumentParser(
        prog="ner_export.py",
        description="Export a trained model as a Hugging Face directory, which transformers loads as it is. Whatever "
        "is exported is checked against the trained model on labelled text; with another result than allowed, "
        "nothing is left and the exit status is 2.",
    )
    parser.add_argument(
        "source",
        metavar="CHECKPOINT_OR_RUN",
        help="a run's folder (runs/NAME), its model/, a checkpoint's directory, or the UUID of a cluster's checkpoint",
    )
    parser.add_argument("--output", metavar="DIR", type=Path, required=True, help="directory to make")
    parser.add_argument("--onnx", action="store_true", help=f"also {ONNX_FILE}: float32; same tags, logits within 1e-4")
    parser.add_argument(
        "--quantize", action="store_true", help=f"also {QUANTIZED_FILE}: int8; loses at most 0.5 points of F1"
    )
    parser.add_argument(
        "--data", metavar="FILE", help="labelled text to check on (default: the validation data of the run)"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Export.

    Returns:
        exit status: 0; 2 after a mistake of the user or a failed check, told in one message; 130 when interrupted.
    """
    arguments = parse_arguments(argv)
    try:
        export(arguments.source, arguments.output, arguments.onnx, arguments.quantize, arguments.data)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing is left", file=sys.stderr)
        return 130
    return 0


def export(source: str, output: Path, onnx: bool = False, quantize: bool = False, data: str | None = None) -> None:
    """Make the directory ``output``.

    Args:
        source: a run's folder, a model directory, a checkpoint's directory or UUID.
        data: labelled text to check on; None: the run's own validation data.

    Raises:
        UserError: the source is none, there is nothing to check on, a check fails, or the directory cannot be written.
    """
    with directory_in_making(output, _check_output) as folder, tempfile.TemporaryDirectory() as scratch:
        if onnx or quantize:
            import determined_ner.model.onnx_export as ner_onnx

            ner_onnx.needed("onnx")  # before anything takes time
            ner_onnx.needed("onnxruntime")
        from determined_ner.export.card import write_card
        from determined_ner.training.trained import load_trained
        from determined_ner.export.parity import Check
        from determined_ner.local.progress import log_readably

        log_readably(chief=True)
        (downloads := Path(scratch) / "checkpoint").mkdir()
        trained = load_trained(source, downloads)
        check = Check(trained, data)
        if check.changed:
            logger.warning(f"{', '.join(check.files)}: is no longer the text that the training validated on")
        checks = {WEIGHTS_FILE: _directory(folder, trained, check)}
        if onnx or quantize:
            graph = folder / ONNX_FILE if onnx else Path(scratch) / ONNX_FILE
            compared = _onnx(graph, trained, check)
            if onnx:
                checks[ONNX_FILE] = compared
            if quantize:
                checks[QUANTIZED_FILE] = _quantized(folder / QUANTIZED_FILE, graph, check)
        write_card(folder, trained, check.files, checks)
        for name, compared in checks.items():
            logger.info(f"{output / name}: {compared.told()}")


def _directory(folder: Path, trained: Trained, check: Check) -> Comparison:
    """Write the Hugging Face directory, load it again as its readers will, and compare."""
    import transformers

    import determined_ner.model.build as ner_model
    from determined_ner.data.encode import SETTINGS_FILE
    from determined_ner.export.parity import of_torch

    with ner_model.quiet():
        trained.model.save_pretrained(folder)
        trained.tokenizer.tokenizer.save_pretrained(folder)
        text = json.dumps(trained.described, indent=1, ensure_ascii=False)
        (folder / SETTINGS_FILE).write_text(text, encoding="utf-8")
        trust = {"trust_remote_code": trained.settings.hparams.trust_remote_code}
        again = transformers.AutoModelForTokenClassification.from_pretrained(str(folder), **trust).float().eval()
    return _passed_as_same(check.compare(of_torch(again), WEIGHTS_FILE), WEIGHTS_FILE)


def _onnx(graph: Path, trained: Trained, check: Check) -> Comparison:
    import determined_ner.model.onnx_export as ner_onnx
    from determined_ner.export.parity import of_onnx

    labels = trained.labels
    ner_onnx.export_onnx(trained.model, graph, labels.names, labels.scheme.value, trained.max_seq_length)
    ner_onnx.fuse(graph, graph, trained.model.config)
    return _passed_as_same(check.compare(of_onnx(graph), ONNX_FILE), ONNX_FILE)


def _quantized(target: Path, graph: Path, check: Check) -> Comparison:
    import determined_ner.model.onnx_export as ner_onnx
    from determined_ner.export.parity import POINTS_TOLERANCE, of_onnx

    for word_vectors in (True, False):  # of those that pass the smallest
        ner_onnx.quantize(graph, target, word_vectors)
        compared = check.compare(of_onnx(target), target.name)
        if compared.nearly_as_good():
            return compared
    raise UserError(
        f"{target.name}: the int8 model loses {compared.points_lost:.2f} points of {compared.metric} on "
        f"{', '.join(check.files)}, more than the {POINTS_TOLERANCE} allowed ({compared.told()}); "
        f"export without --quantize"
    )


def _passed_as_same(compared: Comparison, name: str) -> Comparison:
    from determined_ner.export.parity import LOGIT_TOLERANCE

    if not compared.same():
        raise UserError(
            f"{name}: is not the trained model: {compared.told()}, where {LOGIT_TOLERANCE:.0e} and no other tag is "
            f"allowed; this model cannot be exported so"
        )
    return compared


def _check_output(output: Path) -> None:
    if output.exists() or output.is_symlink():
        raise UserError(f"--output {output}: exists already; name a directory that does not")


if __name__ == "__main__":
    sys.exit(main())
