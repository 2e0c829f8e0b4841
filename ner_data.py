"""Reading a data set into one validated, tokenized and memory-mapped form.

Two stages, each kept in the cache under a hash of all that it depends on, so that a second start, a second slot or
a second trial finds it ready: text (words and tags as they stand in the files, in Arrow) and windows (pieces and
tag ids, as flat arrays). Neither stage holds a whole corpus in Python objects.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa

from ner_cache import cached
from ner_encode import Labels, Split, cached_split, read_text
from ner_errors import UserError
from ner_hparams import DataSettings
from ner_readers import Sentence
from ner_sources import Source, find_sources
from ner_tokenizer import WordTokenizer
from ner_utils import Scheme, detect_scheme, label_list, to_iob2

_CHUNK = 4096  # sentences in memory at a time


@dataclass(frozen=True)
class Corpus:
    labels: Labels
    splits: dict[str, Split]
    """train, validation and, where given, test."""


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
    sources = {s.split: s for s in find_sources(settings, task)}
    texts = {split: _cached_text(source, settings, cache_dir) for split, source in sources.items()}
    labels = _find_labels(texts["train"], sources["train"])
    splits = {}
    for split, text in texts.items():
        _check_labels(text, sources[split], labels)
        splits[split] = cached_split(split, text, labels, settings, tokenizer, max_seq_length, cache_dir)
    return Corpus(labels, splits)


def _cached_text(source: Source, settings: DataSettings, cache_dir: Path) -> Path:
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


def _find_labels(text: Path, source: Source) -> Labels:
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


def _check_labels(text: Path, source: Source, labels: Labels) -> None:
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


def _chunks(items: Iterable[Sentence], size: int) -> Iterator[list[Sentence]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
