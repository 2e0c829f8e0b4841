"""Ranges of a search among the hyperparameters, in Determined's syntax.

One is written ``{type: log, base: 10, minval: -5, maxval: -4}`` in the place of a value. What a range holds, and the
points that a grid takes of it, are those of Determined 0.38.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from determined_ner.errors import UserError
from determined_ner.masks import shown

Path = tuple[str, ...]
"""Where a hyperparameter stands: its name, or the names on the way into a nested one."""

MOST_POINTS = 10_000
"""That a grid takes of one range."""

_KEYS = {
    "const": ("val",),
    "categorical": ("vals",),
    "int": ("minval", "maxval", "count"),
    "double": ("minval", "maxval", "count"),
    "log": ("base", "minval", "maxval", "count"),
}
"""What each type is written with; ``count`` may be left out."""


@dataclass(frozen=True)
class Choice:
    """``type: categorical``."""

    values: tuple[Any, ...]

    def grid(self) -> list[Any]:
        """All of them, in the order in which they are written."""
        return list(self.values)

    def ends(self) -> list[Any]:
        """All that a setting has to take."""
        return list(self.values)

    def at(self, share: float) -> Any:
        """The value at a share, from 0 to below 1, of the whole."""
        return self.values[int(share * len(self.values))]


@dataclass(frozen=True)
class Numbers:
    """``type: int``, ``double`` or ``log``; both ends belong to it."""

    kind: str
    low: float
    high: float
    base: float
    """Of which a ``log`` range holds the exponents."""
    count: int | None
    """How many points a grid takes of it; None: it says nothing."""

    def grid(self) -> list[Any]:
        """As many points as it says, evenly spaced from end to end; a single one is the middle."""
        assert self.count is not None
        count = min(self.count, int(self.high - self.low) + 1) if self.kind == "int" else self.count
        if count == 1:
            return [self._value((self.low + self.high) / 2)]
        return [self._value(self.low + i * (self.high - self.low) / (count - 1)) for i in range(count)]

    def ends(self) -> list[Any]:
        """The smallest and the largest value."""
        return [self._value(self.low), self._value(self.high)]

    def at(self, share: float) -> Any:
        """The value at a share, from 0 to below 1, of the whole; each integer has as much of it as another."""
        if self.kind == "int":
            return min(int(self.low) + int(share * (self.high - self.low + 1)), int(self.high))
        return self._value(self.low + share * (self.high - self.low))

    def _value(self, number: float) -> Any:
        if self.kind == "int":
            return int(math.copysign(math.floor(abs(number) + 0.5), number))  # halves away from zero
        return float(self.base**number) if self.kind == "log" else float(number)


Range = Choice | Numbers


def has_type(value: Any) -> bool:
    """Whether a value of the hyperparameters is written as ``{type: …}``: a range, or a constant."""
    return isinstance(value, dict) and isinstance(value.get("type"), str)


def replaced(
    section: dict[str, Any], value_of: Callable[[Path, dict[str, Any]], Any], path: Path = ()
) -> dict[str, Any]:
    """The hyperparameters with something else in the place of each ``{type: …}``, nested ones too.

    Args:
        value_of: what, by its place and what is written there.
        path: of the section.
    """
    plain = {}
    for name, value in section.items():
        here = (*path, str(name))
        if has_type(value):
            plain[name] = value_of(here, value)
        else:
            plain[name] = replaced(value, value_of, here) if isinstance(value, dict) else value
    return plain


def dotted(path: Path) -> str:
    """The name of a hyperparameter in messages."""
    return ".".join(("hyperparameters", *path))


def find_ranges(section: dict[str, Any]) -> dict[Path, Range]:
    """All ranges of the hyperparameters, in the order of their names.

    Raises:
        UserError: one is not written as Determined has it. All that are wrong are told.
    """
    found: dict[Path, Range] = {}
    problems: list[UserError] = []

    def look(path: Path, given: dict[str, Any]) -> None:
        mistakes = list(_mistakes(dotted(path), given))
        problems.extend(mistakes)
        if not mistakes and given["type"] != "const":
            found[path] = _range(given)

    replaced(section, look)
    if problems:
        raise UserError.several(problems)
    return dict(sorted(found.items()))


def _range(given: dict[str, Any]) -> Range:
    if given["type"] == "categorical":
        return Choice(tuple(given["vals"]))
    base = float(given.get("base", 1))
    return Numbers(given["type"], given["minval"], given["maxval"], base, given.get("count"))


def _mistakes(where: str, given: dict[str, Any]) -> Iterator[UserError]:
    """What is wrong with a range or constant; nothing else is looked at once its type is."""
    kind = given["type"]
    if kind not in _KEYS:
        yield UserError(where, f"type: {shown(kind)} is no range", f"write one of {', '.join(_KEYS)}")
        return
    known, wrong = _KEYS[kind], False
    for name in given:
        if name not in ("type", *known):
            yield UserError(where, f"{name}: a range of type {kind} has no such key", f"it has {', '.join(known)}")
    for name in known:
        if name not in given and name != "count":
            wrong = True
            yield UserError(where, f"{shown(given)} has no {name}", f"write its {name}")
        elif name in given and (must := _must(kind, name, given[name])):
            wrong = True
            yield UserError(where, f"{name}: {shown(given[name])} is not {must}")
    if wrong or kind in ("const", "categorical"):
        return
    low, high = given["minval"], given["maxval"]
    if not low < high:
        remedy = "turn them round" if low > high else "write the value in the place of the range"
        yield UserError(where, f"minval: {low} is not below maxval: {high}", remedy)
    elif kind == "log" and not _finite(lambda: [float(given["base"]) ** low, float(given["base"]) ** high]):
        yield UserError(
            where, f"{given['base']} to the power of {low} to {high} is no number", "write smaller exponents"
        )


def _must(kind: str, name: str, value: Any) -> str | None:
    """What a value of a range must be, where it is not."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    number = whole or isinstance(value, float)
    if name == "vals":
        return None if isinstance(value, list) and value else "a list of values"
    if name == "count":
        return None if whole and 1 <= value <= MOST_POINTS else f"a whole number from 1 to {MOST_POINTS:,}"
    if name == "base":
        return None if number and value > 0 else "a number above 0"
    if name in ("minval", "maxval"):
        return None if whole or (number and kind != "int") else "a whole number" if kind == "int" else "a number"
    return None


def _finite(values: Callable[[], list[float]]) -> bool:
    try:
        return all(math.isfinite(value) for value in values())
    except OverflowError:
        return False
