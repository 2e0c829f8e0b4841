"""Formats by name, and outputs: a file, a directory or standard output, complete or not there at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from determined_ner.data.writers.brat import BratWriter, is_ours
from determined_ner.data.writers.labelled import LabelledText
from determined_ner.data.writers.spans import DoccanoWriter, LabelStudioWriter, ProdigyWriter, SpansWriter
from determined_ner.data.writers.words import ConllWriter, TokensWriter
from determined_ner.data.writers.writer import Writer
from determined_ner.errors import UserError, standard_output
from determined_ner.files.atomic import atomic_directory, atomic_file, check_output

_FILES: dict[str, type[Writer]] = {
    "doccano": DoccanoWriter,
    "label-studio": LabelStudioWriter,
    "prodigy": ProdigyWriter,
    "spans": SpansWriter,
    "conll": ConllWriter,
    "jsonl": TokensWriter,
}
"""The formats that are one file, by the name that the command line has for them (`determined_ner.cli` lists them)."""
BRAT = "brat"
"""The format that is a directory."""
WORDS = ("conll", "jsonl")
"""The formats that keep words; the others keep texts."""


class Output:
    """Where labelled texts are written to, one after the other."""

    def __init__(self, writer: Writer, file: IO[str] | None) -> None:
        """
        Args:
            file: None for a writer of files of its own.
        """
        self.writer = writer
        self._file = file

    def write(self, text: LabelledText) -> None:
        self._put(self.writer.format(text))

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def end(self) -> None:
        self._put(self.writer.end())

    def _put(self, written: str) -> None:
        if self._file is not None:
            self._file.write(written)


def check_target(path: Path | None, format_: str | None, overwrite: bool) -> None:
    """Check that an output can be written.

    Args:
        path: None for standard output.
        format_: None for any that is one file.

    Raises:
        UserError: it cannot, or something is there that must stay.
    """
    if format_ == BRAT:
        if path is None:
            raise UserError("--to brat", "writes a directory", "name it with --output")
        _check_directory(path, overwrite)
    elif path is None:
        standard_output()
    else:
        check_output(path, overwrite)


@contextlib.contextmanager
def open_output(
    path: Path | None, format_: str, overwrite: bool, model: str | None = None, types: Iterable[str] = ()
) -> Iterator[Output]:
    """An output to write to; it takes its name when the context ends well.

    Args:
        path: None for standard output.
        overwrite: replace what an earlier command wrote there.
        model: the name of the model that found the entities; None: they are those of the data.
        types: types that are known to the model.

    Raises:
        UserError: as `check_target`, or it cannot be written.
    """
    check_target(path, format_, overwrite)
    if format_ == BRAT:
        assert path is not None
        with atomic_directory(path, lambda output: _check_directory(output, overwrite)) as directory:
            output = Output(BratWriter(directory, model, types), None)
            yield output
            output.end()
        return
    file = contextlib.nullcontext(standard_output()) if path is None else atomic_file(path, overwrite)
    with file as stream:
        output = Output(_FILES[format_](model, types), stream)
        yield output
        output.end()


def _check_directory(path: Path, overwrite: bool) -> None:
    """
    Raises:
        UserError: something is at ``path`` that must stay.
    """
    if not path.exists():
        return
    if not path.is_dir():
        raise UserError(path, "exists and is no directory", "name a directory to make")
    if not overwrite:
        raise UserError(path, "exists", "name another directory, or replace it with --overwrite")
    if not is_ours(path):
        raise UserError(path, "holds other files than an earlier output", "name another directory")
