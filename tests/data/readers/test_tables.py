"""Which column of a table is which, and which of its rows make a sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from determined_ner.data.readers.open import describe
from determined_ner.data.readers.sentences import Choice, Layout, Sentence
from determined_ner.data.readers.tables import choose_columns
from determined_ner.errors import UserError
from tests.data.readers.files import KAGGLE, TWO, TWO_CONLL, TWO_JSONL, Write, pairs, read, refused, write_parquet


def test_a_row_a_token_with_the_id_in_the_first_row(write: Write) -> None:
    path = write("ner.csv", KAGGLE)
    assert read(path) == [
        Sentence(["EU", '"', "a,b", "New York"], ["B-org", "O", "O", "B-geo"], 2, 0),
        Sentence(["Families"], ["O"], 6, 0),
    ]
    assert describe(path) == Layout("csv", "Word", "Tag", ",", "Sentence #")


@pytest.mark.parametrize("title", ["Sentence #", "sentence_id", "Sentence", "sent_id", "SENTENCE_IDX"])
def test_a_row_a_token_with_the_id_in_every_row(write: Write, title: str) -> None:
    text = f"{title},word,tag\n1,a,B-X\n1,b,O\n2,c,O\n3,d,O\n"
    assert pairs(write("a.csv", text)) == [(["a", "b"], ["B-X", "O"]), (["c"], ["O"]), (["d"], ["O"])]


def test_a_row_a_token_for_prediction(write: Write) -> None:
    assert pairs(write("a.csv", "sentence_id,word\n1,a b\n1,c\n2,d\n"), need_tags=False) == [
        (["a b", "c"], None),
        (["d"], None),
    ]


def test_a_row_a_token_in_tsv_json_lines_and_parquet(write: Write, tmp_path: Path) -> None:
    rows = [(1, "a", "B-X"), (1, "b", "O"), (2, "c", "O")]
    expected = [(["a", "b"], ["B-X", "O"]), (["c"], ["O"])]
    tsv = "sentence_id\tword\ttag\n" + "".join(f"{i}\t{w}\t{t}\n" for i, w, t in rows)
    jsonl = "".join(json.dumps({"sentence_id": i, "word": w, "tag": t}) + "\n" for i, w, t in rows)
    columns = dict(zip(("sentence_id", "word", "tag"), map(list, zip(*rows, strict=True)), strict=True))
    assert pairs(write("a.tsv", tsv)) == expected
    assert pairs(write("a.jsonl", jsonl)) == expected
    assert pairs(write_parquet(tmp_path / "a.parquet", columns)) == expected


def test_a_sentence_id_beside_lists_parts_nothing(write: Write) -> None:
    rows = [json.dumps({"sentence_id": 1, "tokens": words, "tags": tags}) for words, tags in TWO]
    path = write("a.jsonl", "\n".join(rows))
    assert pairs(path) == TWO
    assert describe(path).sentence_column is None


def test_a_tag_a_sentence_is_not_taken_for_a_row_a_token(write: Write) -> None:
    rows = (
        '{"sentence_id": 1, "text": "great movie", "label": "good"}\n{"sentence_id": 2, "text": "no", "label": "bad"}\n'
    )
    refused(write("a.jsonl", rows), 1, "2 words but 1 tag,", "['great', 'movie']", "['good']")


def test_a_document_parts_sentences_of_the_same_id(write: Write) -> None:
    text = "document_id,sentence_id,word,tag\nx,1,a,O\n,1,b,O\ny,1,c,O\ny,2,d,O\n"
    assert [(s.words, s.document) for s in read(write("a.csv", text))] == [(["a", "b"], 0), (["c"], 1), (["d"], 1)]


def test_a_row_a_token_without_sentences_is_refused(write: Write) -> None:
    refused(write("a.csv", "token,tag\nEU,B-ORG\nrejects,O\n"), 2, "'EU'", "sentence_id")
    refused(write("b.csv", "word\nEU\nrejects\n"), 2, "'EU'", "sentence_id", need_tags=False)
    assert pairs(write("c.csv", "text\nHello\nBye\n"), need_tags=False) == [(["Hello"], None), (["Bye"], None)]


def test_column_names_of_tables(write: Write) -> None:
    assert describe(write("a.csv", "id,Sentence,LABELS\n1,a b,O O\n")) == Layout("csv", "Sentence", "LABELS", ",")
    assert describe(write("b.csv", "Sentence #,Sentence,POS,Tag\nS 1,a b,\"['N', 'N']\",\"['O', 'O']\"\n")) == Layout(
        "csv", "Sentence", "Tag", ","
    )
    path = write("c.csv", "satz,marken,text\na b,O O,x\n")
    assert pairs(path, text_column="satz", label_column="marken") == [(["a", "b"], ["O", "O"])]
    refused(path, 1, "label_column", "['satz', 'marken', 'text']")
    refused(path, 1, "'tag'", "label_column", "'marken'", label_column="tag")
    refused(path, 1, "'words'", "text_column", "'marken'", text_column="words")
    refused(path, 1, "'doc'", "document_column", "'marken'", label_column="marken", document_column="doc")
    refused(write("d.csv", "x,y\na b,O O\n"), 1, "text_column", "['x', 'y']")
    refused(write("e.csv", "text,tags,tags\na b,O O,O O\n"), 1, "two columns", "'tags'")


def test_a_table_is_read_like_another_by_name_where_it_has_the_column(write: Write) -> None:
    like = describe(write("train.jsonl", '{"text": "a b", "entities": ["O", "B-X"]}\n'))
    both = '{"text": "a", "tokens": ["b"], "entities": ["O"], "tags": ["N"]}\n'
    assert pairs(write("a.jsonl", both)) == [(["b"], ["N"])]
    assert pairs(write("a.jsonl", both), like=like) == [(["a"], ["O"])]
    assert pairs(write("b.csv", "tokens,tags\na b,O O\n"), like=like) == [(["a", "b"], ["O", "O"])]
    conll = describe(write("train.conll", TWO_CONLL))
    assert pairs(write("a.jsonl", both), like=conll) == [(["b"], ["N"])]


@pytest.mark.parametrize(("task", "tags"), [("ner", ["B-X"]), ("pos", ["N"]), ("chunk", ["B-X"])])
def test_a_column_named_for_the_task_is_preferred(write: Write, task: str, tags: list[str]) -> None:
    row = {"tokens": ["a"], "pos_tags": ["N"], "ner_tags": ["B-X"]}
    assert pairs(write("a.jsonl", json.dumps(row)), task=task) == [(["a"], tags)]
    assert pairs(write("a.conll", "token\tpos_tags\tner_tags\na\tN\tB-X\n"), task=task) == [(["a"], tags)]
    assert pairs(write("b.conll", "a\tN\tB-X\n"), task=task) == [(["a"], ["B-X"])]  # found as for ner


def test_document_column_of_tables(write: Write) -> None:
    text = "doc_id,text,tags,part\n7,a b,O O,x\n7,c d,O O,y\n,e f,O O,y\n3,g h,O O,y\n"
    assert [s.document for s in read(write("a.csv", text))] == [0, 0, 0, 1]
    assert [s.document for s in read(write("a.csv", text), document_column="part")] == [0, 1, 1, 1]


def test_an_unnamed_index_column_is_no_document(write: Write) -> None:
    assert [s.document for s in read(write("a.csv", ",text,tags\n0,a b,O O\n1,c d,O O\n"))] == [0, 0]


@pytest.mark.parametrize("rows_before", [1, 150])
def test_tags_in_some_rows_alone(write: Write, rows_before: int) -> None:
    path = write("a.jsonl", '{"tokens": ["a"]}\n' * rows_before + TWO_JSONL)
    line = 1 if rows_before == 1 else 151
    refused(path, line, "'ner_tags'", need_tags=False)
    refused(path, 1, "label_column" if rows_before > 1 else "'ner_tags'")
    refused(path, line, "'ner_tags'", need_tags=False, label_column="ner_tags")


def test_messages_name_the_options_that_the_caller_has() -> None:
    choice = Choice(text_option="--text-column", label_option="--label-column", document_option="--document-column")
    for names, wanted, option in (
        (["x", "y"], choice, "--text-column"),
        (["text", "y"], choice, "--label-column"),
        (["text", "tags"], replace(choice, document_column="z"), "--document-column"),
    ):
        with pytest.raises(UserError) as caught:
            choose_columns(names, wanted, Path("a.csv"))
        assert f"for {option} among" in caught.value.problem and f"set {option} to" in caught.value.remedy


# -- Sentences of a table with one row a token -----------------------------------------------------------------

WORDS = [("Ida", "B-PER"), ("saw", "O"), ("Bern", "B-LOC"), (".", "O")]


def token_rows(header: str, ids: list[str], separator: str = ",") -> str:
    """A table whose sentences of four words have these cells before the word."""
    rows = [separator.join((ident, word, tag)) for ident in ids for word, tag in WORDS]
    return "\n".join([header, *rows]) + "\n"


@pytest.mark.parametrize(
    "title",
    ["Sentence_Number", "SentenceId", "sent_no", "sent_idx", "sentence_num", "sentence id", "sid", "sent-nr", "Sent#"],
)
def test_a_sentence_column_is_known_by_many_names(write: Write, title: str) -> None:
    path = write("a.csv", token_rows(f"{title},word,tag", ["0", "1", "2"]))
    assert [len(words) for words, _ in pairs(path)] == [4, 4, 4]
    assert describe(path).sentence_column == title


def test_a_sentence_column_may_be_named_by_a_setting(write: Write) -> None:
    path = write("a.csv", token_rows("Satz,Word,Tag", ["0", "1", "2"]))
    message = refused(path, 2, "no column says which rows make a sentence", "data.sentence_column_name", "'Satz'")
    assert "blank" in message
    assert [len(words) for words, _ in pairs(path, sentence_column="Satz")] == [4, 4, 4]
    refused(path, 1, "'sid'", "data.sentence_column_name", sentence_column="sid")


def test_a_document_without_sentences_is_one(write: Write) -> None:
    path = write("a.csv", token_rows("doc_id,word,tag", ["a", "b"]))
    assert [(len(s.words), s.document) for s in read(path)] == [(4, 0), (4, 1)]
    assert describe(path).sentence_column == "doc_id"


def test_a_tsv_of_words_with_documents_alone_is_such_a_table(write: Write) -> None:
    text = 'doc_id\ttoken\ttag\nd1\tAda\tB-PER\nd1\tsings\tO\nd1\t""""\tO\nd2\tOslo\tB-LOC\n'
    for path in (write("a.tsv", text), write("a.csv", text.replace("\t", ","))):
        assert [(s.words, s.document) for s in read(path)] == [(["Ada", "sings", '"'], 0), (["Oslo"], 1)]
        assert describe(path).sentence_column == "doc_id"
    part = write("b.tsv", text.replace("doc_id", "part"))
    assert [len(s.words) for s in read(part, document_column="part")] == [3, 1]


