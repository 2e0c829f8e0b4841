"""The command ``determined-ner bench``: what a model directory costs to run here, by each backend that it has."""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from determined_ner.errors import UserError, standard_output
from determined_ner.machine import described, load
from determined_ner.masks import printable
from determined_ner.predict.inputs import open_input
from determined_ner.tagging.cost import Cost, find_backends, first_texts, measure_with_bar

COLUMNS = (
    "backend",
    "words/s",
    "sentences/s",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "memory MiB",
    "start-up s",
    "disk MB",
    "runs on",
)


def run(arguments: argparse.Namespace) -> None:
    """Measure, and print a table or JSON.

    Args:
        arguments: as `determined_ner.cli` parses them.

    Raises:
        UserError: no model directory, no text with words, or a backend that does not run.
    """
    output = standard_output()
    directory, trust = arguments.model_dir, arguments.trust_remote_code
    texts, name = _read(directory, arguments.text, trust)
    backends, missing = find_backends(directory)
    before = load()
    costs = measure_with_bar(directory, backends, texts, trust)
    facts = {
        "machine": described(),
        "load": [round(before, 2), round(load(), 2)],
        "date": datetime.date.today().isoformat(),
        "text": name,
        "sentences": len(texts),
        "words": sum(map(len, texts)),
        "left_out": missing,
    }
    if arguments.json:
        print(json.dumps({**facts, "backends": [asdict(cost) for cost in costs]}), file=output)
        return
    if hasattr(output, "reconfigure"):
        output.reconfigure(errors="replace")
    for line in [
        *format_costs(costs),
        *missing,
        f"{facts['sentences']:,} sentences, {facts['words']:,} words: {name}",
        f"{facts['machine']}, load {before:.1f} before, {facts['date']}",
    ]:
        print(printable(line), file=output)


def format_costs(costs: Sequence[Cost]) -> list[str]:
    """The lines of a table, a backend each."""
    rows = [
        (
            cost.backend,
            f"{cost.words_per_second:,.0f}",
            f"{cost.sentences_per_second:,.1f}",
            *(f"{cost.latency[name]:.1f}" for name in ("p50", "p95", "p99")),
            f"{cost.memory:,.0f}",
            f"{cost.start_up:.1f}",
            f"{cost.size:.1f}",
            cost.runs_on,
        )
        for cost in costs
    ]
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:-1], widths[1:-1]), row[-1]])
        for row in (COLUMNS, *rows)
    ]


def _read(directory: Path, file: str | None, trust_remote_code: bool) -> tuple[list[list[str]], str]:
    """The texts to measure on, and where they come from.

    Raises:
        UserError: there are none.
    """
    from determined_ner.model.directory import ModelDirectory
    from determined_ner.tagging.words import RawText

    splitting = ModelDirectory(directory, trust_remote_code=trust_remote_code).word_splitting
    if file is None:
        texts, name = _validation_text(directory, trust_remote_code)
    else:
        with open_input(file, None, None, None) as (_, read_items, _):
            texts = first_texts(item.words for item in read_items(lambda text: RawText(text, splitting)))
        name = file
    if not texts:
        raise UserError(name, "has no words", "name a text with sentences")
    return texts, name


def _validation_text(directory: Path, trust_remote_code: bool) -> tuple[list[list[str]], str]:
    """
    Raises:
        UserError: it is not at hand.
    """
    remedy = f"name a text: determined-ner bench {directory} TEXT"
    try:  # by its name: what else is here has to do without PyTorch
        find_trained = importlib.import_module("determined_ner.training.trained").find_trained
    except ModuleNotFoundError as error:
        problem = f"reading the run's validation data needs {error.name}, which is not installed"
        raise UserError("", problem, f"{remedy}, or pip install 'determined-ner[report]'") from error
    with tempfile.TemporaryDirectory() as downloads:
        trained = find_trained(str(directory), Path(downloads), trust_remote_code)
        with trained.labelled_text(None, "it tags", remedy) as (text, _):
            texts = (words for batch in text.batches() for words in batch.column("words").to_pylist())
            return first_texts(texts), ", ".join(text.source.files)
