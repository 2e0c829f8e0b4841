"""Text without labels beside a training text: read, encoded as any, and joined to what is trained on."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from determined_ner.data.encode import encode_split
from determined_ner.data.readers.conll import split_cells
from determined_ner.data.readers.lines import BLANK, Line, open_unpacked, peek, read_lines
from determined_ner.data.readers.messages import count_noun, shown
from determined_ner.data.readers.open import describe, format_of, other_than_columns
from determined_ner.data.readers.sentences import Layout, Sentence
from determined_ner.data.readers.spans.brat import is_brat
from determined_ner.data.source import Numbered, Source, choice_of
from determined_ner.data.sources import Files, find_documents, first_file_choice, named
from determined_ner.data.split import Split
from determined_ner.data.text_store import StoredText, store_text
from determined_ner.data.tokenizer import WordTokenizer
from determined_ner.data.words import WordSplitting, word_offsets
from determined_ner.errors import UserError
from determined_ner.files.cache import FORMAT, hash_parts
from determined_ner.settings.data import DataSettings
from determined_ner.tags.labels import Labels
from determined_ner.tags.schemes import Scheme

NAME = "unlabelled"
ALIKE = 0.9
"""Share of the rows of a text file from which on they are of columns if they have equally many; a row may be broken."""
PLAIN_TEXT = Layout("plain text", "", None)
NO_LABELS = Labels(("O",), Scheme.PLAIN)
"""What such text is encoded with, so that it goes the way of any other; `join_splits` leaves them out."""


def load_unlabelled(
    settings: DataSettings,
    task: str,
    splitting: WordSplitting,
    tokenizer: WordTokenizer,
    max_seq_length: int,
    cache_dir: Path,
    overwrite: bool = False,
) -> tuple[StoredText, Split]:
    """Read and tokenize the text of ``data.unlabelled_file``, or take it from the cache.

    Args:
        task: as of `determined_ner.data.sources.find_sources`.
        splitting: how raw text is cut into words.
        max_seq_length: pieces a window holds, special ones included.
        overwrite: read and tokenize again.

    Returns:
        it, and its words and windows; labels and tags mean nothing.

    Raises:
        UserError: with file and line, whatever is wrong with it.
    """
    assert settings.unlabelled_file is not None
    choice = first_file_choice(settings, task) if settings.corpora else choice_of(settings, task)
    choice = replace(choice, need_tags=False, label_names=None, text_only=True, splitting=splitting)
    files = UnlabelledFiles(find_documents(settings.unlabelled_file), choice)
    plain = [plain_lines(path) is not None for path in files.paths]  # the same content may be columns by another name
    key = hash_parts([FORMAT, NAME, files.contents, plain, named(choice)])
    source = Source(NAME, key, files.sentences, tuple(map(str, files.paths)), layouts=files.layouts)
    text = store_text(source, settings, cache_dir, overwrite)
    return text, encode_split(text, NO_LABELS, settings, tokenizer, max_seq_length, cache_dir, overwrite)


class UnlabelledFiles(Files):
    """Files of plain text, a text a line, or of any format, whose tags are not looked at."""

    def sentences(self) -> Iterator[Numbered]:
        for number, sentence in super().sentences():
            yield number, replace(sentence, tags=["O"] * len(sentence.words), repairs=())

    def read(self, path: Path) -> Iterable[Sentence]:
        """The sentences of one file."""
        lines = plain_lines(path)
        return super().read(path) if lines is None else self._texts(lines)

    def layouts(self) -> list[Layout]:
        """How each is read."""
        of_all = zip(self.paths, map(plain_lines, self.paths), strict=True)
        return [describe(path, self._choice) if lines is None else PLAIN_TEXT for path, lines in of_all]

    def _texts(self, lines: Iterable[Line]) -> Iterator[Sentence]:
        """Each line is a document by itself."""
        document = 0
        for number, text in lines:
            if words := [text[begin:end] for begin, end in word_offsets(text, self._choice.splitting)]:
                yield Sentence(words, None, number, document, cut_by=self._choice.splitting)
                document += 1


def plain_lines(path: Path) -> Iterator[Line] | None:
    """The lines of a file of plain text; None: it is of another format.

    It is called ``.txt``, and is neither of an annotation tool nor columns, as many a corpus of that name is: nearly
    all of its rows have equally many, more than one.

    Raises:
        UserError: it cannot be read; or a word or an id a line may be part of a text, or one.
    """
    packing = format_of(path)[1]
    if not path.name[: len(path.name) - len(packing)].lower().endswith(".txt") or is_brat(path):
        return None
    with open_unpacked(path, packing) as stream:
        head, _ = peek(read_lines(stream, path, packing))
    if other_than_columns(head, path) is not None:
        return None
    return None if _has_columns(head, path) else _lines(path, packing)


def _has_columns(head: list[Line], path: Path) -> bool:
    """Whether the rows of a text file are of columns.

    Raises:
        UserError: they may be, and would be read otherwise than they are meant.
    """
    filled = [line for line in head if line[1].strip(BLANK)]
    data = [line for line in filled if line[1][:1] != "#"] or filled
    separator = "\t" if 2 * sum("\t" in text for _, text in data) >= len(data) else " "
    rows = [split_cells(text, separator) for _, text in data]
    width, count = Counter(map(len, rows)).most_common(1)[0] if len(rows) > 1 else (0, 0)
    if count < ALIKE * len(rows) or count == 0:
        return False
    where = f"{path}:{data[0][0]}"
    if separator == "\t" and 2 * sum(any(" " in cell.strip() for cell in row) for row in rows) > len(rows):
        problem = f"{shown(data[0][1])} has a text in one of {count_noun(width, 'column')}"
        raise UserError(where, problem, "name the file .tsv, and write a first row of names, such as id and text")
    runs = 1 + sum(number > before + 1 for (before, _), (number, _) in itertools.pairwise(filled))
    if width == 1 and 1 < runs < len(filled):
        problem = f"{shown(data[0][1])} and nearly all lines after it hold one word, and blank lines stand between them"
        remedy = "name the file .conll if a sentence ends there; leave the blank lines out if each word is a text"
        raise UserError(where, problem, remedy)
    return width > 1


def _lines(path: Path, packing: str) -> Iterator[Line]:
    with open_unpacked(path, packing) as stream:
        yield from read_lines(stream, path, packing)
