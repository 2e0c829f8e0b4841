"""Words of raw text: nothing but white space is lost, and words are cut as corpora cut them."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from determined_ner.tagging.words import word_offsets


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_words_hold_everything_except_white_space(text):
    offsets = word_offsets(text)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(offsets))
    assert all(start < end for start, end in offsets)
    assert "".join(text[start:end] for start, end in offsets) == re.sub(r"[^\S\x1c-\x1f]+", "", text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ada's e-mail, 3.5% of it.", "Ada|'s|e-mail|,|3.5|%|of|it|."),
        ("L'été (they’ll see)", "L|'|été|(|they|’ll|see|)"),
        ("नमस्ते 北京 a_b", "नमस्ते|北|京|a_b"),
        ("O'Brien ... -x- @bo #1", "O|'|Brien|.|.|.|-|x|-|@|bo|#|1"),
    ],
)
def test_words_of_a_text(text, words):
    assert [text[start:end] for start, end in word_offsets(text)] == words.split("|")
