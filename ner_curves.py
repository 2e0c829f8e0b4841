"""Pictures of a run, drawn from its ``metrics.jsonl``."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ner_errors import UserError

# Okabe and Ito's palette, which readers with any of the common colour-blindnesses can tell apart
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
MAX_TYPES = 12
TYPE_STYLES = [(colour, style) for style in ("-", "--", ":") for colour in (ORANGE, SKY, GREEN, PURPLE)]
NOT_TYPES = {"f1_strict"}  # keys that begin as a type's F1 does, but are none

Points = list[tuple[float, float]]  # (batches, value), by batches


def plot_curves(metrics_file: Path, output_dir: Path) -> list[Path]:
    """Draws ``loss.png`` and ``f1.png`` from a run's metrics, and returns the paths written.

    ``f1.png`` shows the validations' F1, precision and recall, and the F1 of every type; without an F1, as for plain
    tags, their accuracy. A picture that would have no point in it is not written. Values that are missing or not
    finite leave a gap, and where a batch occurs twice, as after a restart, the later line counts.
    """
    records = _read_metrics(metrics_file)
    output_dir.mkdir(parents=True, exist_ok=True)
    written = []
    for name, figure in (("loss.png", _loss_figure(records)), ("f1.png", _score_figure(records))):
        if figure is not None:
            written.append(output_dir / name)
            _save(figure, written[-1])
    return written


def _read_metrics(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file; give the metrics.jsonl of a run") from None
    records = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            if number == len(lines):  # a run that was killed, or is still writing
                break
            raise UserError(f"{path}:{number}: this is not JSON: {line[:80]!r}; remove the line") from None
        if not isinstance(record, dict):
            raise UserError(f"{path}:{number}: this is not a JSON object: {line[:80]!r}; remove the line")
        records.append(record)
    return records


def _number(value: Any) -> float | None:
    """The value as a finite float, if it is one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _points(records: Sequence[dict[str, Any]], kind: str, key: str) -> Points:
    found: dict[float, float] = {}
    for record in records:
        batches, value = _number(record.get("batches")), _number(record.get(key))
        if record.get("kind") == kind and batches is not None and value is not None:
            found[batches] = value
    return sorted(found.items())


def _epoch_ends(records: Sequence[dict[str, Any]]) -> dict[int, float]:
    """Completed epochs -> the first batches at which a record knows of them; ten epochs at most, evenly spaced."""
    ends: dict[int, float] = {}
    for batches, epochs in sorted(_points(records, "training", "epochs") + _points(records, "validation", "epochs")):
        if epochs >= 1:
            ends.setdefault(int(epochs), batches)
    step = math.ceil(max(ends, default=0) / 10)
    return {epoch: batches for epoch, batches in ends.items() if epoch % step == 0}


def _loss_figure(records: Sequence[dict[str, Any]]) -> Any | None:
    training, validation = _points(records, "training", "loss"), _points(records, "validation", "loss")
    if not training and not validation:
        return None
    what, points = ("Validation", validation) if validation else ("Training", training)
    figure, axes = _axes(f"{what} loss {_final(points, best=min)}", "Loss (cross-entropy)", records)
    if training:
        _line(axes, training, f"training, last {training[-1][1]:.3f}", color=SKY, linewidth=1.6, markersize=3.5)
    if validation:
        _line(axes, validation, f"validation, last {validation[-1][1]:.3f}", color=VERMILION, linewidth=2.4)
    axes.set_xlim(0, 1.03 * max(batches for batches, _ in training + validation) or 1)
    axes.set_ylim(min(0, *(1.08 * value for _, value in training + validation)), None)
    _legend(figure, axes, "outside lower center", columns=2)
    return figure


