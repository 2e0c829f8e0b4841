"""Text to windows of pieces, as flat arrays that are memory-mapped: what training and evaluation read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from determined_ner.files.cache import FORMAT, cached, hash_of
from determined_ner.errors import UserError
from determined_ner.settings.hyperparameters import DataSettings, HyperparameterError
from determined_ner.data.sources import Source
from determined_ner.data.tokenizer import WordTokenizer
from determined_ner.tags.entities import Scheme, bad_tags, to_iob2
from determined_ner.data.windows import plan_windows

_WINDOWS_AT_A_TIME = 1 << 16
BAD_TAGS_SHOWN = 20
IGNORED = -100
"""Label of a piece that no loss is taken over (PyTorch's cross entropy)."""
SETTINGS_FILE = "ner_settings.json"
"""In every checkpoint and model directory: settings, labels and tag scheme."""


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
    bad_tags: tuple[str, ...] = ()
    """The first of the tags repaired, each told with its place."""
    fingerprint: str = ""
    """Equal for the same text and tags, cut into the same pieces in the same way."""

    def lengths(self, specials: int) -> NDArray[np.int64]:
        """(W,) pieces of each window with its special ones."""
        return np.diff(self.windows) + specials

    def trained(self) -> NDArray[np.int64]:
        """(W,) labelled pieces of each window: what the loss is a mean over."""
        counts = np.empty(len(self.windows) - 1, np.int64)
        for begin in range(0, len(counts), _WINDOWS_AT_A_TIME):
            borders = self.windows[begin : begin + _WINDOWS_AT_A_TIME + 1]
            labelled = self.labels[borders[0] : borders[-1]] != IGNORED
            counts[begin : begin + len(borders) - 1] = np.add.reduceat(
                labelled, borders[:-1] - borders[0], dtype=np.int64
            )
        return counts


def read_text(path: Path) -> Iterator[pa.RecordBatch]:
    """The record batches of a text file of the cache, one at a time."""
    with pa.OSFile(str(path)) as source:  # a memory map would stay resident to its end
        reader = pa.ipc.open_file(source)
        for i in range(reader.num_record_batches):
            yield reader.get_batch(i)


_ARRAYS = {
    "ids": np.int32,
    "labels": np.int16,
    "first": np.bool_,
    "windows": np.int64,
    "words": np.int64,
    "tags": np.int16,
    "sentences": np.int64,
}


def cached_split(
    source: Source,
    text: Path,
    labels: Labels,
    settings: DataSettings,
    tokenizer: WordTokenizer,
    max_seq_length: int,
    cache_dir: Path,
    overwrite: bool,
) -> Split:
    """Tokenize a split's text and cut it into windows.

    Raises:
        UserError: a tag that training never saw, or a bad one where data.on_bad_tags says error.
        HyperparameterError: a stride that leaves no room.
    """
    capacity, stride = window_room(max_seq_length, settings.stride, tokenizer)
    how = [labels.names, labels.scheme.value, capacity, stride, settings.label_all_tokens, settings.on_bad_tags]
    key = hash_of([FORMAT, text.parent.name, tokenizer.fingerprint(), *how])
    encoder = _Encoder(source, labels, settings, tokenizer, capacity, stride)

    def build(directory: Path) -> None:
        piece_total = word_total = 0
        with _ArrayWriter(directory) as out:
            out.append(windows=[0], words=[0], sentences=[0])
            for batch in read_text(text):
                encoded = encoder.encode(batch)
                encoded["windows"] += piece_total
                encoded["words"] += word_total
                encoded["sentences"] += word_total
                out.append(**encoded)
                piece_total, word_total = int(encoded["windows"][-1]), int(encoded["sentences"][-1])
        found = {"counts": encoder.counts, "bad_tags": [asdict(bad) for bad in encoder.bad_tags]}
        (directory / "found.json").write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")

    directory = cached(cache_dir, f"windows-{key}", build, overwrite)
    arrays = {name: _map_array(directory / f"{name}.bin", dtype) for name, dtype in _ARRAYS.items()}
    found = json.loads((directory / "found.json").read_text(encoding="utf-8"))
    bad_tags = tuple(BadTag(**bad).told(source) for bad in found["bad_tags"])
    return Split(source.split, counts=found["counts"], bad_tags=bad_tags, fingerprint=key, **arrays)


def window_room(max_seq_length: int, stride: int | None, tokenizer: WordTokenizer) -> tuple[int, int]:
    """Pieces that a window holds beside its special ones, and pieces by which two overlap (a quarter unless given).

    Raises:
        HyperparameterError: a stride that leaves no room.
    """
    capacity = max_seq_length - tokenizer.specials
    stride = max_seq_length // 4 if stride is None else stride
    if not 0 <= stride < capacity:
        raise HyperparameterError(
            f"data.stride: {stride} must be less than the {capacity} pieces that a window of data.max_seq_length "
            f"{max_seq_length} holds beside its {tokenizer.specials} special ones"
        )
    return capacity, stride


@dataclass(frozen=True)
class BadTag:
    """A tag that was repaired. Its file is a position in the source's list: the same content may move elsewhere."""

    file: int
    line: int
    word: int
    """Its 1-based number in the sentence."""
    text: str
    tag: str
    before: str | None
    """The tag before it; None: it is the first."""

    def told(self, source: Source) -> str:
        before = "nothing" if self.before is None else repr(self.before)
        return (
            f"{source.files[self.file]}:{self.line}: tag {self.tag!r} of word {self.word} ({self.text!r}) of the "
            f"sentence that begins here, after {before}"
        )


class _Encoder:
    """Turns record batches of text into arrays, and counts what the user should know of."""

    def __init__(
        self,
        source: Source,
        labels: Labels,
        settings: DataSettings,
        tokenizer: WordTokenizer,
        capacity: int,
        stride: int,
    ) -> None:
        self._source = source
        self._labels = labels
        self._settings = settings
        self._tokenizer = tokenizer
        self._capacity = capacity
        self._stride = stride
        self._label_ids = labels.ids()
        self.counts = {"unknown_words": 0, "cut_words": 0, "repaired_tags": 0}
        self.bad_tags: list[BadTag] = []

    def _tag_ids(self, batch: pa.RecordBatch) -> NDArray[np.int16]:
        """(words,) label ids of a record batch."""
        ids: list[int] = []
        columns = (batch.column(name).to_pylist() for name in ("tags", "words", "file", "line"))
        for tags, words, file, line in zip(*columns, strict=True):
            try:
                converted, repaired = to_iob2(tags, self._labels.scheme)
            except ValueError:  # not a tag of the scheme at all: unknown as it stands
                converted, repaired = tags, 0
            if repaired:
                self._note_bad_tags(tags, words, file, line, repaired)
            try:
                ids.extend([self._label_ids[tag] for tag in converted])
            except KeyError:
                self._refuse_unknown(tags, converted, words, f"{self._source.files[file]}:{line}")
        return np.array(ids, np.int16)

    def _note_bad_tags(self, tags: list[str], words: list[str], file: int, line: int, repaired: int) -> None:
        self.counts["repaired_tags"] += repaired
        scheme = self._labels.scheme
        for i in bad_tags(tags, scheme):
            bad = BadTag(file, line, i + 1, words[i], tags[i], tags[i - 1] if i else None)
            if self._settings.on_bad_tags == "error":
                raise UserError(
                    f"{bad.told(self._source)}, is not allowed in {scheme.value}; correct it, or set "
                    f"data.on_bad_tags: repair"
                )
            if len(self.bad_tags) < BAD_TAGS_SHOWN:
                self.bad_tags.append(bad)

    def _refuse_unknown(self, tags: list[str], converted: list[str], words: list[str], where: str) -> None:
        i = next(i for i, tag in enumerate(converted) if tag not in self._label_ids)
        raise UserError(
            f"{where}: tag {tags[i]!r} of word {i + 1} ({words[i]!r}) of the sentence that begins here does not occur "
            f"in the training data, which has {', '.join(self._labels.names[:20])}; correct it, or add such a sentence "
            f"to the training data"
        )

    def encode(self, batch: pa.RecordBatch) -> dict[str, NDArray[Any]]:
        """Tokenize and cut one record batch; offsets count from its own beginning and leave out the leading 0."""
        gold = self._tag_ids(batch)
        texts = batch.column("words").to_pylist()
        documents = batch.column("document").to_numpy() if self._settings.context == "document" else None
        cut = cut_windows(self._tokenizer, texts, documents, self._capacity, self._stride)
        self.counts["unknown_words"] += cut.unknown_words
        self.counts["cut_words"] += cut.cut_words
        labels = np.full(len(cut.ids), IGNORED, np.int16)
        if self._settings.label_all_tokens:
            labels[cut.owned] = _inside(self._labels)[gold[cut.word[cut.owned]]]
        labels[cut.first] = gold[cut.word[cut.first]]
        return {
            "ids": cut.ids,
            "labels": labels,
            "first": cut.first,
            "windows": cut.windows[1:],
            "words": cut.words[1:],
            "tags": gold,
            "sentences": cut.sentences[1:],
        }


@dataclass(frozen=True)
class CutTexts:
    """S texts of N words as W windows of P pieces, special ones not among them."""

    ids: NDArray[np.int32]
    """(P,) pieces."""
    word: NDArray[np.int64]
    """(P,) the word that a piece belongs to."""
    owned: NDArray[np.bool_]
    """(P,) piece of a word, in the window that owns it."""
    first: NDArray[np.bool_]
    """(P,) first piece of a word, in the window that owns it."""
    windows: NDArray[np.int64]
    """(W + 1,) where each window begins in ids."""
    words: NDArray[np.int64]
    """(W + 1,) first word that each window owns."""
    sentences: NDArray[np.int64]
    """(S + 1,) first word of each text."""
    unknown_words: int
    """Words without a piece of their own."""
    cut_words: int
    """Words longer than a window, of which the first pieces are kept."""


def cut_windows(
    tokenizer: WordTokenizer,
    texts: Sequence[Sequence[str]],
    documents: Sequence[int] | NDArray[np.integer[Any]] | None,
    capacity: int,
    stride: int,
) -> CutTexts:
    """Tokenize texts given as words and cut them into windows: what training, evaluation and prediction read.

    Args:
        documents: (S,) each text's document, all of whose texts a window may see; None: its own text only.
        capacity: pieces a window holds, special ones not counted.
        stride: pieces by which two windows overlap.
    """
    sentences = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)
    borders = sentences
    if documents is not None:
        changes = np.flatnonzero(np.diff(documents)) + 1
        borders = sentences[np.concatenate([[0], changes, [len(texts)]]).astype(np.int64)]

    ids, per_word, unknown_words = tokenizer.pieces(texts)
    cut_words = int((per_word > capacity).sum())
    starts = np.concatenate([[0], np.cumsum(per_word)])  # of each word in ids
    per_word = np.minimum(per_word, capacity)
    windows = plan_windows(per_word, borders, capacity, stride)

    # Words seen by each window, then pieces of each word, both laid out flat.
    seen = _ranges(windows.begin, windows.end)
    window_of = np.repeat(np.arange(len(windows.begin)), windows.end - windows.begin)
    owned = (seen >= windows.own_begin[window_of]) & (seen < windows.own_end[window_of])
    lengths = per_word[seen]
    pieces = _ranges(starts[seen], starts[seen] + lengths)
    first = np.zeros(len(pieces), np.bool_)
    first[(np.cumsum(lengths) - lengths)[owned]] = True
    sizes = np.bincount(window_of, weights=lengths, minlength=len(windows.begin))
    return CutTexts(
        ids=ids[pieces],
        word=np.repeat(seen, lengths),
        owned=np.repeat(owned, lengths),
        first=first,
        windows=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        words=np.concatenate([[0], windows.own_end]).astype(np.int64),
        sentences=sentences,
        unknown_words=unknown_words,
        cut_words=cut_words,
    )


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
