"""Which files make a split, by which columns they are read, and what of them is held out."""

from __future__ import annotations

import numpy as np
import pytest

from determined_ner.data import sources
from determined_ner.data.sources import find_labelled, find_sources
from determined_ner.errors import UserError
from determined_ner.settings.data import DataSettings
from tests.conftest import make_sentences, write_conll
from tests.data.corpora import files, tags_of, with_documents

SPLITS = ("train", "validation")
SENTENCES = make_sentences(9)


def test_validation_is_read_by_the_columns_of_train(load, tmp_path):
    (tmp_path / "train.conll").write_text("EU NNP B-NP B-ORG\nsays VBZ B-VP O\n")
    (tmp_path / "validation.conll").write_text("He PRP B-NP O\nsays VBZ B-VP O\n")
    sources = {
        source.split: source
        for source in find_sources(DataSettings(**files({s: tmp_path / f"{s}.conll" for s in SPLITS})), "ner")
    }
    assert [layout.tag_column for source in sources.values() for layout in source.layouts()] == ["4", "4"]
    corpus = load(**files({split: tmp_path / f"{split}.conll" for split in SPLITS}))
    assert corpus.labels.names == ("B-ORG", "O")
    assert tags_of(corpus.splits["validation"], corpus.labels) == [["O", "O"]]


def test_later_training_files_are_read_by_the_columns_of_the_first(load, tmp_path):
    (tmp_path / "train-1.conll").write_text("EU NNP B-NP B-ORG\nsays VBZ B-VP O\n")
    (tmp_path / "train-2.conll").write_text("He PRP B-NP O\nsays VBZ B-VP O\n")
    corpus = load(train_file=str(tmp_path / "train-*"), validation_file=str(tmp_path / "train-1.conll"))
    assert corpus.labels.names == ("B-ORG", "O")


def test_held_out_sentences_are_the_same_each_time_and_in_no_other_part(load, tmp_path):
    file = write_conll(tmp_path / "all.conll", [[(f"w{i}", "O"), ("x", "B-X")] for i in range(300)])
    splits = load(train_file=str(file), validation_split_percentage=10).splits
    again = load(cache="another", train_file=str(file), validation_split_percentage=10).splits
    assert (len(splits["train"].tags), len(splits["validation"].tags)) == (540, 60)
    np.testing.assert_array_equal(splits["validation"].ids, again["validation"].ids)


def test_whole_documents_are_held_out(load, tmp_path):
    documents = ["".join(f"d{d}\tO\nx\tB-X\n\n" for _ in range(5)) for d in range(60)]
    file = tmp_path / "all.conll"
    file.write_text("".join(f"-DOCSTART-\tO\n\n{document}" for document in documents))
    splits = load(train_file=str(file), validation_split_percentage=20).splits
    assert all((len(split.sentences) - 1) % 5 == 0 for split in splits.values())


def test_samples_can_be_limited(load, corpus):
    splits = load(**files(corpus), max_train_samples=5, max_eval_samples=4, max_predict_samples=3).splits
    assert [len(splits[s].sentences) - 1 for s in ("train", "validation", "test")] == [5, 4, 3]


def test_several_files_are_one_split(load, tmp_path):
    for i in range(3):
        write_conll(tmp_path / f"part-{i}.conll", SENTENCES[3 * i : 3 * i + 3])
    whole = write_conll(tmp_path / "whole.conll", SENTENCES)
    parts, one = (
        load(train_file=str(tmp_path / pattern), validation_file=str(whole)).splits["train"]
        for pattern in ("part-*.conll", "whole.conll")
    )
    np.testing.assert_array_equal(parts.ids, one.ids)


def test_the_cache_knows_a_file_by_its_format_too(load, tmp_path):
    text = 'text\ttags\n"a b"\tO B-X\n'
    words = []
    for name in ("a.tsv", "a.conll"):  # a row a sentence, a line a word
        (tmp_path / name).write_text(text)
        corpus = load(train_file=str(tmp_path / name), validation_file=str(tmp_path / name))
        words.append(len(corpus.splits["train"].tags))
    assert words == [2, 1]


@pytest.fixture
def read_files(monkeypatch):
    """Names of the files that are read to their end, as that happens."""
    names = []
    read_file = sources.read_file

    def counted(path, choice):
        yield from read_file(path, choice)
        names.append(path.name)

    monkeypatch.setattr(sources, "read_file", counted)
    return names


def test_each_split_reads_its_file_once(load, corpus, read_files):
    load(**files(corpus))
    assert read_files == ["train.conll", "validation.conll", "test.conll"]
    load(**files(corpus))  # from the cache
    assert len(read_files) == 3


