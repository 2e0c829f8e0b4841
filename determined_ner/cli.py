"""The command ``determined-ner``: one verb for each thing that there is to do.

Parsers are made here, from names alone; what a verb needs is imported when it runs, so that ``--help`` and a mistyped
option answer at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from determined_ner import __version__
from determined_ner.errors import exit_status
from determined_ner.settings.arguments import add_config_arguments, add_train_arguments

SOURCE = "a run's folder (runs/NAME), its model/, a checkpoint's directory, or the UUID of a cluster's checkpoint"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        exit status: 0; 2 after a mistake of the user, told in one message; 130 when interrupted.
    """
    arguments = make_parser().parse_args(argv)
    status: int = arguments.run(arguments)
    return status


def make_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="determined-ner", description="Token classification (NER): train, check data, tag, report, export."
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    def add(
        verb: str, run: Callable[[argparse.Namespace], int], title: str, description: str
    ) -> argparse.ArgumentParser:
        added = verbs.add_parser(verb, help=title, description=description)
        added.set_defaults(run=run)
        return added

    add_train_arguments(
        add(
            "train",
            _train,
            "train as an experiment config says",
            "Fine-tune a Hugging Face encoder for token classification as an experiment config says; the same as "
            "python3 ner_trial.py. Under torchrun it uses all its processes.",
        )
    )
    _add_check_arguments(
        add(
            "check",
            _check,
            "check the data of an experiment, and train nothing",
            "Check the data of an experiment and train nothing: what is in it, what looks wrong, how long training "
            "will take. Exit status 2, with one message, where training would fail.",
        )
    )
    _add_predict_arguments(
        add(
            "predict",
            _predict,
            "tag text with a trained model",
            "Tag text with a trained model: plain text (one text a line) to entities with their places, CoNLL columns "
            "and lists of words to tags.",
        )
    )
    _add_report_arguments(
        add(
            "report",
            _report,
            "write a page on a trained model: scores, mistakes, calibration",
            "Report on a trained model, on labelled text: one HTML page and its pictures. Scores have 95 %% bootstrap "
            "intervals; mistakes are counted by kind and shown in their sentences.",
        )
    )
    _add_export_arguments(
        add(
            "export",
            _export,
            "write a trained model as files to ship, each checked",
            "Export a trained model as a Hugging Face directory, which transformers loads as it is. Whatever is "
            "exported is checked against the trained model on labelled text; with another result than allowed, nothing is left "
            "and the exit status is 2.",
        )
    )
    add(
        "infer",
        _infer,
        "tag files of any size on a cluster (an experiment's entrypoint)",
        "Batch inference as the entrypoint of an experiment (configs/batch_inference.yaml): everything is taken from "
        "the cluster.",
    )
    add(
        "setup-ort",
        _setup_ort,
        "compile what ONNX Runtime training needs, once per installation",
        "Compile the extensions of ONNX Runtime training (a minute or two), once per installation.",
    )
    return parser


def _add_check_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object (its keys: determined_ner/check/facts.py)"
    )
    parser.add_argument(
        "--no-timing", action="store_true", help="time no training steps (saves up to 20 seconds; nothing else changes)"
    )


def _add_predict_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model_dir", type=Path, metavar="MODEL_DIR", help="runs/NAME/model, or an export of it")
    parser.add_argument("input", metavar="INPUT", help="file to tag, packed (.gz …) or not; - is standard input")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="written whole or not at all (default: standard output)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an --output that exists")
    parser.add_argument(
        "--format",
        choices=("text", "conll", "jsonl"),
        help="what INPUT is (default: by its name: .txt and standard input are text, .jsonl and .ndjson JSON Lines, "
        "else CoNLL columns)",
    )
    parser.add_argument("--text-column", metavar="NAME", help="key or column of the text or the words (default: found)")
    parser.add_argument(
        "--label-column", metavar="NAME", help="column of tags that stand in a CoNLL file already (default: found)"
    )
    parser.add_argument("--backend", choices=("torch", "onnx"), default="torch", help="what runs the model")
    parser.add_argument(
        "--onnx-file", metavar="NAME", help="ONNX file of MODEL_DIR, such as model_quantized.onnx (default: model.onnx)"
    )
    parser.add_argument(
        "--unconstrained",
        action="store_true",
        help="give each word its most probable tag by itself (default: the most probable tags that the scheme allows "
        "together: no I-PER after O)",
    )
    _add_trust_argument(parser)


def _add_report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="RUN_OR_MODEL", help=SOURCE)
    parser.add_argument("--data", metavar="FILE", help="labelled text (default: the validation data of the run)")
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        help="directory to make, or an earlier report to replace (default: report/ in the run's folder; of a model "
        "directory NAME, NAME-report beside it)",
    )
    parser.add_argument(
        "--compare", metavar="OTHER", help="a second run or model with the same labels: what differs, and how surely"
    )
    _add_trust_argument(parser)


def _add_export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="RUN_OR_MODEL", help=SOURCE)
    parser.add_argument("--output", metavar="DIR", type=Path, required=True, help="directory to make")
    parser.add_argument("--onnx", action="store_true", help="also model.onnx: float32; same tags, logits within 1e-4")
    parser.add_argument(
        "--quantize", action="store_true", help="also model_quantized.onnx: int8; loses at most 0.5 points of F1"
    )
    parser.add_argument(
        "--data", metavar="FILE", help="labelled text to check on (default: the validation data of the run)"
    )
    _add_trust_argument(parser)


def _add_trust_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trust-remote-code", action="store_true", help="run code that the model brings along (off unless you know it)"
    )


# -- Verbs: what each imports takes seconds --------------------------------------------------------------------


def _train(arguments: argparse.Namespace) -> int:
    import ner_trial

    return ner_trial.train(arguments)


def _check(arguments: argparse.Namespace) -> int:
    def run() -> None:
        from determined_ner.check.command import run

        run(arguments)

    return exit_status(run, interrupted="nothing was written", unwritable="run it again")


def _predict(arguments: argparse.Namespace) -> int:
    def run() -> None:
        from determined_ner.predict.command import run

        run(arguments)

    return exit_status(run, interrupted="no output is left", unwritable="run it again")


def _report(arguments: argparse.Namespace) -> int:
    def run() -> None:
        from determined_ner.report.command import run

        run(arguments)

    return exit_status(run, interrupted="no new report is left", unwritable="run it again")


def _export(arguments: argparse.Namespace) -> int:
    def run() -> None:
        from determined_ner.export.command import run

        run(arguments)

    return exit_status(run, interrupted="nothing is left", unwritable="run it again")


def _infer(arguments: argparse.Namespace) -> int:
    def run() -> None:
        from determined_ner.cluster.batch_inference import run

        run()

    return exit_status(run, interrupted="the parts that are done are kept", unwritable="run it again")


def _setup_ort(arguments: argparse.Namespace) -> int:
    def run() -> None:
        from determined_ner.model.ort import compile_extensions

        compile_extensions()

    return exit_status(run, interrupted="run it again", unwritable="run it again")


if __name__ == "__main__":
    sys.exit(main())
