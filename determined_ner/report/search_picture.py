"""The picture of a search: how the score of each trial grew, and how it goes with each hyperparameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from determined_ner.report.plots import BLUE, GREY, WIDTH, new_figure, save, set_tick_names, shorten, style

_CATEGORIES = 12
"""Values with a place of their own; names of more would overlap."""


@dataclass(frozen=True)
class TrialCurve:
    """One trial in the picture."""

    name: str
    points: Sequence[tuple[int, float]]
    """(batches, score) of each validation, ascending."""
    best: float
    ended_early: bool
    values: dict[str, Any]
    """Of the hyperparameters that differ."""


def plot_search(trials: Sequence[TrialCurve], metric: str, log_names: frozenset[str], path: Path) -> None:
    """Draw all trials; without one nothing is written.

    Args:
        trials: best first.
        metric: what the score is.
        log_names: hyperparameters that are drawn on a logarithmic scale.
        path: of the picture, a PNG file.
    """
    if not trials:
        return
    names = list(trials[0].values)
    rows = -(-len(names) // 2)
    figure = new_figure(4.2 + 3.2 * rows, 1.5 * WIDTH)
    grid = figure.add_gridspec(1 + rows, 2, height_ratios=[4.2, *[3.2] * rows])
    _draw_curves(figure.add_subplot(grid[0, :]), trials, metric)
    for number, name in enumerate(names):
        _draw_values(figure.add_subplot(grid[1 + number // 2, number % 2]), trials, metric, name, name in log_names)
    save(figure, path)


def _draw_curves(axes: Any, trials: Sequence[TrialCurve], metric: str) -> None:
    best, early = trials[0], any(trial.ended_early for trial in trials)
    title = f"{metric} of {len(trials)} trials; best: {best.name}, {best.best:.4f}"
    style(axes, title + ("; × and ○ ended early" if early else ""), "Batches trained", f"Validation {metric}")
    for trial in reversed(trials):
        look: dict[str, Any] = {"color": GREY, "linewidth": 1.2, "zorder": 2}
        if trial is best:
            look = {"color": BLUE, "linewidth": 2.8, "zorder": 3}
        batches, scores = zip(*trial.points, strict=True)
        axes.plot(batches, scores, marker="o", markersize=3.5, clip_on=False, **look)
        end = "x" if trial.ended_early else "o"
        axes.plot(batches[-1], scores[-1], end, markersize=7, color=look["color"], clip_on=False, zorder=look["zorder"])
    axes.set_xlim(0, None)


def _draw_values(axes: Any, trials: Sequence[TrialCurve], metric: str, name: str, logarithmic: bool) -> None:
    style(axes, f"by {shorten(name, 34)}", "", f"Best {metric}")
    values = [trial.values[name] for trial in trials]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        places = [float(value) for value in values]
        if logarithmic:
            _set_log_scale(axes)
    else:
        written = [str(value) for value in values]
        order = sorted(set(written))
        places = [float(order.index(text)) for text in written]
        if len(order) <= _CATEGORIES:
            set_tick_names(axes.xaxis, [float(i) for i in range(len(order))], order, max(6, 48 // len(order)))
        axes.set_xlim(-0.6, len(order) - 0.4)
    for trial, place in reversed(list(zip(trials, places, strict=True))):
        colour = BLUE if trial is trials[0] else GREY
        filled = "none" if trial.ended_early else colour
        axes.plot(place, trial.best, "o", markersize=8, color=colour, markerfacecolor=filled, clip_on=False)


def _set_log_scale(axes: Any) -> None:
    """With a name at few of its ticks: a range is often shorter than a power of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
