"""Where sentences come from: the user's files, or a data set of the datasets library."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from determined_ner.data.hub_datasets import dataset_sources
from determined_ner.data.readers.open import describe, find_files, format_of, read_file
from determined_ner.data.readers.pairs import document_files, one_a_document
from determined_ner.data.readers.sentences import DETECTED, Choice, Layout
from determined_ner.data.source import (
    WHOLE,
    HeldOut,
    Numbered,
    Source,
    choice_of,
    documents_marked,
    hold_out,
    take_first,
)
from determined_ner.files.cache import FORMAT, hash_file, hash_parts
from determined_ner.settings.data import DataSettings
from determined_ner.settings.urls import is_remote


def find_documents(pattern: str) -> list[Path]:
    """The files that a path or a glob names, each document once where it is kept in two.

    Raises:
        UserError: there is none, or one of two is not there.
    """
    return one_a_document(find_files(pattern))


def check_files(settings: DataSettings) -> None:
    """Check that the local files that the settings name are there.

    Raises:
        UserError: one is not.
    """
    for pattern in (settings.train_file, settings.validation_file, settings.test_file):
        if pattern is not None and not is_remote(pattern):
            find_documents(pattern)


def content_of(settings: DataSettings) -> list[str]:
    """What names the content of the local training files, or the data set that is read instead."""
    if settings.train_file is None or is_remote(settings.train_file):
        return []
    return [hash_file(part) for path in find_documents(settings.train_file) for part in document_files(path)]


def find_sources(settings: DataSettings, task: str) -> Iterator[Source]:
    """The splits that the settings name, train first; of folds also `WHOLE`.

    Args:
        task: prefix of the label column looked for first, ``ner`` for ``ner_tags``.

    Raises:
        UserError: no such file or data set, or columns that cannot be found.
    """
    if settings.dataset_name:
        yield from dataset_sources(settings, task)
        return
    limits = {
        "train": settings.max_train_samples,
        "validation": settings.max_eval_samples,
        "test": settings.max_predict_samples,
    }
    held_out = HeldOut.of(settings)
    patterns = {"train": settings.train_file, "validation": settings.validation_file, "test": settings.test_file}
    choice = first_file_choice(settings, task)
    files_of = functools.cache(lambda pattern: Files(find_documents(pattern), choice))
    for split, limit in limits.items():
        pattern = patterns[split] or (settings.train_file if split == "validation" else None)
        if pattern is None:
            continue
        files = files_of(pattern)
        held = held_out if split != "test" else None
        key = hash_parts([FORMAT, files.contents, _named(choice), limit, held and held.key(split)])
        paths = tuple(str(path) for path in files.paths)
        sentences = hold_out(files.sentences, files.marked, split, held, ", ".join(paths)) if held else files.sentences
        yield Source(split, key, take_first(sentences, limit), paths, choice.label_names, files.layouts)
        if held and held.fold and split == "validation":
            key = hash_parts([FORMAT, files.contents, _named(choice)])
            yield Source(WHOLE, key, files.sentences, paths, choice.label_names, files.layouts)


class Files:
    """The files that one pattern names, read as one; two splits may be cut from them."""

    def __init__(self, paths: list[Path], choice: Choice) -> None:
        """
        Args:
            choice: what `read_file` is asked for in each of them.
        """
        self.paths = paths
        self._choice = choice
        self.contents = [[*map(hash_file, document_files(path)), *format_of(path)] for path in paths]
        """What names their content."""
        self.marked = documents_marked(self.sentences)

    def sentences(self) -> Iterator[Numbered]:
        """Read them from the beginning; documents are numbered through all files."""
        document = 0
        for number, path in enumerate(self.paths):
            offset = document
            for sentence in read_file(path, self._choice):
                document = offset + sentence.document + 1
                yield number, replace(sentence, document=offset + sentence.document)

    def layouts(self) -> list[Layout]:
        return [describe(path, self._choice) for path in self.paths]


def _named(choice: Choice) -> dict[str, Any]:
    """What names how files are read. What came later counts where it is said alone: other text keeps its name."""
    first = ("text_column", "label_column", "document_column", "task", "like")
    said = {name: value for name, value in asdict(choice).items() if name in first or value != getattr(DETECTED, name)}
    if said["like"] is not None and not said["like"]["by_spans"]:
        del said["like"]["by_spans"]
    return said


def find_labelled(settings: DataSettings, task: str, data: str | None) -> tuple[Source, DataSettings]:
    """The text that a trained model is scored on, and the settings to read it with.

    Args:
        settings: those of the training.
        task: as in `find_sources`.
        data: a labelled file; None: the validation data of the training.

    Raises:
        UserError: it is not there, or its columns cannot be found.
    """
    if data is not None:
        update: dict[str, Any] = dict.fromkeys(("validation_split_percentage", "folds", "fold", "max_eval_samples"))
        update |= dict.fromkeys(("dataset_name", "dataset_config_name", "dataset_revision"))
        settings = settings.model_copy(update={**update, "train_file": data, "validation_file": data})
    settings = settings.model_copy(update={"test_file": None})
    return next(source for source in find_sources(settings, task) if source.split == "validation"), settings


def first_file_choice(settings: DataSettings, task: str) -> Choice:
    """What the readers are asked for in every file: the columns named, else those of the first training file.

    One file alone may not tell its columns: where the entity column is all O, the chunk column looks like the tags.
    """
    assert settings.train_file is not None
    choice = choice_of(settings, task)
    return replace(choice, like=describe(find_documents(settings.train_file)[0], choice))
