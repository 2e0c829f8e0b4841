"""A trained model as a tagger: from texts to entities, from words to tags.

    tagger = Tagger.from_pretrained("runs/mine/model")
    tagger(["Ada went to Oslo."])
    # [[Entity(type='PER', text='Ada', start=0, end=3, score=0.99…), Entity(type='LOC', text='Oslo', …)]]
    tagger.tag([["Ada", "went", "to", "Oslo", "."]]).tags
    # [['B-PER', 'O', 'O', 'B-LOC', 'O']]

It reads text through overlapping windows, as training does (`determined_ner.data.windows`). Each word is owned by
exactly one window, so that a text of any length gets as many tags as it has words. ``determined-ner predict`` and
``determined-ner report`` tag with the same object. Importing it needs neither Determined nor anything that only reads
training data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from determined_ner.data.batches import EvaluationBatches
from determined_ner.data.collate import BatchDataset
from determined_ner.data.split import IGNORED, Split
from determined_ner.data.tokenizer import WordTokenizer
from determined_ner.data.windows import CutTexts, cut_windows, window_room
from determined_ner.model.directory import ONNX_FILE, Backend, Model, ModelDirectory
from determined_ner.tagging.tagged import Entity, Tagged
from determined_ner.tagging.words import RawText
from determined_ner.tags.decoding import allowed_transitions, best_tags
from determined_ner.tags.schemes import Scheme

T = TypeVar("T")

BUFFER_WORDS = 1 << 15
"""Words that are tagged at a time, their windows sorted by length; a longer text is one buffer by itself."""


class Tagger:
    """Tags texts with a trained model. Threads may share one: tagging changes nothing in it.

    Attributes:
        labels: the K label names, by id.
        label_scheme: their scheme; for a model of this trial IOB2 or PLAIN, whatever the training files had.
        scheme: the scheme in which tags are given back: that of the training files.
        whole_documents: whether a window also sees the neighbouring texts of its document.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: WordTokenizer,
        labels: Sequence[str],
        label_scheme: Scheme,
        scheme: Scheme,
        max_seq_length: int,
        stride: int | None = None,
        whole_documents: bool = False,
        constrained: bool = True,
    ) -> None:
        """See `from_pretrained`, which finds all this in a model directory.

        Args:
            max_seq_length: pieces of a window, special ones included.
            stride: pieces by which windows overlap; None: a quarter of that.
            whole_documents: True for a model that was trained with ``data.context: document``.

        Raises:
            HyperparameterError: a stride that leaves no room.
        """
        self.labels = tuple(labels)
        self.label_scheme = label_scheme
        self.scheme = scheme
        self._model = model
        self._tokenizer = tokenizer
        self._capacity, self._stride = window_room(max_seq_length, stride, tokenizer)
        self.whole_documents = whole_documents
        self._allowed = allowed_transitions(self.labels, label_scheme) if constrained else None

    @classmethod
    def from_pretrained(
        cls,
        model_dir: str | Path,
        backend: Backend = "torch",
        *,
        onnx_file: str = ONNX_FILE,
        threads: int | None = None,
        constrained: bool = True,
        trust_remote_code: bool = False,
    ) -> Tagger:
        """Load a model directory: ``runs/NAME/model``, an export, or any Hugging Face token classifier.

        Args:
            backend: ``torch`` (on a GPU if there is one) or ``onnx`` (ONNX Runtime on the CPU).
            onnx_file: which ONNX file of the directory; an export's int8 file is ``model_quantized.onnx``.
            threads: for ONNX Runtime; None: one a core. (For torch, call ``torch.set_num_threads``.)
            constrained: choose the most probable sequence of tags that the scheme allows (no I-PER after O), rather
                than the most probable tag of each word by itself.
            trust_remote_code: run Python code that the directory contains.

        Raises:
            UserError: something is missing in the directory or wrong with it.
            ValueError: the backend is neither of the two.
        """
        if backend not in get_args(Backend):
            raise ValueError(f"backend {backend!r} must be one of {', '.join(map(repr, get_args(Backend)))}")
        directory = ModelDirectory(Path(model_dir).expanduser(), trust_remote_code=trust_remote_code)
        model = None if backend == "torch" else directory.onnx_model(onnx_file, threads)
        return cls.from_directory(directory, model, constrained)

    @classmethod
    def from_directory(cls, directory: ModelDirectory, model: Model | None = None, constrained: bool = True) -> Tagger:
        """A tagger from a model directory that has already been read.

        Args:
            model: what computes the logits; None: load the directory's weights into PyTorch.
            constrained: see `from_pretrained`.

        Raises:
            UserError: the weights are missing or damaged.
        """
        return cls(
            model or directory.torch_model(),
            directory.tokenizer,
            directory.labels,
            directory.label_scheme,
            directory.scheme,
            directory.max_seq_length,
            directory.stride,
            directory.whole_documents,
            constrained,
        )

    def __call__(self, texts: Sequence[str]) -> list[list[Entity]]:
        """Find the entities of raw texts, which `word_offsets` cuts into words.

        Returns:
            the entities of each text, in order.

        Raises:
            TypeError: one string instead of a list of them.
        """
        if isinstance(texts, str):
            raise TypeError("give a list of texts: tagger([text])")
        found: list[list[Entity]] = []
        for some in in_buffers((RawText(text) for text in texts), lambda raw: len(raw.offsets)):
            tagged = self.tag([raw.words for raw in some])
            found.extend(raw.entities(tagged, i) for i, raw in enumerate(some))
        return found

    def tag(self, texts: Sequence[Sequence[str]], documents: Sequence[int] | None = None) -> Tagged:
        """Tag texts given as words. All of them are held in memory; `in_buffers` cuts up a longer list.

        Args:
            texts: the words of each; a text may be empty.
            documents: (S,) the number of each text's document, non-decreasing. Only a model that was trained with
                ``data.context: document`` uses it. None: each text is a document by itself.
        """
        cut = cut_windows(
            self._tokenizer, texts, documents if self.whole_documents else None, self._capacity, self._stride
        )
        logits = self._logits(cut)
        if self._allowed is None:
            ids = logits.argmax(1).astype(np.int64)
        else:
            ids = best_tags(logits, cut.sentences, self._allowed)
        return Tagged(self.labels, self.label_scheme, self.scheme, logits, ids, cut.sentences)

    def _logits(self, cut: CutTexts) -> NDArray[np.float32]:
        """(N, K) logits of all words, computed in batches of windows of similar length."""
        logits = np.empty((int(cut.sentences[-1]), len(self.labels)), np.float32)
        if not len(logits):
            return logits
        unlabelled = np.full(len(cut.ids), IGNORED, np.int16)
        no_tags = np.zeros(0, np.int16)
        split = Split("", cut.ids, unlabelled, cut.is_first_piece, cut.windows, cut.words, no_tags, cut.sentences, {})
        batches = BatchDataset(split, self._tokenizer)
        for (chosen,) in EvaluationBatches(split, self._tokenizer.specials, slots=1):
            batch = batches[chosen]
            of_words = self._model(batch["input_ids"], batch["attention_mask"])[batch["is_first_piece"].numpy()]
            windows = np.array(chosen.windows)
            sizes = cut.words[windows + 1] - cut.words[windows]
            offset = np.cumsum(sizes) - sizes
            logits[np.arange(len(of_words)) - np.repeat(offset - cut.words[windows], sizes)] = of_words
        return logits


def in_buffers(
    items: Iterable[T],
    words: Callable[[T], int],
    document: Callable[[T], int] | None = None,
    limit: int = BUFFER_WORDS,
) -> Iterator[list[T]]:
    """Cut a stream into runs of about ``limit`` words, so that a stream of any length is tagged in bounded memory.

    Args:
        words: the number of words of an item; an item without words counts as one.
        document: the document of an item; a document is never cut, however long it is. None: cut between any two
            items.
        limit: words from which on a run is complete.
    """
    buffer: list[T] = []
    size = 0
    for item in items:
        if size >= limit and (document is None or document(item) != document(buffer[-1])):
            yield buffer
            buffer, size = [], 0
        buffer.append(item)
        size += max(1, words(item))
    if buffer:
        yield buffer
