"""The table of a search, as text and as CSV, and its picture."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from determined_ner.files.atomic import replacing
from determined_ner.masks import printable
from determined_ner.report.search_picture import TrialCurve, plot_search
from determined_ner.search.plan import Plan
from determined_ner.search.trials import State, Trial, best_first
from determined_ner.settings.ranges import Numbers

TABLE_FILE, PICTURE_FILE = "trials.csv", "trials.png"
_WIDEST = 30
"""Characters of a value that the log shows."""


def rows(plan: Plan, trials: Sequence[Trial], folder: Path) -> list[dict[str, Any]]:
    """One row a trial, best first.

    Returns:
        of each its number, best score, batches, how it ended, its values, and its folder ("" where it has none).
    """
    found = []
    for trial in best_first(trials, plan.loop.smaller_is_better):
        best = trial.best(plan.loop.smaller_is_better)
        made = folder / trial.folder
        found.append(
            {
                "trial": trial.number,
                plan.loop.metric: None if best is None else round(best, 6),
                "batches": trial.batches,
                "ended": trial.state.value,
                **trial.values,
                "folder": str(made) if made.is_dir() else "",
            }
        )
    return found


def format_rows(table: Sequence[dict[str, Any]]) -> list[str]:
    """The lines of a table, in columns."""
    cells = [list(table[0]), *([_shown(*cell) for cell in row.items()] for row in table)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def format_value(value: Any) -> str:
    """A hyperparameter's value in a line: four digits of a fraction, the end of a long text."""
    if isinstance(value, float):
        return f"{value:.4g}"
    text = printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return text if len(text) <= _WIDEST else f"…{text[1 - _WIDEST :]}"


def _shown(name: str, value: Any) -> str:
    return "-" if value is None else printable(value) if name == "folder" else format_value(value)


def write_table(table: Sequence[dict[str, Any]], folder: Path) -> Path:
    """Write it as CSV, values in full.

    Returns:
        path of the file.
    """
    path = folder / TABLE_FILE
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
        writer.writeheader()
        for row in table:
            writer.writerow({name: _cell(value) for name, value in row.items()})
    return path


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | bool) else value


def draw(plan: Plan, trials: Sequence[Trial], folder: Path) -> Path | None:
    """Write the picture.

    Returns:
        path of the file; None: no trial has a score.
    """
    curves = []
    for trial in best_first(trials, plan.loop.smaller_is_better):
        best = trial.best(plan.loop.smaller_is_better)
        if best is not None:
            scored = [line for line in trial.validations if line["score"] is not None]
            points = [(line["batches"], line["score"]) for line in scored]
            curves.append(TrialCurve(trial.folder, points, best, trial.state is not State.COMPLETED, trial.values))
    logarithmic = (
        ".".join(path) for path, one in plan.ranges.items() if isinstance(one, Numbers) and one.kind == "log"
    )
    plot_search(curves, plan.loop.metric, frozenset(logarithmic), folder / PICTURE_FILE)
    return folder / PICTURE_FILE if curves else None
