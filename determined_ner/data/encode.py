"""Text to windows of pieces, as flat arrays that are memory-mapped: what training and evaluation read."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from determined_ner.data.repairs import BadTag
from determined_ner.data.source import Source
from determined_ner.data.split import IGNORED, Split
from determined_ner.data.text_store import StoredText
from determined_ner.data.tokenizer import WordTokenizer
from determined_ner.data.windows import cut_windows, window_room
from determined_ner.errors import UserError
from determined_ner.files.cache import FORMAT, build_once, hash_parts
from determined_ner.settings.data import DataSettings
from determined_ner.tags.labels import Labels
from determined_ner.tags.schemes import Scheme, bad_tags, to_iob2
from determined_ner.tags.spelling import STANDARD, Spelling

BAD_TAGS_SHOWN = 20
"""Repaired tags of a split that are kept with their places."""

_ARRAYS = {
    "ids": np.int32,
    "labels": np.int16,
    "is_first_piece": np.bool_,
    "windows": np.int64,
    "words": np.int64,
    "tags": np.int16,
    "sentences": np.int64,
}
"""Fields of a `Split` that are files of the cache."""


def encode_split(
    text: StoredText,
    labels: Labels,
    settings: DataSettings,
    tokenizer: WordTokenizer,
    max_seq_length: int,
    cache_dir: Path,
    overwrite: bool = False,
) -> Split:
    """Tokenize a split's text and cut it into windows, or find them in the cache.

    Args:
        max_seq_length: pieces a window holds, special ones included.
        overwrite: tokenize again even if the cache has them.

    Raises:
        UserError: a tag that training never saw, or a bad one where data.on_bad_tags says error.
        HyperparameterError: a stride that leaves no room.
    """
    capacity, stride = window_room(max_seq_length, settings.stride, tokenizer)
    spelling = STANDARD if labels.scheme is Scheme.PLAIN else text.spelling_under(labels)
    how = [labels.names, labels.scheme.value, capacity, stride, settings.label_all_tokens, settings.on_bad_tags]
    spelled = [] if spelling.standard else [spelling.as_json()]
    key = hash_parts([FORMAT, text.key, tokenizer.fingerprint(), *how, *spelled])
    encoder = _Encoder(text.source, labels, spelling, settings, tokenizer, capacity, stride)

    def build(directory: Path) -> None:
        piece_total = word_total = 0
        with _ArrayWriter(directory) as out:
            out.append(windows=[0], words=[0], sentences=[0])
            for batch in text.batches():
                encoded = encoder.encode(batch)
                encoded["windows"] += piece_total
                encoded["words"] += word_total
                encoded["sentences"] += word_total
                out.append(**encoded)
                piece_total, word_total = int(encoded["windows"][-1]), int(encoded["sentences"][-1])
        found = {"counts": encoder.counts, "bad_tags": [asdict(bad) for bad in encoder.bad_tags]}
        (directory / "found.json").write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")

    directory = build_once(cache_dir, f"encoded-{key}", build, overwrite)
    arrays = {name: _map_array(directory / f"{name}.bin", dtype) for name, dtype in _ARRAYS.items()}
    found = json.loads((directory / "found.json").read_text(encoding="utf-8"))
    bad_tags = tuple(BadTag(**bad).describe(text.source) for bad in found["bad_tags"])
    return Split(text.source.split, counts=found["counts"], bad_tags=bad_tags, fingerprint=key, **arrays)


def join_splits(train: Split, unlabelled: Split, cache_dir: Path, overwrite: bool = False) -> Split:
    """The windows of both as those of one split; those of the second without labels and tags.

    In the cache, as each of them is: neither is read into memory.
    """
    key = hash_parts([FORMAT, "joined", train.fingerprint, unlabelled.fingerprint])

    def build(directory: Path) -> None:
        with _ArrayWriter(directory) as out:
            out.append(**{name: getattr(train, name) for name in _ARRAYS})
            none = {name: np.full_like(getattr(unlabelled, name), IGNORED) for name in ("labels", "tags")}
            begins = {"windows": len(train.ids), "words": len(train.tags), "sentences": len(train.tags)}
            further = {name: getattr(unlabelled, name)[1:] + begin for name, begin in begins.items()}
            out.append(ids=unlabelled.ids, is_first_piece=unlabelled.is_first_piece, **none, **further)

    directory = build_once(cache_dir, f"joined-{key}", build, overwrite)
    arrays = {name: _map_array(directory / f"{name}.bin", dtype) for name, dtype in _ARRAYS.items()}
    return Split(train.name, counts=train.counts, bad_tags=train.bad_tags, fingerprint=key, **arrays)


class _Encoder:
    """Turns record batches of text into arrays, and counts what the user should know about."""

    def __init__(
        self,
        source: Source,
        labels: Labels,
        spelling: Spelling,
        settings: DataSettings,
        tokenizer: WordTokenizer,
        capacity: int,
        stride: int,
    ) -> None:
        self._source = source
        self._spelling = spelling
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
        for given, words, file, line in zip(*columns, strict=True):
            tags = given if self._labels.scheme is Scheme.PLAIN else self._spelling.respell(given)
            converted, repaired = to_iob2(tags, self._labels.scheme)
            if repaired:
                self._note_bad_tags(given, tags, words, file, line, repaired)
            try:
                ids.extend([self._label_ids[tag] for tag in converted])
            except KeyError:
                self._refuse_unknown(given, converted, words, f"{self._source.files[file]}:{line}")
        return np.array(ids, np.int16)

    def _note_bad_tags(
        self, given: list[str], tags: list[str], words: list[str], file: int, line: int, repaired: int
    ) -> None:
        self.counts["repaired_tags"] += repaired
        scheme = self._labels.scheme
        for i in bad_tags(tags, scheme):
            bad = BadTag(file, line, i + 1, words[i], given[i], given[i - 1] if i else None)
            if self._settings.on_bad_tags == "error":
                raise bad.refused(self._source, scheme, "correct it, or set data.on_bad_tags: repair")
            if len(self.bad_tags) < BAD_TAGS_SHOWN:
                self.bad_tags.append(bad)

    def _refuse_unknown(self, tags: list[str], converted: list[str], words: list[str], where: str) -> None:
        i = next(i for i, tag in enumerate(converted) if tag not in self._label_ids)
        raise UserError(
            where,
            f"tag {tags[i]!r} of word {i + 1} ({words[i]!r}) of the sentence that begins here does not occur in the "
            f"training data, which has {', '.join(self._labels.names[:20])}",
            "correct it, or add such a sentence to the training data",
        )

    def encode(self, batch: pa.RecordBatch) -> dict[str, NDArray[Any]]:
        """Tokenize and cut one record batch.

        Returns:
            the arrays of a `Split`; offsets count from the beginning of the batch and leave out the leading 0.
        """
        gold = self._tag_ids(batch)
        texts = batch.column("words").to_pylist()
        documents = batch.column("document").to_numpy() if self._settings.context == "document" else None
        cut = cut_windows(self._tokenizer, texts, documents, self._capacity, self._stride)
        self.counts["unknown_words"] += cut.unknown_words
        self.counts["cut_words"] += cut.cut_words
        labels = np.full(len(cut.ids), IGNORED, np.int16)
        if self._settings.label_all_tokens:
            labels[cut.owned] = _inside(self._labels)[gold[cut.word[cut.owned]]]
        labels[cut.is_first_piece] = gold[cut.word[cut.is_first_piece]]
        return {
            "ids": cut.ids,
            "labels": labels,
            "is_first_piece": cut.is_first_piece,
            "windows": cut.windows[1:],
            "words": cut.words[1:],
            "tags": gold,
            "sentences": cut.sentences[1:],
        }


def _inside(labels: Labels) -> NDArray[np.int16]:
    """(K,) label of the later pieces of a word with label k: I-X for B-X, so that one entity stays one; else k itself.

    IGNORED where training has no I-X.
    """
    ids = labels.ids()
    inside = []
    for i, name in enumerate(labels.names):
        if labels.scheme is not Scheme.PLAIN and name.startswith("B-"):
            inside.append(ids.get("I-" + name[2:], IGNORED))
        else:
            inside.append(i)
    return np.array(inside, np.int16)


class _ArrayWriter:
    """Appends to the files of a split's arrays, which are raw."""

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
