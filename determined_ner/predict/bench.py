"""The command ``determined-ner bench``: what a model directory costs to run here, by each backend that it has."""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from determined_ner.errors import UserError
from determined_ner.machine import load, processor, processors
from determined_ner.masks import printable
from determined_ner.predict.inputs import open_input
from determined_ner.tagging.cost import Cost, find_backends, first_texts, measure, steps

COLUMNS = ("backend", "words/s", "sentences/s", "p50 ms", "p95 ms", "p99 ms", "memory MiB", "start-up s", "disk MB")


def run(arguments: argparse.Namespace) -> None:
    """Measure, and print a table or JSON.

    Args:
        arguments: as `determined_ner.cli` parses them.

    Raises:
        UserError: no model directory, no text with words, or a backend that does not run.
    """
    directory, trust = arguments.model_dir, arguments.trust_remote_code
    texts, name = _read(directory, arguments.text, trust)
    backends, missing = find_backends(directory)
    before = load()
    with tqdm(total=steps(len(backends)), leave=False, disable=None) as bar:

        def progress(step: str) -> None:
            bar.set_description(step)
            bar.update()

        costs = measure(directory, backends, texts, progress, trust)
    facts = {
        "processor": processor(),
        "threads": processors(),
        "load": [round(before, 2), round(load(), 2)],
        "date": datetime.date.today().isoformat(),
        "text": name,
        "sentences": len(texts),
        "words": sum(map(len, texts)),
        "left_out": missing,
    }
    if arguments.json:
        print(json.dumps({**facts, "backends": [asdict(cost) for cost in costs]}, ensure_ascii=False))
        return
    for line in [*format_costs(costs), *missing]:
        print(printable(line))
    print(printable(f"{facts['sentences']:,} sentences, {facts['words']:,} words: {name}"))
    print(printable(f"{facts['processor']}, {facts['threads']} processors, load {before:.1f} before, {facts['date']}"))


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
        )
        for cost in costs
    ]
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in (COLUMNS, *rows)
    ]


def _read(directory: Path, file: str | None, trust_remote_code: bool) -> tuple[list[list[str]], str]:
    """The texts to measure on, and where they come from.

    Raises:
        UserError: there are none.
    """
    if file is None:
        texts, name = _validation_text(directory, trust_remote_code)
    else:
        from determined_ner.model.directory import ModelDirectory
        from determined_ner.tagging.words import RawText

        splitting = ModelDirectory(directory, trust_remote_code=trust_remote_code).word_splitting
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
    from determined_ner.training.trained import find_trained

    with tempfile.TemporaryDirectory() as downloads:
        trained = find_trained(str(directory), Path(downloads), trust_remote_code)
        remedy = f"name a text: determined-ner bench {directory} TEXT"
        with trained.labelled_text(None, "it tags", remedy) as (text, _):
            texts = (words for batch in text.batches() for words in batch.column("words").to_pylist())
            return first_texts(texts), ", ".join(text.source.files)
