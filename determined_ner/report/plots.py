"""How every picture looks: colours, type sizes, axes, and a PNG that is written whole or not at all.

Matplotlib is imported where a figure is made, because that takes a second; and without pyplot, whose figures are
global.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from determined_ner.files.atomic import replacing

# Okabe and Ito's palette, which readers with any of the common colour-blindnesses can tell apart
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY = "0.55"
WIDTH = 7.2
"""Inches of a picture that fills a phone's screen: its 12 points are then still read."""


def new_figure(height: float, width: float = WIDTH) -> Any:
    """An empty white figure, in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=160, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def style(axes: Any, title: str, x_label: str = "", y_label: str = "", grid: str | None = "y") -> None:
    """Title, labels and quiet frame of one axes.

    Args:
        grid: the axis whose ticks get lines: x, y, both, or None.
    """
    plain(axes.set_title(title, fontsize=13.5, loc="left", pad=10))
    axes.set_xlabel(x_label, fontsize=12)
    axes.set_ylabel(y_label, fontsize=12)
    axes.tick_params(labelsize=11.5, color="0.6")
    if grid:
        axes.grid(axis=grid, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_color("0.6")


def plain(text: Any) -> None:
    """Show a text as it is: a type's name may hold a dollar sign, which would begin a formula."""
    text.set_parse_math(False)


def names_on(axis: Any, positions: list[float], names: list[str], length: int = 18) -> None:
    """Names of types at the ticks of an axis."""
    axis.set_ticks(positions, [shortened(name, length) for name in names])
    for label in axis.get_ticklabels():
        plain(label)


def shortened(name: str, length: int = 22) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"


def save(figure: Any, path: Path) -> None:
    """Write the picture atomically."""
    with replacing(path) as partial:
        figure.savefig(partial, format="png", metadata={"Software": None})
