"""Text without labels beside a training text: read, encoded as any, and joined to what is trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from determined_ner.data.encode import encode_split
from determined_ner.data.readers.conll_columns import find_columns
from determined_ner.data.readers.lines import Line, open_unpacked, peek, read_lines
from determined_ner.data.readers.open import format_of, other_than_columns
from determined_ner.data.readers.sentences import Choice, Sentence
from determined_ner.data.readers.spans.brat import is_brat
from determined_ner.data.source import Numbered, Source, choice_of
from determined_ner.data.sources import Files, find_documents, first_file_choice, named
from determined_ner.data.split import Split
from determined_ner.data.text_store import store_text
from determined_ner.data.tokenizer import WordTokenizer
from determined_ner.data.words import WordSplitting, word_offsets
from determined_ner.errors import UserError
from determined_ner.files.cache import FORMAT, hash_parts
from determined_ner.settings.data import DataSettings
from determined_ner.tags.labels import Labels
from determined_ner.tags.schemes import Scheme

NAME = "unlabelled"
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
) -> Split:
    """Read and tokenize the text of ``data.unlabelled_file``, or take it from the cache.

    Args:
        task: as of `determined_ner.data.sources.find_sources`.
        splitting: how lines of plain text are cut into words.
        max_seq_length: pieces a window holds, special ones included.
        overwrite: read and tokenize again.

    Returns:
        its words and windows; labels and tags mean nothing.

    Raises:
        UserError: with file and line, whatever is wrong with it.
    """
    assert settings.unlabelled_file is not None
    choice = first_file_choice(settings, task) if settings.corpora else choice_of(settings, task)
    choice = replace(choice, need_tags=False, label_names=None)
    files = UnlabelledFiles(find_documents(settings.unlabelled_file), choice, splitting)
    key = hash_parts([FORMAT, NAME, files.contents, named(choice), splitting])
    source = Source(NAME, key, files.sentences, tuple(map(str, files.paths)))
    text = store_text(source, settings, cache_dir, overwrite)
    return encode_split(text, NO_LABELS, settings, tokenizer, max_seq_length, cache_dir, overwrite)


class UnlabelledFiles(Files):
    """Files of plain text, a text a line, or of any format, whose tags are not looked at."""

    def __init__(self, paths: list[Path], choice: Choice, splitting: WordSplitting) -> None:
        super().__init__(paths, choice)
        self._splitting = splitting

    def sentences(self) -> Iterator[Numbered]:
        for number, sentence in super().sentences():
            yield number, replace(sentence, tags=["O"] * len(sentence.words), repairs=())

    def read(self, path: Path) -> Iterable[Sentence]:
        """The sentences of one file."""
        lines = plain_lines(path)
        return super().read(path) if lines is None else self._texts(lines)

    def _texts(self, lines: Iterable[Line]) -> Iterator[Sentence]:
        """Each line is a document by itself."""
        document = 0
        for number, text in lines:
            if words := [text[begin:end] for begin, end in word_offsets(text, self._splitting)]:
                yield Sentence(words, None, number, document, cut_by=self._splitting)
                document += 1


def plain_lines(path: Path) -> Iterator[Line] | None:
    """The lines of a file of plain text; None: it is of another format.

    It is called ``.txt``, and is neither of an annotation tool nor columns of words and tags, as many a corpus of that
    name is.

    Raises:
        UserError: it cannot be read.
    """
    packing = format_of(path)[1]
    if not path.name[: len(path.name) - len(packing)].lower().endswith(".txt") or is_brat(path):
        return None
    with open_unpacked(path, packing) as stream:
        head, _ = peek(read_lines(stream, path, packing))
    if other_than_columns(head, path) is not None:
        return None
    try:
        if find_columns(head, Choice(need_tags=False), path).tag is not None:
            return None
    except UserError:  # no columns
        pass
    return _lines(path, packing)


def _lines(path: Path, packing: str) -> Iterator[Line]:
    with open_unpacked(path, packing) as stream:
        yield from read_lines(stream, path, packing)
