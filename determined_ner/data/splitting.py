"""Which way of cutting raw text gives back the words of the training data.

Training files hold words; what stood between them is lost. So a sentence is written again in two ways: with a space
between all words, and as text is printed, where ``,`` and ``.`` stand at the word before them and ``(`` at the word
after it. Scripts without spaces are written without them in both.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from determined_ner.data.words import WordSplitting, visible, word_offsets

SAMPLE_SENTENCES = 20_000
"""The first of the training data, by which the splitting is chosen."""

_CLOSING, _OPENING = frozenset(",.;:!?%…'’"), frozenset("`$£€¿¡#@")
_CLITIC = re.compile(r"['’](?:s|t|d|m|re|ve|ll)|n['’]t", re.IGNORECASE)
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]"
)
"""Thai, Lao, Burmese, Khmer, Japanese and Chinese."""

Glue = Callable[[Sequence[str]], list[bool]]
"""Whether each word of a sentence is written at the one before it."""


class SplittingChoice:
    """Finds the better splitting from the words of a training corpus, sentence by sentence."""

    def __init__(self) -> None:
        self._sentences = 0
        self._cut_by: WordSplitting | None = None
        self._kept: dict[WordSplitting, int] = {"rules": 0, "whitespace": 0}
        self.parted = {"tagged": 0, "rules": 0, "whitespace": 0}
        """Tagged words, and how many of them come out otherwise by each splitting where text is written as printed."""

    def add(self, words: Sequence[str], tags: Sequence[str], cut_by: WordSplitting | None = None) -> None:
        """Look at one sentence; those after the first `SAMPLE_SENTENCES` change nothing.

        Args:
            cut_by: how its text was cut into these words, where it was: nothing was lost then.
        """
        if self._sentences >= SAMPLE_SENTENCES:
            return
        if cut_by is not None:
            self._cut_by = cut_by
            return
        self._sentences += 1
        tagged = [tag != "O" for tag in tags]
        if not any(tagged):
            return
        self.parted["tagged"] += sum(tagged)
        for glue in (glue_unspaced, glue_printed):
            glued = glue(words)
            for splitting in self._kept:
                kept = sum(k and t for k, t in zip(kept_words(words, glued, splitting), tagged, strict=True))
                self._kept[splitting] += kept
                if glue is glue_printed:
                    self.parted[splitting] += sum(tagged) - kept

    def better(self) -> WordSplitting:
        """That which cut texts into the words, else that which gives back more of the tagged words, in both ways of
        writing together; of equals, the rules."""
        if self._cut_by is not None:
            return self._cut_by
        return "whitespace" if self._kept["whitespace"] > self._kept["rules"] else "rules"


def glue_unspaced(words: Sequence[str]) -> list[bool]:
    """A sentence with a space between all words, except in scripts that know none."""
    unspaced = [_UNSPACED.match(word) is not None for word in words]
    return [i > 0 and unspaced[i] and unspaced[i - 1] for i in range(len(words))]


def glue_printed(words: Sequence[str]) -> list[bool]:
    """A sentence as text is printed."""
    glued = glue_unspaced(words)
    opens = False  # the word before is written at the next one
    in_quotes = False
    for i, word in enumerate(words):
        closing, opening = _sides(word)
        if word == '"':
            closing, opening, in_quotes = in_quotes, not in_quotes, not in_quotes
        glued[i] = i > 0 and (glued[i] or closing or opens)
        opens = opening
    return glued


@lru_cache(1 << 14)
def _sides(word: str) -> tuple[bool, bool]:
    """Whether a word is written at the one before it, and whether at the one after it."""
    if word.isalnum():
        return False, False
    kinds = [unicodedata.category(c) for c in word]
    closing = all(c in _CLOSING or kind in ("Pe", "Pf") for c, kind in zip(word, kinds, strict=True))
    opening = all(c in _OPENING or kind in ("Ps", "Pi") for c, kind in zip(word, kinds, strict=True))
    return closing or _CLITIC.fullmatch(word) is not None, opening


def kept_words(words: Sequence[str], glued: Sequence[bool], splitting: WordSplitting) -> list[bool]:
    """Whether each word comes out as it is when the text is cut again.

    Args:
        glued: for each word, whether it is written at the one before it.
    """
    return [kept for run in written_together(words, glued) for kept in _kept(tuple(run), splitting)]


def kept_as_printed(words: Sequence[str], splitting: WordSplitting) -> list[bool]:
    """Whether each word of a sentence comes out as it is when its text, as it is printed, is cut."""
    return kept_words(words, glue_printed(words), splitting)


def written_together(words: Sequence[str], glued: Sequence[bool]) -> Iterator[list[str]]:
    """The runs of words without a space between them."""
    run: list[str] = []
    for word, at_the_last in zip(words, glued, strict=True):
        if run and not at_the_last:
            yield run
            run = []
        run.append(word)
    if run:
        yield run


@lru_cache(1 << 16)
def _kept(run: tuple[str, ...], splitting: WordSplitting) -> tuple[bool, ...]:
    seen = [visible(word) for word in run]
    found = set(word_offsets("".join(seen), splitting))
    kept, at = [], 0
    for word in seen:
        kept.append((at, at + len(word)) in found or not word)
        at += len(word)
    return tuple(kept)
