"""Where sentences come from: the user's files, or a data set of the datasets library."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import determined_ner.data.readers.open as ner_readers
from determined_ner.files.cache import FORMAT, hash_of, hash_of_file
from determined_ner.errors import UserError
from determined_ner.settings.hyperparameters import DataSettings
from determined_ner.data.readers.open import Choice, Layout, Sentence
from determined_ner.data.remote import is_remote
from determined_ner.data.readers.tables import SAMPLE_ROWS, Row, Table, choose_columns, read_table

Numbered = tuple[int, Sentence]


@dataclass(frozen=True)
class Source:
    """Where the sentences of one split come from."""

    split: str
    key: str
    """Names its content."""
    sentences: Callable[[], Iterable[Numbered]]
    """Each with the position of its file in ``files``; reads from the beginning at every call."""
    files: tuple[str, ...]
    names: tuple[str, ...] | None = None
    """Label names in their own order, where the data set declares them."""
    layouts: Callable[[], list[Layout]] = list
    """How each of ``files`` is read; of a data set, which has no files, nothing."""


def check_files(settings: DataSettings) -> None:
    """
    Raises:
        UserError: a file that the settings name does not exist; remote ones are not looked for.
    """
    for pattern in (settings.train_file, settings.validation_file, settings.test_file):
        if pattern is not None and not is_remote(pattern):
            ner_readers.find_files(pattern)


def find_sources(settings: DataSettings, task: str) -> Iterator[Source]:
    """The splits that the settings name, train first.

    Raises:
        UserError: no such file or data set, or columns that cannot be told.
    """
    if settings.dataset_name:
        yield from _dataset_sources(settings, task)
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
        files = ner_readers.find_files(pattern)
        share = held_out if split != "test" else None
        contents = [[hash_of_file(file), *ner_readers.format_of(file)] for file in files]
        key = hash_of([FORMAT, contents, {**how, "like": asdict(how["like"])}, limit, share and [split, share]])

        def sentences(files: list[Path] = files) -> Iterator[Numbered]:
            document = 0
            for number, file in enumerate(files):
                offset = document
                for sentence in ner_readers.read_file(file, **how):
                    document = offset + sentence.document + 1
                    yield number, replace(sentence, document=offset + sentence.document)

        def layouts(files: list[Path] = files) -> list[Layout]:
            return [ner_readers.describe(file, **how) for file in files]

        parts = _hold_out(sentences, split, share) if share else sentences
        yield Source(split, key, _first(parts, limit), tuple(str(f) for f in files), layouts=layouts)


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
    return {**how, "like": ner_readers.describe(ner_readers.find_files(settings.train_file)[0], **how)}


def _hold_out(
    sentences: Callable[[], Iterable[Numbered]], split: str, per_cent: float
) -> Callable[[], Iterable[Numbered]]:
    """What of the training data is (validation) or is not (train) held out, the same each time.

    Whole documents, so that none is trained and validated on; single sentences where no documents are marked.
    """

    def chosen() -> Iterator[Numbered]:
        documents = any(sentence.document for _, sentence in sentences())
        for row, (file, sentence) in enumerate(sentences()):
            unit = sentence.document if documents else row
            held_out = int((unit + 1) * per_cent / 100) > int(unit * per_cent / 100)  # evenly spread
            if held_out == (split == "validation"):
                yield file, sentence

    return chosen


def _first(sentences: Callable[[], Iterable[Numbered]], limit: int | None) -> Callable[[], Iterable[Numbered]]:
    return (lambda: islice(sentences(), limit)) if limit else sentences


def _dataset_sources(settings: DataSettings, task: str) -> Iterator[Source]:
    parts = _load_dataset(settings)
    wanted = [("train", "train", settings.max_train_samples), ("validation", "validation", settings.max_eval_samples)]
    if "test" in parts:
        wanted.append(("test", "test", settings.max_predict_samples))
    share = settings.validation_split_percentage
    if share:
        wanted[1] = ("validation", "train", settings.max_eval_samples)
    choice = Choice(settings.text_column_name, settings.label_column_name, settings.document_column_name, task=task)
    for split, part, limit in wanted:
        if part not in parts:
            raise UserError(
                f"data.dataset_name: {settings.dataset_name!r} has no {part} split (it has {', '.join(parts)}); "
                f"set data.validation_split_percentage, or use data.train_file and data.validation_file"
            )
        rows = _DatasetRows(parts[part], f"{settings.dataset_name} ({part})")
        if split == "test" and (reason := rows.without_labels(choice)):
            logging.getLogger("ner").warning(f"{rows.where}: left out, there is nothing to score: {reason}")
            continue
        layout = rows.choose(choice)
        choice = replace(choice, text=layout.text_column, label=layout.tag_column)  # of train, for all splits
        held = share if split != "test" else None
        how = [layout.text_column, layout.tag_column, layout.document_column]
        key = hash_of([FORMAT, rows.dataset._fingerprint, how, task, limit, held and [split, held]])

        def sentences(rows: _DatasetRows = rows, choice: Choice = choice) -> Iterator[Numbered]:
            return ((0, sentence) for sentence in rows.sentences(choice))

        chosen = _first(_hold_out(sentences, split, held) if held else sentences, limit)
        yield Source(split, key, chosen, (rows.where,), rows.names.get(layout.tag_column or ""))


class _DatasetRows:
    """One part of a data set of the datasets library, as a table whose rows are read and checked like a file's."""

    def __init__(self, dataset: Any, where: str) -> None:
        self.dataset = dataset
        self.where = where
        self.names: dict[str, tuple[str, ...]] = {}
        """By column, where the data set declares them: what its integers mean."""
        for column, feature in dataset.features.items():
            inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", feature)  # datasets 3: [x]
            names = getattr(inner, "names", None)
            if names:
                self.names[column] = tuple(names)
        self._told_empty = False

    def choose(self, choice: Choice) -> Layout:
        return choose_columns(list(self.dataset.column_names), choice, Path(self.where))

    def without_labels(self, choice: Choice) -> str | None:
        """Why nothing can be scored on these rows, if so: many a hub data set keeps the labels of its test part."""
        column = self.choose(replace(choice, need_tags=False)).tag_column
        if column is None:
            return f"no column {choice.label!r} among {', '.join(self.dataset.column_names)}"
        tags = self.dataset.select(range(min(SAMPLE_ROWS, len(self.dataset))))[column]
        if all(_hidden(row) for row in tags):
            return f"column {column!r} has null, -1 or no labels at all"
        return None

    def sentences(self, choice: Choice) -> Iterator[Sentence]:
        layout = self.choose(choice)
        table = Table("dataset", list(self.dataset.column_names), self._rows(layout), tag_names=self.names)
        return read_table(table, choice, Path(self.where))[1]

    def _rows(self, layout: Layout) -> Iterator[Row]:
        """Rows less those with neither words nor tags, of which the user, who cannot edit a data set, is told once."""
        empty = 0
        columns = (layout.text_column, layout.tag_column, layout.sentence_column, layout.document_column)
        dataset = self.dataset.select_columns([column for column in columns if column is not None])
        for number, row in enumerate(dataset, 1):
            if row[layout.text_column] == [] and row[layout.tag_column] == []:
                empty += 1
            else:
                yield number, row
        if empty and not self._told_empty:
            self._told_empty = True
            logging.getLogger("ner").warning(f"{self.where}: {empty} rows without a word were skipped")