def test_a_word_of_two_parts_makes_columns_of_a_tsv_with_documents(write: Write) -> None:
    text = "doc_id\ttoken\ttag\nd1\tNew York\tB-LOC\nd1\tsings\tO\nd2\tOslo\tB-LOC\n"
    assert [(s.words, s.document) for s in read(write("a.tsv", text))] == [(["New York", "sings"], 0), (["Oslo"], 1)]


@pytest.mark.parametrize("blank", ["", ",", " , "])
def test_blank_rows_part_the_sentences_of_a_csv(write: Write, blank: str) -> None:
    rows = "\n".join(f"{word},{tag}" for word, tag in WORDS)
    path = write("a.csv", f"text,label\n{rows}\n{blank}\n{blank}\n{rows}\n")
    assert [(len(s.words), s.line) for s in read(path)] == [(4, 2), (4, 8)]


@pytest.mark.parametrize("ids", [["0", "1", "0", "1"], ["0", "1", "2", "0"], ["a", "b", "a"]])
def test_a_sentence_id_that_comes_back_is_refused_at_its_row(write: Write, ids: list[str]) -> None:
    path = write("a.csv", token_rows("sentence_id,word,tag", ids))
    first = ids.index(ids[-1] if len(set(ids)) < 3 and len(ids) < 4 else "0", 1) if "0" in ids else 2
    refused(path, 2 + 4 * first, f"sentence {ids[0]!r}", "goes on here after", "sort", "data.document_column_name")


