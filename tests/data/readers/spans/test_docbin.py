"""spaCy's DocBin."""

from __future__ import annotations

import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from determined_ner.data.readers.open import describe, read_annotated, read_file
from determined_ner.data.readers.sentences import Choice
from determined_ner.data.readers.spans.text import Span
from determined_ner.errors import UserError

BEGINS = zlib.compress(b"\x8a\xa7version\xa30.1\xa5attrs\x90")

TEXTS = [
    ("Ada Brann saw Oslo .", [(0, 9, "PER"), (14, 18, "LOC")]),
    ("No one  here\n.", []),
    ("😀 e\u0301 New York", [(5, 13, "LOC")]),
]


def write(path: Path, texts: list[tuple[str, Any]] = TEXTS, group: str | None = None) -> Path:
    spacy = pytest.importorskip("spacy")
    tokens = pytest.importorskip("spacy.tokens")
    nlp, found = spacy.blank("en"), tokens.DocBin(store_user_data=True)
    for text, spans in texts:
        doc = nlp(text)
        if spans is not None:
            marked = [doc.char_span(start, end, label=label) for start, end, label in spans]
            if group is None:
                doc.set_ents(marked, default="outside")
            else:
                doc.spans[group] = marked
        found.add(doc)
    found.to_disk(path)
    return path


def test_texts_and_entities_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.spacy")
    assert describe(path).format == "docbin"
    assert [(a.text, a.spans) for a in read_annotated(path)] == [
        (text, tuple(Span(*span) for span in spans)) for text, spans in TEXTS
    ]
    first = next(read_file(path))
    assert (first.words, first.tags) == (["Ada", "Brann", "saw", "Oslo", "."], ["B-PER", "I-PER", "O", "B-LOC", "O"])


def test_texts_that_nobody_annotated_are_left_out_and_counted(tmp_path: Path) -> None:
    _, second = read_file(write(tmp_path / "a.spacy", [TEXTS[0], ("x", None), TEXTS[1]]))
    first = next(read_file(tmp_path / "a.spacy"))
    kinds = [repair.kind for sentence in (first, second) for repair in sentence.repairs]
    assert kinds == ["texts without annotated entities, left out"]
    with pytest.raises(UserError, match="no entities are annotated in its 1 texts"):
        list(read_file(write(tmp_path / "b.spacy", [("x", None)])))


def test_a_group_of_spans_is_read_where_there_are_no_entities(tmp_path: Path) -> None:
    path = write(tmp_path / "a.spacy", TEXTS, group="sc")
    assert describe(path).tag_column == "sc" and next(read_annotated(path)).spans[1] == Span(14, 18, "LOC")
    with pytest.raises(UserError, match="has no spans 'x', but"):
        describe(path, Choice(label_column="x"))


def test_a_damaged_one_is_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.spacy").read_bytes()
    for i, damaged in enumerate((whole[:-20], BEGINS, zlib.compress(zlib.decompress(whole)[:-9]))):
        path = tmp_path / f"{i}.spacy"
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"cannot be read as spaCy's DocBin|is empty"):
            list(read_file(path))


def test_without_spacy_the_message_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    monkeypatch.setitem(sys.modules, "spacy.tokens", None)
    (tmp_path / "a.spacy").write_bytes(BEGINS)
    with pytest.raises(UserError, match=r"a.spacy: is spaCy's DocBin, which spaCy is needed for .*pip install spacy"):
        next(read_file(tmp_path / "a.spacy"))
