"""Files to read, and what is read from them or refused."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from determined_ner.data.readers.open import read_file
from determined_ner.data.readers.sentences import Choice, Sentence
from determined_ner.errors import UserError

TWO = [(["EU", "rejects", "."], ["B-ORG", "O", "O"]), (["Peter", "Blackburn"], ["B-PER", "I-PER"])]


TWO_CONLL = "EU\tB-ORG\nrejects\tO\n.\tO\n\nPeter\tB-PER\nBlackburn\tI-PER\n"


TWO_JSONL = "".join(json.dumps({"tokens": words, "ner_tags": tags}) + "\n" for words, tags in TWO)


ROWS = [{"tokens": words, "ner_tags": tags} for words, tags in TWO]


KAGGLE = (
    'Sentence #,Word,POS,Tag\nSentence: 1,EU,NNP,B-org\n,"""",``,O\n,"a,b",CD,O\n,New York,NNP,B-geo\n'
    "Sentence: 2,Families,NNS,O\n"
)


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": partial(gzip.compress, mtime=0),  # the same bytes at any time, so that fuzz can be repeated
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": zstd,
}


Write = Callable[[str, str | bytes], Path]


def read(path: Path, **options: Any) -> list[Sentence]:
    return list(read_file(path, Choice(**options)))


def pairs(path: Path, **options: Any) -> list[tuple[list[str], list[str] | None]]:
    return [(s.words, s.tags) for s in read_file(path, Choice(**options))]


def refused(path: Path, line: int | None, *parts: str, **options: Any) -> str:
    """The message of the ``UserError`` that reading ends in: one line, its place and its remedy, with all ``parts``."""
    with pytest.raises(UserError) as caught:
        read(path, **options)
    error, message = caught.value, str(caught.value)
    assert error.where == (f"{path}:{line}" if line else str(path)), message
    assert error.problem and error.remedy, message
    assert "\n" not in message and len(message) < 700, message
    for part in parts:
        assert part in message, (part, message)
    return message


def write_parquet(path: Path, columns: dict[str, Any], metadata: dict[str, str] | None = None) -> Path:
    table = pa.table(columns)
    pq.write_table(table.replace_schema_metadata(metadata) if metadata else table, path)
    return path