@pytest.mark.parametrize("title", ["filename", "file", "doc", "Document", "source"])
@pytest.mark.parametrize("ids", [["0", "0", "0"], ["0", "1", "0"], ["0", "1", "1"]])
def test_sentence_ids_may_begin_anew_in_every_document(write: Write, title: str, ids: list[str]) -> None:
    documents = ["a.txt", "b.txt", "c.txt"] if len(set(ids)) == 1 else ["a.txt", "a.txt", "b.txt"]
    keys = [f"{document},{ident}" for document, ident in zip(documents, ids, strict=True)]
    path = write("a.csv", token_rows(f"{title},sentence_id,word,tag", keys))
    assert [len(s.words) for s in read(path)] == [4, 4, 4]
    assert read(path)[-1].document == len(set(documents)) - 1


# -- Quotes ----------------------------------------------------------------------------------------------------


def test_quotes_that_do_not_pair_up_in_a_line_swallow_no_rows(write: Write) -> None:
    rows = ['0,",O', "0,Bern,B-LOC", '0,",O', '1,",O', "1,Ulm,B-LOC"]
    expected = [(['"', "Bern", '"'], ["O", "B-LOC", "O"]), (['"', "Ulm"], ["O", "B-LOC"])]
    text = "sentence_id,word,tag\n" + "\n".join(rows) + "\n"
    assert pairs(write("a.csv", text)) == expected
    late = "sentence_id,word,tag\n" + "".join(f"{i},Ulm,B-LOC\n" for i in range(2, 3000)) + "\n".join(rows) + "\n"
    assert pairs(write("b.csv.gz", late))[-2:] == expected


def test_a_quote_that_may_swallow_rows_is_refused(write: Write) -> None:
    text = 'sentence_id,word,tag\n0,"a,b",O\n0,",O\n0,Bern,B-LOC\n0,",O\n'
    refused(write("a.csv", text), 3, "a quote swallows the rows", '""""')


def test_cells_over_several_lines_stay_cells(write: Write) -> None:
    path = write("a.csv", 'sentence_id,word,tag\n0,"\n\n",O\n0,Bern,B-LOC\n')
    assert pairs(path) == [(["\n\n", "Bern"], ["O", "B-LOC"])]


def test_a_csv_without_a_header_is_told_so(write: Write) -> None:
    refused(write("a.csv", "Bern,B-LOC\nlies,O\n"), 1, "['Bern', 'B-LOC'] is a row of data", "word,tag")
