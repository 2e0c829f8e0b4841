"""Points of a search space: those of a grid in Determined's order, and those that are drawn.

What Determined's master draws nobody else can; here a drawn point is a function of the seed and the trial's number.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from determined_ner.errors import UserError
from determined_ner.settings.ranges import Numbers, Path, Range, dotted, replaced


class Points(Protocol):
    """The points of a search."""

    def values(self, trial: int) -> dict[Path, Any]:
        """What a trial, counted from 1, has in the place of each range."""
        ...


@dataclass(frozen=True)
class Grid:
    """Every combination of the points of its ranges."""

    axes: dict[Path, list[Any]]
    """Of each range, in the order of their names, its points."""

    @classmethod
    def of(cls, ranges: dict[Path, Range]) -> Grid:
        """
        Raises:
            UserError: a range does not say how many points it has.
        """
        uncounted = [path for path, one in ranges.items() if isinstance(one, Numbers) and one.count is None]
        if uncounted:
            remedy = "write its count, such as count: 3"
            problem = "a grid takes so many points of a range, and this one does not say how many"
            raise UserError.several([UserError(dotted(path), problem, remedy) for path in uncounted])
        return cls({path: one.grid() for path, one in ranges.items()})

    def __len__(self) -> int:
        return math.prod(map(len, self.axes.values()))

    def values(self, trial: int) -> dict[Path, Any]:
        """As Determined has them: the last combination first, of which the last name's value changes fastest."""
        rest, found = len(self) - trial, {}
        for path, points in reversed(self.axes.items()):
            rest, index = divmod(rest, len(points))
            found[path] = points[index]
        return dict(reversed(found.items()))


@dataclass(frozen=True)
class Draws:
    """Points drawn one by one, each range evenly from end to end."""

    ranges: dict[Path, Range]
    seed: int

    def values(self, trial: int) -> dict[Path, Any]:
        generator = random.Random(f"{self.seed} {trial}")
        return {path: one.at(generator.random()) for path, one in self.ranges.items()}


def with_values(section: dict[str, Any], values: dict[Path, Any]) -> dict[str, Any]:
    """The hyperparameters of one point: ranges and constants written as ``{type: …}`` have become values."""
    return replaced(section, lambda path, given: values[path] if path in values else given["val"])


def with_ends(ranges: dict[Path, Range], values: dict[Path, Any]) -> Iterator[tuple[Path, dict[Path, Any]]]:
    """A point with each end of each range in turn, or each of its values, and which range it is."""
    for path, one in ranges.items():
        for end in one.ends():
            yield path, {**values, path: end}
