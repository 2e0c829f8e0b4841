"""What each word is taken for by the model of the fold that left it out, kept in Parquet, and read back as one text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from determined_ner.files.atomic import replacing
from determined_ner.report.tagged_text import Ints, TaggedText
from determined_ner.report.text import read_labelled, tagged_parts
from determined_ner.tagging.tagger import Tagger
from determined_ner.tags.decoding import allowed_transitions, best_tags
from determined_ner.tags.entities import TagTable
from determined_ner.tags.lattice import softmax
from determined_ner.tags.schemes import Scheme
from determined_ner.training.trained import Trained

Floats = NDArray[np.float64]

SCHEMA = pa.schema(
    {
        "file": pa.int32(),
        "line": pa.int64(),
        "document": pa.int64(),
        "words": pa.list_(pa.string()),
        "tags": pa.list_(pa.int16()),
        "log_probabilities": pa.list_(pa.float32()),
    }
)
"""One row a sentence. ``tags`` are ids of the labels; the K log-probabilities of each word stand one after the other.

A logarithm keeps its digits both of a probability near 0 and of what one near 1 lacks.
"""


@dataclass(frozen=True)
class OutOfFold:
    """N words in S sentences, and what models that have not seen them give to each of K labels."""

    files: tuple[str, ...]
    labels: tuple[str, ...]
    """(K,) IOB2 or plain."""
    plain: bool
    words: list[list[str]]
    lines: list[tuple[int, int]]
    """(S,) file and line where each sentence begins."""
    documents: Ints
    """(S,) number of the document that each sentence is in, non-decreasing."""
    sentences: Ints
    """(S + 1,) first word of each sentence, and N."""
    given: NDArray[np.int16]
    """(N,) ids of the tags that people gave."""
    probabilities: Floats
    """(N, K) of each label."""
    fold: Ints
    """(S,) which fold each sentence is in, from 1."""

    def place(self, sentence: int) -> str:
        """``file:line``, without the file's folder."""
        file, line = self.lines[sentence]
        return f"{Path(self.files[file]).name}:{line}"

    def tagged(self, name: str) -> TaggedText:
        """The text beside the tags of the models, as scores are computed from it.

        Args:
            name: of the models.
        """
        best = self.probabilities.argmax(1)
        return TaggedText(
            name=name,
            table=TagTable(self.labels, plain=self.plain),
            sentences=self.sentences,
            documents=self.documents,
            words=self.words,
            place=self.place,
            gold=self.given,
            tags=best,
            decoded=self._decoded,
            confidence=np.take_along_axis(self.probabilities, best[:, None], 1)[:, 0],
        )

    @cached_property
    def _decoded(self) -> Ints:
        """(N,) ids of the most probable tags that the scheme allows together."""
        scheme = Scheme.PLAIN if self.plain else Scheme.IOB2
        with np.errstate(divide="ignore"):
            logarithms = np.log(self.probabilities)
        return best_tags(logarithms, self.sentences, allowed_transitions(self.labels, scheme))

    def of_fold(self, fold: int) -> OutOfFold:
        """The sentences of one fold alone."""
        chosen = np.flatnonzero(self.fold == fold)
        return _take(self, chosen)


def write_predictions(trained: Trained, file: Path) -> None:
    """Tag the validation data of a fold's run by its model, and keep what comes out.

    Raises:
        UserError: the model or its data is not at hand.
    """
    text = read_labelled(trained, None)
    tagger = Tagger.from_directory(trained.directory)
    logarithms = np.empty((len(text.gold), len(tagger.labels)), np.float32)
    for here, tagged in tagged_parts(tagger, trained.name, text):
        with np.errstate(divide="ignore"):
            logarithms[here] = np.log(softmax(tagged.logits))
    table = pa.table(
        [
            pa.array([place[0] for place in text.lines], pa.int32()),
            pa.array([place[1] for place in text.lines], pa.int64()),
            pa.array(text.documents, pa.int64()),
            pa.array(text.words, pa.list_(pa.string())),
            pa.ListArray.from_arrays(pa.array(text.sentences, pa.int32()), pa.array(text.gold, pa.int16())),
            pa.ListArray.from_arrays(
                pa.array(text.sentences * len(tagger.labels), pa.int32()), pa.array(logarithms.ravel(), pa.float32())
            ),
        ],
        schema=SCHEMA.with_metadata(
            {
                "labels": json.dumps(tagger.labels, ensure_ascii=False),
                "plain": json.dumps(tagger.label_scheme is Scheme.PLAIN),
                "files": json.dumps(text.files, ensure_ascii=False),
            }
        ),
    )
    with replacing(file) as partial:
        pq.write_table(table, partial, compression="zstd")


def read_predictions(files: Sequence[Path]) -> OutOfFold:
    """The predictions of all folds, in the order in which the sentences stand in their files.

    Args:
        files: of `write_predictions`, fold after fold.
    """
    tables = [pq.read_table(file) for file in files]
    said = tables[0].schema.metadata
    assert all(table.schema.metadata == said for table in tables), "folds of one text have the same labels"
    labels = tuple(json.loads(said[b"labels"]))
    columns: dict[str, Any] = {name: [] for name in SCHEMA.names}
    logarithms: list[NDArray[np.float32]] = []
    for table in tables:
        for name in ("file", "line", "document", "words", "tags"):
            columns[name] += table.column(name).to_pylist()
        flat = table.column("log_probabilities").combine_chunks().flatten().to_numpy(zero_copy_only=False)
        logarithms.append(flat.reshape(-1, len(labels)))
    probabilities = np.exp(np.concatenate(logarithms).astype(np.float64))
    probabilities /= probabilities.sum(1, keepdims=True)
    lengths = [len(tags) for tags in columns["tags"]]
    pooled = OutOfFold(
        files=tuple(json.loads(said[b"files"])),
        labels=labels,
        plain=json.loads(said[b"plain"]),
        words=columns["words"],
        lines=list(zip(columns["file"], columns["line"], strict=True)),
        documents=np.array(columns["document"], np.int64),
        sentences=np.concatenate([[0], np.cumsum(lengths)]),
        given=np.array([tag for tags in columns["tags"] for tag in tags], np.int16),
        probabilities=probabilities,
        fold=np.repeat(np.arange(1, len(tables) + 1), [len(table) for table in tables]),
    )
    order = np.lexsort((columns["line"], columns["file"]))
    return _take(pooled, order)


def _take(text: OutOfFold, chosen: Ints) -> OutOfFold:
    """Some of the sentences, in another order."""
    begin, lengths = text.sentences[chosen], np.diff(text.sentences)[chosen]
    sentences = np.concatenate([[0], np.cumsum(lengths)])
    words = np.repeat(begin - sentences[:-1], lengths) + np.arange(sentences[-1])
    return OutOfFold(
        files=text.files,
        labels=text.labels,
        plain=text.plain,
        words=[text.words[s] for s in chosen],
        lines=[text.lines[s] for s in chosen],
        documents=text.documents[chosen],
        sentences=sentences,
        given=text.given[words],
        probabilities=text.probabilities[words],
        fold=text.fold[chosen],
    )
