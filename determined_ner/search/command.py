"""The command ``determined-ner search``: the trials of a search without a cluster, one after the other.

DIR/  search.json    what was asked for, for --resume
      trial-1/ …     a run each
      trials.json    what each trial that is done came to
      trials.csv     the table, best first
      trials.png     scores over batches, and by hyperparameter
      cache/         tokenized data of all
"""

from __future__ import annotations

import argparse
import gc
import logging
import time
from pathlib import Path
from typing import Any

from determined_ner.check.table import duration
from determined_ner.data.sources import check_files, content_of
from determined_ner.errors import HyperparameterError, UserError, first_line, write_errors_explained
from determined_ner.interrupts import stop_signals_heard
from determined_ner.local.processes import process_count
from determined_ner.local.run import SearchedTrial, run_locally
from determined_ner.local.series import Series, open_series
from determined_ner.logs import set_up_logging
from determined_ner.masks import without_secrets
from determined_ner.model.device_memory import DeviceMemoryError
from determined_ner.search.halving import is_stopped, scores_needed
from determined_ner.search.plan import Plan, make_plan
from determined_ner.search.table import PICTURE_FILE, TABLE_FILE, draw, format_rows, format_value, rows, write_table
from determined_ner.search.trials import (
    TRIALS_FILE,
    State,
    Trial,
    find_best,
    read_trials,
    trial_name,
    write_trials,
)
from determined_ner.settings.experiment import read_config
from determined_ner.training.divergence import DivergedError
from determined_ner.training.run_config import CONFIG_FILE
from determined_ner.training.run_folder import SEARCH_FILE, RunFolder
from determined_ner.training.teacher import teachers_in_record

logger = logging.getLogger("determined_ner")

CACHE = "cache"
SERIES = Series("trials", SEARCH_FILE, (trial_name(1), TRIALS_FILE, TABLE_FILE, PICTURE_FILE), (CACHE,))
TEACHER = ("teacher",)
REMEDY = "make room or rights, then go on with --resume"


def run(arguments: argparse.Namespace) -> None:
    """Train the trials that the config's searcher asks for, and say which is best.

    Args:
        arguments: as `determined_ner.cli` parses them.

    Raises:
        UserError: whatever the user can fix.
    """
    if process_count() > 1:
        remedy = "start it without torchrun, or train one point with determined-ner train"
        raise UserError("determined-ner search", "trials are not trained by several processes", remedy)
    set_up_logging(chief=True)
    with stop_signals_heard():
        config = read_config(arguments.config_file, arguments.overrides)
        plan = make_plan(config)
        data = plan.settings.data
        check_files(data)
        content = content_of(data, data.validation_file, data.test_file, data.unlabelled_file)
        teachers = plan.ranges[TEACHER].ends() if TEACHER in plan.ranges else [plan.settings.hparams.teacher]
        record = {"content": content, **teachers_in_record(plan.settings.hparams, teachers), **without_secrets(config)}
        with open_series(arguments.output_dir, record, arguments.resume, SERIES) as folder:
            _search(plan, folder)


def _search(plan: Plan, folder: Path) -> None:
    trials = read_trials(folder)
    invalid = _invalid(trials)
    if any(plan.next_bracket(invalid[:number]) != trial.bracket for number, trial in enumerate(trials)):
        raise UserError(folder / TRIALS_FILE, "holds trials of another search", "copy the search again")
    _log_plan(plan, len(trials))
    started, done_before = time.monotonic(), len(trials)
    while (bracket := plan.next_bracket(_invalid(trials))) is not None:
        trials.append(_train(plan, folder, trials, bracket))
        with write_errors_explained(folder, REMEDY):
            write_trials(folder, trials, plan.loop)
        seconds = (time.monotonic() - started) / (len(trials) - done_before)
        _log_trial(plan, trials, seconds)
    _end(plan, folder, trials)