def _hidden(tags: object) -> bool:
    """Whether a row's tags are withheld: null, or a list of nothing but -1 or null."""
    return tags is None or tags == -1 or (isinstance(tags, list) and all(tag in (None, -1) for tag in tags))


def _load_dataset(settings: DataSettings) -> Any:
    import datasets

    name = settings.dataset_name
    assert name is not None
    try:
        directory = Path(name).expanduser()
        if (directory / "dataset_dict.json").is_file():
            return datasets.load_from_disk(str(directory))
        options: dict[str, Any] = {"name": settings.dataset_config_name, "revision": settings.dataset_revision}
        if settings.cache_dir:
            options["cache_dir"] = settings.cache_dir
        try:
            return datasets.load_dataset(name, **options)
        except RuntimeError as error:
            if settings.dataset_revision is not None or "script" not in str(error).lower():
                raise
            # Data sets that were scripts live on as the hub's own conversion.
            return datasets.load_dataset(name, **{**options, "revision": "refs/convert/parquet"})
    except Exception as error:  # the library raises a dozen kinds, from connection to parsing; none is ours to handle
        raise UserError(
            f"data.dataset_name: {name!r} cannot be loaded: {type(error).__name__}: {str(error).strip()[:300]}; "
            f"check the name and the connection, or use data.train_file"
        ) from error
