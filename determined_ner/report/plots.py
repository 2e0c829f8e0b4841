"""How every picture looks (colours, type sizes, axes), and how it is written.

Matplotlib is imported where a figure is made, because that takes a second, and without pyplot, whose figures are
global.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from determined_ner.files.atomic import replacing

# Okabe and Ito, Color Universal Design (2008): readers with any common colour blindness can tell them apart.
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY = "0.55"
WIDTH = 7.2
"""Inches of a usual picture: text of 12 points is still legible when a phone shows it across its screen."""


def new_figure(height: float, width: float = WIDTH) -> Any:
    """An empty white figure.

    Args:
        height: inches.
        width: inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=160, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def style(axes: Any, title: str, x_label: str = "", y_label: str = "", grid: str | None = "y") -> None:
    """Set title, labels and a quiet frame of one axes.

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
    """Show a text literally: a type's name may contain a dollar sign, which would begin a formula."""
    text.set_parse_math(False)


def set_tick_names(axis: Any, positions: list[float], names: list[str], length: int = 18) -> None:
    """Put names at the ticks of an axis.

    Args:
        length: characters that are shown of a name.
    """
    axis.set_ticks(positions, [shorten(name, length) for name in names])
    for label in axis.get_ticklabels():
        plain(label)


def shorten(name: str, length: int = 22) -> str:
    """A name of at most so many characters, with an ellipsis where it was longer."""
    return name if len(name) <= length else name[: length - 1] + "…"


def save(figure: Any, path: Path) -> None:
    """Write a figure as a PNG file, atomically."""
    with replacing(path) as partial:
        figure.savefig(partial, format="png", metadata={"Software": None})
