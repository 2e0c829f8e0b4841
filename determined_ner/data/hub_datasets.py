"""Data sets of the datasets library, from the hub or a directory, as sources of sentences."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from determined_ner.data.readers.rows import Row
from determined_ner.data.readers.sentences import Choice, Layout, Sentence, known_name
from determined_ner.data.readers.spans.rows import Form, find_form, read_rows
from determined_ner.data.readers.spans.words import to_sentences
from determined_ner.data.readers.tables import SAMPLE_ROWS, Table, choose_columns, read_table
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
from determined_ner.errors import UserError, kind_of
from determined_ner.files.cache import FORMAT, hash_parts
from determined_ner.masks import masked
from determined_ner.settings.data import DataSettings

VALIDATION_NAMES = ("validation", "valid", "val", "dev", "development")
"""Names that the part to validate on goes by, best first."""


def dataset_sources(settings: DataSettings, task: str) -> Iterator[Source]:
    """The splits of the data set that the settings name, train first.

    A test part whose labels are withheld is left out, with a warning.

    Args:
        task: prefix of the label column looked for first, ``ner`` for ``ner_tags``.

    Raises:
        UserError: it cannot be loaded, has no such part, or its columns cannot be found.
    """
    parts = _load_dataset(settings)
    validation = known_name(list(parts), VALIDATION_NAMES) or "validation"
    wanted = [("train", "train", settings.max_train_samples), ("validation", validation, settings.max_eval_samples)]
    if "test" in parts:
        wanted.append(("test", "test", settings.max_predict_samples))
    held_out = HeldOut.of(settings)
    if held_out:
        wanted[1] = ("validation", "train", settings.max_eval_samples)
    choice = choice_of(settings, task)
    rows_of = functools.cache(lambda part: _DatasetRows(parts[part], f"{settings.dataset_name} ({part})"))
    for split, part, limit in wanted:
        if part not in parts:
            raise UserError(
                "data.dataset_name",
                f"{settings.dataset_name!r} has no {split} split (it has {', '.join(parts)})",
                "set data.validation_split_percentage, or use data.train_file and data.validation_file",
            )
        rows = rows_of(part)
        if split == "test" and (reason := rows.without_labels(choice)):
            logging.getLogger("determined_ner").warning(f"{rows.where}: left out, there is nothing to score: {reason}")
            continue
        layout = rows.choose(choice)
        # Those of train, for all splits.
        choice = replace(choice, text_column=layout.text_column, label_column=layout.tag_column)
        held = held_out if split != "test" else None
        how = [layout.text_column, layout.tag_column, layout.document_column]
        if choice.sentence_column:
            how.append(choice.sentence_column)
        if layout.by_spans:
            how += [choice.splitting, choice.on_bad_spans, choice.span_offsets]
        named = [list(choice.label_names)] if choice.label_names else []
        key = hash_parts([FORMAT, rows.dataset._fingerprint, how, task, limit, held and held.key(split), *named])

        def sentences(rows: _DatasetRows = rows, choice: Choice = choice) -> Iterator[Numbered]:
            return ((0, sentence) for sentence in rows.sentences(choice))

        # Rows have no other mark of a document than its column.
        marked = documents_marked(sentences) if layout.document_column else lambda: False
        chosen = hold_out(sentences, marked, split, held, rows.where) if held else sentences
        names = rows.names.get(layout.tag_column or "", choice.label_names)
        yield Source(split, key, take_first(chosen, limit), (rows.where,), names)
        if held and held.fold and split == "validation":
            key = hash_parts([FORMAT, rows.dataset._fingerprint, how, task, *named])
            yield Source(WHOLE, key, sentences, (rows.where,), names)


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
        self._warned_of_empty_rows = False

    def choose(self, choice: Choice) -> Layout:
        """Tell the columns of words or texts, of tags or spans, and of documents."""
        if (form := self._form(choice)) is not None:
            return form.layout()
        return choose_columns(list(self.dataset.column_names), choice, Path(self.where))

    def without_labels(self, choice: Choice) -> str | None:
        """Why nothing can be scored on these rows; None: it can. Many hub data sets withhold the labels of test."""
        layout = self.choose(replace(choice, need_tags=False))
        column = layout.tag_column
        if column is None:
            return f"no column {choice.label_column!r} among {', '.join(self.dataset.column_names)}"
        tags = self._sample()[column]
        if all(row is None if layout.by_spans else _hidden(row) for row in tags):
            return f"column {column!r} has null, -1 or no labels at all"
        return None

    def sentences(self, choice: Choice) -> Iterator[Sentence]:
        """Read the rows from the beginning."""
        where, names = Path(self.where), list(self.dataset.column_names)
        if (form := self._form(choice)) is not None:
            return to_sentences(read_rows(enumerate(self.dataset, 1), form, choice, where), choice, where)
        rows = self._rows(choose_columns(names, choice, where))
        return read_table(Table("dataset", names, rows, tag_names=self.names), choice, where)[1]

    def _form(self, choice: Choice) -> Form | None:
        """The form of its spans of characters, if it has any."""
        return find_form(list(enumerate(self._sample(), 1)), choice, Path(self.where))

    def _sample(self) -> Any:
        """The rows that detection looks at."""
        return self.dataset.select(range(min(SAMPLE_ROWS, len(self.dataset))))

    def _rows(self, layout: Layout) -> Iterator[Row]:
        """Rows except those with neither words nor tags, which one warning counts: a user cannot edit a data set."""
        empty = 0
        columns = (layout.text_column, layout.tag_column, layout.sentence_column, layout.document_column)
        dataset = self.dataset.select_columns([column for column in columns if column is not None])
        for number, row in enumerate(dataset, 1):
            if row[layout.text_column] == [] and row[layout.tag_column] == []:
                empty += 1
            else:
                yield number, row
        if empty and not self._warned_of_empty_rows:
            self._warned_of_empty_rows = True
            logging.getLogger("determined_ner").warning(f"{self.where}: {empty} rows without a word were skipped")


def _hidden(tags: object) -> bool:
    """Whether a row's tags are withheld: null, or a list of nothing but -1 or null."""
    return tags is None or tags == -1 or (isinstance(tags, list) and all(tag in (None, -1) for tag in tags))