def _train(plan: Plan, folder: Path, trials: list[Trial], bracket: int) -> Trial:
    """Train the next trial to its end, or go on with it."""
    loop, number = plan.loop, len(trials) + 1
    unit, smaller = loop.length.unit, loop.smaller_is_better
    rungs, needed = plan.rungs(bracket), []
    if rungs:  # else the length may be in records, in which nothing is compared
        before = [t.history(unit, smaller) for t in trials if t.bracket == bracket and t.state is not State.INVALID]
        needed = scores_needed(plan.brackets[bracket], plan.divisor, before)
    sign = 1 if smaller else -1
    bars = [(at, sign * score) for at, score in zip(rungs, needed, strict=False) if score is not None]
    values = {".".join(path): value for path, value in plan.points.values(number).items()}
    said = ", ".join(f"{name} {format_value(without_secrets(value, name))}" for name, value in values.items())
    total = len(trials) + plan.trials_left(_invalid(trials))
    logger.info(f"trial {number} of {total}: {said}")
    place = folder / trial_name(number)
    again = (place / CONFIG_FILE).exists()
    one = argparse.Namespace(config_file=None, overrides=[], output_dir=place, resume=again)
    state, reason = State.COMPLETED, ""
    try:
        ended = run_locally(one, SearchedTrial(plan.config_of(number), folder / CACHE, bars))
        if ended is not None:
            state, reason = State.EARLY, ended
    except HyperparameterError as error:
        state, reason = State.INVALID, str(error)
    except (DivergedError, DeviceMemoryError) as error:
        state, reason = State.FAILED, first_line(error)
    gc.collect()  # the next trial needs the memory
    validations = [] if state is State.INVALID else _validations(place, loop.metric)
    made = Trial(number, bracket, state, reason, without_secrets(values), validations)
    if rungs and state is State.EARLY and is_stopped(plan.brackets[bracket], needed, made.history(unit, smaller)):
        return Trial(number, bracket, State.STOPPED, reason, made.values, validations)
    return made


def _invalid(trials: list[Trial]) -> list[bool]:
    return [trial.state is State.INVALID for trial in trials]


def _validations(run: Path, metric: str) -> list[dict[str, Any]]:
    reports = (line for line in RunFolder(run).metrics.reports() if line["kind"] == "validation")
    return [{"batches": line["batches"], "epochs": line["epochs"], "score": line.get(metric)} for line in reports]


def _log_plan(plan: Plan, done: int) -> None:
    name, trials, seed = plan.name, plan.trials, plan.loop.seed
    logger.info(f"search: {name}, {trials} trials of {len(plan.ranges)} hyperparameters, seed {seed}")
    for number, bracket in enumerate(plan.brackets):
        if len(bracket.rungs) > 1:
            *between, whole = plan.rungs(number)
            after = ", ".join(str(rung.value) for rung in between)
            logger.info(
                f"{bracket.trials} trials of {whole} are compared after {after}: the best 1/{plan.divisor:g} go on"
            )
            period = plan.loop.validation_period
            if period.unit == whole.unit and period.value > between[0].value:
                logger.warning(
                    f"they are validated every {period}, later than the first of these: write "
                    f"min_validation_period: {{{whole.unit}: {between[0].value}}}"
                )
    if done:
        logger.info(f"{done} trials are done")


def _log_trial(plan: Plan, trials: list[Trial], seconds: float) -> None:
    """
    Args:
        seconds: that a trial takes, of those of this process.
    """
    trial, smaller = trials[-1], plan.loop.smaller_is_better
    best, own = find_best(trials, smaller), trial.best(smaller)
    said = f"trial {trial.number} {trial.state.value}"
    if own is not None:
        said += f" after {trial.batches:,} batches with {plan.loop.metric} {own:.4f}"
    if trial.reason:
        logger.info(trial.reason)
    top = best and best.best(smaller)
    if best is not None and top is not None:
        said += f"; best so far: trial {best.number} with {top:.4f}"
    if left := plan.trials_left(_invalid(trials)):
        said += f"; {left} left, about {duration(left * seconds)}"
    logger.info(said)


def _end(plan: Plan, folder: Path, trials: list[Trial]) -> None:
    """Write and show what came out.

    Raises:
        UserError: nothing did.
    """
    table = rows(plan, trials, folder)
    with write_errors_explained(folder, REMEDY):
        csv, picture = write_table(table, folder), draw(plan, trials, folder)
    best = find_best(trials, plan.loop.smaller_is_better)
    if best is None:
        raise UserError(folder, f"none of {len(trials)} trials came to a model", f"the last one: {trials[-1].reason}")
    for line in ["", *format_rows(table), "", f"best     {folder / best.folder / 'model'}", f"table    {csv}"]:
        logger.info(line)
    if picture is not None:
        logger.info(f"picture  {picture}")
