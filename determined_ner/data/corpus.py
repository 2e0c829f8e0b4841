"""Reading a data set into one validated, tokenized and memory-mapped form.

Two stages, each kept in the cache under a hash of all that it depends on, so that a second start, a second slot or
a second trial finds it ready: text (words and tags as they stand in the files, in Arrow) and windows (pieces and
tag ids, as flat arrays). Neither stage holds a whole corpus in Python objects.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from determined_ner.files.cache import cached
from determined_ner.data.encode import Labels, Split, cached_split, read_text
from determined_ner.errors import UserError
from determined_ner.settings.hyperparameters import DataSettings
from determined_ner.data.sources import Numbered, Source, find_sources
from determined_ner.data.tokenizer import WordTokenizer
from determined_ner.tags.entities import Scheme, detect_scheme, label_list, to_iob2

_CHUNK_WORDS = 1 << 16  # in memory at a time; a longer document, where documents are kept whole, is too

SCHEMA = pa.schema(
    {
        "words": pa.list_(pa.string()),
        "tags": pa.list_(pa.string()),
        "file": pa.int32(),
        "line": pa.int64(),
        "document": pa.int64(),
    }
)
"""A sentence in the cache: ``file`` is a position in its source's list, ``line`` where it begins there."""


@dataclass(frozen=True)
class Corpus:
    labels: Labels
    splits: dict[str, Split]
    """train, validation and, where given, test."""


def load_corpus(
    settings: DataSettings,
    task: str,
    tokenizer: WordTokenizer,
    max_seq_length: int,
    cache_dir: Path,
    overwrite: bool = False,
) -> Corpus:
    """Read, check and tokenize all splits, or take them from the cache.

    Args:
        task: prefix of the label column looked for first, ``ner`` for ``ner_tags``.
        max_seq_length: pieces a window holds, special ones included.
        cache_dir: made if need be.
        overwrite: read and tokenize again; of processes that share a cache, one asks for it and the others wait.

    Raises:
        UserError: with file and line, whatever is wrong with the data.
        HyperparameterError: stride and max_seq_length that do not go together.
    """
    if settings.preprocessing_num_workers:
        os.environ.setdefault("RAYON_NUM_THREADS", str(settings.preprocessing_num_workers))
    sources = {source.split: source for source in find_sources(settings, task)}
    texts = {split: cached_text(source, settings, cache_dir, overwrite) for split, source in sources.items()}
    labels = cached_labels(texts["train"], sources["train"], cache_dir, overwrite)
    splits = {
        split: cached_split(sources[split], text, labels, settings, tokenizer, max_seq_length, cache_dir, overwrite)
        for split, text in texts.items()
    }
    return Corpus(labels, splits)


def cached_text(source: Source, settings: DataSettings, cache_dir: Path, overwrite: bool = False) -> Path:
    """Write a split's sentences to Arrow, in record batches of about _CHUNK_WORDS words.

    Raises:
        UserError: what the readers find, no sentence at all, or no documents where they are asked for.
    """
    whole = settings.context == "document"

    def build(directory: Path) -> None:
        rows, documents = 0, set()
        with pa.OSFile(str(directory / "text.arrow"), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            for chunk in _chunks(source.sentences(), whole):
                rows += len(chunk)
                documents |= {s.document for _, s in chunk[:: max(1, len(chunk) - 1)]}  # non-decreasing
                columns = [
                    [s.words for _, s in chunk],
                    [s.tags for _, s in chunk],
                    [file for file, _ in chunk],
                    [s.line for _, s in chunk],
                    [s.document for _, s in chunk],
                ]
                arrays = [pa.array(c, t) for c, t in zip(columns, SCHEMA.types, strict=True)]
                writer.write_batch(pa.record_batch(arrays, schema=SCHEMA))
        if rows == 0:
            raise UserError(
                f"{', '.join(source.files)}: no sentence is left for {source.split}; "
                f"give more text or change data.validation_split_percentage"
            )
        if whole and len(documents) == 1 and rows > 1:
            raise UserError(
                f"{', '.join(source.files)}: data.context is document, but no documents are marked; mark them by "
                f"-DOCSTART- or # newdoc lines or by a column (data.document_column_name), or drop data.context"
            )

    name = f"text-{source.key}{'-documents' if whole else ''}"
    return cached(cache_dir, name, build, overwrite) / "text.arrow"


def _chunks(sentences: Iterable[Numbered], whole_documents: bool) -> Iterator[list[Numbered]]:
    """Runs of about _CHUNK_WORDS words; where asked to, a document is not cut."""
    chunk: list[Numbered] = []
    words = 0
    for file, sentence in sentences:
        if words >= _CHUNK_WORDS and not (whole_documents and sentence.document == chunk[-1][1].document):
            yield chunk
            chunk, words = [], 0
        chunk.append((file, sentence))
        words += len(sentence.words)
    if chunk:
        yield chunk


def cached_labels(text: Path, source: Source, cache_dir: Path, overwrite: bool) -> Labels:
    """The labels of the training data, and the scheme of its tags."""

    def build(directory: Path) -> None:
        labels = _find_labels(text, source)
        described = {"names": labels.names, "scheme": labels.scheme.value}
        (directory / "labels.json").write_text(json.dumps(described), encoding="utf-8")

    directory = cached(cache_dir, f"labels-{text.parent.name}", build, overwrite)
    saved = json.loads((directory / "labels.json").read_text(encoding="utf-8"))
    return Labels(tuple(saved["names"]), Scheme(saved["scheme"]))


def _find_labels(text: Path, source: Source) -> Labels:
    try:
        scheme = detect_scheme(tags for batch in read_text(text) for tags in batch.column("tags").to_pylist())
    except ValueError as error:
        raise UserError(f"{', '.join(source.files)}: {error}") from None
    found: set[str] = set()
    for batch in read_text(text):
        for tags in batch.column("tags").to_pylist():
            found.update(to_iob2(tags, scheme)[0])
    names = label_list(found, scheme)
    if scheme is Scheme.PLAIN and all(name.lstrip("-").isdigit() for name in names):
        names = sorted(names, key=int)
    return Labels(_with_declared(names, source.names, scheme), scheme)


def _with_declared(found: list[str], declared: tuple[str, ...] | None, scheme: Scheme) -> tuple[str, ...]:
    """The labels found in training, after those that a data set declares, in its order.

    What it declares counts only where it is what the tags are converted to: not S-PER, but of IOB1 the I-PER.
    """
    if declared is None or not (scheme is Scheme.PLAIN or all(_is_iob2(name) for name in declared)):
        return tuple(found)
    if scheme is Scheme.IOB1:  # an entity is of a declared type though training has none of it
        begins = {tag for name in declared for tag in to_iob2([name], scheme)[0]}
        found = label_list({*found, *begins}, scheme)
    return (*declared, *(name for name in found if name not in declared))


def _is_iob2(name: str) -> bool:
    return name == "O" or name.startswith(("B-", "I-"))


if __name__ == "__main__":
    import determined_ner.check.command as ner_check

    raise SystemExit(ner_check.main())
