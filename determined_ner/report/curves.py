"""Learning curves of a run, drawn from its reports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from determined_ner.report.plots import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    new_figure,
    plain,
    save,
    shorten,
    style,
)

MAX_TYPES = 12
"""Types with a curve of their own."""
TYPE_STYLES = [(colour, style) for style in ("-", "--", ":") for colour in (ORANGE, SKY, GREEN, PURPLE)]
NOT_TYPES = {"f1_strict"}
"""Metrics whose names begin like a type's F1."""

Points = list[tuple[float, float]]
"""(batches, value), ascending."""


def plot_curves(records: Sequence[dict[str, Any]], output_dir: Path) -> list[Path]:
    """Draw ``loss.png`` and ``f1.png`` from a run's reports.

    ``f1.png`` shows F1, precision, recall and accuracy on validation, and the F1 of every type; where there is no F1,
    as for plain tags, the accuracy alone. A picture without a point is not written. Values that are missing or not
    finite leave a gap. Where a batch occurs twice, as after a restart, the later report counts.

    Args:
        records: the reports, see `files.metrics_log.MetricsLog.reports`.
        output_dir: where the pictures go; made if need be.

    Returns:
        paths of the pictures.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    written = []
    for name, figure in (("loss.png", _loss_figure(records)), ("f1.png", _score_figure(records))):
        if figure is not None:
            written.append(output_dir / name)
            save(figure, written[-1])
    return written


def _number(value: Any) -> float | None:
    """The value as a finite float, if it is one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def points_of(records: Sequence[dict[str, Any]], kind: str, key: str) -> Points:
    """A metric of the training or validation reports, where it is given and finite."""
    found: dict[float, float] = {}
    for record in records:
        batches, value = _number(record.get("batches")), _number(record.get(key))
        if record.get("kind") == kind and batches is not None and value is not None:
            found[batches] = value
    return sorted(found.items())


def _epoch_ends(records: Sequence[dict[str, Any]]) -> dict[int, float]:
    """Completed epochs -> the number of batches at which they were first reported; at most ten, evenly spaced."""
    ends: dict[int, float] = {}
    for batches, epochs in sorted(
        points_of(records, "training", "epochs") + points_of(records, "validation", "epochs")
    ):
        if epochs >= 1:
            ends.setdefault(int(epochs), batches)
    step = math.ceil(max(ends, default=0) / 10)
    return {epoch: batches for epoch, batches in ends.items() if epoch % step == 0}


def _loss_figure(records: Sequence[dict[str, Any]]) -> Any | None:
    training, validation = points_of(records, "training", "loss"), points_of(records, "validation", "loss")
    if not training and not validation:
        return None
    what, points = ("Validation", validation) if validation else ("Training", training)
    figure, axes = _figure(f"{what} loss {_final(points, best=min)}", "Loss, mean of a word", records)
    if training:
        _line(axes, training, f"training, last {training[-1][1]:.3f}", color=SKY, linewidth=1.6, markersize=3.5)
    if validation:
        _line(axes, validation, f"validation, last {validation[-1][1]:.3f}", color=VERMILION, linewidth=2.4)
    axes.set_xlim(0, 1.03 * max(batches for batches, _ in training + validation) or 1)
    axes.set_ylim(min(0, *(1.08 * value for _, value in training + validation)), None)
    _legend(figure, axes, "outside lower center", columns=2)
    return figure


