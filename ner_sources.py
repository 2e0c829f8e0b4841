"""Where sentences come from: the user's files, or a data set of the datasets library."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import ner_readers
from ner_cache import FORMAT, hash_of, hash_of_file
from ner_errors import UserError
from ner_hparams import DataSettings
from ner_readers import Sentence

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


def find_sources(settings: DataSettings, task: str) -> Iterator[Source]:
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
    for split, limit in limits.items():
        pattern = patterns[split] or (settings.train_file if split == "validation" else None)
        if pattern is None:
            continue
        files = ner_readers.find_files(pattern)
        share = held_out if split != "test" else None
        label_column = settings.label_column_name or task_column(files[0], task, settings)
        key = hash_of(
            [
                FORMAT,
                [hash_of_file(f) for f in files],
                settings.text_column_name,
                label_column,
                settings.document_column_name,
                limit,
                share and [split, share],
            ]
        )

        def sentences(files: list[Path] = files, column: str | None = label_column) -> Iterator[Numbered]:
            document = 0
            for number, file in enumerate(files):
                offset = document
                for sentence in ner_readers.read_file(
                    file, settings.text_column_name, column, settings.document_column_name
                ):
                    document = offset + sentence.document + 1
                    yield number, replace(sentence, document=offset + sentence.document)

        parts = _hold_out(sentences, split, share) if share else sentences
        yield Source(split, key, _first(parts, limit), tuple(str(f) for f in files))


def task_column(file: Path, task: str, settings: DataSettings) -> str | None:
    """``ner_tags`` is found by the readers anyway; another task names its column."""
    return None if task == "ner" else f"{task}_tags"


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
    for split, part, limit in wanted:
        if part not in parts:
            raise UserError(
                f"data.dataset_name: {settings.dataset_name!r} has no {part} split (it has {', '.join(parts)}); "
                f"set data.validation_split_percentage, or use data.train_file and data.validation_file"
            )
        dataset = parts[part]
        where = f"{settings.dataset_name} ({part})"
        text, label = _dataset_columns(dataset, settings, task, where)
        feature = getattr(dataset.features[label], "feature", None)
        names = tuple(getattr(feature, "names", None) or ()) or None
        held = share if split != "test" else None
        column = settings.document_column_name
        if column is not None and column not in dataset.column_names:
            raise UserError(
                f"data.document_column_name: {where} has no column {column!r} among {', '.join(dataset.column_names)}"
            )
        key = hash_of([FORMAT, dataset._fingerprint, text, label, column, limit, held and [split, held]])

        rows = partial(_rows, dataset, text, label, column, names, where)
        yield Source(split, key, _first(_hold_out(rows, split, held) if held else rows, limit), (where,), names)


def _rows(
    dataset: Any, text: str, label: str, column: str | None, names: tuple[str, ...] | None, where: str
) -> Iterator[Numbered]:
    document, before = -1, object()
    for row, example in enumerate(dataset):
        value = example[column] if column else 0
        document += value != before
        before = value
        yield 0, replace(_row_sentence(example, text, label, names, where, row), document=document)


def _row_sentence(
    example: dict[str, Any], text: str, label: str, names: tuple[str, ...] | None, where: str, row: int
) -> Sentence:
    words, tags = example[text], example[label]
    if not words or tags is None or len(words) != len(tags):
        raise UserError(
            f"{where}: row {row}: {len(words or [])} words ({text}) but {len(tags or [])} tags ({label}); "
            f"each row needs as many tags as words, and at least one"
        )
    if names is not None:
        if any(not isinstance(tag, int) or not 0 <= tag < len(names) for tag in tags):
            raise UserError(f"{where}: row {row}: a tag in {tags!r} is none of 0 to {len(names) - 1}")
        tags = [names[tag] for tag in tags]
    return Sentence(list(words), [str(tag) for tag in tags], line=row + 1, document=0)


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


def _dataset_columns(dataset: Any, settings: DataSettings, task: str, where: str) -> tuple[str, str]:
    columns = list(dataset.column_names)
    text = settings.text_column_name or next((c for c in ("tokens", "words", "text") if c in columns), None)
    label = settings.label_column_name or next(
        (c for c in (f"{task}_tags", "tags", "labels", "ner") if c in columns), None
    )
    for name, column, setting in (("words", text, "text_column_name"), ("tags", label, "label_column_name")):
        if column is None or column not in columns:
            raise UserError(
                f"{where}: no column {column or 'that looks like ' + name!r} among {', '.join(columns)}; "
                f"set data.{setting}"
            )
    assert text is not None and label is not None
    return text, label
