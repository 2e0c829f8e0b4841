"""YAML of bounded size as plain values that JSON can hold, or one error with its line.

YAML 1.2, as Determined reads it, less what would be lost or refused when a config is kept as JSON: a date is the text
that was written, keys are text, and sets, binary data, infinities and the like are refused. So are a key that stands
twice, and texts whose values take no end of memory: nested too deeply, or multiplied by aliases.
"""

from __future__ import annotations

import math
from typing import Any

from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

MAX_DEPTH = 50
"""Sections within sections."""
MAX_VALUES = 100_000
"""Those behind an alias are counted wherever it stands."""
_TAG = "tag:yaml.org,2002:"


class InvalidYAMLError(ValueError):
    """What is wrong with a text, and in which of its lines; None: there is no one line."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        self.problem, self.line = problem, line
        super().__init__(problem)


def load_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        InvalidYAMLError: it is not valid YAML, or not what JSON can hold.
    """
    yaml = YAML(typ="safe", pure=True)
    try:
        node = yaml.compose(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        said = [getattr(error, part, None) for part in ("context", "problem")]
        problem = ", ".join(part for part in said if part) or " ".join(str(error).split())
        raise InvalidYAMLError(problem, mark.line + 1 if mark else None) from None
    except RecursionError:
        raise InvalidYAMLError(f"nested in more than {MAX_DEPTH} levels") from None
    return None if node is None else _Values(yaml.constructor).value(node, 1)


class _Values:
    """Makes plain values of the nodes of one text."""

    def __init__(self, constructor: Any) -> None:
        self._constructor = constructor
        self._count = 0

    def value(self, node: Any, depth: int) -> Any:
        self._count += 1
        if depth > MAX_DEPTH:  # an alias within its own anchor, too
            raise _bad(node, f"nested in more than {MAX_DEPTH} levels")
        if self._count > MAX_VALUES:
            raise _bad(node, f"more than {MAX_VALUES:,} values")
        if isinstance(node, MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, depth)
        if isinstance(node, SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.value(item, depth + 1) for item in node.value]
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        raise _bad(node, f"{node.tag.removeprefix(_TAG)!r} is no kind of value that a config holds")

    def _mapping(self, node: Any, depth: int) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, item in node.value:
            if not isinstance(key, ScalarNode):
                raise _bad(key, "a key must be text")
            value = self.value(item, depth + 1)
            if key.tag == f"{_TAG}merge":
                sections = value if isinstance(value, list) else [value]
                if not all(isinstance(section, dict) for section in sections):
                    raise _bad(item, "what << merges must be sections of KEY: VALUE lines")
                for section in sections:
                    merged = {**section, **merged}
                continue
            name = _text(key)
            if name in own:
                raise _bad(key, f"the key {name!r} stands twice")
            own[name] = value
        return {**merged, **own}

    def _scalar(self, node: Any) -> Any:
        kind = node.tag.removeprefix(_TAG)
        try:
            if kind in ("str", "timestamp"):
                return _text(node)
            if kind == "null":
                return None
            if kind == "bool":
                return self._constructor.construct_yaml_bool(node)
            if kind == "int":
                whole: int = self._constructor.construct_yaml_int(node)
                if -(2**63) <= whole < 2**63:
                    return whole
                raise _bad(node, f"{node.value[:40]!r} is too large a number")
            if kind == "float":
                number: float = self._constructor.construct_yaml_float(node)
                if math.isfinite(number):
                    return number
                raise _bad(node, f"{node.value[:40]!r} is not a finite number")
        except (ValueError, LookupError) as error:
            if isinstance(error, InvalidYAMLError):
                raise
            raise _bad(node, f"{node.value[:40]!r} is no {kind}") from None
        raise _bad(node, f"{kind!r} is no kind of value that a config holds")


def _text(node: Any) -> str:
    text = str(node.value)
    odd = next((c for c in text if c == "\0" or "\ud800" <= c <= "\udfff"), None)
    if odd is not None:
        raise _bad(node, f"{odd!r} cannot stand in a text")
    return text


def _bad(node: Any, problem: str) -> InvalidYAMLError:
    return InvalidYAMLError(problem, node.start_mark.line + 1)
