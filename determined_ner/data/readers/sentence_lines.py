"""A sentence a line: ``Ada|NNP|B-PER sings|VBZ|O``, or its words in ``seq.in`` and its tags in ``seq.out``."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from determined_ner.data.readers.conll import split_cells
from determined_ner.data.readers.lines import BLANK, Line, open_unpacked, read_lines
from determined_ner.data.readers.messages import count_noun, shown
from determined_ner.data.readers.sentences import Choice, Layout, Sentence
from determined_ner.errors import UserError
from determined_ner.tags.spelling import find_spelling

PIPED = Layout("word|tag", "1", "-1", "|")

PARALLEL = Layout("seq.in", "seq.in", "seq.out")

_IN, _OUT = "seq.in", "seq.out"


# -- Words and tags joined by | --------------------------------------------------------------------------------


def find_pipes(head: list[Line], choice: Choice) -> int | None:
    """How many | every word has behind it in a file of such lines; None: it is none, or columns are asked for.

    A word may hold | itself, so what most have counts. Most lines hold several words.
    """
    if choice.text_column is not None or choice.label_column is not None:
        return None
    lines = [_cells(text) for _, text in head if text.strip(BLANK)]
    words = list(itertools.chain.from_iterable(lines))
    if sum(len(line) > 1 for line in lines) * 2 <= len(lines):
        return None
    tags = Counter(word.rpartition("|")[2] for word in words if "|" in word)
    if 2 * tags.total() <= len(words) or find_spelling(tags) is None:
        return None
    return Counter(word.count("|") for word in words if "|" in word).most_common(1)[0][0]


def read_piped(lines: Iterator[Line], pipes: int, path: Path) -> Iterator[Sentence]:
    """Yield the sentence of each line; blank lines hold none.

    Raises:
        UserError: at a word that has fewer than ``pipes`` parts behind it, or is empty.
    """
    for number, text in lines:
        if not text.strip(BLANK):
            continue
        parts = [word.rsplit("|", pipes) for word in _cells(text)]
        for cells in parts:
            if len(cells) <= pipes or not cells[0] or not cells[-1]:
                wanted = "|".join(["word", *["…"] * (pipes - 1), "tag"])
                raise UserError(f"{path}:{number}", f"{shown('|'.join(cells))} is not like {wanted}", "write it so")
        yield Sentence([cells[0] for cells in parts], [cells[-1] for cells in parts], number, 0)


# -- Words and tags in two files -------------------------------------------------------------------------------


def is_parallel(path: Path) -> bool:
    """Whether a file is named ``seq.in`` or ``seq.out``."""
    return path.name in (_IN, _OUT)


def parallel_files(path: Path) -> list[Path]:
    """The words and the tags that ``path`` is one of.

    Raises:
        UserError: the other is not there.
    """
    files = [path.with_name(_IN), path.with_name(_OUT)]
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
                raise UserError(
                    f"{words_path}:{number}",
                    f"{count_noun(len(words), 'word')} but {count_noun(len(tags), 'tag')} in line {number} of {_OUT}",
                    "give every word one tag, separated by blanks",
                )
            if words:
                yield Sentence(words, tags, number, 0)


def _cells(text: str) -> list[str]:
    return split_cells(text.strip(BLANK), " ")
