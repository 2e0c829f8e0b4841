"""Reading a data set into one validated, tokenized and memory-mapped form.

Two stages, each kept in the cache under a hash of all that it depends on, so that a second start, a second slot or
a second trial finds it ready: text (words and tags as they stand in the files, in Arrow) and windows (pieces and
tag ids, as flat arrays). Neither stage holds a whole corpus in Python objects.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import ner_readers
from ner_errors import UserError
from ner_hparams import DataSettings, HyperparameterError
from ner_readers import Sentence
from ner_tokenizer import WordTokenizer
from ner_utils import Scheme, detect_scheme, label_list, to_iob2
from ner_windows import plan_windows

FORMAT = "1"
"""Changes when cached files of an earlier version can no longer be used."""
IGNORED = -100
"""Label of a piece that no loss is taken over (PyTorch's cross entropy)."""
_CHUNK = 4096  # sentences in memory at a time


@dataclass(frozen=True)
class Labels:
    """What the model predicts: names in the order of their ids, tags in IOB2 (or plain)."""

    names: tuple[str, ...]
    scheme: Scheme
    """Scheme of the training files, to which predictions are converted back."""

    def ids(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}


@dataclass(frozen=True)
class Split:
    """One tokenized part of the data. P pieces in W windows over N words in S sentences; arrays are memory-mapped."""

    name: str
    ids: NDArray[np.int32]
    """(P,) pieces, special ones not among them."""
    labels: NDArray[np.int16]
    """(P,) label id at pieces that training counts, else IGNORED."""
    first: NDArray[np.bool_]
    """(P,) first piece of a word, in the window that owns it."""
    windows: NDArray[np.int64]
    """(W + 1,) where each window begins in ids."""
    words: NDArray[np.int64]
    """(W + 1,) first word that each window owns."""
    tags: NDArray[np.int16]
    """(N,) gold tag id of every word."""
    sentences: NDArray[np.int64]
    """(S + 1,) first word of each sentence."""
    counts: dict[str, int]
    """Words without pieces of their own, words cut to the window, tags repaired."""

    def lengths(self, specials: int) -> NDArray[np.int64]:
        """(W,) pieces of each window with its special ones."""
        return np.diff(self.windows) + specials

    def trained(self) -> NDArray[np.int64]:
        """(W,) labelled pieces of each window: what the loss is a mean over."""
        return np.add.reduceat(np.asarray(self.labels) != IGNORED, self.windows[:-1], dtype=np.int64)


@dataclass(frozen=True)
class Corpus:
    labels: Labels
    splits: dict[str, Split]
    """train, validation and, where given, test."""


@dataclass(frozen=True)
class _Source:
    """Where the sentences of one split come from."""

    split: str
    key: str
    """Names its content."""
    sentences: Callable[[], Iterable[Sentence]]
    files: tuple[str, ...]
    names: tuple[str, ...] | None = None
    """Label names in their own order, where the data set declares them."""


def load_corpus(
    settings: DataSettings, task: str, tokenizer: WordTokenizer, max_seq_length: int, cache_dir: Path
) -> Corpus:
    """Read, check and tokenize all splits, or take them from the cache.

    Args:
        task: prefix of the label column looked for first, ``ner`` for ``ner_tags``.
        max_seq_length: pieces a window holds, special ones included.
        cache_dir: made if need be.

    Raises:
        UserError: with file and line, whatever is wrong with the data.
        HyperparameterError: stride and max_seq_length that do not go together.
    """
    if settings.preprocessing_num_workers:
        os.environ.setdefault("RAYON_NUM_THREADS", str(settings.preprocessing_num_workers))
    sources = {s.split: s for s in _find_sources(settings, task)}
    texts = {split: _cached_text(source, settings, cache_dir) for split, source in sources.items()}
    labels = _find_labels(texts["train"], sources["train"])
    splits = {}
    for split, text in texts.items():
        _check_labels(text, sources[split], labels)
        splits[split] = _cached_split(split, text, labels, settings, tokenizer, max_seq_length, cache_dir)
    return Corpus(labels, splits)


# ----- sources: files, or a data set of the datasets library


def _find_sources(settings: DataSettings, task: str) -> Iterator[_Source]:
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
        label_column = settings.label_column_name or _task_column(files[0], task, settings)
        key = _hash(
            [
                FORMAT,
                [_hash_file(f) for f in files],
                settings.text_column_name,
                label_column,
                limit,
                share and [split, share],
            ]
        )

        def sentences(files: list[Path] = files, column: str | None = label_column, **_: Any) -> Iterator[Sentence]:
            document = 0
            for file in files:
                offset = document
                for sentence in ner_readers.read_file(file, settings.text_column_name, column):
                    document = offset + sentence.document + 1
                    yield Sentence(sentence.words, sentence.tags, sentence.line, offset + sentence.document)

        parts = _hold_out(sentences, split, share) if share else sentences
        yield _Source(split, key, _first(parts, limit), tuple(str(f) for f in files))


def _task_column(file: Path, task: str, settings: DataSettings) -> str | None:
    """``ner_tags`` is found by the readers anyway; another task names its column."""
    return None if task == "ner" else f"{task}_tags"


def _hold_out(
    sentences: Callable[[], Iterable[Sentence]], split: str, per_cent: float
) -> Callable[[], Iterable[Sentence]]:
    """What of the training data is (validation) or is not (train) held out, the same each time.

    Whole documents, so that none is trained and validated on; single sentences where no documents are marked.
    """

    def chosen() -> Iterator[Sentence]:
        documents = any(sentence.document for sentence in sentences())
        for number, sentence in enumerate(sentences()):
            digest = hashlib.sha256(str(sentence.document if documents else number).encode()).digest()
            held_out = int.from_bytes(digest[:8], "big") < per_cent / 100 * 2**64
            if held_out == (split == "validation"):
                yield sentence

    return chosen


def _first(sentences: Callable[[], Iterable[Sentence]], limit: int | None) -> Callable[[], Iterable[Sentence]]:
    return (lambda: islice(sentences(), limit)) if limit else sentences


def _dataset_sources(settings: DataSettings, task: str) -> Iterator[_Source]:
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
        key = _hash([FORMAT, dataset._fingerprint, text, label, limit, held and [split, held]])

        def sentences(
            dataset: Any = dataset, text: str = text, label: str = label, names: Any = names, where: str = where
        ) -> Iterator[Sentence]:
            for row, example in enumerate(dataset):
                yield _row_sentence(example, text, label, names, where, row)

        yield _Source(
            split, key, _first(_hold_out(sentences, split, held) if held else sentences, limit), (where,), names
        )


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
    return Sentence(list(words), [str(tag) for tag in tags], row + 1, row)


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


# ----- first stage: text


def _cached_text(source: _Source, settings: DataSettings, cache_dir: Path) -> Path:
    """Write a split's sentences to Arrow: words, tags, line, document, in record batches of _CHUNK sentences."""
    schema = pa.schema(
        {"words": pa.list_(pa.string()), "tags": pa.list_(pa.string()), "line": pa.int64(), "document": pa.int64()}
    )

    def build(directory: Path) -> None:
        rows = 0
        with pa.OSFile(str(directory / "text.arrow"), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for chunk in _chunks(source.sentences(), _CHUNK):
                rows += len(chunk)
                columns = [[s.words for s in chunk], [s.tags for s in chunk], [s.line for s in chunk]]
                columns.append([s.document for s in chunk])
                arrays = [pa.array(c, t) for c, t in zip(columns, schema.types, strict=True)]
                writer.write_batch(pa.record_batch(arrays, schema=schema))
        if rows == 0:
            raise UserError(
                f"{', '.join(source.files)}: no sentence is left for {source.split}; "
                f"give more text or change data.validation_split_percentage"
            )

    return cached(cache_dir, f"text-{source.key}", build, settings.overwrite_cache) / "text.arrow"


def read_text(path: Path) -> Iterator[pa.RecordBatch]:
    """The record batches of a text file of the cache, memory-mapped."""
    with pa.memory_map(str(path)) as source:
        reader = pa.ipc.open_file(source)
        for i in range(reader.num_record_batches):
            yield reader.get_batch(i)


def _find_labels(text: Path, source: _Source) -> Labels:
    try:
        scheme = detect_scheme(tags for batch in read_text(text) for tags in batch.column("tags").to_pylist())
    except ValueError as error:
        raise UserError(f"{', '.join(source.files)}: {error}") from None
    if source.names and (scheme is Scheme.PLAIN or all(_is_iob2(name) for name in source.names)):
        return Labels(source.names, scheme)
    found: set[str] = set()
    for batch in read_text(text):
        for tags in batch.column("tags").to_pylist():
            found.update(to_iob2(tags, scheme)[0])
    names = label_list(found, scheme)
    if scheme is Scheme.PLAIN and all(name.lstrip("-").isdigit() for name in names):
        names = sorted(names, key=int)
    return Labels(tuple(names), scheme)


def _is_iob2(name: str) -> bool:
    return name == "O" or name.startswith(("B-", "I-"))


def _check_labels(text: Path, source: _Source, labels: Labels) -> None:
    """Every tag of a split must be known from training."""
    known = set(labels.names)
    for batch in read_text(text):
        for tags, words, line in zip(
            batch.column("tags").to_pylist(),
            batch.column("words").to_pylist(),
            batch.column("line").to_pylist(),
            strict=True,
        ):
            try:
                converted = to_iob2(tags, labels.scheme)[0]
            except ValueError:  # not a tag of the scheme at all: unknown as it stands
                converted = tags
            for position, (raw, tag) in enumerate(zip(tags, converted, strict=True)):
                if tag not in known:
                    raise UserError(
                        f"{', '.join(source.files)}:{line}: tag {raw!r} of word {position + 1} ({words[position]!r}) "
                        f"of the sentence that begins here does not occur in the training data, which has "
                        f"{', '.join(labels.names[:20])}; correct it, or add such a sentence to the training data"
                    )


# ----- second stage: windows of pieces

_ARRAYS = {
    "ids": np.int32,
    "labels": np.int16,
    "first": np.bool_,
    "windows": np.int64,
    "words": np.int64,
    "tags": np.int16,
    "sentences": np.int64,
}


def _cached_split(
    split: str,
    text: Path,
    labels: Labels,
    settings: DataSettings,
    tokenizer: WordTokenizer,
    max_seq_length: int,
    cache_dir: Path,
) -> Split:
    capacity = max_seq_length - tokenizer.specials
    stride = settings.stride if settings.stride is not None else max_seq_length // 4
    if not 0 <= stride < capacity:
        raise HyperparameterError(
            f"data.stride: {stride} must be less than the {capacity} pieces that a window of data.max_seq_length "
            f"{max_seq_length} holds beside its {tokenizer.specials} special ones"
        )
    key = _hash(
        [
            FORMAT,
            text.parent.name,
            tokenizer.fingerprint(),
            labels.names,
            labels.scheme.value,
            capacity,
            stride,
            settings.label_all_tokens,
        ]
    )

    def build(directory: Path) -> None:
        counts = {"unknown_words": 0, "cut_words": 0, "repaired_tags": 0}
        piece_total = word_total = 0
        with _ArrayWriter(directory) as out:
            out.append(windows=[0], words=[0], sentences=[0])
            for batch in read_text(text):
                encoded = _encode(batch, labels, settings.label_all_tokens, tokenizer, capacity, stride, counts)
                encoded["windows"] += piece_total
                encoded["words"] += word_total
                encoded["sentences"] += word_total
                out.append(**encoded)
                piece_total, word_total = int(encoded["windows"][-1]), int(encoded["sentences"][-1])
        (directory / "counts.json").write_text(json.dumps(counts))

    directory = cached(cache_dir, f"windows-{key}", build, settings.overwrite_cache)
    arrays = {name: _map_array(directory / f"{name}.bin", dtype) for name, dtype in _ARRAYS.items()}
    return Split(split, counts=json.loads((directory / "counts.json").read_text()), **arrays)


def _encode(
    batch: pa.RecordBatch,
    labels: Labels,
    label_all: bool,
    tokenizer: WordTokenizer,
    capacity: int,
    stride: int,
    counts: dict[str, int],
) -> dict[str, NDArray[Any]]:
    """Tokenize and cut one record batch; offsets count from its own beginning and leave out the leading 0."""
    texts = batch.column("words").to_pylist()
    label_ids = labels.ids()
    tags: list[int] = []
    for sequence in batch.column("tags").to_pylist():
        converted, repaired = to_iob2(sequence, labels.scheme)
        counts["repaired_tags"] += repaired
        tags.extend(label_ids[tag] for tag in converted)
    sentences = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)
    gold = np.array(tags, np.int16)

    ids, per_word, unknown = tokenizer.pieces(texts)
    counts["unknown_words"] += unknown
    counts["cut_words"] += int((per_word > capacity).sum())
    starts = np.concatenate([[0], np.cumsum(per_word)])  # of each word in ids
    per_word = np.minimum(per_word, capacity)  # of a word longer than a window its first pieces are kept
    windows = plan_windows(per_word, sentences, capacity, stride)

    # Words seen by each window, then pieces of each word, both laid out flat.
    seen = _ranges(windows.begin, windows.end)
    window_of = np.repeat(np.arange(len(windows.begin)), windows.end - windows.begin)
    owned = (seen >= windows.own_begin[window_of]) & (seen < windows.own_end[window_of])
    lengths = per_word[seen]
    pieces = _ranges(starts[seen], starts[seen] + lengths)
    word_start = np.cumsum(lengths) - lengths
    first = np.zeros(len(pieces), np.bool_)
    first[word_start[owned]] = True
    piece_labels = np.full(len(pieces), IGNORED, np.int16)
    if label_all:
        piece_labels = np.where(np.repeat(owned, lengths), np.repeat(_inside(labels)[gold[seen]], lengths), IGNORED)
        piece_labels = piece_labels.astype(np.int16)
    piece_labels[word_start[owned]] = gold[seen[owned]]
    return {
        "ids": ids[pieces],
        "labels": piece_labels,
        "first": first,
        "windows": np.cumsum(np.bincount(window_of, weights=lengths, minlength=len(windows.begin))).astype(np.int64),
        "words": windows.own_end.astype(np.int64),
        "tags": gold,
        "sentences": sentences[1:],
    }


def _inside(labels: Labels) -> NDArray[np.int16]:
    """(K,) label of the later pieces of a word with label k: I- for B-, so that one entity stays one; the same else."""
    ids = labels.ids()
    inside = []
    for i, name in enumerate(labels.names):
        if labels.scheme is not Scheme.PLAIN and name.startswith("B-"):
            inside.append(ids.get("I-" + name[2:], IGNORED))
        else:
            inside.append(i)
    return np.array(inside, np.int16)


def _ranges(begin: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
    """begin[0] … end[0] - 1, begin[1] … end[1] - 1, … in one array."""
    lengths = end - begin
    offset = np.cumsum(lengths) - lengths
    return np.arange(int(lengths.sum())) - np.repeat(offset - begin, lengths)


class _ArrayWriter:
    """Appends to the raw array files of a split."""

    def __init__(self, directory: Path) -> None:
        self._files = {name: (directory / f"{name}.bin").open("wb") for name in _ARRAYS}

    def __enter__(self) -> _ArrayWriter:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def append(self, **arrays: Any) -> None:
        for name, values in arrays.items():
            np.asarray(values, _ARRAYS[name]).tofile(self._files[name])


def _map_array(path: Path, dtype: type) -> NDArray[Any]:
    return np.memmap(path, dtype, mode="r") if path.stat().st_size else np.zeros(0, dtype)


# ----- cache


def cached(root: Path, name: str, build: Callable[[Path], None], overwrite: bool = False) -> Path:
    """The directory ``root/name``, built once whoever asks first: complete or not there at all.

    ``build`` fills a directory of its own, which gets its name only when it is done; others that ask meanwhile wait.

    Raises:
        UserError: the cache cannot be written.
    """
    from filelock import FileLock

    target = root / name
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{name}.lock"):
            if target.exists() and overwrite:
                shutil.rmtree(target)
            if not target.exists():
                partial = root / f".{name}.partial"
                shutil.rmtree(partial, ignore_errors=True)  # left by one that was killed: we hold the lock
                partial.mkdir()
                try:
                    build(partial)
                    partial.rename(target)
                finally:
                    shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise UserError(f"{root}: the cache of tokenized data cannot be written: {error}; set data.cache_dir") from None
    return target


def _chunks(items: Iterable[Sentence], size: int) -> Iterator[list[Sentence]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _hash(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()
