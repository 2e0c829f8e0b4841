"""Real corpora, read as they lie on the disk and compared with what other means find in them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from determined_ner.data.readers.open import describe
from determined_ner.data.readers.sentences import Layout
from tests.conftest import SHARED_DATA
from tests.data.readers.files import pairs, read


def corpus(name: str) -> Path:
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip(f"the corpus {path} is not on this machine")
    return path


def counts(path: Path) -> tuple[int, int, int]:
    sentences = read(path)
    assert all(s.tags is not None and len(s.words) == len(s.tags) for s in sentences)
    return len(sentences), sum(len(s.words) for s in sentences), sum(t != "O" for s in sentences for t in s.tags or [])


def counts_of_blocks(path: Path, tag: int, separator: str, comment: str = "\n") -> tuple[int, int, int]:
    """The same by other means: blocks of the whole text."""
    text = re.sub(r"\n[ \t]+(?=\n)", "\n", path.read_bytes().decode())
    blocks = [[line.split(separator) for line in b.split("\n") if line and not line.startswith(comment)]
              for b in re.split(r"\n\n+", text)]  # fmt: skip
    blocks = [[cells for cells in block if cells[0] != "-DOCSTART-"] for block in blocks]
    tags = [cells[tag] for block in blocks for cells in block]
    return sum(map(bool, blocks)), len(tags), len(tags) - tags.count("O")


@pytest.mark.parametrize(
    ("raw", "converted"),
    [
        ("wnut17train.conll", "train.json"),
        ("emerging.dev.conll", "validation.json"),
        ("emerging.test.annotated", "test.json"),
    ],
)
def test_wnut17_equals_its_json(raw: str, converted: str) -> None:
    # The raw files are sound except for two traps. In the training file 2,394 of the lines between sentences hold a tab
    # (an empty word with an empty tag) and 1,000 nothing; both end a sentence. And 1,097 lines of the three files begin
    # with # (`#`, `#NFL`), all of them words. Read so, every word and tag equals the JSON.
    path = corpus("wnut17") / raw
    rows = [json.loads(line) for line in (corpus("wnut17") / converted).read_bytes().splitlines()]
    expected = [(row["tokens"], row["ner_tags"]) for row in rows]
    assert pairs(path) == expected
    assert pairs(corpus("wnut17") / converted) == expected
    assert counts(path) == counts_of_blocks(path, 1, "\t")


def test_wikigold_and_its_documents() -> None:
    path = corpus("wikigold/wikigold.conll.txt")
    assert counts(path) == counts_of_blocks(path, 1, " ") == (1696, 39007, 6431)
    assert read(path)[-1].document + 1 == path.read_text().count("-DOCSTART- O\n\n") == 145
    parts = [read(corpus(f"wikigold/{name}.json")) for name in ("train", "validation", "test")]
    assert sorted(s.words for part in parts for s in part) == sorted(s.words for s in read(path))


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_ncbi_disease(name: str) -> None:
    path = corpus(f"ncbi-disease/{name}.tsv")
    assert counts(path) == counts_of_blocks(path, 1, "\t")
    assert describe(path) == Layout("conll", "1", "2", "\t")


@pytest.mark.parametrize("name", ["train", "dev", "test"])
def test_uner_pt_bosque(name: str) -> None:
    path = corpus(f"uner-pt-bosque/pt_bosque-ud-{name}.iob2")
    assert counts(path) == counts_of_blocks(path, 2, "\t", "# ")
    assert read(path)[-1].document + 1 == path.read_text().count("\n# newdoc") + 1
    assert describe(path) == Layout("conll", "2", "3", "\t")
