"""The pictures of a report, and the summary of four of them; drawn from facts, without a model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from determined_ner.report.changes import Changes
from determined_ner.report.curves import plot_curves
from determined_ner.report.facts import Facts
from determined_ner.report.panels import (
    MOST_TYPES,
    SCORE_NAMES,
    draw_coverage,
    draw_curves,
    draw_lengths,
    draw_mistakes,
    draw_reliability,
    draw_scores,
    draw_types,
    how_many_shown,
)
from determined_ner.report.plots import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    SKY,
    VERMILION,
    new_figure,
    plain,
    save,
    set_tick_names,
    shorten,
    style,
)


def draw_report(
    facts: Facts, changes: Changes | None, records: Sequence[dict[str, Any]], folder: Path, summary: bool = True
) -> list[str]:
    """Draw all pictures that there is something to show in.

    Args:
        facts: of the model.
        changes: between it and another model, if there is one.
        records: the reports of the run; empty: no run is known.
        folder: where the pictures go; made if need be.
        summary: also draw four of them as one, which the page does not show.

    Returns:
        names of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    with warnings.catch_warnings():  # that the font lacks the script of a type's name, which the tables show
        warnings.filterwarnings("ignore", message="Glyph")

        def keep(name: str, figure: Any) -> None:
            save(figure, folder / name)
            drawn.append(name)

        if summary:
            keep("summary.png", _summary(facts, records))
        keep("types.png", _alone(draw_types, facts, height=_rows_height(facts)))
        if records:
            drawn.extend(path.name for path in plot_curves(records, folder))
        if not facts.plain:
            keep("mistakes.png", _alone(draw_mistakes, facts, height=_rows_height(facts) + 0.5))
        keep("confusion.png", _confusion(facts))
        if facts.calibration_scores is not None:
            keep("scores.png", _alone(draw_scores, facts, height=4.9))
            keep("coverage.png", _alone(draw_coverage, facts, height=4.9))
        keep("calibration.png", _calibration(facts))
        keep("lengths.png", _lengths(facts))
        if changes is not None:
            keep("comparison.png", _comparison(facts, changes))
    return drawn


def _alone(draw: Any, facts: Facts, height: float) -> Any:
    figure = new_figure(height)
    draw(figure.add_subplot(), facts)
    return figure


def _rows_height(facts: Facts) -> float:
    return 1.7 + 0.42 * (1 + min(len(facts.types), MOST_TYPES))


def _summary(facts: Facts, records: Sequence[dict[str, Any]]) -> Any:
    shown = min(len(facts.types), MOST_TYPES)
    upper = max(4.6, 1.7 + 0.36 * (1 + shown))
    figure = new_figure(upper + 4.9, width=13)
    figure.get_layout_engine().set(h_pad=0.1, w_pad=0.1)
    grid = figure.add_gridspec(2, 2, height_ratios=[upper, 4.9])
    main = facts.headline[facts.main_score]
    name = "accuracy" if facts.plain else "F1"
    title = figure.suptitle(
        f"{shorten(facts.name, 40)}: {name} {main.value:.3f} "
        f"(95 % interval {main.interval.low:.3f} to {main.interval.high:.3f}), "
        f"{facts.words:,} words in {facts.sentences:,} sentences",
        fontsize=15,
        x=0.01,
        ha="left",
    )
    plain(title)
    draw_types(figure.add_subplot(grid[0, 0]), facts)
    if facts.plain:
        draw_lengths(axes := figure.add_subplot(grid[0, 1]), facts)
        axes.set_xlabel("Words of the sentence")
    else:
        draw_mistakes(figure.add_subplot(grid[0, 1]), facts)
    draw_curves(figure.add_subplot(grid[1, 0]), facts, records)
    draw = draw_reliability if facts.calibration_scores is None else draw_scores
    draw(figure.add_subplot(grid[1, 1]), facts)
    return figure


def _confusion(facts: Facts) -> Any:
    """Matched gold and predicted entities by their types; a cell's shade is its share of the row."""
    shown = facts.by_frequency()[:MOST_TYPES]
    rows = [*shown, len(facts.types)]
    counts = facts.confusion[np.ix_(rows, rows)]
    if facts.plain:  # every word has a gold and a predicted tag
        rows, counts = shown, counts[:-1, :-1]
    names = [*(facts.per_type[i].name for i in shown), "none"][: len(rows)]
    size = len(rows)
    figure = new_figure(max(4.0, 1.9 + 0.5 * size))
    axes = figure.add_subplot()
    style(axes, f"Gold against predicted{how_many_shown(facts)}", "Predicted", "Gold", grid=None)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i, j in np.ndindex(size, size):
        if counts[i, j]:
            colour = "white" if shares[i, j] > 0.55 else BLACK
            number = f"{counts[i, j]:,}" if counts[i, j] < 10_000 else f"{counts[i, j] / 1000:.0f}k"
            axes.text(j, i, number, ha="center", va="center", fontsize=11 if size <= 10 else 8, color=colour)
    set_tick_names(axes.xaxis, [float(i) for i in range(size)], names, 14)
    set_tick_names(axes.yaxis, [float(i) for i in range(size)], names, 18)
    if size > 4:
        axes.tick_params(axis="x", labelrotation=40)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
            label.set_rotation_mode("anchor")
    return figure


def _calibration(facts: Facts) -> Any:
    figure = new_figure(6.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1.3])
    draw_reliability(upper, facts)
    upper.set_xlabel("")
    bins = facts.calibration
    style(lower, "", "Probability that the model gave to the tag it chose", "Words")
    middle = (bins.edges[:-1] + bins.edges[1:]) / 2
    lower.bar(middle, np.maximum(bins.count, 0.1), width=0.8 / len(middle), color=BLUE)
    lower.set_yscale("log")
    lower.set_ylim(0.6, None)
    return figure


def _lengths(facts: Facts) -> Any:
    figure = new_figure(5.4)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1.2])
    draw_lengths(upper, facts)
    style(lower, "", "Words of the sentence", "Sentences")
    lower.bar(range(len(facts.lengths)), [row.sentences for row in facts.lengths], color=SKY, width=0.7)
    return figure


def _comparison(facts: Facts, changes: Changes) -> Any:
    """This model's scores minus the other's."""
    shown = [facts.per_type[i].name for i in facts.by_frequency()[:MOST_TYPES]]
    rows = [
        *((SCORE_NAMES[name], found) for name, found in changes.headline.items()),
        *((name, changes.per_type[name]) for name in shown),
    ]
    figure = new_figure(1.7 + 0.4 * len(rows))
    axes = figure.add_subplot()
    title = f"{shorten(facts.name, 20)} minus {shorten(changes.other, 20)}, 95 % intervals"
    style(axes, title, "Difference in points of 100", grid="x")
    axes.axvline(0, color=BLACK, linewidth=1)
    positions = [float(len(rows) - i) for i in range(len(rows))]
    for position, (_, found) in zip(positions, rows, strict=True):
        colour = GREEN if found.interval.low > 0 else VERMILION if found.interval.high < 0 else GREY
        ends = [100 * found.interval.low, 100 * found.interval.high]
        axes.plot(ends, [position] * 2, color=colour, linewidth=3, alpha=0.6)
        axes.plot(100 * found.value, position, "o", color=colour, markersize=7)
    set_tick_names(axes.yaxis, positions, [name for name, _ in rows])
    axes.set_ylim(0.4, len(rows) + 0.6)
    return figure
