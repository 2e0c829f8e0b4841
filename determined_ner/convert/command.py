"""The command ``determined-ner convert``: labelled text, as training reads it, in another format.

Text that is annotated by spans goes to formats of spans as it is. Else what training would see is written: words and
their tags, through its own cache of text in a directory that is removed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from determined_ner.convert.source import LabelledFiles
from determined_ner.data.readers.lines import OPENERS
from determined_ner.data.readers.open import find_files
from determined_ner.data.readers.pairs import document_files
from determined_ner.data.writers.open import check_target, open_output
from determined_ner.errors import UserError
from determined_ner.logs import set_up_logging
from determined_ner.masks import printable
from determined_ner.settings.data import DataSettings
from determined_ner.settings.experiment import override_config
from determined_ner.settings.explaining import check_section

_BY_SUFFIX = {".jsonl": "jsonl", ".conll": "conll"}
"""What the name of the output says of its format."""

_TEXTS_WITH_SPANS = {"doccano", "prodigy", "spacy", "autogluon", "predict", "spans"}
"""Formats of a text under one key and its spans under another, which are read alike: what tells a file of one from
those of the others may be missing in it."""

_READING = (
    *("text_column_name", "label_column_name", "document_column_name", "sentence_column_name", "label_names"),
    *("on_bad_tags", "on_bad_spans", "span_offsets", "word_splitting"),
)
"""The settings that say how a file is read; the others have no meaning here."""


def run(arguments: argparse.Namespace) -> None:
    """Read, write, and say what was read and what could not be written.

    Args:
        arguments: as `determined_ner.cli` parses them.

    Raises:
        UserError: something is wrong with the settings, the input or the output.
    """
    output: Path = arguments.output
    format_ = arguments.to or _format_by_name(output)
    settings = _settings(arguments.input, arguments.overrides)
    for file in (file for path in find_files(arguments.input) for file in document_files(path)):
        if output.exists() and (output.samefile(file) or output.samefile(file.parent)):
            raise UserError(output, "is the input, too, or holds it", "name another output")
    check_target(output, format_, arguments.overwrite)
    set_up_logging(chief=False)  # what reading has to say is said below
    with tempfile.TemporaryDirectory(prefix="ner-convert-") as directory:
        labelled = LabelledFiles(settings, format_, Path(directory))
        if arguments.from_ is not None:
            _check_format(arguments.input, labelled.formats, arguments.from_)
        with open_output(output, format_, arguments.overwrite) as opened:
            for text in labelled.texts:
                opened.write(text)
    writer = opened.writer
    _say(f"{arguments.input}: read as {' and '.join(labelled.formats)}")
    counts = f"texts: {writer.texts:,}, entities: {writer.entities:,}, types: {len(writer.types)}"
    for line in (*labelled.remarks(), f"{output}: {writer.title}, {counts}", *writer.remarks()):
        _say(line)


def _check_format(pattern: str, found: list[str], wanted: str) -> None:
    """
    Raises:
        UserError: the files are found to be of another format.
    """
    for format_ in found:
        told_alike = {format_, wanted} <= _TEXTS_WITH_SPANS
        if format_.replace(" ", "-") != wanted and not told_alike:
            raise UserError(pattern, f"is read as {format_}, not as {wanted}", "correct --from, or leave it out")


def _say(line: str) -> None:
    print(printable(line), file=sys.stderr)


def _format_by_name(output: Path) -> str:
    """
    Raises:
        UserError: the name does not say it.
    """
    suffix = output.suffix.lower()
    if suffix in OPENERS:
        raise UserError(output, f"nothing is written as {suffix}", f"write {output.stem}, then pack it")
    if suffix not in _BY_SUFFIX:
        known = " or ".join(_BY_SUFFIX)
        raise UserError(output, "the name does not say the format", f"end it in {known}, or name the format with --to")
    return _BY_SUFFIX[suffix]


def _settings(pattern: str, overrides: list[str]) -> DataSettings:
    """
    Args:
        pattern: the file to read, or a glob of several.
        overrides: ``data.NAME=VALUE`` each.

    Raises:
        UserError: a setting that is none of reading, or a value that it does not take.
    """
    config = override_config({"data": {}}, overrides)
    given = config.pop("data")
    names = [f"data.{name}" for name in given if name not in _READING] if isinstance(given, dict) else ["data"]
    for name in (*config, *names):
        takes = ", ".join(f"data.{known}" for known in _READING)
        raise UserError(f"--config {name}", "has no meaning here", f"what says how text is read is {takes}")
    problems: list[UserError] = []
    section = {**given, "train_file": pattern, "validation_file": pattern}
    settings = check_section("data", DataSettings, section, problems)
    if problems:
        raise UserError.several(problems)
    assert settings is not None
    return settings
