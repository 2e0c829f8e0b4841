"""Where sentences come from: the user's files, or a data set of the datasets library."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from determined_ner.data.corpora import Corpora, NamedCorpus
from determined_ner.data.hub_datasets import dataset_sources
from determined_ner.data.label_maps import MappedText, Survey, check_map
from determined_ner.data.readers.open import describe, find_files, format_of, read_file
from determined_ner.data.readers.pairs import document_files, one_a_document
from determined_ner.data.readers.sentences import DETECTED, Choice, Layout, Sentence
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
from determined_ner.errors import UserError
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
    train = [corpus.file for corpus in settings.corpora.values()]
    for pattern in (*train, settings.validation_file, settings.test_file, settings.unlabelled_file):
        if pattern is not None and not is_remote(pattern):
            find_documents(pattern)


def content_of(settings: DataSettings, *others: str | None) -> list[str]:
    """What names the content of the local training files.

    Args:
        others: further files that count, if they are given.
    """
    patterns = [corpus.file for corpus in settings.corpora.values()] + [other for other in others if other]
    paths = [path for pattern in patterns if not is_remote(pattern) for path in find_documents(pattern)]
    return [hash_file(part) for path in paths for part in document_files(path)]


def find_sources(settings: DataSettings, task: str) -> Iterator[Source]:
    """The splits that the settings name, train first; of folds also `WHOLE`.

    Args:
        task: prefix of the label column looked for first, ``ner`` for ``ner_tags``.

    Raises:
        UserError: no such file or data set, or columns that cannot be found.
    """
    if settings.dataset_name:
        sources = dataset_sources(settings, task)
        yield from mapped_dataset(list(sources), settings, task) if settings.label_map else sources
        return
    if settings.label_map or not isinstance(settings.train_file, str):
        yield from mapped_sources(settings, task)
        return
    limits = sentence_limits(settings)
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
        key = hash_parts([FORMAT, files.contents, named(choice), limit, held and held.key(split)])
        paths = tuple(str(path) for path in files.paths)
        sentences = hold_out(files.sentences, files.marked, split, held, ", ".join(paths)) if held else files.sentences
        yield Source(split, key, take_first(sentences, limit), paths, choice.label_names, files.layouts)
        if held and held.fold and split == "validation":
            key = hash_parts([FORMAT, files.contents, named(choice)])
            yield Source(WHOLE, key, files.sentences, paths, choice.label_names, files.layouts)


def mapped_sources(settings: DataSettings, task: str) -> Iterator[Source]:
    """The same where the training data is several corpora, or types are read as others (``data.label_map``)."""
    limits, held_out = sentence_limits(settings), HeldOut.of(settings)
    choices = [choice_for(corpus.file, settings, task) for corpus in settings.corpora.values()]
    several = len(choices) > 1
    how = [settings.label_map, settings.on_bad_tags]

    def mapped(files: Files, label_map: dict[str, str] | None, where: str) -> MappedText:
        paths = tuple(map(str, files.paths))
        survey = functools.partial(Survey.of, files.sentences, task, where, several)
        return MappedText(files.sentences, paths, label_map, settings.on_bad_tags, survey)

    corpora, layouts = [], []
    for (name, corpus), choice in zip(settings.corpora.items(), choices, strict=True):
        files = Files(find_documents(corpus.file), choice)
        text = mapped(files, corpus.label_map or settings.label_map, ", ".join(map(str, files.paths)))
        contents = [files.contents, named(choice)]
        corpora.append(NamedCorpus(name, corpus, text, files.marked, tuple(map(str, files.paths)), contents))
        layouts.append(files.layouts)
    others: dict[str, tuple[Files, MappedText]] = {}
    for split, pattern in (("validation", settings.validation_file), ("test", settings.test_file)):
        if pattern is not None:
            files = Files(find_documents(pattern), choices[0])
            others[split] = files, mapped(files, settings.label_map, ", ".join(map(str, files.paths)))
    train = Corpora(corpora, settings.label_map, [text for _, text in others.values()])

    def all_layouts() -> list[Layout]:
        return [layout for of_corpus in layouts for layout in of_corpus()]

    def of_train(split: str, held: HeldOut | None, limit: int | None) -> Source:
        key = hash_parts([FORMAT, "corpora", train.contents, how, limit, held and held.key(split)])
        sentences = take_first(train.chosen(split, held), limit)
        return Source(split, key, sentences, train.paths, None, all_layouts, train.of_files)

    for split, limit in limits.items():
        if split in others:
            files, text = others[split]
            key = hash_parts([FORMAT, "mapped", files.contents, named(choices[0]), how, limit])
            yield Source(
                split, key, take_first(text.sentences, limit), tuple(map(str, files.paths)), None, files.layouts
            )
        elif split != "test":
            yield of_train(split, held_out, limit)
            if held_out and held_out.fold and split == "validation":
                yield of_train(WHOLE, None, None)


def mapped_dataset(sources: list[Source], settings: DataSettings, task: str) -> Iterator[Source]:
    """Splits of a data set of the datasets library, with types read as others (``data.label_map``)."""
    assert settings.label_map is not None
    texts = []
    for source in sources:
        survey = functools.partial(Survey.of, source.sentences, task, source.title, False)
        texts.append(MappedText(source.sentences, source.files, settings.label_map, settings.on_bad_tags, survey))
    check = functools.cache(functools.partial(check_map, "data.label_map", settings.label_map, texts))

    def checked(text: MappedText) -> Iterator[Numbered]:
        check()
        return text.sentences()

    for source, text in zip(sources, texts, strict=True):
        key = hash_parts([source.key, "mapped", settings.label_map, settings.on_bad_tags])
        yield replace(source, key=key, sentences=functools.partial(checked, text), names=None)


def sentence_limits(settings: DataSettings) -> dict[str, int | None]:
    """How many sentences of each split are taken; None: all."""
    return {
        "train": settings.max_train_samples,
        "validation": settings.max_eval_samples,
        "test": settings.max_predict_samples,
    }


class Files:
    """The files that one pattern names, read as one; two splits may be cut from them."""

    def __init__(self, paths: list[Path], choice: Choice) -> None:
        """
        Args:
            choice: what `read_file` is asked for in each of them.
        """
        self.paths = paths
        self._choice = choice
        self._states = [{file: _state(file) for file in document_files(path)} for path in paths]
        """Of the files of each document, as they were before they were hashed."""
        self._hashes = {file: hash_file(file) for states in self._states for file in states}
        self.contents = [
            [*map(self._hashes.__getitem__, states), *format_of(path)]
            for path, states in zip(paths, self._states, strict=True)
        ]
        """What names their content."""
        self.marked = documents_marked(self.sentences)

    def sentences(self) -> Iterator[Numbered]:
        """Read them from the beginning; documents are numbered through all files.

        Raises:
            UserError: one cannot be read, or is not what was hashed.
        """
        document = 0
        for number, path in enumerate(self.paths):
            self._check_unchanged(number)  # a reader that wants the first sentences alone does not come to the end
            offset = document
            for sentence in self.read(path):
                document = offset + sentence.document + 1
                yield number, replace(sentence, document=offset + sentence.document)
            self._check_unchanged(number)

    def _check_unchanged(self, number: int) -> None:
        """
        Raises:
            UserError: a file has changed since it was hashed: its text would be kept under the name of other content.
        """
        for file, state in self._states[number].items():
            # (Another process may have fetched it again, the same to the byte.)
            if (now := _state(file)) != state and (now is None or hash_file(file) != self._hashes[file]):
                raise UserError(file, "changed while it was read", "run it again when nothing writes to it")

    def read(self, path: Path) -> Iterable[Sentence]:
        """The sentences of one of them."""
        return read_file(path, self._choice)

    def layouts(self) -> list[Layout]:
        return [describe(path, self._choice) for path in self.paths]


def _state(file: Path) -> tuple[int, int] | None:
    """Size and time of a file, one of which is another when it has changed; None: it is not there."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def named(choice: Choice) -> dict[str, Any]:
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
    return choice_for(next(iter(settings.corpora.values())).file, settings, task)


def choice_for(pattern: str, settings: DataSettings, task: str) -> Choice:
    """The same for the files of a corpus, by its first one."""
    choice = choice_of(settings, task)
    return replace(choice, like=describe(find_documents(pattern)[0], choice))
