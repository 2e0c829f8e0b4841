"""Corpora of the training data: files with a label map, a weight, and the types that they label."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Annotated, Any

import pydantic
from pydantic import Field

from determined_ner.masks import file_name, masked, shown
from determined_ner.settings.sections import Section
from determined_ner.settings.urls import is_remote


def _label_map(value: Any) -> Any:
    """Entity types, and what each is read as; null and O are the same."""
    if not isinstance(value, Mapping) or not value:
        raise ValueError("write the types of the files and what each is read as: {person: PER, misc: O}")
    read: dict[str, str] = {}
    for name, meant in value.items():
        if not isinstance(name, str) or not isinstance(meant, str | None) or not name:
            raise ValueError(f"{name!r}: {meant!r} is no type and its name; write e.g. person: PER (numbers in quotes)")
        if meant is not None and (not meant or any(c.isspace() or not c.isprintable() for c in meant)):
            raise ValueError(f"{name}: {meant!r} is no name of a type, which has no white space")
        read[name] = meant or "O"
    return read


LabelMap = Annotated[dict[str, str], pydantic.BeforeValidator(_label_map)]
TypeNames = Annotated[list[str], Field(min_length=1)]


class CorpusSettings(Section):
    """One of several corpora in ``data.train_file``."""

    file: str
    """Its file, or a glob of several, of any format."""
    label_map: LabelMap | None = None
    """In place of data.label_map."""
    loss_weight: Annotated[float, Field(gt=0)] = 1.0
    """How much the loss of its words weighs, beside that of the other corpora."""
    annotated_types: TypeNames | None = None
    """The types that it labels, as they are called after the label map: a word that it calls O may be of any other."""


def read_train_file(value: Any) -> Any:
    """What ``data.train_file`` may be: a file, or several corpora by name; of a list each goes by its file's name.

    Raises:
        ValueError: it is nothing of the kind.
    """
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, list):
        if not value or not all(isinstance(file, str) and file for file in value):
            raise ValueError(
                "a list of corpora has a file each; write a mapping NAME: {file: …, label_map: …} for more"
            )
        if twice := [file for file in value if value.count(file) > 1]:
            raise ValueError(f"{twice[0]} stands twice")
        value = dict(zip(_names(value), value, strict=True))
    if not isinstance(value, Mapping) or not value:
        raise ValueError("write a file, a list of files, or a mapping NAME: {file: …}")
    return {str(name): _corpus(str(name), corpus) for name, corpus in value.items()}


def _names(files: list[str]) -> list[str]:
    """Of each its file's name, of a URL without what may be a secret; a number tells those of one name apart."""
    names: list[str] = []
    for file in files:
        plain = file_name(re.split(r"[?#;]", masked(file))[0] if is_remote(file) else file)
        numbered = (f"{plain}-{number}" for number in itertools.count(2))
        names.append(next(name for name in itertools.chain([plain], numbered) if name not in names))
    return names


def _corpus(name: str, value: Any) -> CorpusSettings:
    if isinstance(value, CorpusSettings):
        return value
    if isinstance(value, str):
        value = {"file": value}
    if not isinstance(value, Mapping) or not value.get("file"):
        raise ValueError(f"{name}: {shown(value)} names no file; write {name}: {{file: …}}")
    try:
        return CorpusSettings(**{str(key): part for key, part in value.items() if part is not None})
    except pydantic.ValidationError as error:
        detail = error.errors()[0]
        what = ".".join([name, *map(str, detail["loc"][:1])])
        known = ", ".join(CorpusSettings.model_fields)
        if detail["type"] == "extra_forbidden":
            raise ValueError(f"{what} is no setting of a corpus, which has {known}") from None
        raise ValueError(
            f"{what}: {shown(detail['input'])} is wrong: {detail['msg'].removeprefix('Value error, ')}"
        ) from None
