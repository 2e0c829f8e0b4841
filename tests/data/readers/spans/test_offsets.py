"""What offsets count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from determined_ner.data.readers.spans.offsets import Counting, describe_mismatch, to_characters


def width(text: str, counting: Counting) -> int:
    if counting == "characters":
        return len(text)
    return len(text.encode()) if counting == "bytes" else len(text.encode("utf-16-le")) // 2


@given(st.text(), st.sampled_from(["characters", "utf16", "bytes"]), st.integers(0, 9))
def test_offsets_of_all_kinds_give_characters(text: str, counting: Counting, beyond: int) -> None:
    position = to_characters(text, counting)
    for at in range(len(text) + 1):
        assert position(width(text[:at], counting)) == at
    assert position(width(text, counting) + beyond) == len(text) + beyond


@pytest.mark.parametrize(("counting", "inside"), [("utf16", 1), ("bytes", 1), ("bytes", 3)])
def test_an_offset_within_a_character_is_that_of_its_beginning(counting: Counting, inside: int) -> None:
    assert to_characters("😊a", counting)(inside) == 0


def test_a_mismatch_names_what_the_offsets_count() -> None:
    text = "😊 Ada sings"
    assert describe_mismatch(text, [(3, 6)], "characters", "Ada") == (
        "3 to 6 is 'da ' in the text but 'Ada' here: these offsets count UTF-16 units",
        "set data.span_offsets=utf16",
    )
    assert "count characters" in describe_mismatch(text, [(2, 5)], "utf16", "Ada")[0]
    assert "count bytes" in describe_mismatch(text, [(5, 8)], "characters", "Ada")[0]
    problem, remedy = describe_mismatch(text, [(90, 93)], "characters", "Ada")
    assert "90 to 93 leaves the text, which has 11 characters" in problem and "belong together" in remedy
