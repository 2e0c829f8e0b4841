"""Reading an experiment config, with overrides.

On a cluster the master hands the config over, completed with its defaults; off the cluster the same file is read
here, so that one YAML and one override syntax serve both.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from determined_ner.errors import UserError
from determined_ner.masks import shown
from determined_ner.settings.explaining import SECTIONS, what_is_meant
from determined_ner.settings.yaml_text import MAX_DEPTH, InvalidYAMLError, load_yaml

_PACKAGE = Path(__file__).parents[1]
DEFAULT_CONFIG = next(
    (folder / "ner_config.yaml" for folder in (_PACKAGE, _PACKAGE.parent) if (folder / "ner_config.yaml").is_file()),
    Path("ner_config.yaml"),
)
"""In the package where it is installed, beside it in a checkout."""
MAX_BYTES = 256 << 10
"""Of a config file."""
_LISTS = ("bind_mounts",)
"""Keys whose single value stands for a list of one."""
_TEXTS = ("name", "description", "workspace", "project")


def read_config(path: Path | None, overrides: list[str]) -> dict[str, Any]:
    """Read an experiment config and apply ``KEY=VALUE`` overrides, values parsed as YAML.

    Args:
        path: None for the default config; own files then take the place of its data set without a word.

    Raises:
        UserError: no such file, bad YAML (with its line), or an override without ``=``.
    """
    default, path = path is None, path or DEFAULT_CONFIG
    text = _read_text(path)
    try:
        config = load_yaml(text)
    except InvalidYAMLError as error:
        line = f":{error.line}" if error.line else ""
        raise UserError(f"{path}{line}", f"not valid YAML: {error.problem}") from None
    if not isinstance(config, dict):
        held = "is empty" if config is None else f"holds {shown(config)}"
        raise UserError(path, held, "write the sections of an experiment config")
    config = override_config(_without_nulls(config), overrides)
    problems = list(_unknown_names(config, path))
    if problems:
        raise UserError.several(problems)
    data = config.get("data", {})
    if default and data.get("train_file"):
        for name in ("dataset_name", "dataset_config_name", "dataset_revision"):
            data.pop(name, None)
    return dict(config)


def _read_text(path: Path) -> str:
    """
    Raises:
        UserError: no file of text, or not one of a config's size.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UserError(path, "is a pipe or a device, not a regular file", "write its content to a file first")
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            limit = f"more than the {MAX_BYTES >> 10} KiB that a config may have"
            raise UserError(path, limit, "write the path of an experiment YAML")
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(path, "no such config file", "write the path of an experiment YAML") from None
    except IsADirectoryError:
        raise UserError(path, "is a directory", "write the path of an experiment YAML in it") from None
    except (OSError, ValueError) as error:  # ValueError: bytes that are no text, a path with a NUL
        raise UserError(path, f"cannot be read as a config file: {error}") from None


def _without_waiting(path: str, flags: int) -> int:
    """Open a pipe without waiting for who writes to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _without_nulls(config: dict[Any, Any]) -> dict[Any, Any]:
    """A null means "not set", as the master treats it; the override syntax would stumble over it.

    Except in a label map, where it is read as O.
    """
    return {
        key: _without_nulls(value) if isinstance(value, dict) and key != "label_map" else value
        for key, value in config.items()
        if value is not None
    }


def _unknown_names(config: dict[str, Any], path: Path) -> Iterator[UserError]:
    """What the master would refuse: misspelt sections and settings outside of hyperparameters: and data:."""
    for name in _TEXTS:
        if isinstance(config.get(name), dict | list):
            yield UserError(path, f"{name}: {shown(config[name])} is not a text")
    for section, known in SECTIONS.items():
        part = config if section == "" else config.get(section, {})
        if not isinstance(part, dict):
            yield UserError(path, f"{section}: {shown(part)} is not a section of KEY: VALUE lines")
            continue
        for name in part if known else ():
            if name in known:
                continue
            where = f"{section}.{name}" if section else name
            problem = f"{where}: unknown setting (value {shown(part[name], name)})"
            yield UserError(path, problem, what_is_meant(name, section, known))


def override_config(config: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Apply ``KEY=VALUE`` overrides in the syntax of ``det experiment create --config``.

    ``a.b=c`` is the key b of the section a. A value is YAML; outside of brackets commas make it a list.

    Raises:
        UserError: an override without ``=``, or one that does not fit.
    """
    for override in overrides:
        where = f"--config {override}"
        key, equals, value = override.partition("=")
        if not key or not equals:
            raise UserError(where, "write KEY=VALUE, e.g. --config hyperparameters.learning_rate=3e-5")
        if " #" in value and value[:1] not in ("'", '"'):
            raise UserError(where, f"what follows ' #' is a comment in YAML; write {key}='\"{value}\"'")
        try:
            override.encode()
            names = key.split(".")
            if len(names) > MAX_DEPTH:
                raise InvalidYAMLError(f"nested in more than {MAX_DEPTH} levels")
            config = _with_value(config, names, _override_value(key, value))
        except (InvalidYAMLError, UnicodeError, AttributeError, TypeError) as error:
            raise UserError(where, f"does not fit the config: {error}") from None
    return config


def _override_value(key: str, text: str) -> Any:
    if "," in text and not text.startswith(("[", "{")):
        return [load_yaml(part) for part in text.split(",")]
    value = load_yaml(text)
    lone = key in _LISTS and not text.startswith("[")
    return [value] if lone else value


def _with_value(config: dict[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    """A copy of the config with a value at a path of keys; sections are merged."""
    name, *rest = path
    before = config.get(name)
    if rest:
        value = _with_value({} if before is None else before, rest, value)
    elif isinstance(before, dict) and isinstance(value, dict):
        for key in value:
            before = _with_value(before, [key], value[key])
        value = before
    return {**config, name: value}
