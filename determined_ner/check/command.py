"""The command ``determined-ner check``: find trouble before a GPU is paid for, and train nothing.

It builds what training builds (settings, data, model, schedule) by the same code, so that it fails where training
would, with the same message and exit status 2. Then it says what is in the data, what looks wrong, and what the
training will cost. It leaves nothing behind except ``data.cache_dir``, if that is set.

Its parts: `facts`, what is found, which is what ``--json`` prints; `counts`, which reads text and windows; `cost`,
which looks at the batch plan and times steps; `remarks`, what to look at; `table`, what the terminal shows.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from determined_ner.check.counts import SplitCounter, find_repeats, find_scored
from determined_ner.check.facts import AmbiguousWord, Remark, Report, SplitFacts
from determined_ner.check.remarks import find_remarks, remark_on_retries
from determined_ner.check.table import format_report
from determined_ner.check.word_kinds import WordKinds
from determined_ner.data.source import Source
from determined_ner.data.unlabelled import NAME as UNLABELLED
from determined_ner.data.unlabelled import NO_LABELS
from determined_ner.errors import UserError, standard_output
from determined_ner.logs import set_up_logging
from determined_ner.machine import load
from determined_ner.masks import printable_lines
from determined_ner.settings.experiment import DEFAULT_CONFIG, read_config
from determined_ner.settings.loop import LoopSettings, parse_loop
from determined_ner.settings.parsing import Settings, parse_settings

if TYPE_CHECKING:
    from determined_ner.training.setup import Training


def run(arguments: argparse.Namespace) -> None:
    """Check, and print what was found.

    Args:
        arguments: as `determined_ner.cli` parses them.

    Raises:
        UserError: where training would fail.
    """
    output = standard_output()
    report = check(arguments.config_file, arguments.overrides, timing=not arguments.no_timing)
    if arguments.json:
        print(json.dumps(asdict(report), allow_nan=False), file=output)
        return
    if hasattr(output, "reconfigure"):
        output.reconfigure(errors="replace")  # a word that the terminal cannot show must not end the check
    print(printable_lines(format_report(report)), file=output)


def check(config_file: Path | None, overrides: list[str], timing: bool) -> Report:
    """Build the training, and look at it and at its data.

    Args:
        config_file: the experiment config; None: the default one.
        overrides: ``KEY=VALUE`` each.
        timing: also time some training steps.

    Raises:
        UserError: where training would fail.
    """
    busy = _system_load()
    config = read_config(config_file, overrides)
    settings = parse_settings(config.get("hyperparameters"), config.get("data"))
    loop = parse_loop(config, settings)
    slots = _slots(config)

    # These import torch, which takes seconds: a mistake in the settings need not wait for it.
    from determined_ner.check.cost import count_padding, find_cost
    from determined_ner.training.slots import check_batch_size

    check_batch_size(settings.hparams.global_batch_size, slots)
    set_up_logging(chief=False)  # the report has what the training would log
    with (
        tempfile.TemporaryDirectory(prefix="ner-check-") as directory,
        tqdm(
            desc="reading, tokenizing, loading the model",
            total=1,
            bar_format="{desc} {percentage:3.0f} %",
            leave=False,
            disable=None,
            file=sys.stderr,
        ) as bar,
    ):
        training, begin_batch = _training(settings, loop, Path(directory))
        splits, unlabelled, ambiguous = _count(training, bar)
        count_padding(training, splits, slots)
        report = Report(
            config=str(config_file or DEFAULT_CONFIG),
            scheme=training.labels.scheme.value,
            labels=list(training.labels.names),
            context=settings.data.context,
            max_seq_length=training.max_seq_length,
            model_limit=training.model_limit,
            pad_to_max_length=settings.data.pad_to_max_length,
            word_splitting=training.corpus.word_splitting,
            splits=splits,
            unlabelled=unlabelled,
            corpora=training.corpus.count_corpora(settings.data),
            distillation=_describe_distillation(training),
            ambiguous_words=ambiguous,
            cost=find_cost(training, slots, busy, bar if timing else None, begin_batch),
            warnings=[Remark(note) for note in (*settings.warnings, *loop.warnings)],
        )
    report.warnings += [*remark_on_retries(config), *find_remarks(report)]
    return report


def _system_load() -> float:
    """Load average of the last minute, per core; 0 where the system has none."""
    return load() / (os.cpu_count() or 1)


def _slots(config: dict[str, Any]) -> int:
    """The slots that the experiment asks for.

    Raises:
        UserError: no number of slots.
    """
    resources = config.get("resources") or {}
    slots = resources.get("slots_per_trial") if isinstance(resources, dict) else resources
    if slots is None:
        return 1
    if not isinstance(slots, int) or isinstance(slots, bool) or slots < 0:
        raise UserError("resources.slots_per_trial", f"{slots!r} is no number of slots", "write a whole number from 0")
    return max(1, slots)  # 0 means one slot without a GPU


def _training(settings: Settings, loop: LoopSettings, directory: Path) -> tuple[Training, Callable[[int], None]]:
    """Build the training as a run of one process on this machine does, with nothing that writes or reports.

    Args:
        directory: for what is written all the same.

    Returns:
        the training, ready to train; and what has to be called with the index of a micro-batch before each.
    """
    from determined_ner.training.loop_context import TorchContext
    from determined_ner.training.setup import Training
    from determined_ner.training.slots import OneSlot

    slot, steps = OneSlot(), loop.aggregation_frequency
    context = TorchContext(slot, steps)
    training = Training(settings, loop, context.device, slot, steps, loop.seed, directory)
    training.begin(context)
    return training, context.begin_batch


def _describe_distillation(training: Training) -> list[str]:
    from determined_ner.training.summary import describe_distillation

    lines = describe_distillation(training)
    if training.distilled:
        words = len(training.train.tags)
        lines.append(f"before the first step the teacher reads {words:,} words, which the time below leaves out")
    return lines


def _count(training: Training, bar: tqdm[Any]) -> tuple[dict[str, SplitFacts], SplitFacts | None, list[AmbiguousWord]]:
    """Count what is in each split and in text without labels, and find the ambiguous words of train."""
    word_kinds = WordKinds(training.labels)
    counters: dict[str, SplitCounter] = {}
    corpus, texts = training.corpus, training.corpus.texts
    parts = [(name, corpus.splits[name], text, training.labels) for name, text in texts.items()]
    if corpus.unlabelled and corpus.unlabelled_text:
        parts.append((UNLABELLED, corpus.unlabelled, corpus.unlabelled_text, NO_LABELS))
    for name, split, text, labels in parts:
        counters[name] = SplitCounter(
            split,
            text,
            labels,
            training.tokenizer,
            training.max_seq_length,
            training.data.context == "document",
            training.corpus.word_splitting,
        )

        def show_share(share: float, name: str = name) -> None:
            bar.n = share
            bar.set_description(f"counting {name}")

        kinds = word_kinds if name == "train" else None
        facts = counters[name].count(kinds, show_share)
        facts.files, facts.tags_read = _layouts(text.source), text.describe_tags(labels)
    unlabelled = counters.pop(UNLABELLED, None)
    if unlabelled:
        find_scored(unlabelled, counters)
    word_kinds.describe(counters["train"].facts)
    find_repeats(counters, texts)
    splits = {name: counter.facts for name, counter in counters.items()}
    return splits, unlabelled.facts if unlabelled else None, word_kinds.ambiguous()


def _layouts(source: Source) -> list[dict[str, str | None]]:
    """The files of a split and how each is read, as `SplitFacts.files` has them."""
    layouts = source.layouts()
    if not layouts:  # a data set of the datasets library
        return [{"path": path} for path in source.files]
    found: list[dict[str, str | None]] = []
    for path, layout in zip(source.files, layouts, strict=True):
        found.append(
            {
                "path": path,
                "format": layout.format,
                "text_column": layout.text_column,
                "tag_column": layout.tag_column,
                "sentence_column": layout.sentence_column,
                "document_column": layout.document_column,
                "annotated_by": "spans" if layout.by_spans else "tags",
            }
        )
    return found
