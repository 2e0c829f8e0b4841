"""A sentence a line: ``Ada|NNP|B-PER sings|VBZ|O``, or its words in ``seq.in`` and its tags in ``seq.out``."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from determined_ner.data.readers.conll import split_cells
from determined_ner.data.readers.lines import BLANK, Line, open_unpacked, read_lines
from determined_ner.data.readers.messages import count_noun, shown
from determined_ner.data.readers.sentences import Choice, Layout, Sentence
from determined_ner.errors import UserError
from determined_ner.tags.spelling import find_spelling

PARALLEL = Layout("seq.in", "seq.in", "seq.out")

_IN, _OUT = "seq.in", "seq.out"
_SEPARATORS = ("|", "/")


# -- Words and tags joined -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Joined:
    """How a word and what is said of it are joined."""

    separator: str
    parts: int
    """Behind the word; the last is its tag."""

    def layout(self) -> Layout:
        return Layout(f"word{self.separator}tag", "1", "-1", self.separator)

    def split(self, word: str) -> list[str]:
        return word.rsplit(self.separator, self.parts)


def find_joined(head: list[Line], choice: Choice) -> Joined | None:
    """How a file of such lines joins its words and tags; None: it is none, or columns are asked for.

    A word may hold the separator itself, so what most have counts. Most lines hold several words.
    """
    if choice.text_column is not None or choice.label_column is not None:
        return None
    lines = [_cells(text) for _, text in head if text.strip(BLANK)]
    if sum(len(line) > 1 for line in lines) * 2 <= len(lines):
        return None
    words = list(itertools.chain.from_iterable(lines))
    for separator in _SEPARATORS:
        joined = [word for word in words if separator in word]
        tags = Counter(word.rpartition(separator)[2] for word in joined)
        if 2 * len(joined) > len(words) and find_spelling(tags) is not None:
            return Joined(separator, Counter(word.count(separator) for word in joined).most_common(1)[0][0])
    return None


def read_joined(lines: Iterator[Line], joined: Joined, path: Path) -> Iterator[Sentence]:
    """Yield the sentence of each line; blank lines hold none.

    Raises:
        UserError: a word has no tag, or is empty.
    """
    for number, text in lines:
        if not text.strip(BLANK):
            continue
        rows = [joined.split(word) for word in _cells(text)]
        for cells in rows:
            if len(cells) <= joined.parts or not cells[0] or not cells[-1]:
                wanted = joined.separator.join(["word", *["…"] * (joined.parts - 1), "tag"])
                raise UserError(
                    f"{path}:{number}", f"{shown(joined.separator.join(cells))} is not like {wanted}", "write it so"
                )
        yield Sentence([cells[0] for cells in rows], [cells[-1] for cells in rows], number, 0)


# -- Words and tags in two files -------------------------------------------------------------------------------


def is_parallel(path: Path) -> bool:
    """Whether a file is named ``seq.in`` or ``seq.out``, or ``train.seq.in`` and the like."""
    return path.name in (_IN, _OUT) or path.name.endswith((f".{_IN}", f".{_OUT}"))


def parallel_files(path: Path) -> list[Path]:
    """The words and the tags that ``path`` is one of.

    Raises:
        UserError: the other is not there.
    """
    stem = path.name.removesuffix(_IN).removesuffix(_OUT)
    files = [path.with_name(stem + _IN), path.with_name(stem + _OUT)]
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None:
        raise UserError(path, f"belongs to {missing.name}, which is not beside it", "put it there")
    return files


def read_parallel(path: Path) -> Iterator[Sentence]:
    """Yield the sentences of a ``seq.in`` and the ``seq.out`` beside it, line by line.

    Raises:
        UserError: at a line that has no partner, or as many words as tags it has not.
    """
    words_path, tags_path = parallel_files(path)
    with open_unpacked(words_path, "") as words_file, open_unpacked(tags_path, "") as tags_file:
        pairs = itertools.zip_longest(read_lines(words_file, words_path), read_lines(tags_file, tags_path))
        for words_line, tags_line in pairs:
            number = (words_line or tags_line)[0]
            words, tags = (_cells(line[1]) if line else [] for line in (words_line, tags_line))
            if len(words) != len(tags):
                counts = f"{count_noun(len(words), 'word')} but {count_noun(len(tags), 'tag')}"
                raise UserError(
                    f"{words_path}:{number}",
                    f"{counts} in line {number} of {tags_path.name}",
                    "give every word one tag, separated by blanks",
                )
            if words:
                yield Sentence(words, tags, number, 0)


def _cells(text: str) -> list[str]:
    return split_cells(text.strip(BLANK), " ")
