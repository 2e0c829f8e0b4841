"""Words of raw text: nothing that is seen is lost, words are cut as corpora cut them, hidden characters cut nothing."""

from __future__ import annotations

import itertools
import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from determined_ner.data.words import visible, word_offsets

HIDDEN = (
    "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\ufe0f\ufe0e\u202e\u2066\u061c\u180e\u034f\u3164\x07\U000e0101"
)


def words(text: str, splitting: str = "rules") -> list[str]:
    return [text[start:end] for start, end in word_offsets(text, splitting)]


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=40) | st.text(alphabet=f"ab ❤.é\u0301م{HIDDEN}", max_size=20),
    st.sampled_from(["rules", "whitespace"]),
)
def test_words_hold_everything_that_is_seen_except_white_space(text, splitting):
    offsets = word_offsets(text, splitting)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(offsets))
    assert all(start < end for start, end in offsets)
    seen = "".join(visible(word) for word in words(text, splitting))
    blank = r"[\s\u200c\u200d]+"  # a joiner that joins nothing may be lost, too
    assert re.sub(blank, "", seen) == re.sub(blank, "", visible(text))
    assert all(visible(word) for word in words(text, splitting))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ada's e-mail, 3.5% of it.", "Ada|'s|e-mail|,|3.5|%|of|it|."),
        ("L'été (they’ll see)", "L|'|été|(|they|’ll|see|)"),
        ("नमस्ते 北京 a_b", "नमस्ते|北|京|a_b"),
        ("O'Brien ... -x- @bo #1", "O|'|Brien|.|.|.|-|x|-|@|bo|#|1"),
        ("I ❤️ Oslo", "I|❤️|Oslo"),
        ("👨‍👩‍👧👍🏽🇳🇴🇸🇪👁️‍🗨️ 1️⃣", "👨‍👩‍👧|👍🏽|🇳🇴|🇸🇪|👁️‍🗨️|1️⃣"),
        ("نمی‌خواهم क्‍ष", "نمی‌خواهم|क्‍ष"),
    ],
)
def test_words_of_a_text(text, expected):
    assert words(text) == expected.split("|")


def test_white_space_alone_cuts_where_that_is_asked_for():
    assert words("to ana.bob7@mail.org,\u00a0now.\t!", "whitespace") == ["to", "ana.bob7@mail.org,", "now.", "!"]


@pytest.mark.parametrize("hidden", HIDDEN, ids=lambda c: f"U+{ord(c):04X}")
@pytest.mark.parametrize("splitting", ["rules", "whitespace"])
def test_a_hidden_character_forms_no_word_and_parts_none(hidden, splitting):
    """Inside a word it belongs to it; beside one, to none, except what shapes the character before it."""
    plain, text = "Ada to Lisbon", f"{hidden}Ada {hidden} to{hidden} Lis{hidden}bon{hidden}"
    found = words(text, splitting)
    assert [visible(word) for word in found] == plain.split()
    if hidden not in "\ufe0f\ufe0e\U000e0101":
        assert found == ["Ada", "to", f"Lis{hidden}bon"]


def test_every_format_character_is_hidden_or_a_visible_sign():
    """Those of category Cf that are not: Arabic, Syriac and Kaithi signs that are written around numbers."""
    signs = [c for c in map(chr, range(0x110000)) if unicodedata.category(c) == "Cf" and visible(c)]
    assert all(unicodedata.name(c).startswith(("ARABIC", "SYRIAC ABBREVIATION", "KAITHI")) for c in signs)


def test_joiners_stay_where_they_shape_letters_and_nowhere_else():
    assert visible("می\u200cخواهم") == "می\u200cخواهم"
    assert visible("Lis\u200dbon\u200c") == "Lisbon" and visible("م\u200c\u200cم م\u200d") == "مم م"


@pytest.mark.parametrize("splitting", ["rules", "whitespace"])
def test_a_long_text_is_cut_like_a_short_one(splitting):
    """It is read in slices; a word that is longer than one stays whole."""
    unit = "Ada's e-mail, to Oslo\u00a0(3.5 %). "
    one = [
        (start + i * len(unit), end + i * len(unit))
        for i in range(5000)
        for start, end in word_offsets(unit, splitting)
    ]
    assert word_offsets(unit * 5000, splitting) == one
    long = "x" * 200_000
    assert words(f"to {long}. {long}", splitting) == (
        ["to", long, ".", long] if splitting == "rules" else ["to", f"{long}.", long]
    )
    hyphens = "a-" * 100_000 + "b"
    assert words(f"to {hyphens} {hyphens[1:]}", splitting)[:2] == ["to", hyphens]
    assert len(words("北" * 100_000, splitting)) == (100_000 if splitting == "rules" else 1)
