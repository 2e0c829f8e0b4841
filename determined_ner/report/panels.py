"""The panels of a report's pictures: each function draws one fact into one axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from determined_ner.report.curves import draw_progress, points_of
from determined_ner.report.facts import Facts
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
    set_tick_names,
    shorten,
    style,
)
from determined_ner.report.statistics import Reliability

MOST_TYPES = 20
"""Types that a picture shows, the most frequent ones; the tables have all."""
KIND_COLOURS = {
    MistakeKind.CORRECT: GREEN,
    MistakeKind.WRONG_TYPE: ORANGE,
    MistakeKind.WRONG_BOUNDARY: SKY,
    MistakeKind.WRONG_TYPE_AND_BOUNDARY: PURPLE,
    MistakeKind.MISSED: VERMILION,
    MistakeKind.SPURIOUS: BLUE,
}
SCORE_NAMES = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "f1_strict": "F1, strict",
    "f1_overlap": "F1, overlap",
    "accuracy": "accuracy",
}
"""Of the scores in the headline, as pictures and page show them."""


def how_many_shown(facts: Facts) -> str:
    """What a title says where not all types are shown."""
    return f" ({MOST_TYPES} most frequent of {len(facts.types)})" if len(facts.types) > MOST_TYPES else ""


def draw_types(axes: Any, facts: Facts) -> None:
    """F1 of all and of each type, with its interval."""
    shown = facts.by_frequency()[:MOST_TYPES]
    what = "tag" if facts.plain else "type"
    style(axes, f"F1 of each {what}, 95 % intervals{how_many_shown(facts)}", grid="x")
    main = facts.headline[facts.main_score]
    rows = [(f"all {what}s", "", main, BLACK)]
    rows += [(facts.per_type[i].name, f"{facts.per_type[i].gold:,}", facts.per_type[i].f1, BLUE) for i in shown]
    positions = list(range(len(rows), 0, -1))
    for position, (_, _, score, colour) in zip(positions, rows, strict=True):
        axes.plot([score.interval.low, score.interval.high], [position] * 2, color=colour, linewidth=2.6, alpha=0.45)
        axes.plot(score.value, position, "o", color=colour, markersize=7)
        low, high = min(score.interval.low, score.value), max(score.interval.high, score.value)
        at, side = (low - 0.015, "right") if high > 0.86 else (high + 0.015, "left")
        axes.text(at, position, f"{score.value:.3f}", va="center", ha=side, fontsize=11)
    names = [rows[0][0], *(f"{shorten(name, 16)} ({count})" for name, count, _, _ in rows[1:])]
    set_tick_names(axes.yaxis, [float(p) for p in positions], names, 30)
    axes.set_xlim(0, 1)
    axes.set_ylim(0.4, len(rows) + 0.6)
    axes.set_xlabel(
        "Accuracy of all, F1 of each tag (0 to 1)" if facts.plain else "F1 (0 to 1); gold entities in brackets"
    )


def draw_mistakes(axes: Any, facts: Facts) -> None:
    """Of each type, how its gold entities were predicted, and how many spurious ones were."""
    shown = facts.by_frequency()[:MOST_TYPES]
    style(axes, f"Correct entities and mistakes{how_many_shown(facts)}", grid="x")
    positions = [float(len(shown) - i) for i in range(len(shown))]
    counts = facts.kinds_per_type[shown]
    left = np.zeros(len(shown))
    for kind in MistakeKind:
        look = {"color": KIND_COLOURS[kind], "height": 0.66, "label": f"{kind.label} {facts.kinds[kind]:,}"}
        if kind is MistakeKind.SPURIOUS:
            axes.barh(positions, -counts[:, kind], **look)
        else:
            axes.barh(positions, counts[:, kind], left=left, **look)
            left += counts[:, kind]
    axes.axvline(0, color=BLACK, linewidth=1)
    set_tick_names(axes.yaxis, positions, [facts.per_type[i].name for i in shown])
    axes.set_ylim(0.4, len(shown) + 0.6)
    axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")
    axes.set_xlabel("Gold entities; left of 0: spurious ones")
    axes.legend(  # below the name of the axis, at the same distance whatever the height
        loc="upper center", bbox_to_anchor=(0.45, 0), borderaxespad=4.5, ncols=3, fontsize=11, frameon=False,
        handlelength=1.2, columnspacing=1.2,
    )  # fmt: skip


def draw_reliability(axes: Any, facts: Facts) -> None:
    """Reliability diagram: how often a tag is correct, by its probability."""
    style(axes, f"Calibration: expected error {facts.calibration.error:.3f}", "Probability of the tag", "Share correct")
    rows = [(f"all words ({int(facts.calibration.count.sum()):,})", facts.calibration, BLUE, "-")]
    entities = facts.calibration_entities
    if entities is not None and (count := int(entities.count.sum())):
        rows.append((f"in entities ({count:,})", entities, VERMILION, "--"))
    _draw_reliabilities(axes, rows)


def draw_scores(axes: Any, facts: Facts) -> None:
    """How often entities are right, by their scores, before and after calibration."""
    found = facts.calibration_scores
    assert found is not None
    style(axes, f"Scores of entities: expected error {found.after.error:.3f}", "Score of the entity", "Share correct")
    chance = f"as given ({found.by_chance:.3f} by chance): {found.after.error:.3f}"
    _draw_reliabilities(
        axes,
        [(f"the model's own: {found.before.error:.3f}", found.before, GREY, "--"), (chance, found.after, BLUE, "-")],
    )


def draw_coverage(axes: Any, facts: Facts) -> None:
    """Precision of the entities that are given, by how many are."""
    assert facts.calibration_scores is not None
    found = facts.calibration_scores.coverage
    style(axes, "Precision if entities of low scores are withheld", "Share of entities given", "Share of these correct")
    axes.plot(found.share, found.precision, color=BLUE, linewidth=2)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.03)


def _draw_reliabilities(axes: Any, rows: Sequence[tuple[str, Reliability, str, str]]) -> None:
    """A line for each: name in the legend, bins, colour, dashes; and the diagonal, on which all would be right."""
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1.2, linestyle="--")
    for name, bins, colour, dashes in rows:
        filled = bins.count > 0
        axes.plot(
            bins.confidence[filled], bins.accuracy[filled], marker="o", linestyle=dashes, color=colour, linewidth=2,
            label=name,
        )  # fmt: skip
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.03)
    axes.legend(loc="best", fontsize=11, frameon=False)


def draw_curves(axes: Any, facts: Facts, records: Sequence[dict[str, Any]]) -> None:
    """Scores on validation during the training; where nothing is known of it, all scores at the end.

    Args:
        records: the reports of the run.
    """
    keys = ["accuracy"] if facts.plain else ["f1", "precision", "recall"]
    found = [(key, points_of(records, "validation", key)) for key in keys]
    found = [(key, points) for key, points in found if points]
    if not found:
        draw_headline(axes, facts)
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


def draw_headline(axes: Any, facts: Facts) -> None:
    """All scores over all types, with their intervals."""
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
    set_tick_names(axes.yaxis, positions, [SCORE_NAMES[name] for name in names])
    axes.set_xlim(0, 1.03)
    axes.set_ylim(0.4, len(names) + 0.6)


def draw_lengths(axes: Any, facts: Facts) -> None:
    """The score of sentences by their length."""
    style(axes, "Score by the length of the sentence, 95 % intervals", "", "Accuracy" if facts.plain else "F1")
    for i, row in enumerate(facts.lengths):
        if row.f1 is not None:
            axes.plot([i, i], [row.f1.interval.low, row.f1.interval.high], color=BLUE, linewidth=3, alpha=0.45)
            axes.plot(i, row.f1.value, "o", color=BLUE, markersize=8)
    axes.set_ylim(0, 1.03)
    axes.set_xticks(range(len(facts.lengths)), [row.label for row in facts.lengths])
