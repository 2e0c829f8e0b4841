"""What people call a tagger with, checked: texts are no words, and words are no texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any


def checked_texts(texts: Any) -> Iterator[str]:
    """The raw texts of ``tagger(texts)``, one at a time.

    Raises:
        TypeError: they are something else; the message says which call to make.
        ValueError: one has half a character.
    """
    if isinstance(texts, str):
        raise TypeError("tagger(texts) takes a list of texts, not one text; write tagger([text])")
    if not _is_list(texts):
        raise TypeError(f"tagger(texts) takes a list of texts, not {_typed(texts)}; write tagger([text])")
    return _each_text(texts)


def _each_text(texts: Iterable[Any]) -> Iterator[str]:
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            remedy = "give lists of words to tagger.tag(texts)" if _is_list(text) else "every text is a string"
            raise TypeError(f"tagger(texts) takes texts, and texts[{i}] is {_typed(text)}; {remedy}")
        yield _encodable(text, f"texts[{i}]")


def checked_words(texts: Any) -> Sequence[Sequence[str]]:
    """The texts of ``tagger.tag(texts)``, the words of each in a list.

    Raises:
        TypeError: they are something else; the message says which call to make.
        ValueError: a word has half a character.
    """
    if isinstance(texts, str):
        raise TypeError("tagger.tag(texts) takes lists of words, not one raw text; write tagger([text])")
    if not _is_list(texts):
        raise TypeError(f"tagger.tag(texts) takes lists of words, not {_typed(texts)}; write tagger.tag([words])")
    checked = list(texts)
    if checked and all(isinstance(text, str) for text in checked):
        remedy = "for raw texts write tagger(texts), for the words of one text tagger.tag([words])"
        raise TypeError(f"tagger.tag(texts) takes lists of words, not strings; {remedy}")
    return [_words(text, i) for i, text in enumerate(checked)]


def _words(text: Any, index: int) -> list[str]:
    if isinstance(text, str) or not _is_list(text):
        raise TypeError(f"tagger.tag(texts) takes lists of words, and texts[{index}] is {_typed(text)}")
    words = list(text)
    for i, word in enumerate(words):
        if not isinstance(word, str):
            raise TypeError(f"texts[{index}][{i}] is {_typed(word)}; every word is a string")
    _encodable("".join(words), f"texts[{index}]")
    return words


def _encodable(text: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where} has half a character (a lone surrogate), {text[error.start]!a}") from None
    return text


def _is_list(value: object) -> bool:
    """Whether something can be gone through in an order of its own."""
    return isinstance(value, Iterable) and not isinstance(value, bytes | Mapping | Set)


def _typed(value: object) -> str:
    """A value in short, with its type."""
    if value is None:
        return "None"
    text = repr(value)
    return f"{text if len(text) <= 40 else text[:39] + '…'} ({type(value).__name__})"