def test_documents_are_looked_for_once_for_both_parts_of_a_file(load, corpus, read_files):
    load(train_file=str(corpus["train"]), validation_split_percentage=20)
    assert read_files == ["train.conll"] * 3


def test_a_look_for_documents_ends_at_the_second_one(load, tmp_path, read_files):
    file = with_documents(tmp_path / "a.conll", [[3]] * 8)
    load(train_file=str(file), validation_split_percentage=50)
    assert read_files == ["a.conll"] * 2


@pytest.mark.parametrize(("step", "limit"), [("hash_file", None), ("hash_file", 1), ("read_file", None)])
def test_a_file_that_changes_while_it_is_read_is_refused_and_not_kept(load, tmp_path, monkeypatch, step, limit):
    """Or the text of one version would be taken, from then on, for that of another."""
    file = write_conll(tmp_path / "a.conll", SENTENCES)
    other = write_conll(tmp_path / "b.conll", SENTENCES)
    settings = {"train_file": str(file), "validation_file": str(other), "max_train_samples": limit}
    as_it_is = getattr(sources, step)

    def followed_by_a_change(path, *choice):
        found = as_it_is(path, *choice)
        found = found if isinstance(found, str) else list(found)
        write_conll(file, SENTENCES[1:])
        return found

    with monkeypatch.context() as patch:
        patch.setattr(sources, step, followed_by_a_change)
        with pytest.raises(UserError, match=r"a\.conll: changed while it was read; run it again"):
            load(**settings)
    assert not list((tmp_path / "cache").glob("tagged-*"))
    load(**settings)


def test_a_model_is_scored_on_another_file_read_as_its_validation_data_was(tmp_path, corpus):
    other = write_conll(tmp_path / "other.conll", SENTENCES)
    settings = DataSettings(train_file=str(corpus["train"]), validation_split_percentage=20, max_eval_samples=2)
    source, _ = find_labelled(settings, "ner", None)
    assert len(list(source.sentences())) == 2
    source, settings = find_labelled(settings, "ner", str(other))
    assert source.files == (str(other),) and len(list(source.sentences())) == 9
    assert settings.max_eval_samples is None and settings.test_file is None


def test_of_a_single_sentence_nothing_is_held_out_and_the_message_says_so(load, tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("Ada B-PER\nsleeps O\n" * 50)
    with pytest.raises(UserError, match=r"all of it is one sentence of 100 words.*put a blank line"):
        load(train_file=str(path), validation_split_percentage=10)


def write_brat(folder, name, annotations):
    (folder / f"{name}.txt").write_text("Ada Byron met\nCharles in Oslo")
    (folder / f"{name}.ann").write_text(annotations)


def test_brat_documents_are_read_once_and_again_when_their_annotations_change(load, tmp_path):
    write_brat(tmp_path, "a", "T1\tPER 0 9\tAda Byron\nT2\tLOC 25 29\tOslo\n")
    write_brat(tmp_path, "b", "T1\tPER 14 21\tCharles\n")
    settings = {"train_file": str(tmp_path / "*"), "validation_split_percentage": 50}

    def read():
        corpus = load(**settings)
        return [tags_of(corpus.splits[split], corpus.labels) for split in SPLITS]

    (tmp_path / "c").mkdir()  # not in the way: patterns name files
    assert read() == [[["B-PER", "I-PER", "O", "O", "O", "B-LOC"]], [["O", "O", "O", "B-PER", "O", "O"]]]
    write_brat(tmp_path, "b", "T1\tPER 14 21\tCharles\nT2\tPER 0 3\tAda\n")
    assert read()[1] == [["B-PER", "O", "O", "B-PER", "O", "O"]]


def test_a_text_without_annotations_among_others_is_refused(load, tmp_path):
    write_brat(tmp_path, "a", "T1\tPER 0 9\tAda Byron\n")
    (tmp_path / "b.txt").write_text("Charles")
    with pytest.raises(UserError, match=r"b\.txt: has no brat annotations in b\.ann"):
        load(train_file=str(tmp_path / "*"), validation_split_percentage=50)


def test_seq_in_is_read_again_when_its_tags_change(load, tmp_path):
    (tmp_path / "seq.in").write_text("Ada sings\nOslo\n")
    (tmp_path / "seq.out").write_text("B-PER O\nB-LOC\n")
    settings = {"train_file": str(tmp_path / "seq.in"), "validation_file": str(tmp_path / "seq.out")}
    corpus = load(**settings)
    assert tags_of(corpus.splits["train"], corpus.labels) == [["B-PER", "O"], ["B-LOC"]]
    (tmp_path / "seq.out").write_text("B-PER O\nB-PER\n")
    corpus = load(**settings)
    assert tags_of(corpus.splits["train"], corpus.labels) == [["B-PER", "O"], ["B-PER"]]
