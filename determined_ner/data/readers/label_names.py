"""Tags that are whole numbers, and the names that the data or the user (``data.label_names``) gives them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from determined_ner.data.readers.messages import shown
from determined_ner.data.readers.sentences import Sentence
from determined_ner.errors import UserError
from determined_ner.tags.spelling import IGNORED_MARK, why_stray

_NUMBER = re.compile(r"-?\d+", re.ASCII)


def name_tag(tag: int | str, names: Sequence[str]) -> str:
    """The name of a tag that is a number, in digits or not; a name stays.

    Raises:
        ValueError: it has none, with problem and remedy.
    """
    text = str(tag)
    if text in names:
        return text
    if text == IGNORED_MARK:
        raise ValueError(*why_stray(text))
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"is none of the names {shown(list(names))}", "drop data.label_names where tags have names")
    if not 0 <= int(text) < len(names):
        raise ValueError("has no name", f"write one of 0 to {len(names) - 1}, the tags that are named")
    return names[int(text)]


def with_names(sentences: Iterable[Sentence], names: Sequence[str], path: Path) -> Iterator[Sentence]:
    """The sentences of a file, their tags named.

    Raises:
        UserError: at a tag that has no name.
    """
    for sentence in sentences:
        named = []
        for i, tag in enumerate(sentence.tags or ()):
            try:
                named.append(name_tag(tag, names))
            except ValueError as error:
                problem, remedy = error.args
                where = f"{path}:{sentence.line}"
                of = f"of word {i + 1} ({shown(sentence.words[i])}) of the sentence that begins here"
                raise UserError(where, f"tag {tag!r} {of} {problem}", remedy) from None
        yield replace(sentence, tags=None if sentence.tags is None else named)
