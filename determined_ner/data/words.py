"""Words of raw text: where they begin and end, and which characters of them are seen.

What is tagged is cut here and what is trained on is compared with it (`splitting`); both are fed to the tokenizer
without the characters that nobody sees.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, pre_tokenizers

WordSplitting = Literal["rules", "whitespace"]
"""How raw text is cut into words."""

_HIDDEN = (
    # Controls, except white space and the separators 1C to 1F.
    (0x00, 0x08), (0x0E, 0x1B), (0x7F, 0x84), (0x86, 0x9F),
    # Unicode's Default_Ignorable_Code_Point (soft hyphen, zero-width and bidi marks, fillers, variation selectors …)
    # and the other invisible ones of category Cf.
    (0xAD, 0xAD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0), (0xFFF0, 0xFFFB), (0x13430, 0x1343F), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A),
    (0xE0000, 0xE0FFF),
)  # fmt: skip
_OF_THE_CHARACTER_BEFORE = (
    (0x180B, 0x180D), (0x180F, 0x180F), (0xFE00, 0xFE0F), (0xE0020, 0xE007F), (0xE0100, 0xE01EF),
)  # fmt: skip
"""Of those: variation selectors, and the tags that make a flag of 🏴."""
_JOINERS = (0x200C, 0x200D)

_SLICE = 1 << 16
"""Characters that are cut at a time."""
_AROUND = 64
"""Characters on each side of the border between two slices that tell whether a word goes over it."""
_LAST_SPACE = re.compile(r"\s(?=\S*\Z)")

_ANY_HIDDEN = re.compile(f"[{''.join(f'{chr(first)}-{chr(last)}' for first, last in _HIDDEN)}]")


def _table(ranges: tuple[tuple[int, int], ...]) -> NDArray[np.bool_]:
    """(0x110000,) whether a code point is in one of the ranges."""
    table = np.zeros(0x110000, np.bool_)
    for first, last in ranges:
        table[first : last + 1] = True
    return table


_IS_HIDDEN, _IS_OF_THE_CHARACTER_BEFORE = _table(_HIDDEN), _table(_OF_THE_CHARACTER_BEFORE)


def has_hidden(text: str) -> bool:
    """Whether a text has characters of which `visible` may take some away."""
    return _ANY_HIDDEN.search(text) is not None


def visible(text: str) -> str:
    """The text without the characters that nobody sees (soft hyphens, zero-width and bidi marks, controls …).

    A joiner (U+200C, U+200D) stays between two characters of scripts without upper and lower case, where it shapes
    Persian and Indic words and emoji; ASCII is none of these.
    """
    return "".join(text[i] for i in _seen(text, _codes(text))) if has_hidden(text) else text


def word_offsets(text: str, splitting: WordSplitting = "rules") -> list[tuple[int, int]]:
    """Cut a text into words; white space separates them and belongs to none.

    By the rules, a word is a run of letters, combining marks, digits and ``_`` of any script, held together across
    single hyphens and full stops inside it (``e-mail``, ``3.5``, ``U.S`` of ``U.S.``); a Chinese character; an English
    clitic (``'s``, ``'ll``); an emoji, however it is put together; or any one other character. Most corpora are cut
    much like this.

    Characters that nobody sees (`visible`) never form a word: inside a word they belong to it, beside it to none.

    Args:
        splitting: by these rules, or at white space alone.

    Returns:
        (start, end) of each word, in characters.
    """
    if not has_hidden(text):
        return _cut(text, splitting)
    codes = _codes(text)
    seen = _seen(text, codes)
    cut = _cut("".join(text[i] for i in seen), splitting)
    offsets = [(int(seen[start]), int(seen[end - 1]) + 1) for start, end in cut]
    own = np.append(_IS_OF_THE_CHARACTER_BEFORE[codes], False)
    return [(start, end + int(own[end:].argmin()) if own[end] else end) for start, end in offsets]


def _cut(text: str, splitting: WordSplitting) -> list[tuple[int, int]]:
    """Offsets of the words of a text without hidden characters, cut slice by slice: memory for a whole one is large."""
    cut = _splitter(splitting).pre_tokenize_str
    offsets: list[tuple[int, int]] = []
    begin = 0
    while begin < len(text):
        end = min(begin + _SLICE, len(text))
        if end < len(text) and (space := _LAST_SPACE.search(text, begin, end)):
            end = space.end()
        words = [(begin + start, begin + stop) for _, (start, stop) in cut(text[begin:end])]
        first = max(0, begin - _AROUND)
        for _, (start, stop) in cut(text[first : begin + _AROUND]) if words and offsets else ():
            if first + start < begin < first + stop:  # a word over the border: longer than a slice
                begin_at, end_at = offsets[-1][0], words[0][1]
                while offsets and offsets[-1][1] > first + start:
                    begin_at = offsets.pop()[0]
                while words and words[0][0] < first + stop:
                    end_at = words.pop(0)[1]
                offsets.append((begin_at, end_at))
        offsets += words
        begin = end
    return offsets


@lru_cache(maxsize=2)
def _splitter(splitting: WordSplitting) -> Any:
    """The pre-tokenizer that cuts text into words, built once."""
    # In Oniguruma \w is Unicode's letters, marks, decimal digits and connectors (_); joiners may follow one of them.
    space = r"\s\x1c-\x1f"
    joiners = r"\x{200c}\x{200d}"
    run = rf"[\w&&[^\p{{Han}}]][\w{joiners}&&[^\p{{Han}}]]*"
    clitic = r"['’](?:[sStTdDmM]|re|ve|ll|RE|VE|LL)(?!\w)"
    picture = r"\p{Extended_Pictographic}[\x{1f3fb}-\x{1f3ff}]?"  # with a colour of skin
    emoji = rf"{picture}(?:\x{{200d}}{picture})*|[\x{{1f1e6}}-\x{{1f1ff}}]{{2}}"  # in families; flags
    rules = rf"\p{{Han}}|{run}(?:[-.]{run})*|{clitic}|{emoji}|[^{space}\w{joiners}]"
    pattern = rules if splitting == "rules" else f"[^{space}]+"
    return pre_tokenizers.Split(Regex(pattern), "removed", invert=True)


def _codes(text: str) -> NDArray[np.uint32]:
    """(n,) the code points of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _seen(text: str, codes: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Positions of the characters of `visible`."""
    hidden = _IS_HIDDEN[codes]
    joiners = np.isin(codes, _JOINERS)
    if not joiners.any():
        return np.flatnonzero(~hidden)
    hidden &= ~joiners
    seen = np.flatnonzero(~hidden)
    at = np.flatnonzero(joiners[seen])  # positions of joiners among what is seen
    around = [text[seen[i]] if 0 <= i < len(seen) else "" for i in np.stack([at - 1, at + 1], 1).ravel()]
    shapes = [_can_be_joined(around[i]) and _can_be_joined(around[i + 1]) for i in range(0, len(around), 2)]
    return np.delete(seen, at[~np.array(shapes)])


def _can_be_joined(character: str) -> bool:
    """Whether a joiner beside a character may shape it."""
    return (
        not character.isascii()
        and character.upper() == character.lower()
        and not character.isspace()
        and ord(character) not in _JOINERS
    )
