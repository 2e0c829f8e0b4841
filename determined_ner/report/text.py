"""The labelled text that the report is about, and what a model says of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from determined_ner.data.padding import Padding, evaluation_padding
from determined_ner.errors import UserError
from determined_ner.report.facts import TaggedText
from determined_ner.tagging.tagger import Tagger, in_buffers
from determined_ner.tags.entities import TagTable
from determined_ner.tags.schemes import Scheme
from determined_ner.training.trained import Trained

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class LabelledText:
    """N words in S sentences, with the tags that people gave. All is held in memory."""

    files: tuple[str, ...]
    words: list[list[str]]
    lines: list[tuple[int, int]]
    """(S,) file and line where each sentence begins."""
    gold: NDArray[np.int16]
    """(N,) label ids of the subject's model."""
    sentences: Ints
    """(S + 1,) first word of each sentence, and N."""
    documents: Ints
    """(S,) document of each sentence, non-decreasing."""
    windows: Ints
    """(W,) pieces of each window, special ones included."""
    padding: float
    """Share of padding in the batches that the text is tagged in."""
    repaired: int
    """Tags that the scheme does not allow, read as seqeval reads them."""
    as_trained: bool | None
    """Whether this is the text that the training validated on; None: not known."""

    def place(self, sentence: int) -> str:
        """``file:line``, without the file's folder."""
        file, line = self.lines[sentence]
        return f"{Path(self.files[file]).name}:{line}"


def read_labelled(trained: Trained, data: str | None) -> LabelledText:
    """Read the labelled text.

    Args:
        data: a labelled file; None: the validation data of the training.

    Raises:
        UserError: there is none, or something is wrong with it.
    """
    words: list[list[str]] = []
    lines: list[tuple[int, int]] = []
    documents: list[int] = []
    fingerprint, specials = trained.validation_fingerprint, trained.directory.tokenizer.specials
    with trained.labelled_text(data, "the report is of") as (text, split):
        for batch in text.batches():
            words += batch.column("words").to_pylist()
            lines += zip(batch.column("file").to_pylist(), batch.column("line").to_pylist(), strict=True)
            documents += batch.column("document").to_pylist()
        return LabelledText(
            files=text.source.files,
            words=words,
            lines=lines,
            gold=np.array(split.tags),
            sentences=np.array(split.sentences),
            documents=np.array(documents, np.int64),
            windows=np.array(split.lengths(specials)),
            padding=evaluation_padding(split, specials, Padding()),
            repaired=split.counts["repaired_tags"],
            as_trained=None if fingerprint is None else split.fingerprint == fingerprint,
        )


@dataclass(frozen=True)
class Speed:
    """Of tagging, model loading left out."""

    seconds: float
    words_per_second: float
    device: str


def tag_text(trained: Trained, name: str, text: LabelledText, labels: tuple[str, ...]) -> tuple[TaggedText, Speed]:
    """Let a model tag the text.

    Args:
        name: of the model, in the report.
        labels: those that the gold tags are numbered by: the same as the model's, in any order.

    Raises:
        UserError: the weights cannot be loaded, or another set of labels.
    """
    directory = trained.directory
    if set(directory.labels) != set(labels):
        raise UserError(
            trained.path,
            f"its labels {' '.join(directory.labels)} are not {' '.join(labels)}, those of the model to compare with",
            "compare models that were trained on the same labels",
        )
    tagger = Tagger.from_directory(directory)
    ids = np.array([labels.index(label) for label in directory.labels], np.int16)
    tags = np.empty(len(text.gold), np.int16)
    decoded = np.empty_like(tags)
    confidence = np.empty(len(tags))
    done, started = 0, time.perf_counter()
    document = (lambda s: int(text.documents[s])) if tagger.whole_documents else None
    with tqdm(total=len(tags), desc=f"tagging with {name}", unit="word", disable=None, leave=False) as bar:
        for some in in_buffers(range(len(text.words)), lambda s: len(text.words[s]), document):
            tagged = tagger.tag([text.words[s] for s in some], [int(text.documents[s]) for s in some])
            here = slice(done, done + len(tagged.ids))
            best = tagged.logits.argmax(1)
            tags[here], decoded[here] = ids[best], ids[tagged.ids]
            confidence[here] = np.take_along_axis(tagged.probabilities, best[:, None], 1)[:, 0]
            done += len(tagged.ids)
            bar.update(len(tagged.ids))
    assert done == len(tags)
    seconds = time.perf_counter() - started
    speed = Speed(seconds, len(tags) / max(seconds, 1e-9), _device())
    table = TagTable(labels, plain=directory.label_scheme is Scheme.PLAIN)
    return (
        TaggedText(
            name, table, text.sentences, text.documents, text.words, text.place, text.gold, tags, decoded, confidence
        ),
        speed,
    )


def _device() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"