def _score_figure(records: Sequence[dict[str, Any]]) -> Any | None:
    curves = [  # key, name, how to draw it
        ("f1", "F1", {"color": BLUE, "linewidth": 3.2, "markersize": 7, "zorder": 5}),
        ("precision", "precision", {"color": VERMILION, "linewidth": 2.2, "linestyle": "--", "zorder": 4}),
        ("recall", "recall", {"color": BLACK, "linewidth": 2.2, "linestyle": "-.", "zorder": 4}),
    ]
    if not _points(records, "validation", "f1"):
        curves = [("accuracy", "accuracy", curves[0][2])]
    main = _points(records, "validation", curves[0][0])
    if not main:
        return None
    types = []
    if curves[0][0] == "f1":
        keys = {key for record in records if record.get("kind") == "validation" for key in record}
        types = sorted(key for key in keys if key.startswith("f1_") and key not in NOT_TYPES)
        types = [key for key in types if _points(records, "validation", key)]
    for key, (colour, style) in zip(types[:MAX_TYPES], TYPE_STYLES, strict=False):
        look = {"color": colour, "linestyle": style, "linewidth": 1.2, "markersize": 3.5}
        curves.append((key, _shortened(key.removeprefix("f1_")), look))

    title = f"Validation {curves[0][1]} {_final(main, best=max)}"
    figure, axes = _axes(title, "Score (0 to 1)", records)
    lowest = furthest = 0.0
    values = []
    for key, name, look in curves:
        points = _points(records, "validation", key)
        if points:
            # the value goes first: Matplotlib leaves labels out that begin with an underscore, as a type may
            _line(axes, points, f"{points[-1][1]:.3f}  {name}", **look)
            values += [value for _, value in points]
            furthest = max(furthest, points[-1][0])
    lowest = max(0.0, math.floor(10 * (min(values) - 0.02)) / 10)
    axes.set_xlim(0, 1.03 * furthest or 1)
    axes.set_ylim(lowest, 1 + 0.02 * (1 - lowest))
    legend_title = "Last value"
    if types:
        some = f"first {MAX_TYPES} of {len(types)} types" if len(types) > MAX_TYPES else "each type"
        legend_title += f"\n(thin: F1 of {some})"
    _legend(figure, axes, "outside right upper", title=legend_title)
    return figure


def _shortened(name: str, length: int = 22) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"


def _final(points: Points, best: Any) -> str:
    """ "0.400 after 100 batches", and the best value if that was another."""
    batches, value = points[-1]
    at, top = best(reversed(points), key=lambda point: point[1])
    text = f"{value:.3f} after {batches:,.0f} batches"
    return text if f"{top:.3f}" == f"{value:.3f}" else f"{text} (best: {top:.3f} after {at:,.0f})"


def _axes(title: str, y_label: str, records: Sequence[dict[str, Any]]) -> tuple[Any, Any]:
    """An empty figure with batches below, epochs above, and a light grid."""
    # here, because the import takes a second; and no pyplot, whose figures are global
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 5), dpi=140, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=15, loc="left", pad=12)
    axes.set_xlabel("Training progress (batches)", fontsize=12)
    axes.set_ylabel(y_label, fontsize=12)
    axes.tick_params(labelsize=11, color="0.6")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_color("0.6")
    ends = _epoch_ends(records)
    if ends:
        for batches in ends.values():
            axes.axvline(batches, color="0.85", linewidth=1, linestyle=(0, (4, 3)), zorder=0.5)
        above = axes.secondary_xaxis("top")
        above.set_xticks(list(ends.values()), [str(epoch) for epoch in ends])
        above.tick_params(labelsize=11, color="0.6")
        above.set_xlabel("Epochs completed", fontsize=12)
        above.spines["top"].set_color("0.6")
    return figure, axes


def _line(axes: Any, points: Points, label: str, **look: Any) -> None:
    marker = "o" if len(points) <= 40 else None
    # not clipped, so that a marker on the frame stays whole
    axes.plot(*zip(*points, strict=True), marker=marker, label=label, clip_on=False, **{"markersize": 5, **look})


def _legend(figure: Any, axes: Any, place: str, title: str | None = None, columns: int = 1) -> None:
    """A legend outside the axes, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    legend = figure.legend(
        handles, labels, loc=place, ncols=columns, title=title, fontsize=11, title_fontsize=11, frameon=False,
        handlelength=2.6, alignment="left",
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)  # a type's name may hold a dollar sign


def _save(figure: Any, path: Path) -> None:
    """Writes the picture beside its place and then moves it there, so that nobody sees half a picture."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        figure.savefig(partial, format="png", metadata={"Software": None})
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
