"""Documents kept in two files: brat's ``X.txt`` and ``X.ann``, ``seq.in`` and ``seq.out``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from determined_ner.data.readers.sentence_lines import is_parallel, parallel_files
from determined_ner.data.readers.spans.brat import brat_files, is_brat
from determined_ner.errors import UserError


def document_files(path: Path) -> list[Path]:
    """The files that are read where ``path`` is named, that with the text first.

    Raises:
        UserError: one of two is not there.
    """
    if is_brat(path):
        return brat_files(path)
    return parallel_files(path) if is_parallel(path) else [path]


def one_a_document(paths: Sequence[Path]) -> list[Path]:
    """The files of a pattern, each document once: of two files, that with the text.

    Raises:
        UserError: one of two is not there; a text beside brat documents has no annotations.
    """
    documents = [document_files(path)[0] for path in paths]
    brat = dict.fromkeys(path for path in paths if is_brat(path))
    bare = next((path for path in paths if brat and path.suffix == ".txt" and path not in brat), None)
    if bare is not None:
        raise UserError(
            bare,
            f"has no brat annotations in {bare.with_suffix('.ann').name}, unlike {next(iter(brat)).name}",
            "leave it out of the pattern, or make an empty .ann file if nothing in it is to be marked",
        )
    return list(dict.fromkeys(documents))
