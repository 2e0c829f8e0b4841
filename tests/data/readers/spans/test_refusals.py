"""What is surely a mistake in spans of characters: one message on the command line, exit status 2, no output."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest

from determined_ner import cli

DOCCANO = {"id": 1, "text": "Ada saw Oslo", "label": [[0, 3, "PER"]]}
PRODIGY = {
    "text": "Ada saw Oslo",
    "_task_hash": 1,
    "spans": [{"start": 0, "end": 3, "label": "PER"}],
    "answer": "accept",
}
DOCBIN = zlib.compress(b"\x8a\xa7version\xa30.1\xa5attrs\x90")

BAD = {
    "past its text": ([DOCCANO, {**DOCCANO, "label": [[8, 13, "LOC"]]}], ":2: span 8 to 13 of type 'LOC' leaves"),
    "end before start": ([DOCCANO, {**DOCCANO, "label": [[3, 0, "LOC"]]}], ":2: span 3 to 0 of type 'LOC' ends before"),
    "two tools": ([DOCCANO, PRODIGY], ": rows that have spans under several keys, ['label', 'spans']"),
    "two tools, one key": (
        [{"text": "Ada", "spans": [[0, 3, "PER"]], "answer": "accept"}, {"text": "Oslo", "entities": []}],
        ":2: has no 'spans' as other rows have",
    ),
    "two tools, far apart": ([DOCCANO] * 150 + [PRODIGY], ":151: has no 'label' as other rows have"),
    "10 MB": ([DOCCANO, {"text": "Ada " * (10 << 18), "label": []}], ":2: a text of 10,485,760 characters"),
    "half a pair": ([{"text": "😀", "label": [[0, 1, "X"]]}], ":1: span 0 to 1 of type 'X' cuts the character at 1"),
}


def convert(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """The message of the command, which writes nothing."""
    output = path.with_name("out.conll")
    assert cli.main(["convert", str(path), str(output), *options]) == 2
    assert sorted(found.name for found in path.parent.iterdir()) == [path.name]
    out, err = capsys.readouterr()
    assert out == "" and "Traceback" not in err
    return err


@pytest.mark.parametrize(("rows", "expected"), BAD.values(), ids=BAD)
def test_one_message_says_where_and_what(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[object], expected: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    message = convert(path, capsys, "--config", "data.span_offsets=utf16")
    assert f"{path}{expected}" in message and message.count(str(path)) == 1


def test_a_docbin_that_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.spacy"
    path.write_bytes(DOCBIN)
    assert "spaCy's DocBin" in convert(path, capsys)
