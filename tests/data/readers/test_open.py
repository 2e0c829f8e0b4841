"""The promises of `ner_readers`: each format, compression and mistake a user can make, and fuzz over them all."""

import bz2
import gzip
import json
import lzma
import os
import random
import re
import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from determined_ner.data.readers.open import Layout, Sentence, describe, find_files, read_file
from determined_ner.errors import UserError
from tests.conftest import SHARED_DATA

CORPORA = SHARED_DATA

TWO = [(["EU", "rejects", "."], ["B-ORG", "O", "O"]), (["Peter", "Blackburn"], ["B-PER", "I-PER"])]
TWO_CONLL = "EU\tB-ORG\nrejects\tO\n.\tO\n\nPeter\tB-PER\nBlackburn\tI-PER\n"
TWO_JSONL = "".join(json.dumps({"tokens": words, "ner_tags": tags}) + "\n" for words, tags in TWO)


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": zstd,
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(PACK.get(path.suffix, bytes)(data))
        return path

    return write


Write = Callable[[str, str | bytes], Path]


def read(path: Path, **options: Any) -> list[Sentence]:
    return list(read_file(path, **options))


def pairs(path: Path, **options: Any) -> list[tuple[list[str], list[str] | None]]:
    return [(s.words, s.tags) for s in read_file(path, **options)]


