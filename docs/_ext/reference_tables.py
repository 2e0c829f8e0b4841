"""Reference pages out of the code itself: settings from their fields' docs, commands from their parsers.

    ```{settings} determined_ner.settings.data.DataSettings
    ```

    ```{command-line} determined_ner.cli.make_parser
    ```

    ```{counterparts} Flair
    ```

All are worked out when the pages are built, so that they cannot say what the code does not.
"""

from __future__ import annotations

import argparse
import importlib
import types
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from determined_ner.settings.foreign_names import FOREIGN

PROGRAM = "determined-ner"
_COMPARISONS: tuple[tuple[type[Any], str, str], ...] = (
    (annotated_types.Ge, "ge", "≥"),
    (annotated_types.Gt, "gt", ">"),
    (annotated_types.Le, "le", "≤"),
    (annotated_types.Lt, "lt", "<"),
)


# -- Settings --------------------------------------------------------------------------------------------------


def settings_table(section: type[BaseModel]) -> str:
    """A Markdown table of a section's fields, in their order."""
    rows = [
        (f"`{name}`", _values(field.annotation, field.metadata), _default(field), _one_line(field.description or ""))
        for name, field in section.model_fields.items()
    ]
    return _table(("setting", "values", "default", "what it does"), rows)


def _values(annotation: Any, metadata: Any = ()) -> str:
    """What may be written: values, or the kind of value and its limits."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _values(parts[0], parts[1:])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in parts)
    if origin is list:
        return f"list of {_values(parts[0])}"
    if origin is dict:
        return f"{_values(parts[1])} by {_values(parts[0])}"
    if origin in (Union, types.UnionType):
        return " or ".join(_values(part, metadata) for part in parts if part is not type(None))
    if origin is dict:
        return f"mapping of name to {_values(parts[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    if annotation is bool:
        return "`true`, `false`"
    kind = {int: "whole number", float: "number", str: "text"}[annotation]
    nested = [limit for part in metadata for limit in (part.metadata if isinstance(part, FieldInfo) else [part])]
    limits = [f"{sign} {getattr(x, key)}" for x in nested for cls, key, sign in _COMPARISONS if isinstance(x, cls)]
    return " ".join([kind, ", ".join(limits)]).strip()


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is None:
        return ""
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    return f"`{field.default}`"


def counterparts_table(trainer: str) -> str:
    """Markdown tables of another trainer's settings: those that have another name here, and those that are not here."""
    names = FOREIGN[trainer]
    here: dict[str, list[str]] = {}
    missing: dict[str, list[str]] = {}
    for name, counterpart in names.items():
        value = f": {counterpart.value}" if counterpart.value else ""
        note = f" ({counterpart.note})" if counterpart.note else ""
        if counterpart.setting:
            here.setdefault(f"`{counterpart.setting}{value}`{note}", []).append(name)
        else:
            missing.setdefault(counterpart.note, []).append(name)
    tables = [_table((trainer, "here"), [(_code(group), text) for text, group in here.items()])] if here else []
    if missing:
        rows = [(_code(group), text) for text, group in missing.items()]
        tables.append(_table((f"{trainer}, without a counterpart", "because"), rows))
    return "\n\n".join(tables)


def _code(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


# -- Commands --------------------------------------------------------------------------------------------------


def command_pages(parser: argparse.ArgumentParser) -> str:
    """A Markdown section for each verb of a parser."""
    return "\n\n".join(f"## {PROGRAM} {name}\n\n{_command(verb)}" for name, verb in verbs(parser).items())


def verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parser of each verb."""
    subparsers = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return {name: verb for action in subparsers for name, verb in action.choices.items()}


def _command(parser: argparse.ArgumentParser) -> str:
    formatter = parser._get_formatter()
    rows = []
    for action in parser._actions:
        if not isinstance(action, argparse._HelpAction):
            rows.append((_spelling(action), _one_line(formatter._expand_help(action) if action.help else "")))
    usage = parser.format_usage().removeprefix("usage: ").rstrip()
    parts = [_one_line(parser.description or "") % {"prog": parser.prog}, f"```text\n{usage}\n```"]
    return "\n\n".join([*parts, _table(("argument", "what it does"), rows)] if rows else parts)


def _spelling(action: argparse.Action) -> str:
    metavar = action.metavar if isinstance(action.metavar, str) else None
    if action.choices is not None:
        metavar = "{" + ",".join(map(str, action.choices)) + "}"
    if not action.option_strings:
        return f"`{metavar or action.dest}`"
    takes = "" if action.nargs == 0 else f" {metavar or action.dest.upper()}"
    return f"`{', '.join(action.option_strings)}{takes}`"


# -- Pages -----------------------------------------------------------------------------------------------------


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _named(dotted: str) -> Any:
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)


class Settings(SphinxDirective):
    """The fields of a section of settings."""

    required_arguments: ClassVar[int] = 1

    def run(self) -> list[Any]:
        return self.parse_text_to_nodes(settings_table(_named(self.arguments[0])))


class Counterparts(SphinxDirective):
    """What another trainer's settings are called here."""

    required_arguments: ClassVar[int] = 1
    final_argument_whitespace: ClassVar[bool] = True

    def run(self) -> list[Any]:
        return self.parse_text_to_nodes(counterparts_table(self.arguments[0]))


class CommandLine(SphinxDirective):
    """The verbs and options of a parser."""

    required_arguments: ClassVar[int] = 1

    def run(self) -> list[Any]:
        return self.parse_text_to_nodes(command_pages(_named(self.arguments[0])()), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("settings", Settings)
    app.add_directive("command-line", CommandLine)
    app.add_directive("counterparts", Counterparts)
    return {"parallel_read_safe": True}
