"""Text and settings as they may be shown, without the secrets in them, nor what a terminal would obey.

Whatever is printed, logged or handed on goes through `masked`: a `UserError` when it becomes text, a log line in its
formatter, a config or a checkpoint's description before it is written. What goes to a terminal and may hold words,
tags or names of others goes through `printable`.
"""

from __future__ import annotations

import re
import reprlib
import unicodedata
from pathlib import PurePath
from typing import Any

# A URL ends at white space, unless it is still before an @: a password may hold anything. pathlib makes // a single /.
_URL = re.compile(
    r"""
    (?P<scheme>[A-Za-z][A-Za-z0-9+.-]+:/+)
    (?P<user>[^\s/?\#@:]*:[^/?\#\n]*@ | [^\s/?\#@:]*:(?!\d+[/?\#])[^\s@]*@ | [^\s/?\#]*@)?
    (?P<rest>\S*)
    """,
    re.VERBOSE,
)
_CUT_PASSWORD = re.compile(r"^[^/?#:]*:(?!\d*(?:[/?#'\")\]},;.:]|$))[^/?#]*")
"""Where a port would stand, something that is none, and no @ behind it: the end of the URL was cut off."""
_CLOSING = "'\")]}>,;.!:`"
"""What may stand behind a URL in a sentence."""
_PARAMETER = re.compile(r";[^/?#]*")
_SECRET_NAME = re.compile(
    r"(?:^|[_.-])(?:(?:identity|registry)?token|(?:pg)?passw(?:or)?d|pwd|secret|auth|connection_?string|credentials?"
    r"|(?:secret|access|api|private|account|storage)_?key(?:_id)?)$",
    re.IGNORECASE,
)
_SECRET_PART = re.compile(r"\b(AccountKey|SharedAccessKey|SharedAccessSignature|Password|Pwd)=[^;\s]+", re.IGNORECASE)
"""A part of a connection string."""
_ASSIGNED = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_.]*)=(?P<value>.*)", re.DOTALL)
HIDDEN = "…"
"""What stands in the place of a secret."""


def printable(text: str) -> str:
    """One line of text with escapes in place of what a terminal would not show, or would obey."""
    if text.isascii() and text.isprintable():
        return text
    seen = any(unicodedata.category(c)[0] in "LNPS" for c in text)  # else marks have nothing to stand on
    return "".join(c if c.isprintable() and seen else c.encode("unicode_escape").decode() for c in text)


def file_name(path: str) -> str:
    """The last part of a path: where a file lies is nobody's business. Bytes that are no text are written as digits."""
    return PurePath(path).name.encode(errors="backslashreplace").decode()


def model_name(path: str) -> str:
    """`file_name` of a model's directory; of the ``model/`` of a run, the run's."""
    pure = PurePath(path)
    return file_name(str(pure.parent) if pure.name == "model" and pure.parent.name else path)


def printable_lines(text: str) -> str:
    """`printable`, of each line."""
    return "\n".join(map(printable, text.split("\n")))


def masked(text: str) -> str:
    """A text whose URLs have neither user and password nor query, fragment and parameters of the path."""
    return _URL.sub(_mask_url, text) if ":/" in text else text


def _mask_url(match: re.Match[str]) -> str:
    rest = match["rest"]
    if match["user"] is None and match["scheme"].endswith("//"):
        rest = _CUT_PASSWORD.sub(HIDDEN, rest)
    shown = rest.rstrip(_CLOSING)
    closing = rest[len(shown) :]
    cut = re.search("[?#]", shown)
    path = _PARAMETER.sub(f";{HIDDEN}", shown[: cut.start()] if cut else shown)
    if "://" in path:  # one URL within another: zip://a.csv::https://…
        path = masked(path)
    return match["scheme"] + path + (f"{cut[0]}{HIDDEN}" if cut else "") + closing


def without_secrets(value: Any, name: str = "") -> Any:
    """Plain values, as JSON has them, with every string masked; what a name says is secret is hidden altogether.

    Args:
        name: the key under which the value stands.
    """
    if isinstance(value, dict):
        has_types = name == "label_map"  # whose keys are types of entities: the type "password" is no secret
        return {key: without_secrets(item, "" if has_types else str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(item, name) for item in value]
    if not isinstance(value, str):
        return value
    if _SECRET_NAME.search(name):
        return HIDDEN
    assigned = _ASSIGNED.fullmatch(value)  # NAME=VALUE, as environment variables are given
    if assigned and _SECRET_NAME.search(assigned["name"]):
        return f"{assigned['name']}={HIDDEN}"
    # All of a value that begins as a URL is one, however badly written.
    plain = masked("%20".join(value.split()) if _URL.match(value) else value)
    return _SECRET_PART.sub(rf"\1={HIDDEN}", plain)


_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 100
_short.maxlevel = 3


def shown(value: Any, name: str = "") -> str:
    """The ``repr`` of a setting's value for a message: masked, and short however large the value is.

    Args:
        name: of the setting.
    """
    return _short.repr(without_secrets(value, name))
