"""The command ``determined-ner``: one verb for each thing that there is to do.

Parsers are made here, from names alone; what a verb needs is imported when it runs, so that ``--help`` and a mistyped
option answer at once, and ``setup-ort`` runs where nothing but ONNX Runtime training is installed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

from determined_ner import __version__
from determined_ner.errors import UserError, exit_status
from determined_ner.interrupts import raise_at_interrupt
from determined_ner.settings.arguments import (
    CommandParser,
    add_config_arguments,
    add_train_arguments,
    local_name,
    local_path,
)

SOURCE = "a run's folder (runs/NAME), its model/, a checkpoint's directory, or the UUID of a cluster's checkpoint"

OUTPUT_FORMATS = ("doccano", "label-studio", "prodigy", "brat", "spans", "conll", "jsonl")
"""Formats of labelled text that are written (`determined_ner.data.writers`)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        exit status: 0; 2 after a mistake of the user, told in one message; 130 when interrupted.
    """
    return run(make_parser().parse_args(argv))


def make_parser() -> argparse.ArgumentParser:
    """The whole command line; the verb's name is ``verb`` among the parsed arguments."""
    parser = CommandParser(
        prog="determined-ner", description="Token classification (NER): train, check data, tag, report, export."
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(metavar="VERB", dest="verb", required=True)
    for name, verb in VERBS.items():
        added = verbs.add_parser(name, help=verb.title, description=verb.description)
        if verb.add_arguments:
            verb.add_arguments(added)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Import what the verb needs, and do it.

    Returns:
        exit status, as that of `main`.
    """
    verb, status = VERBS[arguments.verb], 0

    def command() -> None:
        nonlocal status
        try:
            function = getattr(import_module(verb.module), verb.function)
            raise_at_interrupt()
            given = [arguments] if verb.add_arguments else []
            status = function(*given) or 0
        except ModuleNotFoundError as error:
            if not verb.extra or str(error.name).partition(".")[0] in ("determined_ner", "ner_trial"):
                raise  # a broken installation
            remedy = f"pip install 'determined-ner[{verb.extra}]'"
            raise UserError(f"determined-ner {arguments.verb}", f"{error.name} is not installed", remedy) from error

    return exit_status(command, interrupted=verb.interrupted, unwritable="run it again") or status


# -- Arguments ------------------------------------------------------------------------------------------------


def _add_check_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_config_arguments(parser)
    add("--json", action="store_true", help="print one JSON object (its keys: determined_ner/check/facts.py)")
    quick = "time no training steps (saves up to 20 seconds; nothing else changes)"
    add("--no-timing", action="store_true", help=quick)


def _add_search_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    folder = "folder of the search (default: runs/NAME, numbered if it exists)"
    parser.add_argument("--output-dir", type=local_path, metavar="DIR", help=folder)
    again = "go on with a search that was stopped, bit for bit; trials that are done stay"
    parser.add_argument("--resume", action="store_true", help=again)


def _add_predict_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model_dir", type=local_path, metavar="MODEL_DIR", help="runs/NAME/model, or an export of it")
    add("input", type=local_name, metavar="INPUT", help="file to tag, packed (.gz …) or not; - is standard input")
    add("--output", type=local_path, metavar="FILE", help="written atomically (default: standard output)")
    add("--overwrite", action="store_true", help="replace an --output that exists")
    by_name = ".txt and standard input are text, .jsonl and .ndjson JSON Lines, else CoNLL columns"
    add("--format", choices=("text", "conll", "jsonl"), help=f"what INPUT is (default: by its name: {by_name})")
    add(
        "--to",
        choices=OUTPUT_FORMATS,
        help="write what this tool imports, or words and tags (default: INPUT with more)",
    )
    add("--text-column", metavar="NAME", help="key or column of the text or the words (default: found)")
    add("--label-column", metavar="NAME", help="column of tags that a CoNLL file has already (default: found)")
    add("--backend", choices=("torch", "onnx"), default="torch", help="what runs the model")
    onnx_file = "ONNX file of MODEL_DIR, such as model_quantized.onnx (default: model.onnx)"
    add("--onnx-file", metavar="NAME", help=onnx_file)
    add(
        "--device",
        metavar="NAME",
        help="what it runs on, such as cpu or cuda:1 (default: a GPU it can use)",
    )
    constrained = "the most probable tags that the scheme allows together: no I-PER after O"
    unconstrained = f"give each word its most probable tag by itself (default: {constrained})"
    add("--unconstrained", action="store_true", help=unconstrained)
    promised = "withhold entities whose score is too low for this precision, which thresholds has to have promised"
    add("--precision", type=float, metavar="P", help=promised)
    _add_trust_argument(parser)


def _add_bench_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model_dir", type=local_path, metavar="MODEL_DIR", help="runs/NAME/model, or an export of it")
    text = "what to tag, as predict takes it; its first 10,000 words (default: the validation data of the run)"
    add("text", type=local_name, metavar="TEXT", nargs="?", help=text)
    add("--json", action="store_true", help="print one JSON object")
    _add_trust_argument(parser)


def _add_thresholds_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("source", type=local_name, metavar="RUN_OR_MODEL", help="a run's folder (runs/NAME), its model/, or an export")
    text = "labelled text that is like what will be tagged (default: the validation data of the run)"
    add("text", type=local_name, metavar="TEXT", nargs="?", help=text)
    add("--precision", type=float, metavar="P", required=True, help="the share of right entities to promise, below 1")
    add("--per-type", action="store_true", help="a threshold for each type, each promised by itself")
    add("--confidence", type=float, metavar="C", default=0.9, help="that a promise is kept (default: 0.9)")
    onnx_file = "promise it of this ONNX file of the directory, such as model_quantized.onnx (default: of the weights)"
    add("--onnx-file", metavar="NAME", help=onnx_file)
    _add_trust_argument(parser)


def _add_convert_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("input", type=local_name, metavar="IN", help="labelled text as data.train_file takes it: a file, or a glob")
    add("output", type=local_path, metavar="OUT", help="written atomically; a directory for brat")
    add("--from", metavar="FORMAT", dest="from_", help="refuse IN where it is found to be of another format than this")
    add("--to", choices=OUTPUT_FORMATS, help="format of OUT (default: .jsonl is jsonl, .conll is conll)")
    add("--overwrite", action="store_true", help="replace an OUT that exists")
    setting = "how IN is read, as for training: data.label_column_name=ner, data.span_offsets=utf16"
    add("--config", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help=setting)


def _add_report_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("source", type=local_name, metavar="RUN_OR_MODEL", help=SOURCE)
    add("--data", type=local_name, metavar="FILE", help="labelled text (default: the validation data of the run)")
    place = "report/ in the run's folder; of a model directory NAME, NAME-report beside it"
    output = f"directory to make, or an earlier report to replace (default: {place})"
    add("--output", metavar="DIR", type=local_path, help=output)
    other = "a second run or model with the same labels: what differs, and how surely"
    add("--compare", type=local_name, metavar="OTHER", help=other)
    _add_trust_argument(parser)


def _add_export_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("source", type=local_name, metavar="RUN_OR_MODEL", help=SOURCE)
    add("--output", metavar="DIR", type=local_path, required=True, help="directory to make")
    add("--onnx", action="store_true", help="also model.onnx: float32; same tags, logits within 1e-4")
    half = "also model_fp16.onnx: float16, for GPUs; logits within 0.1, loses at most 0.1 points of F1"
    add("--fp16", action="store_true", help=half)
    add("--quantize", action="store_true", help="also model_quantized.onnx: int8; loses at most 0.5 points of F1")
    add("--adapters", action="store_true", help="also adapter/: of a run with peft, adapters and head alone, for PEFT")
    add(
        "--data",
        type=local_name,
        metavar="FILE",
        help="labelled text to check on (default: the validation data of the run)",
    )
    cost = "also measure what each file costs to run here, as bench does, for the card"
    add("--measure", action="store_true", help=cost)
    upload = (
        "also upload it to the Hugging Face hub, as NAME or NAMESPACE/NAME, made if need be; the login is HF_TOKEN "
    )
    add("--push-to-hub", metavar="REPO", help=f"{upload}in the environment, or that of hf auth login")
    add("--public", action="store_true", help="REPO may be read by all (default: a private one)")
    _add_trust_argument(parser)


def _add_audit_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    what = "labelled text as data.train_file takes it (a file, or a glob), or a CONFIG (.yaml) that names it"
    add("data", type=local_name, metavar="DATA", help=what)
    setting = "override one setting, as for training: hyperparameters.pretrained_model_name_or_path=MODEL"
    add("--config", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help=setting)
    add("--folds", type=int, default=4, metavar="K", help="parts that are left out in turn (default: 4)")
    add("--output-dir", type=local_path, metavar="DIR", help="folder of the audit (default: runs/DATA-audit)")
    add("--resume", action="store_true", help="go on with an audit that was stopped; folds that are done stay")
    add("--to", choices=OUTPUT_FORMATS, help="also write the sentences in doubt for this tool, most doubtful first")
    add("--tasks", type=local_path, metavar="FILE", help="where --to writes them")
    add("--overwrite", action="store_true", help="replace --tasks that exist")


def _add_trust_argument(parser: argparse.ArgumentParser) -> None:
    trust = "run code that the model brings along (off unless you know it)"
    parser.add_argument("--trust-remote-code", action="store_true", help=trust)


# -- Verbs ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verb:
    """One thing to do."""

    module: str
    """Where it is done; imported when the verb runs, which takes seconds."""
    title: str
    """Its line in the list of verbs."""
    description: str
    """The first paragraph of its ``--help``."""
    interrupted: str
    """What is said after Ctrl-C."""
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None
    """None for a verb without arguments; its function is called with none."""
    function: str = "run"
    """The module's function that does it; an exit status that it returns is the command's."""
    extra: str = ""
    """The extra of the distribution (see pyproject.toml) that brings what the module imports."""


VERBS = {
    "train": Verb(
        "determined_ner.train",
        "train as an experiment config says",
        "Fine-tune a Hugging Face encoder for token classification as an experiment config says; the same as python3 "
        "ner_trial.py. Under torchrun it uses all its processes.",
        "run it again",  # while it is imported; then it speaks for itself
        add_train_arguments,
        function="train",
        extra="train",
    ),
    "check": Verb(
        "determined_ner.check.command",
        "check the data of an experiment, and train nothing",
        "Check the data of an experiment and train nothing: what is in it, what looks wrong, how long training will "
        "take. Exit status 2, with one message, where training would fail.",
        "nothing was written",
        _add_check_arguments,
        extra="train",
    ),
    "audit": Verb(
        "determined_ner.audit.command",
        "list labels that are likely errors, most doubtful first",
        "Train on all parts of a labelled text but one, in turn, and list the labels that a model which has not seen "
        "them, or the labels of the same text elsewhere, speak against. Says first how long it will take.",
        "the same command with --resume goes on; folds that are done stay",
        _add_audit_arguments,
        extra="train",
    ),
    "search": Verb(
        "determined_ner.search.command",
        "train the trials of a search, one after the other",
        "Train the trials that an experiment config's searcher asks for (random, grid, adaptive_asha, async_halving), "
        "one after the other, without a cluster. At the end a table, a picture and the best trial's model.",
        "the same command with --resume goes on; trials that are done stay",
        _add_search_arguments,
        extra="train",
    ),
    "predict": Verb(
        "determined_ner.predict.command",
        "tag text with a trained model",
        "Tag text with a trained model: plain text (one text a line) to entities with their places, CoNLL columns and "
        "lists of words to tags.",
        "no output is left",
        _add_predict_arguments,
    ),
    "bench": Verb(
        "determined_ner.bench",
        "measure what a trained model costs to run here",
        "Measure what a model directory costs to run on this machine, by each backend that it has (PyTorch, every ONNX "
        "file): words and sentences a second, latency of one sentence, memory, start-up, size. The backends take "
        "turns, each in a process of its own.",
        "nothing was written",
        _add_bench_arguments,
    ),
    "thresholds": Verb(
        "determined_ner.finish.thresholds",
        "find the scores from which a precision can be promised",
        "Find the lowest score from which the precision on new text of the same kind is at least P, by a bound that "
        "holds for any number of sentences or documents, or say that it cannot be promised. It is kept in the model "
        "directory; predict --precision and the Tagger obey it.",
        "nothing was written",
        _add_thresholds_arguments,
        extra="report",
    ),
    "convert": Verb(
        "determined_ner.convert.command",
        "write labelled text in another format",
        "Write labelled text, as training reads it, in another format: words and tags, or what an annotation tool "
        "imports. What the format cannot say is told.",
        "no output is left",
        _add_convert_arguments,
        extra="train",
    ),
    "report": Verb(
        "determined_ner.report.command",
        "write a page on a trained model: scores, mistakes, calibration",
        "Report on a trained model, on labelled text: one HTML page and its pictures. Scores have 95 %% bootstrap "
        "intervals; mistakes are counted by kind and shown in their sentences.",
        "no new report is left",
        _add_report_arguments,
        extra="report",
    ),
    "export": Verb(
        "determined_ner.export.command",
        "write a trained model as files to ship, each checked",
        "Export a trained model as a Hugging Face directory, which transformers loads as it is. Whatever is exported "
        "is checked against the trained model on labelled text; where its result differs by more than is allowed, "
        "nothing is left and the exit status is 2.",
        "nothing is left",
        _add_export_arguments,
        extra="report",
    ),
    "infer": Verb(
        "determined_ner.cluster.batch_inference",
        "tag files of any size on a cluster (an experiment's entrypoint)",
        "Batch inference as the entrypoint of an experiment (configs/batch_inference.yaml): everything is taken from "
        "the cluster.",
        "the parts that are done are kept",
        extra="cluster",
    ),
    "setup-ort": Verb(
        "determined_ner.model.ort_setup",
        "compile what ONNX Runtime training needs, once per installation",
        "Compile the extensions of ONNX Runtime training (about three minutes), once per installation.",
        "run it again",
    ),
}
