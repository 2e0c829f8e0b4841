"""What offsets of spans count, and whether they give the text that a file says they cover."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Literal, TypeAlias

from determined_ner.data.readers.messages import shown

Counting: TypeAlias = Literal["characters", "utf16", "bytes"]

_WIDTHS: dict[Counting, Callable[[str], int]] = {
    "utf16": lambda character: 1 + (character > "\uffff"),
    "bytes": lambda character: len(character.encode("utf-8", "surrogatepass")),
}
_PLAIN: dict[Counting, Callable[[str], bool]] = {
    "utf16": lambda text: max(text, default="") <= "\uffff",
    "bytes": str.isascii,
}

_SAID: dict[Counting, tuple[str, str]] = {
    "characters": ("characters", "set data.span_offsets=characters"),
    "utf16": ("UTF-16 units", "set data.span_offsets=utf16"),
    "bytes": ("bytes", "export them in characters"),
}


def to_characters(text: str, counting: Counting) -> Callable[[int], int]:
    """From offsets in a text, counted so, to positions of characters.

    An offset within a character is that of its beginning; one past the text stays as far past it.
    """
    if counting == "characters" or _PLAIN[counting](text):
        return lambda offset: offset
    ends = list(accumulate(map(_WIDTHS[counting], text)))  # of each character
    starts = [0, *ends]

    def position(offset: int) -> int:
        at = bisect_left(starts, offset)
        if at == len(starts):
            return len(text) + offset - starts[-1]
        return at if starts[at] == offset else at - 1

    return position


def cuts_a_character(position: Callable[[int], int], offset: int) -> bool:
    """Whether an offset, of which `to_characters` gives the position, lies within a character."""
    return offset > 0 and position(offset) == position(offset - 1)


def gives(text: str, fragments: Sequence[tuple[int, int]], covered: str) -> bool:
    """Whether the fragments of a text, in characters, are what they are said to cover, white space aside."""
    found = "".join(text[start:end] for start, end in fragments)
    return "".join(found.split()) == "".join(covered.split())


def describe_mismatch(
    text: str, fragments: Sequence[tuple[int, int]], counting: Counting, covered: str
) -> tuple[str, str]:
    """The problem and the remedy where offsets, counted so, do not give the covered text."""
    places = ", ".join(f"{start} to {end}" for start, end in fragments)
    taken = _taken(text, fragments, counting)
    problem = f"{places} is {shown(' '.join(text[start:end] for start, end in taken))} in the text but"
    if any(end > len(text) for _, end in taken):
        problem = f"{places} leaves the text, which has {len(text)} characters, and should be"
    problem = f"{problem} {shown(covered)} here"
    for other, (noun, remedy) in _SAID.items():
        if other != counting and gives(text, _taken(text, fragments, other), covered):
            return f"{problem}: these offsets count {noun}", remedy
    return problem, "check that text and annotations belong together, and that offsets count characters"


def _taken(text: str, fragments: Sequence[tuple[int, int]], counting: Counting) -> list[tuple[int, int]]:
    position = to_characters(text, counting)
    return [(position(start), position(end)) for start, end in fragments]
