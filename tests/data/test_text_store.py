"""Words and tags in the cache, read once from their source, with the labels found on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from determined_ner.data.encode import encode_split
from determined_ner.data.readers.sentences import Sentence
from determined_ner.data.source import Numbered, Source
from determined_ner.data.sources import find_sources
from determined_ner.data.text_store import StoredText, store_text
from determined_ner.errors import UserError
from determined_ner.settings.data import DataSettings
from determined_ner.tags.labels import Labels, label_list
from determined_ner.tags.schemes import Scheme, detect_scheme, to_iob2
from tests.conftest import write_conll
from tests.data.corpora import files, with_documents

SETTINGS = DataSettings(train_file="any", validation_file="any")


def test_document_context_without_documents_is_refused(load, corpus):
    with pytest.raises(UserError, match=r"no documents are marked.*document_column_name"):
        load(**files(corpus), context="document")


def test_a_document_is_not_cut_where_the_reader_pauses(tokenizer, tmp_path):
    file = str(with_documents(tmp_path / "a.conll", [[3, 4, 2], [5], [6, 6, 6]]))

    def split(chunk_words: int, context: str):
        settings = DataSettings(train_file=file, validation_file=file, context=context)
        cache = tmp_path / f"{chunk_words} {context}"
        text = store_text(next(find_sources(settings, "ner")), settings, cache, chunk_words=chunk_words)
        return text, encode_split(text, text.labels(), settings, tokenizer, 64, cache)

    _, whole = split(1000, "document")
    text, pieces = split(4, "document")
    assert [batch.num_rows for batch in text.batches()] == [3, 1, 3]
    for array in ("ids", "labels", "windows", "words", "tags", "sentences"):
        np.testing.assert_array_equal(getattr(whole, array), getattr(pieces, array))
    text, sentences = split(4, "sentence")
    assert [batch.num_rows for batch in text.batches()] == [2, 2, 1, 1, 1]
    assert sentences.is_first_piece.sum() == len(whole.tags)


def test_a_document_column_marks_documents(load, tmp_path):
    rows = [{"tokens": ["a", "b"], "ner_tags": ["B-X", "O"], "source": d} for d in "112223"]
    file = tmp_path / "a.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    split = load(
        train_file=str(file), validation_file=str(file), document_column_name="source", context="document"
    ).splits["train"]
    assert np.diff(split.windows).tolist() == [4, 6, 2]


def test_integer_labels_sort_as_numbers(load, tmp_path):
    rows = [{"tokens": ["a"] * 3, "ner_tags": [10, 9, 0]}, {"tokens": ["a"] * 2, "ner_tags": [2, 1]}]
    file = tmp_path / "a.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    loaded = load(train_file=str(file), validation_file=str(file))
    assert loaded.labels.names == ("0", "1", "2", "9", "10") and loaded.labels.scheme is Scheme.PLAIN


# -- Labels ----------------------------------------------------------------------------------------------------


class Documents:
    """Tags of documents as the only source of a split, which counts how often it is read."""

    def __init__(self, documents: list[list[str]]) -> None:
        self.documents = documents
        self.reads = 0

    def sentences(self) -> Iterator[Numbered]:
        self.reads += 1
        for i, tags in enumerate(self.documents):
            yield 0, Sentence(words=["a"] * len(tags), tags=tags, line=i + 1, document=0)

    def store(self, cache: Path, names: tuple[str, ...] | None = None, split: str = "train", **options) -> StoredText:
        source = Source(split, "key", self.sentences, ("a.conll", "b.conll"), names)
        return store_text(source, SETTINGS, cache, **options)


def labels_of_two_passes(documents: list[list[str]]) -> Labels:
    """First the scheme of all tags, then the labels that they are in it."""
    scheme = detect_scheme(documents)
    names = label_list((tag for tags in documents for tag in to_iob2(tags, scheme)[0]), scheme)
    if scheme is Scheme.PLAIN and all(name.lstrip("-").isdigit() for name in names):
        names.sort(key=int)
    return Labels(tuple(names), scheme)


iob = st.sampled_from(["O", "I-X", "B-X", "I-Y", "B-Y", "I-", "B-a-b"])
bioes = st.sampled_from(["O", "B-X", "I-X", "E-X", "S-X", "S-Y"])
bilou = st.sampled_from(["O", "B-X", "I-X", "L-X", "U-X", "U-Y"])
plain = st.sampled_from(["NOUN", "VERB", "ADJ", "X", ""])
numbers = st.sampled_from(["0", "1", "2", "10", "-1"])
documents = st.one_of(
    st.lists(st.lists(tags, min_size=1, max_size=8), min_size=1, max_size=6)
    for tags in (iob, bioes, bilou, plain, numbers, iob | bioes | bilou, numbers | plain)
)


@given(documents=documents, chunk_words=st.integers(1, 20))
@hypothesis_settings(max_examples=200, deadline=None)
def test_labels_found_while_the_text_is_written_are_those_of_two_passes_over_it(
    documents, chunk_words, tmp_path_factory
):
    source = Documents(documents)
    text = source.store(tmp_path_factory.mktemp("cache"), chunk_words=chunk_words)
    try:
        expected = labels_of_two_passes(documents)
    except ValueError as error:
        with pytest.raises(UserError) as caught:
            text.labels()
        assert caught.value.where == "a.conll, b.conll" and str(error) in str(caught.value)
    else:
        assert text.labels() == expected
    assert source.reads == 1
    assert [tags for batch in text.batches() for tags in batch.column("tags").to_pylist()] == documents


def test_a_source_is_read_once_and_then_never_again(tmp_path):
    source = Documents([["B-X", "O"]])
    assert source.store(tmp_path).labels() == source.store(tmp_path).labels() == Labels(("B-X", "O"), Scheme.IOB2)
    assert source.reads == 1
    source.store(tmp_path, overwrite=True)
    assert source.reads == 2


def test_plain_tags_are_labels_as_they_stand(tmp_path):
    labels = Documents([["B-X", "ADJ"], ["NOUN", "ADJ"]]).store(tmp_path).labels()
    assert labels == Labels(("ADJ", "B-X", "NOUN"), Scheme.PLAIN)


def test_mixed_schemes_are_refused_where_labels_are_asked_for(tmp_path):
    text = Documents([["S-X", "O"], ["U-Y"]]).store(tmp_path)
    assert sum(batch.num_rows for batch in text.batches()) == 2
    with pytest.raises(
        UserError, match=r"^a\.conll, b\.conll: the tags mix two schemes: 'S-X' is BIOES, 'U-Y' is BILOU"
    ):
        text.labels()


def test_mixed_schemes_of_validation_are_its_bad_tags(load, tmp_path):
    """Whatever scheme training is of, validation is read by that."""
    (tmp_path / "train.conll").write_text("a\tB-X\nb\tI-X\n")
    (tmp_path / "validation.conll").write_text("a\tS-X\n\nb\tU-X\n")
    corpus = load(**files({split: tmp_path / f"{split}.conll" for split in ("train", "validation")}))
    assert corpus.splits["validation"].counts["repaired_tags"] == 2
    with pytest.raises(UserError, match="mix two schemes"):
        load(train_file=str(tmp_path / "validation.conll"), validation_file=str(tmp_path / "train.conll"))


@pytest.mark.parametrize(
    ("documents", "declared", "names"),
    [
        ([["B-X", "O"]], ("O", "B-X", "I-X"), ("O", "B-X", "I-X")),
        ([["B-X", "O", "B-Y"]], ("O", "B-X"), ("O", "B-X", "B-Y")),
        ([["S-X", "O"]], ("O", "S-X"), ("B-X", "O")),  # declared in another scheme than labels have
        ([["I-X", "O"]], ("O", "I-X", "I-Y"), ("O", "I-X", "I-Y", "B-X", "B-Y")),  # IOB1
        ([["N", "V"]], ("V", "A", "N"), ("V", "A", "N")),
    ],
)
def test_declared_names_stand_first_in_their_own_order(documents, declared, names, tmp_path):
    assert Documents(documents).store(tmp_path, declared).labels().names == names


def test_declared_names_are_no_part_of_the_cache(tmp_path):
    source = Documents([["B-X", "O"]])
    assert source.store(tmp_path, ("O", "B-X")).labels().names == ("O", "B-X")
    assert source.store(tmp_path).labels().names == ("B-X", "O")


def test_a_split_without_a_sentence_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"a\.conll, b\.conll: no sentence is left for validation; give more text"):
        Documents([]).store(tmp_path, split="validation")


@pytest.mark.parametrize("words", [40_000, 300])
def test_a_column_of_words_is_no_tag_column(load, tmp_path, words):
    """Whether there are more than tag ids can hold, or as many as words."""
    rows = [[(f"word{i}", f"word{i}") for i in range(begin, begin + 50)] for begin in range(0, words, 50)]
    data = write_conll(tmp_path / "words.conll", rows)
    with pytest.raises(UserError, match=rf"{words:,} labels .*: is this the tag column\?.*data\.label_column_name"):
        load(train_file=str(data), validation_file=str(data))


def test_many_tags_of_much_text_are_tags(load, tmp_path):
    rows = [[(f"word{i}", f"tag{i % 200}") for i in range(begin, begin + 50)] for begin in range(0, 600, 50)]
    data = write_conll(tmp_path / "tags.conll", rows)
    assert len(load(train_file=str(data), validation_file=str(data)).labels.names) == 200
