"""Where sentences come from: the user's files, or a data set of the datasets library."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from determined_ner.data.hub_datasets import dataset_sources
from determined_ner.data.readers.open import describe, find_files, format_of, read_file
from determined_ner.data.readers.sentences import Layout
from determined_ner.data.source import Numbered, Source, hold_out, take_first
from determined_ner.files.cache import FORMAT, hash_file, hash_parts
from determined_ner.settings.data import DataSettings
from determined_ner.settings.urls import is_remote


def check_files(settings: DataSettings) -> None:
    """
    Raises:
        UserError: a file that the settings name does not exist; remote ones are not looked for.
    """
    for pattern in (settings.train_file, settings.validation_file, settings.test_file):
        if pattern is not None and not is_remote(pattern):
            find_files(pattern)


def find_sources(settings: DataSettings, task: str) -> Iterator[Source]:
    """The splits that the settings name, train first.

    Raises:
        UserError: no such file or data set, or columns that cannot be told.
    """
    if settings.dataset_name:
        yield from dataset_sources(settings, task)
        return
    limits = {
        "train": settings.max_train_samples,
        "validation": settings.max_eval_samples,
        "test": settings.max_predict_samples,
    }
    held_out = settings.validation_split_percentage
    patterns = {"train": settings.train_file, "validation": settings.validation_file, "test": settings.test_file}
    how = _reading(settings, task)
    for split, limit in limits.items():
        pattern = patterns[split] or (settings.train_file if split == "validation" else None)
        if pattern is None:
            continue
        files = find_files(pattern)
        share = held_out if split != "test" else None
        contents = [[hash_file(file), *format_of(file)] for file in files]
        key = hash_parts([FORMAT, contents, {**how, "like": asdict(how["like"])}, limit, share and [split, share]])

        def sentences(files: list[Path] = files) -> Iterator[Numbered]:
            document = 0
            for number, file in enumerate(files):
                offset = document
                for sentence in read_file(file, **how):
                    document = offset + sentence.document + 1
                    yield number, replace(sentence, document=offset + sentence.document)

        def layouts(files: list[Path] = files) -> list[Layout]:
            return [describe(file, **how) for file in files]

        parts = hold_out(sentences, split, share) if share else sentences
        yield Source(split, key, take_first(parts, limit), tuple(str(f) for f in files), layouts=layouts)


def find_labelled(settings: DataSettings, task: str, data: str | None) -> tuple[Source, DataSettings]:
    """The text that a trained model is looked at on, and the settings to read it with.

    Args:
        settings: those of the training.
        data: a labelled file; None: the validation data of the training.

    Raises:
        UserError: it is not at hand, or its columns cannot be told.
    """
    if data is not None:
        update: dict[str, Any] = dict.fromkeys(("validation_split_percentage", "max_eval_samples"))
        update |= dict.fromkeys(("dataset_name", "dataset_config_name", "dataset_revision"))
        settings = settings.model_copy(update={**update, "train_file": data, "validation_file": data})
    settings = settings.model_copy(update={"test_file": None})
    return next(source for source in find_sources(settings, task) if source.split == "validation"), settings


def _reading(settings: DataSettings, task: str) -> dict[str, Any]:
    """What the readers are asked for in every file: the columns named, else those of the first training file.

    A file by itself may not tell: in one whose entities are all O, the rightmost tags are of chunks.
    """
    assert settings.train_file is not None
    how: dict[str, Any] = {
        "text_column": settings.text_column_name,
        "label_column": settings.label_column_name,
        "document_column": settings.document_column_name,
        "task": task,
    }
    return {**how, "like": describe(find_files(settings.train_file)[0], **how)}
