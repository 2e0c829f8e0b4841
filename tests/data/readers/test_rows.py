"""Cells of tables to words and tags."""

from __future__ import annotations

import warnings

import pytest

from tests.data.readers.files import TWO_JSONL, Write, pairs, refused


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


def test_odd_python_is_read_without_a_warning(write: Write) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pairs(write("a.csv", "tokens,tags\n\"['\\d' 'b']\",O O\n")) == [(["\\d", "b"], ["O", "O"])]


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
        ('["a", ["b"]]', '["O", "O"]', ("'tokens'", "['b'] (list)", "word 2")),
        ('["a", "\\ud800"]', '["O", "O"]', ("'tokens'", "ud800", "surrogate")),
        ('["a", "b"]', '["O", true]', ("'tags'", "True (bool)", "tag 2")),
        ('["a", "b"]', '["O", 1.0]', ("'tags'", "1.0 (float)", "tag 2", "whole numbers (1)")),
        ('["a", "b"]', '["O", 1.5]', ("'tags'", "1.5 (float)", "tag 2")),
        ('["a", "b"]', '["O", 0.5]', ("'tags'", "0.5 (float)", "tag 2")),
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
