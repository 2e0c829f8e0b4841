"""What a user did wrong, as opposed to what we did wrong (which is an assert)."""

import json
from pathlib import Path
from typing import Any


class UserError(Exception):
    """A mistake in the settings, the data or the machine that its owner can mend.

    The message names the offending value, where it stands (``file:line`` or the setting's dotted name) and
    what to write instead. Commands print it alone, without a traceback, and end with exit status 2.
    """


def first_line(error: BaseException) -> str:
    """What a library's message says first (the rest speaks to programmers); its kind, where that says more."""
    lines = [line.strip() for line in str(error).strip().split("\n")]
    said = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    if not said:
        return type(error).__name__
    bare = isinstance(error, LookupError | ArithmeticError | TypeError | AttributeError)  # KeyError: 'x'
    return f"{type(error).__name__}: {said}" if bare else said.rstrip(".")


def read_json(file: Path, whole: str = "it") -> dict[str, Any] | None:
    """A JSON object that we once wrote; None: there is no such file.

    Args:
        whole: what is to be copied again where it is damaged.

    Raises:
        UserError: it is damaged.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: not readable ({first_line(error)}): copy {whole} again") from None
    if not isinstance(value, dict):
        raise UserError(f"{file}: not a JSON object: copy {whole} again")
    return value
