"""Text to windows: every word keeps its tag, by its first piece, however it is cut; and bad tags are named."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from determined_ner.data.corpus import load_corpus
from determined_ner.data.pretrained_tokenizer import load_tokenizer
from determined_ner.data.split import IGNORED
from determined_ner.data.tokenizer import WordTokenizer
from determined_ner.errors import UserError
from determined_ner.hub import Pretrained
from determined_ner.settings.data import DataSettings
from determined_ner.tags.schemes import Scheme, to_iob2
from determined_ner.training.metrics import EvaluationMetrics
from tests.conftest import write_conll
from tests.data.corpora import tags_of, with_documents
from tests.data.tokenizer_families import FAMILIES


def test_the_first_piece_of_a_word_carries_its_label(load, tmp_path):
    file = write_conll(tmp_path / "a.conll", [[("ab", "B-X"), ("c", "I-X"), ("def", "O")]])
    loaded = load(train_file=str(file), validation_file=str(file))
    b, i, o = (loaded.labels.ids()[t] for t in ("B-X", "I-X", "O"))
    x = IGNORED
    assert loaded.splits["train"].labels.tolist() == [b, x, i, o, x, x]
    assert loaded.splits["train"].is_first_piece.tolist() == [True, False, True, True, False, False]


def test_with_label_all_tokens_one_entity_stays_one(load, tmp_path):
    file = write_conll(tmp_path / "a.conll", [[("ab", "B-X"), ("c", "I-X"), ("def", "O"), ("gh", "B-Y")]])
    loaded = load(train_file=str(file), validation_file=str(file), label_all_tokens=True)
    names = [loaded.labels.names[k] if k != IGNORED else None for k in loaded.splits["train"].labels]
    # Y has no I- anywhere, so nothing is said of the later pieces of its words.
    assert names == ["B-X", "I-X", "I-X", "O", "O", "O", "B-Y", None]
    assert loaded.splits["train"].counted_pieces().tolist() == [7]


def test_a_word_without_pieces_still_has_a_tag(load, tmp_path, tokenizer):
    file = write_conll(tmp_path / "a.conll", [[("a", "O"), ("\u200b", "B-X"), ("\u200d\u200b", "O"), ("b", "O")]])
    split = load(train_file=str(file), validation_file=str(file)).splits["train"]
    assert split.is_first_piece.all() and len(split.tags) == 4
    assert split.ids[1] == split.ids[2] == tokenizer.unknown_id
    assert split.counts["unknown_words"] == 2


def test_a_word_longer_than_a_window_is_read_by_its_beginning(load, tmp_path):
    file = write_conll(tmp_path / "a.conll", [[("a", "O"), ("b" * 60, "B-X"), ("c", "O")]])
    split = load(16, train_file=str(file), validation_file=str(file)).splits["train"]
    assert split.is_first_piece.sum() == len(split.tags) == 3 and split.counts["cut_words"] == 1
    assert np.diff(split.windows).max() <= 14


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """One of each family."""
    loaded = []
    for family in FAMILIES:
        folder = tmp_path_factory.mktemp(family.__name__)
        family(folder)
        loaded.append(load_tokenizer(Pretrained(str(folder))))
    return loaded


words = st.text(st.sampled_from("abcz09-\u200b€ÅÅ"), min_size=1, max_size=9).filter(lambda w: w.strip() == w and w)
tags = st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"])
documents = st.lists(st.lists(st.tuples(words, tags), min_size=1, max_size=60), min_size=1, max_size=5)


@given(documents=documents, size=st.integers(4, 40), context=st.sampled_from(["sentence", "document"]), data=st.data())
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_words_in_are_tags_out(documents, size, context, data, tokenizers, tmp_path_factory):
    """A model that reads the gold labels off its windows scores 1 on every word, however the text is cut."""
    tokenizer = data.draw(st.sampled_from(tokenizers))
    capacity = size - tokenizer.specials
    stride = data.draw(st.integers(0, capacity - 1))
    folder = tmp_path_factory.mktemp("words")
    rows = [
        {"tokens": [w for w, _ in d], "ner_tags": [t for _, t in d], "doc_id": i // 2} for i, d in enumerate(documents)
    ]
    rows.append({"tokens": ["a"], "ner_tags": ["O"], "doc_id": 99})
    documents = [*documents, [("a", "O")]]
    file = folder / "a.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    corpus = load_corpus(
        DataSettings(train_file=str(file), validation_file=str(file), stride=stride, context=context),
        "ner",
        tokenizer,
        size,
        folder,
    )
    split = corpus.splits["train"]
    assert len(split.tags) == sum(map(len, documents)) == split.is_first_piece.sum()
    assert split.words[-1] == len(split.tags) and np.diff(split.windows).max() <= capacity

    metrics = EvaluationMetrics(split, corpus.labels)
    order = np.random.default_rng(0).permutation(len(split.windows) - 1)  # as sorted batches would have them
    predicted = [split.labels[split.windows[w] : split.windows[w + 1]] for w in order]
    flat = np.concatenate([p[p != IGNORED] for p in predicted])
    scores = metrics.cross_slot_reduce([([0.0], order, flat)])
    assert scores["accuracy"] == 1.0
    entities = any(t.startswith(("B-", "I-")) for d in documents for _, t in d)
    assert scores["f1"] == scores["f1_strict"] == float(entities)
    assert tags_of(split, corpus.labels) == [to_iob2([t for _, t in d], corpus.labels.scheme)[0] for d in documents]


def test_in_document_context_a_sentence_sees_its_neighbours_and_each_word_is_owned_once(load, tmp_path):
    file = str(with_documents(tmp_path / "a.conll", [[3, 4, 2], [5], [30, 30]]))
    alone, joined = (
        load(24, train_file=file, validation_file=file, context=context, stride=8).splits["train"]
        for context in ("sentence", "document")
    )
    np.testing.assert_array_equal(alone.tags, joined.tags)
    np.testing.assert_array_equal(alone.sentences, joined.sentences)  # scores are of sentences all the same
    assert joined.is_first_piece.sum() == len(joined.tags) == 74
    # The first document is one window of 9 pieces, the second one of 5, the third 60 pieces through windows of 22.
    assert np.diff(joined.windows)[:3].tolist() == [9, 5, 22]
    assert np.diff(alone.windows)[:5].tolist() == [3, 4, 2, 5, 22]


def test_bad_tags_are_repaired_and_kept_with_their_place(load, tmp_path):
    good = [("a", "B-X"), ("b", "I-X"), ("c", "O")]
    file = write_conll(tmp_path / "a.conll", [good, [("a", "O"), ("bad", "I-X")], good])
    corpus = load(train_file=str(file), validation_file=str(file))
    split = corpus.splits["train"]
    assert split.counts["repaired_tags"] == 1
    assert split.bad_tags == (f"{file}:5: tag 'I-X' of word 2 ('bad') of the sentence that begins here, after 'O'",)
    assert tags_of(split, corpus.labels)[1] == ["O", "B-X"]


def test_bad_tags_are_refused_where_the_data_must_be_clean(load, tmp_path):
    file = write_conll(tmp_path / "a.conll", [[("a", "B-X")], [("a", "O"), ("bad", "I-X")], [("c", "B-X")]])
    with pytest.raises(UserError, match=r"a\.conll:3: tag 'I-X' of word 2 \('bad'\).*on_bad_tags: repair"):
        load(train_file=str(file), validation_file=str(file), on_bad_tags="error")


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        (Scheme.BIOES, ["S-X", "O", "B-X", "I-X", "E-X", "S-Y"]),
        (Scheme.BILOU, ["U-X", "O", "B-X", "I-X", "L-X", "U-Y"]),
        (Scheme.IOB1, ["I-X", "O", "I-X", "I-X", "B-X", "I-Y"]),
    ],
)
def test_other_schemes_are_read_as_iob2(load, tmp_path, scheme, tags):
    file = write_conll(tmp_path / "a.conll", [[("a", t) for t in tags]])
    corpus = load(train_file=str(file), validation_file=str(file), on_bad_tags="error")
    assert corpus.labels.scheme is scheme
    expected = ["B-X", "O", "B-X", "I-X", "B-X" if scheme is Scheme.IOB1 else "I-X", "B-Y"]
    assert tags_of(corpus.splits["train"], corpus.labels) == [expected]


def test_a_cached_bad_tag_names_the_file_of_today(load, tmp_path):
    file = write_conll(tmp_path / "a.conll", [[("a", "B-X"), ("b", "I-X")], [("c", "O"), ("d", "I-X")]])
    load(train_file=str(file), validation_file=str(file))
    moved = file.rename(tmp_path / "b.conll")
    bad_tags = load(train_file=str(moved), validation_file=str(moved)).splits["train"].bad_tags
    assert bad_tags == (f"{moved}:4: tag 'I-X' of word 2 ('d') of the sentence that begins here, after 'O'",)


# -- Fingerprints ----------------------------------------------------------------------------------------------

CONLL = 2 * (
    "-DOCSTART-\tO\n\nAda\tB-PER\nLee\tI-PER\nwent\tO\n\nOslo\tB-LOC\n\n"
    "-DOCSTART-\tO\n\nBo\tB-PER\nwent\tO\nto\tO\nRome\tB-LOC\n"
)
IOB1 = "Ada\tI-PER\nwent\tO\n\nOslo\tI-LOC\nRome\tB-LOC\n"
JSONL = '{"tokens": ["Ada", "went"], "ner_tags": ["B-PER", "O"]}\n{"tokens": ["Oslo"], "ner_tags": ["B-LOC"]}\n'
CSV = "sentence_id,word,tag\n1,Ada,B-PER\n1,went,O\n2,Oslo,B-LOC\n"
TEXTS = {"a.conll": CONLL, "iob1.conll": IOB1, "a.jsonl": JSONL, "a.csv": CSV}


class FixedTokenizer(WordTokenizer):
    """Has a fingerprint that does not change with the library's spelling of a tokenizer."""

    def fingerprint(self) -> str:
        return "tokenizer"


