"""Small corpora in files, data sets and arrays, and what was read of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from determined_ner.data.split import Split
from determined_ner.tags.labels import Labels


def files(corpus: dict[str, Path]) -> dict[str, str]:
    return {f"{split}_file": str(file) for split, file in corpus.items()}


def tags_of(split: Split, labels: Labels) -> list[list[str]]:
    tags = [labels.names[i] for i in split.tags]
    return [tags[b:e] for b, e in zip(split.sentences[:-1], split.sentences[1:], strict=True)]


def with_documents(path: Path, sizes: list[list[int]]) -> Path:
    """Documents of sentences of so many one-letter words."""
    lines = []
    for document in sizes:
        lines += ["-DOCSTART-\tO", ""]
        for size in document:
            lines += [f"{'abcdefgh'[i % 8]}\t{'B-X' if i == 0 else 'O'}" for i in range(size)] + [""]
    path.write_text("\n".join(lines))
    return path


def save_dataset(path: Path, names: list[str] | None = None, label: str = "ner_tags", **parts) -> str:
    """A data set whose parts are rows of words and tags (numbers, where their names are given)."""
    import datasets

    features = None
    if names:
        tags = datasets.Sequence(datasets.ClassLabel(names=names))
        features = datasets.Features({"tokens": datasets.Sequence(datasets.Value("string")), label: tags})
    made = {
        part: datasets.Dataset.from_dict({"tokens": [w for w, _ in rows], label: [t for _, t in rows]}, features)
        for part, rows in parts.items()
    }
    datasets.DatasetDict(made).save_to_disk(path)
    return str(path)


def make_split(sizes: Sequence[int]) -> Split:
    """A split whose windows are sentences of one-piece words; piece i of the split has id 10 + i."""
    total = sum(sizes)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    tags = (np.arange(total) % 3).astype(np.int16)
    return Split(
        name="train",
        ids=np.arange(10, 10 + total, dtype=np.int32),
        labels=tags,
        is_first_piece=np.ones(total, np.bool_),
        windows=starts,
        words=starts,
        tags=tags,
        sentences=starts,
        counts={},
    )
