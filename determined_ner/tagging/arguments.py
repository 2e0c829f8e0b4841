"""What people call a tagger with, checked: texts are no words, words are no texts, ``"false"`` is not False."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from numbers import Integral, Real
from typing import Any


def check_flag(name: str, value: Any) -> None:
    """
    Raises:
        TypeError: it is neither True nor False (a text would be taken for True).
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} is {_typed(value)}; write {name}=True or {name}=False")


def check_count(name: str, value: Any) -> None:
    """
    Raises:
        TypeError: it is neither a whole number nor None.
        ValueError: it is less than 1.
    """
    remedy = f"write a whole number from 1, as {name}=8, or leave it out"
    if value is not None and not _is_whole(value):
        raise TypeError(f"{name} is {_typed(value)}; {remedy}")
    if value is not None and value < 1:
        raise ValueError(f"{name} is {value}; {remedy}")


def check_number(name: str, value: Any) -> None:
    """
    Raises:
        TypeError: it is neither a number nor None.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, Real)):
        raise TypeError(f"{name} is {_typed(value)}; write a number, as {name}=0.95, or leave it out")


def checked_documents(documents: Any, count: int) -> Sequence[int]:
    """The document of each of ``count`` texts.

    Raises:
        TypeError: they are no whole numbers.
        ValueError: they are not as many as texts, or decrease.
    """
    remedy = "tagger.tag(texts, documents) takes a number for each text that does not decrease, as [0, 0, 1]"
    if isinstance(documents, str) or not _is_list(documents):
        raise TypeError(f"documents is {_typed(documents)}; {remedy}")
    numbers = list(documents)
    for i, number in enumerate(numbers):
        if not _is_whole(number):
            raise TypeError(f"documents[{i}] is {_typed(number)}; {remedy}")
        if i and number < numbers[i - 1]:
            raise ValueError(f"documents[{i}] is {number}, after {numbers[i - 1]}; {remedy}")
    if len(numbers) != count:
        raise ValueError(f"documents has {len(numbers)} numbers for {count} texts; {remedy}")
    return numbers


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


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