@pytest.mark.parametrize(
    ("data", "fingerprints"),
    [
        (
            {"train_file": "a.conll", "validation_file": "a.conll"},
            ["f9ab77c4733cc51d3b6988038a10625e", "f9ab77c4733cc51d3b6988038a10625e"],
        ),
        (
            {"train_file": "a.conll", "validation_split_percentage": 50.0, "context": "document", "stride": 3},
            ["40fee5d20987fe4b2d677023b73a573f", "1f9663b5ecc1b492b3f8b18225711759"],
        ),
        (
            {
                "train_file": "iob1.conll",
                "validation_file": "iob1.conll",
                "max_eval_samples": 1,
                "on_bad_tags": "error",
            },
            ["8b25832bee8d98ce7c6804db13be34a4", "313bbf01f105fce528de609f9a4ea453"],
        ),
        (
            {"train_file": "a.jsonl", "validation_file": "a.jsonl", "label_all_tokens": True},
            ["f4fde16b00e39159010a52cbde47e2ec", "f4fde16b00e39159010a52cbde47e2ec"],
        ),
        (
            {
                "train_file": "a.conll",
                "validation_file": "a.csv",
                "test_file": "a.jsonl",
                "max_predict_samples": 1,
            },
            [
                "f9ab77c4733cc51d3b6988038a10625e",
                "ea36436c85f447455b10fdcc64fe293e",
                "96270798a1145471737e3751e8218707",
            ],
        ),
    ],
    ids=["conll", "documents held out", "IOB1", "JSON Lines", "CSV and JSON Lines by the columns of CoNLL"],
)
def test_fingerprints_stay_what_they_were(data, fingerprints, tokenizer, tmp_path):
    """Literally: a run resumes, and a trained model knows its data again, only if these are what they were then."""
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text)
    fixed = FixedTokenizer(**vars(tokenizer))
    data = {key: str(tmp_path / value) if key.endswith("_file") else value for key, value in data.items()}
    corpus = load_corpus(DataSettings(**data), "ner", fixed, 32, tmp_path / "cache")
    assert [split.fingerprint for split in corpus.splits.values()] == fingerprints
