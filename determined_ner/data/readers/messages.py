"""What the messages of all readers share: an offending value in short, a counted noun, the error of an empty file."""

from __future__ import annotations

import reprlib
from pathlib import Path

from determined_ner.errors import UserError

_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 60
_short.maxlevel = 3


def shown(value: object) -> str:
    """The ``repr`` of an offending value in at most 62 characters, however large or deep the value is."""
    text = _short.repr(value)
    return text if len(text) <= 62 else text[:61] + "…"


def count_noun(number: int, noun: str) -> str:
    """``1 word``, ``2 words``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def empty_file_error(path: Path) -> UserError:
    return UserError(path, "is empty: no line or row of it holds a sentence", "check that it is the right file")
