"""The labelled text that the report is about, and the tags that a model gives to it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from determined_ner.data.padding import Padding, evaluation_padding
from determined_ner.data.split import Split
from determined_ner.data.text_store import StoredText
from determined_ner.errors import UserError
from determined_ner.model.inference import Model
from determined_ner.report.tagged_text import Ints, ScoredEntities, TaggedText
from determined_ner.tagging.tagged import Tagged
from determined_ner.tagging.tagger import Tagger, in_buffers
from determined_ner.tags.calibration import Calibration
from determined_ner.tags.entities import Spans, TagTable
from determined_ner.tags.schemes import Scheme
from determined_ner.training.trained import Trained


@dataclass(frozen=True)
class LabelledText:
    """N words in S sentences, with the tags that people gave; all of it is held in memory."""

    files: tuple[str, ...]
    words: list[list[str]]
    lines: list[tuple[int, int]]
    """(S,) file and line where each sentence begins."""
    gold: NDArray[np.int16]
    """(N,) ids of the model's labels."""
    sentences: Ints
    """(S + 1,) first word of each sentence, and N."""
    documents: Ints
    """(S,) number of the document that each sentence is in, non-decreasing."""
    windows: Ints
    """(W,) number of pieces of each window, special ones included."""
    padding: float
    """Share of padding in the batches of an evaluation on the text."""
    repaired: int
    """Number of gold tags that the scheme does not allow; they are read as seqeval reads them."""
    fingerprint: str
    """Of its words and tags."""
    as_trained: bool | None
    """Whether this is the text that the training validated on; None: unknown."""

    def place(self, sentence: int) -> str:
        """``file:line``, without the file's folder."""
        file, line = self.lines[sentence]
        return f"{Path(self.files[file]).name}:{line}"


def read_labelled(
    trained: Trained,
    data: str | None,
    purpose: str = "the report is about",
    remedy: str = "name a labelled file with --data FILE",
) -> LabelledText:
    """Read the labelled text as in training.

    Args:
        trained: the model that it will be tagged with.
        data: a labelled file; None: the validation data of the training.
        purpose, remedy: for the message where that is not at hand.

    Raises:
        UserError: there is none, or something is wrong with it.
    """
    with trained.labelled_text(data, purpose, remedy) as (text, split):
        return take_labelled(trained, text, split)


def take_labelled(trained: Trained, text: StoredText, split: Split) -> LabelledText:
    """Take into memory a labelled text that was read as in training."""
    words: list[list[str]] = []
    lines: list[tuple[int, int]] = []
    documents: list[int] = []
    fingerprint, specials = trained.fingerprint("validation"), trained.directory.tokenizer.specials
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
        fingerprint=split.fingerprint,
        as_trained=None if fingerprint is None else split.fingerprint == fingerprint,
    )


@dataclass(frozen=True)
class Speed:
    """How fast a model tagged the text; loading the model is not included."""

    seconds: float
    words_per_second: float
    device: str
    """Name of the GPU, or the CPU's number of threads."""


def tag_text(
    trained: Trained, name: str, text: LabelledText, labels: tuple[str, ...], model: Model | None = None
) -> tuple[TaggedText, Speed]:
    """Tag the text with a model.

    Args:
        trained: the model.
        name: its name in the report.
        text: the text.
        labels: the labels whose ids the gold tags are; the model's own may be in another order.
        model: what computes the logits; None: its weights, in PyTorch.

    Returns:
        the tagged text, all tags as ids of ``labels``, and how long the tagging took.

    Raises:
        UserError: the weights cannot be loaded, or the model has other labels.
    """
    directory = trained.directory
    if set(directory.labels) != set(labels):
        raise UserError(
            trained.path,
            f"its labels {' '.join(directory.labels)} are not {' '.join(labels)}, those of the model it is compared "
            f"with",
            "compare models that were trained on the same labels",
        )
    tagger = Tagger.from_directory(directory, model)
    ids = np.array([labels.index(label) for label in directory.labels], np.int16)
    tags = np.empty(len(text.gold), np.int16)
    decoded = np.empty_like(tags)
    confidence = np.empty(len(tags))
    found: list[tuple[Spans, NDArray[np.float64], NDArray[np.float64]]] = []
    started = time.perf_counter()
    for here, tagged in tagged_parts(tagger, name, text):
        best = tagged.ids if tagged.transitions is not None else tagged.logits.argmax(1)  # as training scored them
        tags[here], decoded[here] = ids[best], ids[tagged.ids]
        confidence[here] = np.take_along_axis(tagged.probabilities, best[:, None], 1)[:, 0]
        spans, first, scores = tagged.entities, here.start, tagged.found_scores
        of_types = spans.type_id if directory.label_scheme is not Scheme.PLAIN else ids[spans.type_id].astype(np.int32)
        own = replace(tagged, calibration=Calibration()).entity_probabilities
        found.append((Spans(spans.begin + first, spans.end + first, of_types), own, scores))
    seconds = time.perf_counter() - started
    speed = Speed(seconds, len(tags) / max(seconds, 1e-9), _device())
    tagged_text = TaggedText(
        name=name,
        table=TagTable(labels, plain=directory.label_scheme is Scheme.PLAIN),
        sentences=text.sentences,
        documents=text.documents,
        words=text.words,
        place=text.place,
        gold=text.gold,
        tags=tags,
        decoded=decoded,
        confidence=confidence,
        entities=_joined(found),
    )
    return tagged_text, speed


def _joined(parts: list[tuple[Spans, NDArray[np.float64], NDArray[np.float64]]]) -> ScoredEntities | None:
    if not parts:
        return None
    spans = Spans(*(np.concatenate(arrays) for arrays in zip(*(part[0] for part in parts), strict=True)))
    probabilities, scores = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
    return ScoredEntities(spans, probabilities, scores)


def tagged_parts(tagger: Tagger, name: str, text: LabelledText) -> Iterator[tuple[slice, Tagged]]:
    """Tag the text in parts that fit in memory.

    Args:
        name: of the model, for the bar.

    Yields:
        the words of a part, and what is predicted for them.
    """
    done = 0
    document = (lambda s: int(text.documents[s])) if tagger.whole_documents else None
    with tqdm(total=len(text.gold), desc=f"tagging with {name}", unit="word", disable=None, leave=False) as bar:
        for some in in_buffers(range(len(text.words)), lambda s: len(text.words[s]), document):
            tagged = tagger.tag([text.words[s] for s in some], [int(text.documents[s]) for s in some])
            yield slice(done, done + len(tagged.ids)), tagged
            done += len(tagged.ids)
            bar.update(len(tagged.ids))
    assert done == len(text.gold)


def _device() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"