def _score_figure(records: Sequence[dict[str, Any]]) -> Any | None:
    curves = [  # key, name, look
        ("f1", "F1", {"color": BLUE, "linewidth": 3.2, "markersize": 7, "zorder": 5}),
        ("precision", "precision", {"color": VERMILION, "linewidth": 2.2, "linestyle": "--", "zorder": 4}),
        ("recall", "recall", {"color": BLACK, "linewidth": 2.2, "linestyle": "-.", "zorder": 4}),
        ("accuracy", "accuracy of tags", {"color": GREY, "linewidth": 2.2, "linestyle": (0, (1, 1)), "zorder": 3}),
    ]
    if not points_of(records, "validation", "f1"):
        curves = [("accuracy", "accuracy", curves[0][2])]
    main = points_of(records, "validation", curves[0][0])
    if not main:
        return None
    types = []
    if curves[0][0] == "f1":
        keys = {key for record in records if record.get("kind") == "validation" for key in record}
        types = sorted(key for key in keys if key.startswith("f1_") and key not in NOT_TYPES)
        types = [key for key in types if points_of(records, "validation", key)]
    for key, (colour, dashes) in zip(types[:MAX_TYPES], TYPE_STYLES, strict=False):
        look = {"color": colour, "linestyle": dashes, "linewidth": 1.2, "markersize": 3.5}
        curves.append((key, shorten(key.removeprefix("f1_")), look))

    title = f"Validation {curves[0][1]} {_final(main, best=max)}"
    figure, axes = _figure(title, "Score (0 to 1)", records)
    lowest = furthest = 0.0
    values = []
    for key, name, look in curves:
        points = points_of(records, "validation", key)
        if points:
            # The value comes first: Matplotlib omits labels that begin with an underscore, as a type's name may.
            _line(axes, points, f"{points[-1][1]:.3f}  {name}", **look)
            values += [value for _, value in points]
            furthest = max(furthest, points[-1][0])
    lowest = max(0.0, math.floor(10 * (min(values) - 0.02)) / 10)
    axes.set_xlim(0, 1.03 * furthest or 1)
    axes.set_ylim(lowest, 1 + 0.02 * (1 - lowest))
    legend_title = "Last value"
    if types:
        some = f"first {MAX_TYPES} of {len(types)} types" if len(types) > MAX_TYPES else "each type"
        legend_title += f" (thin: F1 of {some})"
    _legend(figure, axes, "outside lower center", title=legend_title, columns=3)
    return figure


def _final(points: Points, best: Any) -> str:
    """``0.400 after 100 batches``, and the best value where that is another."""
    batches, value = points[-1]
    at, top = best(reversed(points), key=lambda point: point[1])
    text = f"{value:.3f} after {batches:,.0f} batches"
    return text if f"{top:.3f}" == f"{value:.3f}" else f"{text} (best: {top:.3f} after {at:,.0f})"


def _figure(title: str, y_label: str, records: Sequence[dict[str, Any]]) -> tuple[Any, Any]:
    figure = new_figure(5.2)
    axes = figure.add_subplot()
    draw_progress(axes, title, y_label, records)
    return figure, axes


def draw_progress(axes: Any, title: str, y_label: str, records: Sequence[dict[str, Any]]) -> None:
    """Empty axes with batches below, epochs above, and a light grid."""
    from matplotlib.ticker import MaxNLocator

    style(axes, title, "Training progress (batches)", y_label)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    ends = _epoch_ends(records)
    if ends:
        for batches in ends.values():
            axes.axvline(batches, color="0.85", linewidth=1, linestyle=(0, (4, 3)), zorder=0.5)
        above = axes.secondary_xaxis("top")
        above.set_xticks(list(ends.values()), [str(epoch) for epoch in ends])
        above.tick_params(labelsize=11, color="0.6")
        above.set_xlabel("Epochs completed", fontsize=12)
        above.spines["top"].set_color("0.6")


def _line(axes: Any, points: Points, label: str, **look: Any) -> None:
    marker = "o" if len(points) <= 40 else None
    # Not clipped, so that a marker on the frame is not cut in half.
    axes.plot(*zip(*points, strict=True), marker=marker, label=label, clip_on=False, **{"markersize": 5, **look})


def _legend(figure: Any, axes: Any, place: str, title: str | None = None, columns: int = 1) -> None:
    """A legend outside the axes, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    legend = figure.legend(
        handles, labels, loc=place, ncols=columns, title=title, fontsize=11, title_fontsize=11, frameon=False,
        handlelength=2.6, alignment="left",
    )  # fmt: skip
    for text in legend.get_texts():
        plain(text)
