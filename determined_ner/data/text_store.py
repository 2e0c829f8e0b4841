"""The first stage of the cache: words and tags as they stand in the files, in Arrow, and what was found in them.

That is the tags, and which way of cutting raw text gives back the words.
"""

from __future__ import annotations

import functools
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
from determined_ner.tags.inventory import TagInventory, are_numbers
from determined_ner.tags.labels import MOST_LABELS, Labels, with_declared
from determined_ner.tags.schemes import Scheme, split_tag
from determined_ner.tags.spelling import IGNORED_MARK, STANDARD, Spelling, why_stray

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

    @functools.cached_property
    def _found(self) -> dict[str, Any]:
        return _read_found(self.directory)

    @functools.cached_property
    def tags(self) -> TagInventory:
        """The different tags in it.

        Raises:
            UserError: there are more than there may be labels.
        """
        if "too_many" in self._found:
            raise UserError(self.source.title, *_too_many(self._found["too_many"]))
        return TagInventory.of_json(self._found)

    def labels(self, task: str = "ner") -> Labels:
        """The labels found in its tags, after those that its data set declares.

        Args:
            task: what the tags are for: ``ner``, ``pos`` or ``chunk``.

        Raises:
            UserError: the tags mix two schemes, are as many as words are, or one of them is none as the others are.
        """
        spelling = self.tags.spelling_for(task)
        strays = [] if spelling is None else spelling.strays(self.tags.counts)
        for tag in (IGNORED_MARK, *strays):
            if tag in self.tags.counts:
                raise self._stray_error(tag)
        try:
            found = self.tags.labels(spelling)
        except ValueError as error:
            raise UserError(self.source.title, str(error)) from None
        if len(found.names) > FEW_LABELS and len(found.names) > sum(self.tags.counts.values()) / 2:
            raise UserError(self.source.title, *_too_many(len(found.names)))
        labels = with_declared(found, self.source.names)
        if len(labels.names) > MOST_LABELS:
            raise UserError(self.source.title, *_too_many(len(labels.names)))
        return labels

    def spelling_under(self, labels: Labels) -> Spelling:
        """How its tags are read by a model of these labels, which are of entities: as those of the training were, if
        they can be; else by their own spelling, if that comes to the same types.

        Raises:
            UserError: a tag that is none.
        """
        types = {parts[1] for parts in map(split_tag, labels.names) if parts is not None}

        def fits(spelling: Spelling) -> bool:
            parts = map(spelling.split, self.tags.counts)
            return all(part is not None and (part[0] == "O" or part[1] in types) for part in parts)

        own = self.tags.spelling
        spelling = labels.spelling if own is None or fits(labels.spelling) or not fits(own) else own
        if strays := spelling.strays(self.tags.counts):
            raise self._stray_error(strays[0])
        return spelling

    def describe_tags(self, labels: Labels) -> str:
        """How its tags are read, in one line; "" where it is as they stand in the files."""
        return "" if labels.scheme is Scheme.PLAIN else self.spelling_under(labels).describe(self.tags.counts)

    def why_plain(self) -> tuple[str, str]:
        """Why its tags are no tags of entities, and what to do if they are."""
        tags = self.tags
        if are_numbers(tags.counts):
            numbers = sorted(tags.counts, key=int)
            shown = ", ".join(numbers[:6]) + (", …" if len(numbers) > 6 else "")
            return f"numbers without names ({shown})", "name them, from 0 on: data.label_names: [O, B-PER, I-PER, …]"
        odd = next((tag for tag in tags.counts if STANDARD.split(tag) is None), next(iter(tags.counts)))
        at = tags.places[odd]
        word = f"{self.source.files[at.file]}:{at.line} has {odd!r} for word {at.word} ({at.text!r})"
        return f"{word}, which is neither O nor like B-PER", "where they are, write O, B-PER, I-PER"

    def _stray_error(self, tag: str) -> UserError:
        """The refusal of a tag that is none where the others are tags of entities."""
        at = self.tags.places[tag]
        problem, remedy = why_stray(tag)
        return UserError(
            f"{self.source.files[at.file]}:{at.line}",
            f"tag {tag!r} of word {at.word} ({at.text!r}) of the sentence that begins here {problem}",
            remedy,
        )

    def better_splitting(self) -> WordSplitting:
        """How raw text has to be cut so that more of these words come out."""
        splitting: WordSplitting = self._found["better_splitting"]
        return splitting

    def repairs(self) -> list[RepairsOfAKind]:
        """What was read otherwise than it stands in the files."""
        return RepairCounts.of_json(self._found["repairs"])

    def parted_words(self) -> dict[str, int]:
        """Of its tagged words how many come out otherwise when raw text is cut, as `splitting.SplittingChoice.parted`;
        those of the first sentences."""
        parted: dict[str, int] = self._found["parted_words"]
        return parted


def store_text(
    source: Source, settings: DataSettings, cache_dir: Path, overwrite: bool = False, chunk_words: int = CHUNK_WORDS
) -> StoredText:
    """Write a split's sentences to Arrow and find their tags, in one pass; or find them in the cache.

    Args:
        overwrite: read again even if the cache has them.
        chunk_words: words of a record batch, about.

    Raises:
        UserError: what the readers raise, no sentence at all, or no documents where data.context asks for them.
    """
    whole = settings.context == "document"
    key = f"{source.key}{'-documents' if whole else ''}"

    def build(directory: Path) -> None:
        rows, documents, inventory, choice, hidden = 0, set(), TagInventory(), SplittingChoice(), False
        repairs = RepairCounts()
        with pa.OSFile(str(directory / "text.arrow"), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            for chunk in _chunks(source.sentences(), whole, chunk_words):
                rows += len(chunk)
                documents |= {sentence.document for _, sentence in (chunk[0], chunk[-1])}  # they ascend
                for file, sentence in chunk:
                    repairs.add(sentence, file)
                    inventory.add(sentence.tags or [], sentence.words, file, sentence.line)
                    choice.add(sentence.words, sentence.tags or [], sentence.cut_by)
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
        found = {**inventory.as_json(), **splitting, "hidden_characters": hidden, "repairs": repairs.as_json()}
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
    """What `store_text` found: tags, splitting, hidden characters."""
    found: dict[str, Any] = json.loads((directory / "found.json").read_text(encoding="utf-8"))
    return found


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
