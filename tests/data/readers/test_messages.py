"""Values in messages: short, whatever they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from determined_ner.data.readers.messages import count_noun, empty_file_error, shown


@pytest.mark.parametrize("value", ["x" * 10**6, b"x" * 10**6, list(range(10**5)), {"a": [[[["x" * 99]]]]}, 10**3000])
def test_large_values_are_shown_in_short(value: object) -> None:
    assert 3 < len(shown(value)) <= 62


def test_small_values_are_shown_whole() -> None:
    assert [shown(value) for value in ("it's", ["a", 1], None)] == ['"it\'s"', "['a', 1]", "None"]
    assert [count_noun(number, "word") for number in (0, 1, 2)] == ["0 words", "1 word", "2 words"]


def test_an_empty_file_is_named() -> None:
    assert str(empty_file_error(Path("a.conll"))).startswith("a.conll: is empty")