def _load_dataset(settings: DataSettings) -> Any:
    """Load all parts of a data set, by name: a directory written by ``save_to_disk``, or what the hub has.

    A directory of a single part, which has no name, is train.
    """
    import datasets

    name = settings.dataset_name
    assert name is not None
    # Before datasets 4 a script would be asked about, on standard input.
    datasets.config.HF_DATASETS_TRUST_REMOTE_CODE = False
    try:
        directory = Path(name).expanduser()
        if (directory / "dataset_dict.json").is_file():
            return datasets.load_from_disk(str(directory))
        if (directory / "state.json").is_file():
            return {"train": datasets.load_from_disk(str(directory))}
        options: dict[str, Any] = {"name": settings.dataset_config_name, "revision": settings.dataset_revision}
        if settings.cache_dir:
            options["cache_dir"] = settings.cache_dir
        try:
            return datasets.load_dataset(name, **options)
        except (RuntimeError, ValueError) as error:  # the second before datasets 4
            is_script = "script" in str(error).lower() or "custom code" in str(error)
            if settings.dataset_revision is not None or not is_script or directory.is_dir():
                raise
            # The hub keeps a Parquet conversion of data sets that were scripts.
            return datasets.load_dataset(name, **{**options, "revision": "refs/convert/parquet"})
    except Exception as error:  # the library raises a dozen kinds, from connection to parsing; none is ours to handle
        raise kind_of(error)(
            "data.dataset_name",
            f"{name!r} cannot be loaded: {type(error).__name__}: {masked(str(error)).strip()[:300]}",
            "check the name and the connection, or use data.train_file",
        ) from error
