"""The pictures of a report, and the summary of four of them; from facts, with no model at hand."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from determined_ner.report.changes import Changes
from determined_ner.report.curves import draw_progress, plot_curves, points_of
from determined_ner.report.facts import Facts, LengthRow
from determined_ner.report.mistakes import MistakeKind
from determined_ner.report.plots import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    names_on,
    new_figure,
    plain,
    save,
    shortened,
    style,
)
from determined_ner.report.statistics import Reliability

MOST_TYPES = 20
"""Types that a picture shows, the most frequent ones; the tables have all."""
KINDS = {
    "right": ("right", GREEN),
    "type": ("type", ORANGE),
    "boundary": ("boundary", SKY),
    "both": ("both", PURPLE),
    "missed": ("missed", VERMILION),
    "invented": ("invented", BLUE),
}
"""Of `MistakeKind`: its name in the pictures, and its colour."""
SCORE_NAMES = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "f1_strict": "F1, strict",
    "f1_overlap": "F1, overlap",
    "accuracy": "accuracy",
}
"""Of the headline's scores."""


def draw_report(facts: Facts, changes: Changes | None, records: Sequence[dict[str, Any]], folder: Path) -> list[str]:
    """Draw all pictures that the facts have something for.

    Args:
        records: the reports of the run; none: there is no run.
        folder: where they go; made if need be.

    Returns:
        names of the files, in the order of the page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    with warnings.catch_warnings():  # a type's name in a script that the font lacks; the tables have it
        warnings.filterwarnings("ignore", message="Glyph")

        def keep(name: str, figure: Any) -> None:
            save(figure, folder / name)
            drawn.append(name)

        keep("summary.png", _summary(facts, records))
        keep("types.png", _alone(_draw_types, facts, height=_rows_height(facts)))
        if records:
            drawn.extend(path.name for path in plot_curves(records, folder))
        if not facts.plain:
            keep("mistakes.png", _alone(_draw_mistakes, facts, height=_rows_height(facts) + 0.5))
        keep("confusion.png", _confusion(facts))
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


def _shown_types(facts: Facts) -> list[int]:
    """The most frequent types (gold, then predicted), most frequent first."""
    rows = facts.per_type
    return sorted(range(len(rows)), key=lambda i: (-rows[i].gold, -rows[i].predicted, i))[:MOST_TYPES]


def _some(facts: Facts) -> str:
    """What a title adds when not all types are shown."""
    return f" ({MOST_TYPES} most frequent of {len(facts.types)})" if len(facts.types) > MOST_TYPES else ""


def _main(facts: Facts) -> str:
    return "accuracy" if facts.plain else "f1"


# -- One axes each ---------------------------------------------------------------------------------------------


def _draw_types(axes: Any, facts: Facts) -> None:
    """F1 of all and of each type, with its interval."""
    shown = _shown_types(facts)
    what = "tag" if facts.plain else "type"
    style(axes, f"F1 of each {what}, 95 % intervals{_some(facts)}", grid="x")
    main = facts.headline[_main(facts)]
    rows = [(f"all {what}s", "", main, BLACK)]
    rows += [(facts.per_type[i].name, f"{facts.per_type[i].gold:,}", facts.per_type[i].f1, BLUE) for i in shown]
    positions = list(range(len(rows), 0, -1))
    for position, (_, _, score, colour) in zip(positions, rows, strict=True):
        axes.plot([score.interval.low, score.interval.high], [position] * 2, color=colour, linewidth=2.6, alpha=0.45)
        axes.plot(score.value, position, "o", color=colour, markersize=7)
        right_of = max(score.interval.high, score.value)
        if right_of > 0.86:
            at, side = min(score.interval.low, score.value) - 0.015, "right"
        else:
            at, side = right_of + 0.015, "left"
        axes.text(at, position, f"{score.value:.3f}", va="center", ha=side, fontsize=11)
    names = [rows[0][0], *(f"{shortened(name, 16)} ({count})" for name, count, _, _ in rows[1:])]
    names_on(axes.yaxis, [float(p) for p in positions], names, 30)
    axes.set_xlim(0, 1)
    axes.set_ylim(0.4, len(rows) + 0.6)
    axes.set_xlabel(
        "Accuracy of all, F1 of each tag (0 to 1)" if facts.plain else "F1 (0 to 1); gold entities in brackets"
    )


def _draw_mistakes(axes: Any, facts: Facts) -> None:
    """Of each type, what became of its entities, and how many were invented."""
    shown = _shown_types(facts)
    style(axes, f"What became of the entities{_some(facts)}", grid="x")
    positions = [float(len(shown) - i) for i in range(len(shown))]
    counts = facts.kinds_per_type[shown]
    left = np.zeros(len(shown))
    for kind in MistakeKind:
        name, colour = KINDS[kind.name.lower()]
        total = facts.kinds[kind.name.lower()]
        label = f"{name} {total:,}"
        if kind is MistakeKind.SPURIOUS:
            axes.barh(positions, -counts[:, kind], color=colour, height=0.66, label=label)
        else:
            axes.barh(positions, counts[:, kind], left=left, color=colour, height=0.66, label=label)
            left += counts[:, kind]
    axes.axvline(0, color=BLACK, linewidth=1)
    names_on(axes.yaxis, positions, [facts.per_type[i].name for i in shown])
    axes.set_ylim(0.4, len(shown) + 0.6)
    axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")
    axes.set_xlabel("Gold entities; left of 0: invented ones")
    lower = left[len(shown) // 2 :].max(initial=0)
    if len(shown) > 4 and lower < 0.45 * left.max():  # the frequent types stand above
        where: dict[str, Any] = {"loc": "lower right", "ncols": 2}
    else:
        where = {"loc": "upper center", "bbox_to_anchor": (0.45, -0.18), "ncols": 3}
    axes.legend(**where, fontsize=11, frameon=False, handlelength=1.2, columnspacing=1.2)


def _draw_reliability(axes: Any, facts: Facts) -> None:
    style(axes, f"Calibration: expected error {facts.calibration.error:.3f}", "Probability of the tag", "Share right")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1.2, linestyle="--")
    found = [("all words", facts.calibration, BLUE, "-")]
    if facts.calibration_entities is not None and facts.calibration_entities.count.sum():
        found.append(("in entities", facts.calibration_entities, VERMILION, "--"))
    for name, bins, colour, dashes in found:
        filled = bins.count > 0
        axes.plot(
            bins.confidence[filled], bins.accuracy[filled], marker="o", linestyle=dashes, color=colour, linewidth=2,
            label=f"{name} ({int(bins.count.sum()):,})",
        )  # fmt: skip
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.03)
    axes.legend(loc="best", fontsize=11, frameon=False)


def _draw_curves(axes: Any, facts: Facts, records: Sequence[dict[str, Any]]) -> None:
    """Scores of the validations, or, where there was no training, precision and recall beside F1."""
    keys = ["accuracy"] if facts.plain else ["f1", "precision", "recall"]
    found = [(key, points_of(records, "validation", key)) for key in keys]
    found = [(key, points) for key, points in found if points]
    if not found:
        _draw_headline(axes, facts)
        return
    draw_progress(axes, "Learning curves on validation", "Score (0 to 1)", records)
    looks = [(BLUE, "-", 3.0), (VERMILION, "--", 2.0), (BLACK, "-.", 2.0)]
    for (key, points), (colour, dashes, width) in zip(found, looks, strict=False):
        axes.plot(
            *zip(*points, strict=True), marker="o", color=colour, linestyle=dashes, linewidth=width,
            label=f"{'F1' if key == 'f1' else key} {points[-1][1]:.3f}", clip_on=False,
        )  # fmt: skip
    values = [value for _, points in found for _, value in points]
    axes.set_xlim(0, 1.03 * max(points[-1][0] for _, points in found))
    axes.set_ylim(math.floor(10 * (min(values) - 0.02)) / 10 if min(values) > 0.12 else 0, None)
    axes.legend(loc="best", fontsize=11, frameon=False)


def _draw_headline(axes: Any, facts: Facts) -> None:
    names = list(facts.headline)
    style(axes, "Scores, 95 % intervals", grid="x")
    positions = [float(len(names) - i) for i in range(len(names))]
    for position, name in zip(positions, names, strict=True):
        score = facts.headline[name]
        axes.plot([score.interval.low, score.interval.high], [position] * 2, color=BLUE, linewidth=2.6, alpha=0.45)
        axes.plot(score.value, position, "o", color=BLUE, markersize=7)
        axes.annotate(
            f"{score.value:.3f}", (score.value, position), (0, 7), textcoords="offset points", ha="center", fontsize=11
        )
    names_on(axes.yaxis, positions, [SCORE_NAMES[name] for name in names])
    axes.set_xlim(0, 1.03)
    axes.set_ylim(0.4, len(names) + 0.6)


def _draw_lengths(axes: Any, facts: Facts) -> None:
    style(axes, "Score by the length of the sentence, 95 % intervals", "", "Accuracy" if facts.plain else "F1")
    for i, row in enumerate(facts.lengths):
        if row.f1 is not None:
            axes.plot([i, i], [row.f1.interval.low, row.f1.interval.high], color=BLUE, linewidth=3, alpha=0.45)
            axes.plot(i, row.f1.value, "o", color=BLUE, markersize=8)
    axes.set_ylim(0, 1.03)
    axes.set_xticks(range(len(facts.lengths)), [describe_length(row) for row in facts.lengths])


# -- Whole figures ---------------------------------------------------------------------------------------------


def _summary(facts: Facts, records: Sequence[dict[str, Any]]) -> Any:
    shown = min(len(facts.types), MOST_TYPES)
    upper = max(4.6, 1.7 + 0.36 * (1 + shown))
    figure = new_figure(upper + 4.9, width=13)
    figure.get_layout_engine().set(h_pad=0.1, w_pad=0.1)
    grid = figure.add_gridspec(2, 2, height_ratios=[upper, 4.9])
    main = facts.headline[_main(facts)]
    name = "accuracy" if facts.plain else "F1"
    title = figure.suptitle(
        f"{shortened(facts.name, 40)}: {name} {main.value:.3f} "
        f"(95 % interval {main.interval.low:.3f} to {main.interval.high:.3f}), "
        f"{facts.words:,} words in {facts.sentences:,} sentences",
        fontsize=15,
        x=0.01,
        ha="left",
    )
    plain(title)
    _draw_types(figure.add_subplot(grid[0, 0]), facts)
    if facts.plain:
        _draw_lengths(axes := figure.add_subplot(grid[0, 1]), facts)
        axes.set_xlabel("Words of the sentence")
    else:
        _draw_mistakes(figure.add_subplot(grid[0, 1]), facts)
    _draw_curves(figure.add_subplot(grid[1, 0]), facts, records)
    _draw_reliability(figure.add_subplot(grid[1, 1]), facts)
    return figure


def _confusion(facts: Facts) -> Any:
    """Pairs of gold and predicted entities by their types; shares of a row are its shade."""
    shown = _shown_types(facts)
    rows = [*shown, len(facts.types)]
    counts = facts.confusion[np.ix_(rows, rows)]
    if facts.plain:  # every word has both tags
        rows, counts = shown, counts[:-1, :-1]
    names = [*(facts.per_type[i].name for i in shown), "none"][: len(rows)]
    size = len(rows)
    figure = new_figure(max(4.0, 1.9 + 0.5 * size))
    axes = figure.add_subplot()
    style(axes, f"Gold against predicted{_some(facts)}", "Predicted", "Gold", grid=None)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i, j in np.ndindex(size, size):
        if counts[i, j]:
            colour = "white" if shares[i, j] > 0.55 else BLACK
            number = f"{counts[i, j]:,}" if counts[i, j] < 10_000 else f"{counts[i, j] / 1000:.0f}k"
            axes.text(j, i, number, ha="center", va="center", fontsize=11 if size <= 10 else 8, color=colour)
    names_on(axes.xaxis, [float(i) for i in range(size)], names, 14)
    names_on(axes.yaxis, [float(i) for i in range(size)], names, 18)
    if size > 4:
        axes.tick_params(axis="x", labelrotation=40)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
            label.set_rotation_mode("anchor")
    return figure


def _calibration(facts: Facts) -> Any:
    figure = new_figure(6.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1.3])
    _draw_reliability(upper, facts)
    upper.set_xlabel("")
    bins: Reliability = facts.calibration
    style(lower, "", "Probability that the model gave to the tag it chose", "Words")
    middle = (bins.edges[:-1] + bins.edges[1:]) / 2
    lower.bar(middle, np.maximum(bins.count, 0.1), width=0.8 / len(middle), color=BLUE)
    lower.set_yscale("log")
    lower.set_ylim(0.6, None)
    return figure


def _lengths(facts: Facts) -> Any:
    figure = new_figure(5.4)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1.2])
    _draw_lengths(upper, facts)
    style(lower, "", "Words of the sentence", "Sentences")
    lower.bar(range(len(facts.lengths)), [row.sentences for row in facts.lengths], color=SKY, width=0.7)
    return figure


def describe_length(row: LengthRow) -> str:
    """``1 to 5`` words, ``more than 160``."""
    return f"> {row.low}" if row.high is None else f"{row.low + 1} to {row.high}"


def _comparison(facts: Facts, changes: Changes) -> Any:
    """This model's scores less the other's."""
    shown = [facts.per_type[i].name for i in _shown_types(facts)]
    rows = [
        *((SCORE_NAMES[name], found) for name, found in changes.headline.items()),
        *((name, changes.per_type[name]) for name in shown),
    ]
    figure = new_figure(1.7 + 0.4 * len(rows))
    axes = figure.add_subplot()
    title = f"{shortened(facts.name, 20)} less {shortened(changes.other, 20)}, 95 % intervals"
    style(axes, title, "Difference in points of 100", grid="x")
    axes.axvline(0, color=BLACK, linewidth=1)
    positions = [float(len(rows) - i) for i in range(len(rows))]
    for position, (_, found) in zip(positions, rows, strict=True):
        surely = found.interval.low > 0 or found.interval.high < 0
        colour = GREY if not surely else GREEN if found.value > 0 else VERMILION
        ends = [100 * found.interval.low, 100 * found.interval.high]
        axes.plot(ends, [position] * 2, color=colour, linewidth=3, alpha=0.6)
        axes.plot(100 * found.value, position, "o", color=colour, markersize=7)
    names_on(axes.yaxis, positions, [name for name, _ in rows])
    axes.set_ylim(0.4, len(rows) + 0.6)
    return figure
