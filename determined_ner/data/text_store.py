"""The first stage of the cache: words and tags as they stand in the files, in Arrow, and what was found in them.

That is the labels, and which way of cutting raw text gives back the words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from determined_ner.data.repairs import RepairCounts, RepairsOfAKind
from determined_ner.data.source import Numbered, Source
from determined_ner.data.splitting import SplittingChoice
from determined_ner.data.words import WordSplitting, has_hidden, visible
from determined_ner.errors import UserError
from determined_ner.files.cache import build_once
from determined_ner.settings.data import DataSettings
from determined_ner.tags.labels import MOST_LABELS, Labels, TagInventory, with_declared
from determined_ner.tags.schemes import Scheme

CHUNK_WORDS = 1 << 16
"""Words in memory at a time, about; a longer document is too, where documents are kept whole."""

FEW_LABELS = 100
"""Fewer are never too many, however little text there is."""

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
class StoredText:
    """A split's sentences in the cache."""

    source: Source
    key: str
    """Names its content, and how it is read and cut into record batches; part of `Split.fingerprint`."""
    directory: Path

    @property
    def file(self) -> Path:
        """The Arrow file, of `SCHEMA`."""
        return self.directory / "text.arrow"

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read its record batches, one at a time."""
        with pa.OSFile(str(self.file)) as source:  # a memory map would stay resident to its end
            reader = pa.ipc.open_file(source)
            for i in range(reader.num_record_batches):
                yield reader.get_batch(i)

    def has_documents(self) -> bool:
        """Whether it says which sentences make a document."""
        with pa.OSFile(str(self.file)) as source:
            reader = pa.ipc.open_file(source)
            last = reader.get_batch(reader.num_record_batches - 1).column("document")
            return bool(last[-1].as_py() > 0)  # they ascend

    def labels(self) -> Labels:
        """The labels found in its tags, after those that its data set declares.

        Raises:
            UserError: the tags mix two schemes, or are as many as words are.
        """
        found = _read_found(self.directory)
        if "problem" in found:
            raise UserError(self.source.title, found["problem"], found.get("remedy", ""))
        labels = with_declared(Labels(tuple(found["names"]), Scheme(found["scheme"])), self.source.names)
        if len(labels.names) > MOST_LABELS:
            raise UserError(self.source.title, *_too_many(len(labels.names)))
        return labels

    def better_splitting(self) -> WordSplitting:
        """How raw text has to be cut so that more of these words come out."""
        splitting: WordSplitting = _read_found(self.directory)["better_splitting"]
        return splitting

    def repairs(self) -> list[RepairsOfAKind]:
        """What was read otherwise than it stands in the files."""
        return RepairCounts.of_json(_read_found(self.directory)["repairs"])

    def parted_words(self) -> dict[str, int]:
        """Of its tagged words how many come out otherwise when raw text is cut, as `splitting.SplittingChoice.parted`;
        those of the first sentences."""
        parted: dict[str, int] = _read_found(self.directory)["parted_words"]
        return parted


def store_text(
    source: Source, settings: DataSettings, cache_dir: Path, overwrite: bool = False, chunk_words: int = CHUNK_WORDS
) -> StoredText:
    """Write a split's sentences to Arrow and find their labels, in one pass; or find them in the cache.

    Args:
        overwrite: read again even if the cache has them.
        chunk_words: words of a record batch, about.

    Raises:
        UserError: what the readers raise, no sentence at all, or no documents where data.context asks for them.
    """
    whole = settings.context == "document"
    key = f"{source.key}{'-documents' if whole else ''}"

    def build(directory: Path) -> None:
        rows, words, documents, inventory, choice, hidden = 0, 0, set(), TagInventory(), SplittingChoice(), False
        repairs = RepairCounts()
        with pa.OSFile(str(directory / "text.arrow"), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            for chunk in _chunks(source.sentences(), whole, chunk_words):
                rows += len(chunk)
                documents |= {sentence.document for _, sentence in (chunk[0], chunk[-1])}  # they ascend
                for file, sentence in chunk:
                    repairs.add(sentence, file)
                    inventory.add(sentence.tags or [])
                    words += len(sentence.words)
                    choice.add(sentence.words, sentence.tags or [])
                    hidden = hidden or _lose_characters(sentence.words)
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
                source.title,
                f"no sentence is left for {source.split}",
                "give more text or change data.validation_split_percentage",
            )
        if whole and len(documents) == 1 and rows > 1:
            raise UserError(
                source.title,
                "data.context is document, but no documents are marked",
                "mark them by -DOCSTART- or # newdoc lines or by a column (data.document_column_name), or drop "
                "data.context",
            )
        splitting = {"better_splitting": choice.better(), "parted_words": choice.parted}
        found = {**_describe(inventory, words), **splitting, "hidden_characters": hidden}
        found["repairs"] = repairs.as_json()
        (directory / "found.json").write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")

    # A directory of its own name: those that earlier versions made, words-…, text-… and sentences-…, hold less.
    directory = build_once(cache_dir, f"tagged-{key}", build, overwrite)
    # Earlier versions fed hidden characters to the tokenizer: windows of such text have another key than theirs.
    kind = "visible" if _read_found(directory)["hidden_characters"] else "text"
    return StoredText(source, f"{kind}-{key}", directory)


def _lose_characters(words: Sequence[str]) -> bool:
    """Whether one of the words is not all `visible`."""
    return has_hidden("".join(words)) and any(visible(word) != word for word in words)


def _read_found(directory: Path) -> dict[str, Any]:
    """What `store_text` found: labels, splitting, hidden characters."""
    found: dict[str, Any] = json.loads((directory / "found.json").read_text(encoding="utf-8"))
    return found


def _describe(inventory: TagInventory, words: int) -> dict[str, object]:
    """The labels as ``found.json`` has them, or what is wrong with them, which matters in the training data alone."""
    try:
        labels = inventory.labels()
    except ValueError as error:
        return {"problem": str(error)}
    count = len(labels.names)
    if count > MOST_LABELS or (count > FEW_LABELS and count > words / 2):
        problem, remedy = _too_many(count)
        return {"problem": problem, "remedy": remedy}
    return {"names": labels.names, "scheme": labels.scheme.value}


def _too_many(labels: int) -> tuple[str, str]:
    """Problem and remedy where the tags are rather words, or numbers of lines."""
    problem = f"{labels:,} labels (at most {MOST_LABELS:,}, and fewer than there are words): is this the tag column?"
    return problem, "name the right one (data.label_column_name)"


def _chunks(sentences: Iterable[Numbered], whole_documents: bool, chunk_words: int) -> Iterator[list[Numbered]]:
    """Cut sentences into runs of about ``chunk_words`` words, each document whole where asked to."""
    chunk: list[Numbered] = []
    words = 0
    for file, sentence in sentences:
        if words >= chunk_words and not (whole_documents and sentence.document == chunk[-1][1].document):
            yield chunk
            chunk, words = [], 0
        chunk.append((file, sentence))
        words += len(sentence.words)
    if chunk:
        yield chunk
