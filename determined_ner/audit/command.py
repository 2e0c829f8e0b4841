"""The command ``determined-ner audit``: which labels of a text are likely errors, most doubtful first.

DIR/  audit.jsonl    one object an entry: rank, place, words, given and proposed entity, kind, score
      audit.html     the first of them in their sentences, on one page
      predictions/   what each word is taken for by a model that has not seen it; --resume goes on from there
"""

from __future__ import annotations

import argparse
import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from determined_ner.audit.occurrences import Entity
from determined_ner.audit.page import render_page
from determined_ner.audit.ranking import Doubt, rank
from determined_ner.check.command import check
from determined_ner.check.table import duration
from determined_ner.data.readers.open import find_files
from determined_ner.data.writers.labelled import LabelledText
from determined_ner.data.writers.open import check_target, open_output
from determined_ner.errors import UserError, write_errors_explained
from determined_ner.files.atomic import write_text
from determined_ner.local.folds import (
    check_folds,
    fold_settings,
    prediction_files,
    record_of,
    run_folds,
    series_of_folds,
)
from determined_ner.local.series import open_series
from determined_ner.logs import set_up_logging
from determined_ner.masks import printable, shown
from determined_ner.report.out_of_fold import OutOfFold
from determined_ner.settings.experiment import read_config
from determined_ner.settings.loop import parse_loop
from determined_ner.settings.parsing import parse_settings
from determined_ner.settings.urls import is_remote

logger = logging.getLogger("determined_ner")

LIST, PAGE = "audit.jsonl", "audit.html"
_CONFIGS = (".yaml", ".yml")
_TRAINING_ONLY = ("validation_file", "validation_split_percentage", "test_file", "push_to_hub", "hub_model_id")


def run(arguments: argparse.Namespace) -> None:
    """Train the folds, and write what is doubtful.

    Args:
        arguments: as `determined_ner.cli` parses them.

    Raises:
        UserError: whatever the user can fix.
    """
    set_up_logging(chief=True)
    folds: int = arguments.folds
    check_folds(folds)
    if (arguments.to is None) != (arguments.tasks is None):
        raise UserError("--to", "tasks for a tool take a format and a place", "give both --to FORMAT and --tasks FILE")
    if arguments.to is not None:
        _check_tasks(arguments)
    arguments.config_file, arguments.overrides = _settings(arguments.data, arguments.overrides, folds)
    record = record_of(arguments, folds)
    output: Path = arguments.output_dir or Path("runs") / f"{Path(arguments.data).stem.replace('*', '')}-audit"
    with open_series(output, record, arguments.resume, series_of_folds(LIST, PAGE)) as folder:
        _tell_cost(arguments, folds, folder)
        text = run_folds(arguments, folds, folder, keep_runs=False)
        doubts = rank(text)
        with write_errors_explained(folder, "make room or rights, then go on with --resume"):
            write_text(folder / LIST, "".join(f"{line}\n" for line in _lines(text, doubts)))
            write_text(folder / PAGE, render_page(text, doubts, folds))
        if arguments.to is not None:
            _write_tasks(text, doubts, arguments)
    kinds = Counter(doubt.kind.value for doubt in doubts)
    logger.info(f"{len(doubts):,} doubtful labels: {', '.join(f'{kind} {n:,}' for kind, n in kinds.most_common())}")
    logger.info(f"list     {folder / LIST}")
    logger.info(f"page     {folder / PAGE}")


def _check_tasks(arguments: argparse.Namespace) -> None:
    """
    Raises:
        UserError: the tasks would take the place of what is audited, or of a file that may not be replaced.
    """
    tasks: Path = arguments.tasks
    if (
        tasks.exists()
        and not is_remote(arguments.data)
        and any(tasks.samefile(path) for path in find_files(arguments.data))
    ):
        raise UserError("--tasks", f"{tasks} is what is audited", "name another file")
    check_target(tasks, arguments.to, arguments.overwrite)


def _settings(data: str, overrides: list[str], folds: int) -> tuple[Path | None, list[str]]:
    """Config and overrides of the folds: the labelled text is the training data, and only the end is scored.

    Args:
        data: a labelled file, a glob, or an experiment config whose training data is meant.

    Raises:
        UserError: the config cannot be.
    """
    config_file = Path(data) if data.lower().endswith(_CONFIGS) else None
    if config_file is None:
        overrides = [*overrides, f"data.train_file={json.dumps(data)}"]
    overrides = [*overrides, *(f"data.{name}=null" for name in _TRAINING_ONLY)]
    config = read_config(config_file, [*overrides, *fold_settings(folds, 1)])
    settings = parse_settings(config.get("hyperparameters"), config.get("data"))
    if settings.hparams.teacher:
        problem = f"{shown(settings.hparams.teacher)} may have learnt the errors that are looked for"
        raise UserError("hyperparameters.teacher", problem, "set hyperparameters.teacher=null and what goes with it")
    length = parse_loop(config, settings).length
    return config_file, [*overrides, f"min_validation_period={{{length.unit}: {length.value}}}"]


def _tell_cost(arguments: argparse.Namespace, folds: int, folder: Path) -> None:
    """Say how long it will take, as the data check does, from some steps of the first fold."""
    left = sum(not file.exists() for file in prediction_files(folder, folds))
    if not left:
        return
    cost = check(arguments.config_file, [*arguments.overrides, *fold_settings(folds, 1)], timing=True).cost
    set_up_logging(chief=True)  # the check is silent
    assert cost.timing is not None
    logger.info(
        f"{left} of {folds} folds, each {cost.steps_total:,} steps of {cost.global_batch_size} windows: about "
        f"{duration(left * cost.timing.seconds_total)} on {cost.timing.device}, from {cost.timing.steps} timed steps"
    )


def _lines(text: OutOfFold, doubts: Sequence[Doubt]) -> Iterator[str]:
    """The list, a JSON object an entry."""

    def described(sentence: int, entity: Entity | None) -> dict[str, Any] | None:
        if entity is None:
            return None
        words = " ".join(text.words[sentence][entity.begin : entity.end])
        return {"type": entity.type, "text": words, "first_word": entity.begin, "last_word": entity.end - 1}

    for number, doubt in enumerate(doubts, 1):
        file, line = text.lines[doubt.sentence]
        entry = {
            "rank": number,
            "place": f"{text.files[file]}:{line}",
            "kind": doubt.kind.value,
            "score": round(doubt.score, 6),
            "given": described(doubt.sentence, doubt.given),
            "proposed": described(doubt.sentence, doubt.proposed),
            "words": text.words[doubt.sentence],
        }
        yield json.dumps(entry, ensure_ascii=False)


def _write_tasks(text: OutOfFold, doubts: Sequence[Doubt], arguments: argparse.Namespace) -> None:
    """The sentences with doubtful labels, as they are labelled, in the order of the most doubtful label of each."""
    tags = [text.labels[tag] for tag in text.given.tolist()]
    with open_output(arguments.tasks, arguments.to, arguments.overwrite) as output:
        for sentence in dict.fromkeys(doubt.sentence for doubt in doubts):
            given = tags[text.sentences[sentence] : text.sentences[sentence + 1]]
            output.write(LabelledText.of_words(text.words[sentence], given, text.plain))
    for remark in output.writer.remarks():
        logger.info(printable(remark))
    logger.info(f"tasks    {arguments.tasks}")
