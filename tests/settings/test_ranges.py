"""Ranges in Determined's syntax: their points, and what is wrong with one."""

from __future__ import annotations

from typing import Any

import pytest

from determined_ner.errors import UserError
from determined_ner.settings.ranges import find_ranges


def of(given: dict[str, Any]) -> Any:
    return find_ranges({"x": given})["x",]


@pytest.mark.parametrize(
    ("given", "points"),
    [
        ({"type": "double", "minval": 0.0, "maxval": 1.0, "count": 3}, [0.0, 0.5, 1.0]),
        ({"type": "double", "minval": 0.0, "maxval": 1.0, "count": 1}, [0.5]),
        ({"type": "int", "minval": 1, "maxval": 10, "count": 4}, [1, 4, 7, 10]),
        ({"type": "int", "minval": 1, "maxval": 4, "count": 3}, [1, 3, 4]),  # 2.5 is rounded away from zero
        ({"type": "int", "minval": -4, "maxval": -1, "count": 3}, [-4, -3, -1]),
        ({"type": "int", "minval": 1, "maxval": 3, "count": 9}, [1, 2, 3]),  # there are no more
        ({"type": "int", "minval": 1, "maxval": 4, "count": 1}, [3]),
        ({"type": "log", "base": 10, "minval": -4, "maxval": -2, "count": 3}, [1e-4, 1e-3, 1e-2]),
        ({"type": "log", "base": 2, "minval": 0.0, "maxval": 2.0, "count": 1}, [2.0]),
        ({"type": "categorical", "vals": ["b", None, {"r": 8}]}, ["b", None, {"r": 8}]),
    ],
)
def test_a_grid_takes_the_points_that_determined_takes(given: dict[str, Any], points: list[Any]) -> None:
    made = of(given).grid()
    assert made == pytest.approx(points) if given["type"] != "categorical" else made == points
    assert all(type(a) is type(b) for a, b in zip(made, points, strict=True))


def test_a_draw_reaches_both_ends_of_a_range() -> None:
    numbers = of({"type": "int", "minval": 2, "maxval": 4})
    assert [numbers.at(share) for share in (0.0, 0.34, 0.999)] == [2, 3, 4]
    exponents = of({"type": "log", "base": 10, "minval": -5, "maxval": -4})
    assert [exponents.at(share) for share in (0.0, 0.5)] == pytest.approx([1e-5, 10**-4.5])
    assert of({"type": "categorical", "vals": "abc".split()[0:1]}).at(0.99) == "abc"


def test_nested_ranges_are_found_in_the_order_of_their_names() -> None:
    choice = {"type": "categorical", "vals": [1, 2]}
    section = {"z": choice, "peft": {"r": choice, "alpha": choice, "dropout": 0.1}, "a": {"type": "const", "val": 3}}
    assert list(find_ranges(section)) == [("peft", "alpha"), ("peft", "r"), ("z",)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"type": "loguniform"}, "type: 'loguniform' is no range; write one of const, categorical, int, double, log"),
        ({"type": "double", "minval": 1, "maxval": 0}, "minval: 1 is not below maxval: 0; turn them round"),
        ({"type": "int", "minval": 1, "maxval": 1}, "minval: 1 is not below maxval: 1; write the value in the place"),
        ({"type": "int", "minval": 1.5, "maxval": 2}, "minval: 1.5 is not a whole number"),
        ({"type": "double", "minval": "1e-5", "maxval": 2}, "minval: '1e-5' is not a number"),
        ({"type": "double", "minval": 0}, "has no maxval; write its maxval"),
        ({"type": "log", "minval": 0, "maxval": 1}, "has no base"),
        ({"type": "log", "base": 0, "minval": 0, "maxval": 1}, "base: 0 is not a number above 0"),
        ({"type": "log", "base": 10, "minval": 0, "maxval": 999}, "is no number; write smaller exponents"),
        ({"type": "double", "minval": 0, "maxval": 1, "count": 0}, "count: 0 is not a whole number from 1 to 10,000"),
        ({"type": "double", "minval": 0, "maxval": 1, "step": 1}, "step: a range of type double has no such key"),
        ({"type": "categorical", "vals": []}, "vals: [] is not a list of values"),
        ({"type": "categorical"}, "has no vals"),
    ],
)
def test_a_range_that_is_written_wrong_is_refused_with_its_place(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as refused:
        of(given)
    assert str(refused.value).startswith("hyperparameters.x: ") and message in str(refused.value)


def test_all_wrong_ranges_are_told_together() -> None:
    with pytest.raises(UserError) as refused:
        find_ranges({"a": {"type": "log"}, "peft": {"r": {"type": "int", "minval": 2, "maxval": 1}}})
    places = [error.where for error in refused.value.errors]
    assert places == ["hyperparameters.a"] * 3 + ["hyperparameters.peft.r"]
