"""brat standoff: a directory of texts, each with a file of its annotations beside it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from pathlib import Path

from determined_ner.data.writers.labelled import LabelledText
from determined_ner.data.writers.writer import Writer

_CONFIG = "annotation.conf"
_NAME = re.compile(r"\d{8}\.(?:txt|ann)|annotation\.conf")
_LINE_ENDS = re.compile(r"\n+")
_BREAKS = str.maketrans("\t\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029", " " * 11)


class BratWriter(Writer):
    """``00000001.txt`` and ``00000001.ann`` for the first text, and so on; the types in ``annotation.conf``."""

    title = "brat"
    keeps_documents = False

    def __init__(self, directory: Path, model: str | None = None, types: Iterable[str] = ()) -> None:
        """
        Args:
            directory: an empty one, to fill.
            model: as for every writer, and so are ``types``.
        """
        super().__init__(model, types)
        self._directory = directory

    def format_text(self, text: LabelledText) -> str:
        """Write both files of a text.

        Returns:
            the name that both have.
        """
        name = f"{self.texts + 1:08d}"
        lines = []
        for i, (start, end, type_, _) in enumerate(text.spans, 1):
            places = ";".join(f"{start} {end}" for start, end in _fragments(text.text, start, end))
            covered = text.text[start:end].translate(_BREAKS)
            lines.append(f"T{i}\t{self._type(type_)} {places}\t{covered}\n")
        for suffix, content in (("txt", text.text), ("ann", "".join(lines))):
            (self._directory / f"{name}.{suffix}").write_text(content, encoding="utf-8", newline="")
        return name

    def end(self) -> str:
        """Write the configuration of the annotation."""
        entities = "".join(f"{type_}\n" for type_ in sorted({_as_name(type_) for type_ in self.types}))
        sections = f"[entities]\n{entities}\n[relations]\n\n[events]\n\n[attributes]\n"
        (self._directory / _CONFIG).write_text(sections, encoding="utf-8", newline="\n")
        return ""

    def _type(self, type_: str) -> str:
        name = _as_name(type_)
        if name != type_:
            self.lost["types with white space, which is written _"] += 1
        return name


def is_ours(directory: Path) -> bool:
    """Whether all that is in a directory has the names of what is written here."""
    return all(_NAME.fullmatch(path.name) for path in directory.iterdir())


def _as_name(type_: str) -> str:
    return re.sub(r"\s", "_", type_) or "_"


def _fragments(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """A span in parts between which there are line ends: brat shows and writes no other over lines."""
    ends = [run.span() for run in _LINE_ENDS.finditer(text, start, end) if start < run.start() and run.end() < end]
    borders = [start, *itertools.chain.from_iterable(ends), end]
    return list(zip(borders[::2], borders[1::2], strict=True))