def refused(path: Path, line: int | None, *parts: str, **options: Any) -> str:
    """The message of the UserError that reading ends in: one line that begins `file:line: ` and holds all `parts`."""
    with pytest.raises(UserError) as caught:
        read(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: " if line else f"{path}: "), message
    assert "\n" not in message and len(message) < 700, message
    for part in parts:
        assert part in message, (part, message)
    return message


def write_parquet(path: Path, columns: dict[str, Any], metadata: dict[str, str] | None = None) -> Path:
    table = pa.table(columns)
    pq.write_table(table.replace_schema_metadata(metadata) if metadata else table, path)
    return path


# --- CoNLL ---


@pytest.mark.parametrize(
    "suffix", ["conll", "iob", "iob2", "bio", "conllu", "txt", "tsv", "annotated", "dev", "train", "test", "odd"]
)
def test_conll_under_any_name(write: Write, suffix: str) -> None:
    assert read(write(f"a.{suffix}", TWO_CONLL)) == [
        Sentence(["EU", "rejects", "."], ["B-ORG", "O", "O"], 1, 0),
        Sentence(["Peter", "Blackburn"], ["B-PER", "I-PER"], 5, 0),
    ]


def test_conll_without_suffix(write: Write) -> None:
    assert pairs(write("train", TWO_CONLL)) == TWO


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize(("suffix", "content"), [("conll", TWO_CONLL), ("jsonl", TWO_JSONL)])
def test_every_compression(write: Write, packing: str, suffix: str, content: str) -> None:
    assert pairs(write(f"a.{suffix}{packing}", content)) == TWO


def test_suffix_in_capitals(tmp_path: Path) -> None:
    (tmp_path / "A.JSONL.GZ").write_bytes(gzip.compress(TWO_JSONL.encode()))
    assert pairs(tmp_path / "A.JSONL.GZ") == TWO


def test_separator_is_runs_of_spaces_without_tabs(write: Write) -> None:
    path = write("a.txt", "EU   NNP B-ORG\nrejects  VBZ O\n")
    assert pairs(path) == [(["EU", "rejects"], ["B-ORG", "O"])]
    assert describe(path) == Layout("conll", "1", "3", " ")


def test_stray_tabs_in_a_file_of_spaces(write: Write) -> None:
    assert pairs(write("a.txt", "a B-X\nb O\nc\tO\n")) == [(["a", "b", "c"], ["B-X", "O", "O"])]
    refused(write("b.txt", "a\nb\nc\tO\n"), 3, "2 columns", r"'c\tO'", need_tags=False)


def test_word_with_spaces_in_a_tab_file(write: Write) -> None:
    assert pairs(write("a.conll", "New York\tB-LOC\n\u00a0\tO\n \tO\n")) == [
        (["New York", "\u00a0", " "], ["B-LOC", "O", "O"])
    ]


@pytest.mark.parametrize("blank", ["", "\t", " ", "\t\t \t", "\n\n\n", "\r"])
def test_blank_lines_of_any_white_space_end_a_sentence(write: Write, blank: str) -> None:
    assert pairs(write("a.conll", f"a\tB-X\n{blank}\nb\tO\n{blank}\n")) == [(["a"], ["B-X"]), (["b"], ["O"])]


@pytest.mark.parametrize("odd", ["\u2028", "\u0085", "\x0b", "\x0c", "\x1c", "\u3000"])
def test_only_newline_ends_a_line(write: Write, odd: str) -> None:
    assert pairs(write("a.conll", f"a{odd}b\tB-X\n{odd}c\tO\n")) == [([f"a{odd}b", f"{odd}c"], ["B-X", "O"])]
    jsonl = json.dumps({"tokens": [f"a{odd}b"], "tags": ["O"]}, ensure_ascii=ord(odd) < 32) + "\n"
    assert pairs(write("a.jsonl", jsonl)) == [([f"a{odd}b"], ["O"])]
    assert pairs(write("a.csv", f'tokens,tags\n"[""a{odd}b""]",O\n' if ord(odd) >= 32 else "text,tags\na b,O O\n"))


def test_crlf_and_byte_order_mark(write: Write) -> None:
    mark = b"\xef\xbb\xbf"
    assert pairs(write("a.conll", mark + TWO_CONLL.replace("\n", "\r\n").encode())) == TWO
    assert pairs(write("a.jsonl", mark + TWO_JSONL.replace("\n", "\r\n").encode())) == TWO
    assert pairs(write("a.csv", mark + b"text,tags\r\na b,O O\r\n")) == [(["a", "b"], ["O", "O"])]
    assert pairs(write("a.json", mark + b'[{"text": "a b", "tags": ["O", "O"]}]')) == [(["a", "b"], ["O", "O"])]


def test_carriage_return_alone_is_no_line_end(write: Write) -> None:
    assert pairs(write("a.conll", "a\rb\tB-X\nc\tO\n")) == [(["a\rb", "c"], ["B-X", "O"])]
    refused(write("b.conll", "EU\tB-ORG\rrejects\tO\r"), 1, "old Mac line ends", "EU", "tr ")


def test_docstart_begins_a_document_and_is_no_data(write: Write) -> None:
    text = "-DOCSTART- -X- O\n\na N B-X\n\nb N O\n-DOCSTART- -X- O\nc N O\n\n-DOCSTART-\n\n-DOCSTART- -X- O\n\nd N O\n"
    assert [(s.words, s.document, s.line) for s in read(write("a.conll", text))] == [
        (["a"], 0, 3),
        (["b"], 0, 5),
        (["c"], 1, 7),
        (["d"], 2, 13),
    ]


def test_docstart_at_the_end_of_documents(write: Write) -> None:
    text = "a B-X\n\n-DOCSTART- O\n\nb O\n\n-DOCSTART- O\n"  # as in WikiGold
    assert [s.document for s in read(write("a.conll", text))] == [0, 1]


@pytest.mark.parametrize("mark", ["# newdoc", "# newdoc id = batch-0001", "#begin document (bc/cctv); part 000"])
def test_newdoc_begins_a_document(write: Write, mark: str) -> None:
    text = f"{mark}\na\tB-X\n\nb\tO\n\n{mark}\nc\tO\n{mark}\nd\tO\n"
    assert [s.document for s in read(write("a.iob2", text))] == [0, 0, 1, 2]


def test_hashtags_are_words_and_comments_are_not(write: Write) -> None:
    text = "# text = # #WNUT now\n#\tO\n# sent_id = 3\n#WNUT\tO\n# a comment\nnow\tB-X\n#a longer\tcomment\there\n"
    assert read(write("a.conll", text)) == [Sentence(["#", "#WNUT", "now"], ["O", "O", "B-X"], 2, 0)]


def test_hash_is_a_word_in_a_file_of_spaces(write: Write) -> None:
    assert pairs(write("a.txt", "# O\n# remark\na B-X\n#tag O\n")) == [(["#", "a", "#tag"], ["O", "B-X", "O"])]
    plain = "the DT\n# #\n# remark\n# NN\n1 NN\n"  # `#` is a Penn tag, but not seen here
    assert pairs(write("b.txt", plain)) == [(["the", "#", "1"], ["DT", "NN", "NN"])]


def test_a_file_of_hashtags_alone(write: Write) -> None:
    assert pairs(write("a.conll", "# text = #WNUT\n#WNUT\tB-X\n#17\tO\n")) == [(["#WNUT", "#17"], ["B-X", "O"])]


@pytest.mark.parametrize("tag", ["", "person"])
def test_hashtag_with_a_bad_tag_is_not_dropped_as_a_comment(write: Write, tag: str) -> None:
    refused(write("a.conll", f"a\tB-X\n#WNUT\t{tag}\n"), 2, "'#WNUT'", repr(tag), "comment")


def test_conllu_skips_multiword_tokens_and_empty_nodes(write: Write) -> None:
    text = (
        "# global.columns = ID FORM UPOS NER\n# sent_id = 1\n# text = vámonos\n1-2\tvámonos\t_\t_\n1\tvamos\tV\tB-X\n"
        "2\tnos\tP\tO\n2.1\tya\tA\t_\n\n1\tsí\tI\tO\n"
    )
    path = write("a.conllu", text)
    assert read(path) == [Sentence(["vamos", "nos"], ["B-X", "O"], 5, 0), Sentence(["sí"], ["O"], 9, 0)]
    assert describe(path) == Layout("conll", "FORM", "NER", "\t")
    assert pairs(path, label_column="UPOS") == [(["vamos", "nos"], ["V", "P"]), (["sí"], ["I"])]


def test_the_id_column_may_be_asked_for_as_words(write: Write) -> None:
    assert pairs(write("a.conllu", "1\ta\tB-X\n1-2\tb\tO\n"), text_column="1") == [(["1", "1-2"], ["B-X", "O"])]


def test_brackets_are_words(write: Write) -> None:
    assert pairs(write("a.conll", "[\tO\n{a\tB-X\n")) == [(["[", "{a"], ["O", "B-X"])]


def test_number_ranges_are_words_where_there_is_no_id_column(write: Write) -> None:
    assert pairs(write("a.conll", "1-2\tO\n8.1\tB-X\n")) == [(["1-2", "8.1"], ["O", "B-X"])]


def test_numbers_alone_are_words_where_no_other_column_is(write: Write) -> None:
    assert pairs(write("a.conll", "1\tO\n2\tB-X\n")) == [(["1", "2"], ["O", "B-X"])]


def test_germeval_with_ids_and_comment_lines_with_tabs(write: Write) -> None:
    text = "#\thttp://a [2010]\n1\tSchartau\tB-PER\tO\n2\tsagte\tO\tO\n\n#\thttp://x [2]\n1\tFirmen\tO\tB-X\n"
    assert pairs(write("NER-de-train.tsv", text), label_column="3") == [
        (["Schartau", "sagte"], ["B-PER", "O"]),
        (["Firmen"], ["O"]),
    ]


def test_tag_column_is_the_rightmost_that_holds_tags(write: Write) -> None:
    text = "EU\tNNP\tI-NP\tB-ORG\tx\nsays\tVBZ\tB-VP\tO\tI-95\n"
    path = write("a.conll", text)
    assert describe(path).tag_column == "4"  # 5 is no tags
    assert pairs(path, label_column="3") == [(["EU", "says"], ["I-NP", "B-VP"])]
    assert pairs(path, label_column="-2") == [(["EU", "says"], ["B-ORG", "O"])]
    assert pairs(path, text_column="2", label_column="4") == [(["NNP", "VBZ"], ["B-ORG", "O"])]


def test_tags_of_all_schemes(write: Write) -> None:
    tags = ["B-X", "I-X", "E-X", "S-X", "L-X", "U-X", "O", "B-creative-work", "I-Ä_1"]
    assert pairs(write("a.conll", "".join(f"w\tN\t{tag}\tx\n" for tag in tags))) == [(["w"] * 9, tags)]


def test_a_column_of_o_alone_will_do(write: Write) -> None:
    assert pairs(write("a.conll", "a\tN\tO\nb\tV\tO\n")) == [(["a", "b"], ["O", "O"])]


CHUNKS_AND_O = "EU\tNNP\tB-NP\tO\nsays\tVBZ\tB-VP\tO\n"


def test_chunks_are_not_taken_for_entities_that_are_all_o(write: Write) -> None:
    path = write("a.conll", CHUNKS_AND_O)
    refused(path, 1, "column 3", "O alone in the first 2 words, in column 4", "3 ('B-NP'), 4 ('O')", "label_column")
    assert pairs(path, label_column="4") == [(["EU", "says"], ["O", "O"])]
    named = write("b.conll", "token\tpos\tchunk\tner\n" + CHUNKS_AND_O)
    assert pairs(named) == [(["EU", "says"], ["O", "O"])]


def test_a_file_is_read_like_another_of_as_many_columns(write: Write) -> None:
    like = describe(write("train.conll", CHUNKS_AND_O.replace("NNP\tB-NP\tO", "NNP\tB-NP\tB-ORG")))
    assert pairs(write("a.conll", CHUNKS_AND_O), like=like) == [(["EU", "says"], ["O", "O"])]
    assert pairs(write("b.conll", TWO_CONLL), like=like) == TWO  # has columns of its own
    assert pairs(write("c.conll", CHUNKS_AND_O), like=like, label_column="3") == [(["EU", "says"], ["B-NP", "B-VP"])]
    refused(write("d.conll", "a\tN\tB-NP\tB-X\nb\tN\tB-NP\tO\nc\tN\tB-NP\tB_X\n"), 3, "'B_X'", like=like)


def test_a_header_moves_the_columns_of_a_file_read_like_another(write: Write) -> None:
    like = describe(write("train.conll", "token\tchunk\tner\nEU\tB-NP\tB-ORG\n"))
    assert pairs(write("a.conll", "ner\ttoken\tchunk\nO\tEU\tB-NP\n"), like=like) == [(["EU"], ["O"])]
    assert pairs(write("b.conll", "EU\tB-NP\tO\n"), like=like) == [(["EU"], ["O"])]
    assert pairs(write("c.conll", "word\ttag\tchunk\nEU\tO\tI\n"), like=like) == [(["EU"], ["O"])]


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


def test_plain_tags_in_the_last_of_two_columns(write: Write) -> None:
    assert pairs(write("a.conll", "the\tDT\ndog\tNN\n")) == [(["the", "dog"], ["DT", "NN"])]


def test_header_row_names_the_columns(write: Write) -> None:
    text = "token\tpos\tner_tags\na\tN\tB-X\n\nb\tV\tO\n"
    for name in ("a.conll", "a.tsv"):
        assert pairs(write(name, text)) == [(["a"], ["B-X"]), (["b"], ["O"])]
        assert describe(write(name, text)) == Layout("conll", "token", "ner_tags", "\t")
    assert pairs(write("b.conll", text), label_column="pos") == [(["a"], ["N"]), (["b"], ["V"])]
    assert pairs(write("c.conll", "mot\tclasse\na\tB-X\n"), label_column="classe") == [(["a"], ["B-X"])]


def test_header_row_with_unknown_names_is_not_taken_for_data(write: Write) -> None:
    refused(write("a.conll", "mot\tclasse\na\tB-X\nb\tO\nc\tO\n"), 1, "'classe'", "label_column", "header")


def test_document_column_of_conll(write: Write) -> None:
    text = "token\tdoc_id\tner\na\td1\tB-X\n\nb\td1\tO\n\nc\td2\tO\n"
    assert [s.document for s in read(write("a.conll", text))] == [0, 0, 1]
    text = "a\td1\tB-X\n\nb\td2\tO\n"
    assert [s.document for s in read(write("b.conll", text), document_column="2")] == [0, 1]


def test_tags_lose_white_space_around_them(write: Write) -> None:
    assert pairs(write("a.conll", "a\tB-X \nb\t O\n")) == [(["a", "b"], ["B-X", "O"])]


def test_ragged_line(write: Write) -> None:
    refused(write("a.conll", "a\tB-X\nb\tN\tO\n"), 2, "3 columns", "2 in line 1", r"'b\tN\tO'", "a tab")
    refused(write("a.txt", "\na B-X\nb\n"), 3, "1 column in", "2 in line 2", "'b'", "spaces")
    refused(write("b.conll", "a\tB-X\nb O\n"), 2, "1 column in", "'b O'", "a tab")


def test_empty_word_and_empty_tag(write: Write) -> None:
    refused(write("a.conll", "a\tB-X\n\tO\n"), 2, "no word", "['', 'O']")
    refused(write("b.conll", "a\tN\tB-X\n" * 2001 + "b\tN\t\n"), 2002, "no tag", "'b'", "'O'")


def test_odd_tag_among_tags(write: Write) -> None:
    path = write("a.conll", "a\tB-X\nb\tO\nc\tB_X\n")
    refused(path, 3, "'B_X'", "label_column")
    assert pairs(path, label_column="2") == [(["a", "b", "c"], ["B-X", "O", "B_X"])]


def test_no_tag_column(write: Write) -> None:
    path = write("a.conll", "a\tN\tx\n")
    refused(path, 1, "1 ('a'), 2 ('N'), 3 ('x')", "label_column")
    assert pairs(path, need_tags=False) == [(["a"], None)]
    refused(write("b.conll", "a\nb\n"), 1, "1 ('a')", "label_column")


@pytest.mark.parametrize("column", ["ner", "4", "0", "-4"])
def test_column_that_is_not_there(write: Write, column: str) -> None:
    path = write("a.conll", "a\tN\tB-X\n")
    refused(path, 1, repr(column), "label_column", "1 ('a'), 2 ('N'), 3 ('B-X')", label_column=column)
    refused(path, 1, repr(column), "text_column", "1 ('a')", text_column=column)
    refused(path, 1, repr(column), "document_column", "1 ('a')", document_column=column)
    assert pairs(path, label_column=column, need_tags=False) == [(["a"], None)]


def test_words_and_tags_cannot_be_the_same_column(write: Write) -> None:
    refused(write("a.conll", "a\tB-X\n"), 1, "the words", "'1'", "label_column", label_column="1")


def test_columns_named_twice_or_too_few(write: Write) -> None:
    refused(write("a.conll", "token\tner\tner\na\tB-X\tO\n"), 1, "more than one", "'ner'", label_column="ner")
    refused(write("b.conll", "# global.columns = FORM NER X\na\tB-X\n"), 1, "FORM NER X", "3 columns", "line 2 has 2")


def test_words_alone_for_prediction(write: Write) -> None:
    path = write("a.txt", "#EU\nrejects\n# a comment\n\nPeter\n#\n")
    expected = [Sentence(["#EU", "rejects"], None, 1, 0), Sentence(["Peter", "#"], None, 5, 0)]
    assert read(path, need_tags=False) == expected
    assert describe(path, need_tags=False) == Layout("conll", "1", None, " ")
    assert pairs(write("b.conll", TWO_CONLL), need_tags=False) == TWO  # tags that can be told are used


def test_plain_text_is_not_taken_for_columns(write: Write) -> None:
    path = write("a.txt", "Hello world\n")
    refused(path, 1, "'Hello world'", "plain text", "one word a line", need_tags=False)
    assert pairs(path, need_tags=False, text_column="1") == [(["Hello"], None)]


# --- bytes ---


@pytest.mark.parametrize("name", ["a.conll", "a.jsonl", "a.csv", "a.json", "a.unknown"])
def test_bytes_that_are_not_utf8(write: Write, name: str) -> None:
    refused(write(name, b"a\tB-X\ncaf\xe9\tO\n"), 2, "0xe9", "offset 9", "caf", f"iconv -f latin1 -t utf-8 {name}"[:24])


def test_utf16_and_nul(write: Write) -> None:
    refused(write("a.conll", TWO_CONLL.encode("utf-16")), 1, "UTF-16", "iconv -f utf-16")
    refused(write("b.conll", b"a\tO\nb\x00\tO\n"), 2, "0x00", "offset 5", "NUL")
    refused(write("c.csv", b"text,tags\na\x00,O\n"), 2, "0x00", "NUL")
    refused(write("d.jsonl", TWO_JSONL.encode() + b"\x00"), 3, "0x00", "NUL")


@pytest.mark.parametrize(("packing", "name"), [(".gz", "a"), (".xz", "a.odd"), (".bz2", "a.conll"), (".zst", "a.json")])
def test_compressed_under_a_plain_name(tmp_path: Path, packing: str, name: str) -> None:
    data = random.Random(0).randbytes(300)
    (tmp_path / name).write_bytes(PACK[packing](data))
    refused(tmp_path / name, 1, packing, "rename")


def test_parquet_and_other_binaries_under_a_plain_name(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.bin", {"tokens": [["a"]], "tags": [["O"]]})
    refused(path, 1, ".parquet", "rename")
    (tmp_path / "b.bin").write_bytes(bytes(range(1, 256)))
    refused(tmp_path / "b.bin", 2, "0x80", "offset 127")


def test_json_under_a_plain_name(write: Write) -> None:
    refused(write("a.txt", TWO_JSONL), 1, "is JSON", "EU", ".jsonl")


@pytest.mark.parametrize("packing", [".gz", ".xz", ".bz2", ".zst"])
def test_truncated_or_false_compression(tmp_path: Path, packing: str) -> None:
    path = tmp_path / f"a.conll{packing}"
    path.write_bytes(PACK[packing](TWO_CONLL.encode() * 1000)[:-9])
    with pytest.raises(UserError, match=re.escape(str(path)) + r":\d+: .*damaged, cut short"):
        read(path)
    path.write_bytes(TWO_CONLL.encode())
    refused(path, 1, "damaged, cut short or not what its name says")


def test_line_without_end(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("determined_ner.data.readers.open.MAX_LINE", 1000)
    refused(write("a.conll", "a\tB-X\n" + "b" * 2000), 2, "over 1000 bytes", "'bbb")


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl.zst"])
def test_pyarrow_is_missing(write: Write, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = write(name, b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused(path, None, "needs pyarrow", "pip install pyarrow")


def test_a_line_of_a_megabyte(write: Write) -> None:
    word = "x" * 1_000_000
    assert pairs(write("a.conll", f"{word}\tB-X\n")) == [([word], ["B-X"])]
    assert pairs(write("a.jsonl", json.dumps({"text": word, "tags": "O"}) + "\n")) == [([word], ["O"])]
    assert pairs(write("a.csv", f'text,tags\n"{word}",O\n')) == [([word], ["O"])]
    refused(write("b.conll", f"a\tB-X\n{word}\n"), 2, "1 column in", "xxx")


# --- files ---


def test_find_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("train-2.jsonl", "train-1.jsonl", "dev.jsonl", ".train-0.jsonl", "odd[1].jsonl"):
        (tmp_path / name).touch()
    (tmp_path / "train-9.jsonl").mkdir()
    assert find_files(f"{tmp_path}/train-*.jsonl") == [tmp_path / "train-1.jsonl", tmp_path / "train-2.jsonl"]
    assert find_files(f"{tmp_path}/dev.jsonl") == [tmp_path / "dev.jsonl"]
    assert find_files(f"{tmp_path}/odd[1].jsonl") == [tmp_path / "odd[1].jsonl"]
    assert find_files(f"{tmp_path}/**/dev.jsonl") == [tmp_path / "dev.jsonl"]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_files("~/dev.jsonl") == [tmp_path / "dev.jsonl"]


@pytest.mark.parametrize(
    ("pattern", "part"),
    [("dve.jsonl", "did you mean"), ("no-*.jsonl", "no file matches"), ("", "directory"), ("no/such", "no such file")],
)
def test_files_that_are_missing(tmp_path: Path, pattern: str, part: str) -> None:
    (tmp_path / "dev.jsonl").touch()
    with pytest.raises(UserError, match=part) as caught:
        find_files(f"{tmp_path}/{pattern}")
    assert pattern in str(caught.value)


@pytest.mark.parametrize("name", ["a\0b", "a\0*", "a\0/*", "x" * 5000, "[", "**x", "a" * 300 + "*"])
def test_names_that_no_file_can_have(name: str) -> None:
    with pytest.raises(UserError):
        find_files(name)


def test_directory_missing_pipe_and_unreadable(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(tmp_path, None, "directory", "*.jsonl")
    refused(tmp_path / "no.conll", None, "no such file")
    os.mkfifo(tmp_path / "pipe.conll")
    refused(tmp_path / "pipe.conll", None, "pipe")
    path = write("a.conll", TWO_CONLL)

    def no_permission(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", no_permission)
    refused(path, None, "Permission denied", "you may read it")


@pytest.mark.parametrize("content", ["", "\n", "\n \n\t\n", "-DOCSTART- O\n\n", "# newdoc\n", "token\tner_tags\n"])
def test_empty_conll(write: Write, content: str) -> None:
    refused(write("a.conll", content), None, "is empty")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", ""),
        ("a.csv", "tokens,tags\n"),
        ("a.jsonl", "\n\n"),
        ("a.json", ""),
        ("a.json", "[]"),
        ("a.json", '{"data": []}'),
        ("a.json", '{"tokens": [], "tags": []}'),
        ("a.tsv", ""),
        ("a.gz", ""),
        ("a.conll.zst", ""),
    ],
)
def test_empty_tables(write: Write, name: str, content: str) -> None:
    message = refused(write(name, content), 1 if "tokens" in content and name == "a.json" else None)
    assert "is empty" in message or "without a single item" in message


def test_empty_parquet(tmp_path: Path) -> None:
    lists = pa.array([], pa.list_(pa.string()))
    refused(write_parquet(tmp_path / "a.parquet", {"tokens": lists, "tags": lists}), None, "is empty")


# --- streaming ---


def test_a_long_file_never_becomes_a_list(write: Write) -> None:
    sentences = 10_000
    for name, unit in (("a.conll.gz", TWO_CONLL + "\n"), ("a.jsonl", TWO_JSONL), ("a.csv", "a b c,O O O\n" * 2)):
        path = write(name, ("text,tags\n" if name == "a.csv" else "") + unit * (sentences // 2))
        tracemalloc.start()
        assert sum(1 for _ in read_file(path)) == sentences
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2_000_000, (name, peak)  # a list of them takes 6 MB and more


def test_parquet_is_read_by_batches(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"tokens": [["a", "b"]] * 20_000, "tags": [["O", "O"]] * 20_000})
    tracemalloc.start()
    assert sum(1 for _ in read_file(path)) == 20_000
    assert tracemalloc.get_traced_memory()[1] < 3_000_000
    tracemalloc.stop()


def test_sentences_come_before_a_late_error(write: Write) -> None:
    stream = read_file(write("a.conll", TWO_CONLL + "\nbroken\n"))
    assert [s.words for s in (next(stream), next(stream))] == [words for words, _ in TWO]
    with pytest.raises(UserError, match=":8: 1 column in"):
        next(stream)


# --- CSV and TSV ---

KAGGLE = (
    'Sentence #,Word,POS,Tag\nSentence: 1,EU,NNP,B-org\n,"""",``,O\n,"a,b",CD,O\n,New York,NNP,B-geo\n'
    "Sentence: 2,Families,NNS,O\n"
)
KAGGLE_READ = [
    Sentence(["EU", '"', "a,b", "New York"], ["B-org", "O", "O", "B-geo"], 2, 0),
    Sentence(["Families"], ["O"], 6, 0),
]


def test_a_row_a_token_with_the_id_in_the_first_row(write: Write) -> None:
    path = write("ner.csv", KAGGLE)
    assert read(path) == KAGGLE_READ
    assert describe(path) == Layout("csv", "Word", "Tag", ",", "Sentence #")


@pytest.mark.parametrize("title", ["Sentence #", "sentence_id", "Sentence", "sent_id", "SENTENCE_IDX"])
def test_a_row_a_token_with_the_id_in_every_row(write: Write, title: str) -> None:
    text = f"{title},word,tag\n1,a,B-X\n1,b,O\n2,c,O\n1,d,O\n"
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


@pytest.mark.parametrize(
    ("words", "tags"),
    [
        ('["EU", "it\'s", "."]', '["B-ORG", "O", "O"]'),
        ("['EU', \"it's\", '.']", "['B-ORG', 'O', 'O']"),
        ("['EU', 'it\\'s', '.',]", "['B-ORG', 'O', 'O']"),
        ("['EU' \"it's\"\n '.']", "['B-ORG' 'O' 'O']"),
        (" [ 'EU'  \"it's\" '.' ] ", "B-ORG O O"),
        ("EU it's .", "B-ORG  O\tO"),
    ],
)
def test_a_row_a_sentence_in_all_prints(write: Write, words: str, tags: str) -> None:
    quoted = ['"' + cell.replace('"', '""') + '"' for cell in (words, tags)]
    expected = [(["EU", "it's", "."], ["B-ORG", "O", "O"])] * 2
    path = write("a.csv", f"id,tokens,ner_tags\n1,{','.join(quoted)}\n2,{','.join(quoted)}\n")
    assert pairs(path) == expected
    if "\n" not in words and "\t" not in tags:
        assert pairs(write("a.tsv", f"tokens\tner_tags\n{words}\t{tags}\n{words}\t{tags}\n")) == expected


@pytest.mark.parametrize("tags", ["[0, 12]", "[ 0 12]", "0 12"])
def test_integer_tags_become_strings(write: Write, tags: str) -> None:
    assert pairs(write("a.csv", f'text,labels\na b,"{tags}"\n')) == [(["a", "b"], ["0", "12"])]


@pytest.mark.parametrize(
    "cell",
    [
        "['a' 'b', 'c']",
        "['a', ...]",
        "['a' 'b' ... 'c']",
        "['a''b']",
        "['a', 'b'",
        "['a'] + ['b']",
        "['a', f('b')]",
        "['\\x']",
        "[a, b]",
        "[01, 2]",
        "array(['a', 'b'], dtype=object)",
        "[[" * 5000 + "]",
        "[" * 100_000 + "]",
    ],
)
def test_broken_list_in_print(write: Write, cell: str) -> None:
    path = write("a.csv", f'text,labels\na b,O O\n"{cell}",O O\n')
    refused(path, 3, "'text'", repr(cell[:9])[1:-1], "json.dumps")


def test_a_record_of_several_lines_has_the_number_of_its_first(write: Write) -> None:
    path = write("a.csv", 'id,text,tags\n\n"1\n1","a\nb","O O"\n2,c d,O\n')
    refused(path, 6, "2 words but 1 tag,", "['c', 'd']", "['O']")
    assert read(write("b.csv", 'id,text,tags\n\n"1\n1","a\nb","O O"\n\n2,c d,O O\n'))[1].line == 7


def test_semicolons(write: Write) -> None:
    path = write("a.csv", "text;tags\na,b c;O O\n")
    assert pairs(path) == [(["a,b", "c"], ["O", "O"])]
    assert describe(path) == Layout("csv", "text", "tags", ";")


def test_quotes_in_tsv_are_csv_quotes_or_mere_characters(write: Write) -> None:
    quotes = write("a.tsv", 'text\ttags\n""""\tO\n"say ""a"""\tO O\n')
    assert pairs(quotes) == [(['"'], ["O"]), (["say", '"a"'], ["O", "O"])]
    characters = write("b.tsv", 'text\ttags\n" a\tO O\nb "\tO O\n')
    assert pairs(characters) == [(['"', "a"], ["O", "O"]), (["b", '"'], ["O", "O"])]


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


def test_document_column_of_tables(write: Write) -> None:
    text = "doc_id,text,tags,part\n7,a b,O O,x\n7,c d,O O,y\n,e f,O O,y\n3,g h,O O,y\n"
    assert [s.document for s in read(write("a.csv", text))] == [0, 0, 0, 1]
    assert [s.document for s in read(write("a.csv", text), document_column="part")] == [0, 1, 1, 1]


def test_an_unnamed_index_column_is_no_document(write: Write) -> None:
    assert [s.document for s in read(write("a.csv", ",text,tags\n0,a b,O O\n1,c d,O O\n"))] == [0, 0]


def test_broken_csv(write: Write) -> None:
    refused(write("a.csv", "text,tags\na b,O O,x\n"), 2, "3 cells", "['a b', 'O O', 'x']", "2 columns")
    refused(write("b.csv", "text,tags\na b,O O\nc\n"), 3, "1 cell in", "['c']", "2 columns")
    refused(write("c.csv", 'text,tags\n"a b,O O\n'), 2, "unexpected end of data", '""')
    refused(write("d.csv", 'text,tags\n"a" b,O O\n'), 2, "expected after", '""')
    refused(write("e.csv", "text,tags\na\rb,O O\n"), 2, "new-line character")
    refused(write("f.csv", "text,tags\n,O\n"), 2, "'text'", "''", "without a single item")
    refused(write("g.csv", 'text,tags\n"[""a"", """"]",O O\n'), 2, "''", "word 2")
    refused(write("h.csv", "sentence_id,word,tag\n1,a,O\n1,,O\n"), 3, "'word'", "''")
    refused(write("i.csv", "sentence_id,word,tag\n1,a,O\n1,b,\n"), 3, "'tag'", "''")
    refused(write("j.csv", 'text,tags\n"[""\\ud800""]",O\n'), 2, "surrogate", "ud800")


# --- JSON ---


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json"])
def test_json_lines(write: Write, name: str) -> None:
    path = write(name, "\n" + TWO_JSONL.replace("\n", "\n\n"))
    assert [(s.words, s.tags, s.line) for s in read(path)] == [(*TWO[0], 2), (*TWO[1], 4)]
    assert describe(path) == Layout("jsonl", "tokens", "ner_tags")


ROWS = [{"tokens": words, "ner_tags": tags} for words, tags in TWO]


@pytest.mark.parametrize(
    "value",
    [
        ROWS,
        {"data": ROWS},
        {"version": 1, "data": ROWS, "text": "a description"},
        {"train": ROWS},
        {"tokens": [words for words, _ in TWO], "ner_tags": [tags for _, tags in TWO], "name": "columns"},
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_json_of_one_piece(write: Write, value: object, indent: int | None) -> None:
    path = write("a.json", json.dumps(value, indent=indent))
    assert [(s.words, s.tags, s.line) for s in read(path)] == [(*TWO[0], 1), (*TWO[1], 2)]
    assert describe(path).format == "json"


def test_json_of_a_single_row(write: Write) -> None:
    assert pairs(write("a.json", json.dumps(ROWS[0] | {"spans": []}))) == TWO[:1]
    assert pairs(write("b.json", '{"text": "a b"}'), need_tags=False) == [(["a", "b"], None)]


def test_text_is_split_at_white_space(write: Write) -> None:
    path = write("a.jsonl", '{"text": " a\\u00a0b  c\\n[d]", "tags": ["O", "O", 3]}\n')
    assert pairs(path) == [(["a\u00a0b", "c", "[d]"], ["O", "O", "3"])]


def test_words_of_white_space_are_kept(write: Write) -> None:
    path = write("a.jsonl", '{"tokens": [" ", "\\u200b"], "tags": ["O", "O"]}\n')
    assert pairs(path) == [([" ", "\u200b"], ["O", "O"])]


@pytest.mark.parametrize(
    ("words", "tags", "parts"),
    [
        ('["a", 7]', '["O", "O"]', ("'tokens'", "7 (int)", "word 2")),
        ('["a", null]', '["O", "O"]', ("'tokens'", "null", "word 2")),
        ('["a", ""]', '["O", "O"]', ("'tokens'", "''", "word 2")),
        ('["a", ["b"]]', '["O", "O"]', ("'tokens'", "['b'] (list)", "word 2")),
        ('["a", "\\ud800"]', '["O", "O"]', ("'tokens'", "ud800", "surrogate")),
        ('["a", "b"]', '["O", true]', ("'tags'", "True (bool)", "tag 2")),
        ('["a", "b"]', '["O", 1.0]', ("'tags'", "1.0 (float)", "tag 2", "whole numbers (1)")),
        ('["a", "b"]', '["O", 1.5]', ("'tags'", "1.5 (float)", "tag 2")),
        ('["a", "b"]', '["O", NaN]', ("'tags'", "nan (float)", "tag 2")),
        ('["a", "b"]', '["O", " "]', ("'tags'", "' '", "tag 2")),
        ('["a", "b"]', '["O", null]', ("'tags'", "null", "tag 2")),
        ('["a", "b"]', '[{"start": 1}, 2]', ("'tags'", "{'start': 1} (dict)", "tag 1")),
        ('["a", "b"]', '["O"]', ("2 words but 1 tag,", "['a', 'b']", "['O']")),
        ('["a", "b"]', "null", ("'tags'", "null", "instead of a list")),
        ('["a", "b"]', "1", ("'tags'", "1 (int)", "instead of a list")),
        ("null", '["O"]', ("'tokens'", "null", "instead of a list")),
        ("[]", "[]", ("'tokens'", "[]", "without a single item")),
        ('" "', "[]", ("'tokens'", "' '", "without a single item")),
    ],
)
def test_bad_cells(write: Write, words: str, tags: str, parts: tuple[str, ...]) -> None:
    good, bad = '{"tokens": ["a"], "tags": ["O"]}', f'{{"tokens": {words}, "tags": {tags}}}'
    refused(write("a.jsonl", f"{good}\n{bad}\n"), 2, *parts)
    refused(write("a.json", f"[{good},\n\n{bad}]\n"), 2, *parts)


def test_missing_column_in_one_row(write: Write) -> None:
    refused(write("a.jsonl", TWO_JSONL + '{"tokens": ["a"]}\n'), 3, "'ner_tags'", "missing", "['tokens']")
    refused(write("b.jsonl", '{"ner_tags": ["O"]}\n' + TWO_JSONL), 1, "'tokens'", "missing", "['ner_tags']")


@pytest.mark.parametrize("rows_before", [1, 150])
def test_tags_in_some_rows_alone(write: Write, rows_before: int) -> None:
    path = write("a.jsonl", '{"tokens": ["a"]}\n' * rows_before + TWO_JSONL)
    line = 1 if rows_before == 1 else 151
    refused(path, line, "'ner_tags'", need_tags=False)
    refused(path, 1, "label_column" if rows_before > 1 else "'ner_tags'")
    refused(path, line, "'ner_tags'", need_tags=False, label_column="ner_tags")


def test_json_for_prediction(write: Write) -> None:
    assert read(write("a.jsonl", '{"text": "a b"}\n'), need_tags=False) == [Sentence(["a", "b"], None, 1, 0)]
    assert pairs(write("b.jsonl", TWO_JSONL), need_tags=False) == TWO
    untagged = [(words, None) for words, _ in TWO]
    assert pairs(write("c.jsonl", TWO_JSONL), need_tags=False, label_column="none") == untagged


@pytest.mark.parametrize(
    ("content", "line", "parts"),
    [
        (TWO_JSONL + '{"tokens": ["a"\n', 3, ("not JSON", "column 16", "tokens")),
        (TWO_JSONL + "[1]\n", 3, ("[1] (list)", "not an object")),
        ("5\n" + TWO_JSONL, 1, ("5 (int)", "not an object")),
        ('{"tokens": ' + "[" * 100_000 + "\n", 1, ("not JSON", "recursion", "[[[")),
        ('{"tokens": ' + "1" * 5000 + "}\n", 1, ("not JSON", "11111")),
        ("{\n", 1, ("not JSON", "'{'")),
    ],
)
def test_broken_json_lines(write: Write, content: str, line: int, parts: tuple[str, ...]) -> None:
    refused(write("a.jsonl", content), line, *parts)


@pytest.mark.parametrize(
    ("content", "line", "parts"),
    [
        ('[{"tokens": ["a"],\n "tags": ["O" "O"]}]', 2, ("not JSON", "column 15", "O")),
        ('[{"tokens": ["a"], "tags": ["O"]},\n 7]', 2, ("7 (int)", "not an object")),
        ("7", 1, ("7",)),
        ('{"train": [{"a": 1}], "dev": [{"a": 1}]}', 1, ("['train', 'dev']", "'data'")),
        ('{"version": 1}', 1, ("['version']", "'data'")),
        ('{"tokens": [["a"]], "tags": [["O"], ["O"]]}', 1, ("unequal", "'tokens': 1", "'tags': 2")),
        ('{"data": [["a"]]}', 1, ("['a'] (list)", "not an object")),
    ],
)
def test_broken_json(write: Write, content: str, line: int, parts: tuple[str, ...]) -> None:
    refused(write("a.json", content), line, *parts)


# --- Parquet ---


def test_parquet(tmp_path: Path) -> None:
    columns = {"id": [1, 2], "tokens": [words for words, _ in TWO], "ner_tags": [tags for _, tags in TWO]}
    path = write_parquet(tmp_path / "a.parquet", columns)
    assert read(path) == [Sentence(*TWO[0], 1, 0), Sentence(*TWO[1], 2, 0)]
    assert describe(path) == Layout("parquet", "tokens", "ner_tags")
    assert pairs(write_parquet(tmp_path / "b.parquet", columns | {"ner_tags": [[0, 1, 2], [3, 4]]})) == [
        (["EU", "rejects", "."], ["0", "1", "2"]),
        (["Peter", "Blackburn"], ["3", "4"]),
    ]


def class_label(kind: str, names: list[str]) -> dict[str, str]:
    label = {"names": names, "_type": "ClassLabel"}
    return {"huggingface": json.dumps({"info": {"features": {"ner_tags": {"feature": label, "_type": kind}}}})}


@pytest.mark.parametrize("kind", ["Sequence", "List"])
def test_parquet_with_class_names(tmp_path: Path, kind: str) -> None:
    names = class_label(kind, ["O", "B-X"])
    path = write_parquet(tmp_path / "a.parquet", {"tokens": [["a", "b"]], "ner_tags": [[1, 0]]}, names)
    assert pairs(path) == [(["a", "b"], ["B-X", "O"])]
    assert describe(path).tag_names == ("O", "B-X")
    for number in (-1, 2):
        columns = {"tokens": [["a"], ["b"]], "ner_tags": [[0], [number]]}
        refused(write_parquet(tmp_path / "b.parquet", columns, names), 2, f"{number} (int)", "0 to 1")


def test_parquet_as_the_datasets_library_writes_it(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    names = ["O", "B-X"]
    tags = datasets.Sequence(datasets.ClassLabel(names=names))
    features = datasets.Features({"tokens": datasets.Sequence(datasets.Value("string")), "ner_tags": tags})
    rows = {"tokens": [["a", "b"]], "ner_tags": [[1, 0]]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / "a.parquet"))
    assert pairs(tmp_path / "a.parquet") == [(["a", "b"], ["B-X", "O"])]


def test_bad_parquet(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"tokens": [["a"], ["b", "c"]], "tags": [["O"], ["O"]]})
    refused(path, 2, "2 words but 1 tag,", "['b', 'c']")
    refused(path, 1, "'ner'", "['tokens', 'tags']", label_column="ner")
    for tokens, line, parts in (
        ([["a"], None], 2, ("null", "instead of a list")),
        ([["a"], [None]], 2, ("null", "word 1")),
        ([[1], [2]], 1, ("1 (int)", "word 1")),
    ):
        path = write_parquet(tmp_path / "b.parquet", {"tokens": tokens, "tags": [["O"], ["O"]]})
        refused(path, line, "'tokens'", *parts)
    path = tmp_path / "a.parquet"
    (tmp_path / "e.parquet").write_bytes(path.read_bytes()[:-20])
    refused(tmp_path / "e.parquet", 1, "not readable as Parquet", "damaged")
    data = path.read_bytes()
    (tmp_path / "g.parquet").write_bytes(data[:4] + bytes(60) + data[64:])
    refused(tmp_path / "g.parquet", 1, "not readable as Parquet", "damaged")
    (tmp_path / "f.parquet.gz").write_bytes(gzip.compress(path.read_bytes()))
    refused(tmp_path / "f.parquet.gz", None, "Parquet inside .gz", "unpack")


# --- real corpora ---


def corpus(name: str) -> Path:
    path = CORPORA / name
    if not path.exists():
        pytest.skip(f"the corpus {path} is not on this machine")
    return path


def counts(path: Path) -> tuple[int, int, int]:
    sentences = read(path)
    assert all(s.tags is not None and len(s.words) == len(s.tags) for s in sentences)
    return len(sentences), sum(len(s.words) for s in sentences), sum(t != "O" for s in sentences for t in s.tags or [])


def count_noun(path: Path, tag: int, separator: str, comment: str = "\n") -> tuple[int, int, int]:
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
    # The raw files are sound but for two traps. In the training file 2,394 of the lines between sentences hold a tab
    # (an empty word with an empty tag) and 1,000 nothing; both end a sentence. And 1,097 lines of the three files begin
    # with # (`#`, `#NFL`), all of them words. Read so, every word and tag equals the JSON.
    path = corpus("wnut17") / raw
    rows = [json.loads(line) for line in (corpus("wnut17") / converted).read_bytes().splitlines()]
    expected = [(row["tokens"], row["ner_tags"]) for row in rows]
    assert pairs(path) == expected
    assert pairs(corpus("wnut17") / converted) == expected
    assert counts(path) == count_noun(path, 1, "\t")


def test_wikigold_and_its_documents() -> None:
    path = corpus("wikigold/wikigold.conll.txt")
    assert counts(path) == count_noun(path, 1, " ") == (1696, 39007, 6431)
    assert read(path)[-1].document + 1 == path.read_text().count("-DOCSTART- O\n\n") == 145
    parts = [read(corpus(f"wikigold/{name}.json")) for name in ("train", "validation", "test")]
    assert sorted(s.words for part in parts for s in part) == sorted(s.words for s in read(path))


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_ncbi_disease(name: str) -> None:
    path = corpus(f"ncbi-disease/{name}.tsv")
    assert counts(path) == count_noun(path, 1, "\t")
    assert describe(path) == Layout("conll", "1", "2", "\t")


@pytest.mark.parametrize("name", ["train", "dev", "test"])
def test_uner_pt_bosque(name: str) -> None:
    path = corpus(f"uner-pt-bosque/pt_bosque-ud-{name}.iob2")
    assert counts(path) == count_noun(path, 2, "\t", "# ")
    assert read(path)[-1].document + 1 == path.read_text().count("\n# newdoc") + 1
    assert describe(path) == Layout("conll", "2", "3", "\t")


# --- fuzz ---

CONLLU = "# newdoc\n# sent_id = 1\n1\tJá\tO\t-\n2-3\tda\t_\t_\n2\tRio\tB-LOC\tx\n\n# text = x\n1\tSim\tO\t-\n"
SEEDS: list[tuple[str, str]] = [
    ("conll", TWO_CONLL),
    ("txt", "-DOCSTART- O\n\n# O\nPeter B-PER\n\t\nthe O\n" * 3),
    ("conllu", CONLLU),
    ("tsv", "token\tner_tags\nEU\tB-ORG\n\n#WNUT\tO\n"),
    ("tsv", 'tokens\ttags\n["a", "b"]\tO O\n"say ""a"""\tO O\n'),
    ("csv", KAGGLE),
    ("csv", 'tokens,ner_tags\n"[\'EU\' \'is\']",[0 1]\n"[""EU"", ""is""]","[\'B-X\', \'O\']"\n'),
    ("jsonl", TWO_JSONL),
    ("json", json.dumps({"data": ROWS})),
    ("json", json.dumps({"tokens": [["a", "b"]], "ner_tags": [[0, 1]]}, indent=1)),
    ("strange", TWO_CONLL),
]
SHARDS = [bytes([byte]) for byte in b"\x00\xff\xe9\r\n\t\"'[]{}(,#\\-"] + [
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"\r\n", b"\n\n", b"# ", b"-DOCSTART-", b"\xe2\x80\xa8", b"\xc2\x85", b"O", b"B-X"),
    *(b"\\ud800", b"\\x", b"null", b"NaN", b"1e999", b"-1", b"true", b"...", b" " * 70),
    *(b"(" * 300, b"[" * 3000, b"9" * 5000, b"x" * 1_000_000),
]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One to four small wrongs: a byte changed, a shard put in, a piece lost, doubled, moved or cut off."""
    for _ in range(rng.randint(1, 4)):
        a, b = sorted(rng.randint(0, len(data)) for _ in range(2))
        b = min(b, a + 40)
        kind = rng.randrange(7)
        if kind == 0 and data:
            data = data[: a - 1] + rng.randbytes(1) + data[a:]
        elif kind <= 2:
            shard = rng.choice(SHARDS if rng.random() < 0.1 else SHARDS[:-1])
            data = data[:a] + shard + data[a:]
        elif kind == 3:
            data = data[:a] + data[b:]
        elif kind == 4:
            data = data[:b] + data[a:]
        elif kind == 5:
            data = data[:a] + data[a:b].decode("latin1").encode(rng.choice(["utf-8", "utf-16"])) + data[b:]
        else:
            data = data[:a]
    return data


def fuzz_case(rng: random.Random, parquet: bytes) -> tuple[str, bytes]:
    """A file's name and content, wrong inside, wrong in its compression, or by chance still right."""
    suffix, text = rng.choice(SEEDS)
    data = text.encode() * rng.choice([1, 1, 1, 30])
    if rng.random() < 0.1:
        suffix, data = "parquet", parquet
    if rng.random() < 0.05:
        data = rng.randbytes(rng.randint(0, 300))
    packing = rng.choice(list(PACK)) if rng.random() < 0.3 else ""
    data = mutated(data, rng) if rng.random() < 0.9 else data
    data = PACK[packing](data)
    if packing and rng.random() < 0.3:
        data = mutated(data, rng)
    if rng.random() < 0.1:
        suffix = rng.choice(["conll", "tsv", "csv", "jsonl", "json", "parquet", "odd"])
    return f"f.{suffix}{packing}", data


@pytest.mark.filterwarnings("error")
def test_fuzz(tmp_path: Path) -> None:
    """Whatever the bytes, sentences come out, or one UserError. NER_FUZZ_CASES sets how many files are tried."""
    rng = random.Random(0)
    columns = {"tokens": [["a", "b"]] * 9, "tags": [["O", "B-X"]] * 9}
    seed = write_parquet(tmp_path / "seed.parquet", columns).read_bytes()
    outcomes = {"read": 0, "refused": 0}
    options = [None, None, None, "ner_tags", "2", "-1", "nonsense"]
    for case in range(int(os.environ.get("NER_FUZZ_CASES", "5000"))):
        name, data = fuzz_case(rng, seed)
        path = tmp_path / name
        path.write_bytes(data)
        started = time.monotonic()
        try:
            choice = {"label_column": rng.choice(options), "need_tags": rng.random() < 0.7}
            for sentence in read_file(path, **choice):
                assert sentence.words and all(sentence.words), (case, name, sentence)
                assert sentence.tags is None or len(sentence.tags) == len(sentence.words), (case, name, sentence)
                assert sentence.tags is not None or not choice["need_tags"], (case, name, sentence)
                "".join(sentence.words + (sentence.tags or [])).encode()
            outcomes["read"] += 1
        except UserError as error:
            assert str(path) in str(error) and len(str(error)) < 1000 and "\n" not in str(error), (case, str(error))
            outcomes["refused"] += 1
        except Exception as error:
            (Path(os.environ.get("NER_FUZZ_KEEP", tmp_path)) / f"case-{case}-{name}").write_bytes(data)
            raise AssertionError(f"case {case}, {name}: {error!r}") from error
        finally:
            path.unlink()
        assert time.monotonic() - started < 10, (case, name)
    assert min(outcomes.values()) > sum(outcomes.values()) / 10, outcomes


def test_fuzz_of_parts_that_warn(write: Write) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pairs(write("a.csv", "tokens,tags\n\"['\\d' 'b']\",O O\n")) == [(["\\d", "b"], ["O", "O"])]
