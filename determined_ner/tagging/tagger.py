"""A trained model as a tagger: from texts to entities, from words to tags.

    tagger = Tagger.from_pretrained("runs/mine/model")
    tagger(["Ada went to Oslo."])
    # [[Entity(type='PER', text='Ada', start=0, end=3, score=0.99…), Entity(type='LOC', text='Oslo', …)]]
    tagger.tag([["Ada", "went", "to", "Oslo", "."]]).tags
    # [['B-PER', 'O', 'O', 'B-LOC', 'O']]

It reads text through overlapping windows, as training does (`determined_ner.data.windows`). Each word is owned by
exactly one window, so that a text of any length gets as many tags as it has words. ``determined-ner predict`` and
``determined-ner report`` tag with the same object. Importing it needs neither Determined nor anything that only reads
training data; with an ONNX file, it tags without PyTorch and transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from determined_ner.data.batches import evaluation_batches
from determined_ner.data.padding import pad_windows
from determined_ner.data.split import words_of
from determined_ner.data.tokenizer import WordTokenizer
from determined_ner.data.windows import CutTexts, cut_windows, window_room
from determined_ner.data.words import WordSplitting
from determined_ner.hub import import_torch_side
from determined_ner.model.directory import ONNX_FILE, Backend, ModelDirectory
from determined_ner.model.inference import Model
from determined_ner.tagging.arguments import (
    check_count,
    check_flag,
    check_number,
    checked_documents,
    checked_texts,
    checked_words,
)
from determined_ner.tagging.tagged import Entity, Tagged
from determined_ner.tagging.words import RawText
from determined_ner.tags.calibration import Calibration
from determined_ner.tags.decoding import allowed_transitions, best_tags
from determined_ner.tags.guarantees import Promise
from determined_ner.tags.schemes import Scheme
from determined_ner.tags.shift import UsualScores

T = TypeVar("T")

BUFFER_WORDS = 1 << 15
"""Words that are tagged at a time, their windows sorted by length; a longer text is one buffer by itself."""


class Tagger:
    """Tags texts with a trained model. Threads may share one: tagging changes nothing in it. It can be pickled.

    Attributes:
        labels: the K label names, by id.
        label_scheme: their scheme; for a model of this trial IOB2 or PLAIN, whatever the training files had.
        scheme: the scheme in which tags are given back: that of the training files.
        whole_documents: whether a window also sees the neighbouring texts of its document.
        word_splitting: how raw text is cut into words.
        batch_size: windows that go through the model together; None: about 4,096 pieces.
        calibration: what makes scores of logits. No tag depends on it, unless a precision is asked for.
        promise: the precision that is promised of what is given; None: all that is found is given.
        usual_scores: of the entities of the validation data; None: nothing says it, or a word is tagged by itself.
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
        word_splitting: WordSplitting = "rules",
        constrained: bool = True,
        batch_size: int | None = None,
        calibration: Calibration | None = None,
        transitions: NDArray[np.float32] | None = None,
        promise: Promise | None = None,
        usual_scores: UsualScores | None = None,
    ) -> None:
        """See `from_pretrained`, which finds all this in a model directory.

        Args:
            max_seq_length: pieces of a window, special ones included.
            stride: pieces by which windows overlap; None: a quarter of that.
            whole_documents: True for a model that was trained with ``data.context: document``.
            word_splitting: how raw text is cut into words like those of the training data.
            calibration: what makes scores of logits; None: they are the model's own probabilities.
            transitions: (K, K) of a model with a CRF; None: it has none.
            promise: entities of lower scores than it needs are withheld.
            usual_scores: what scores the entities of the validation data have.

        Raises:
            HyperparameterError: a stride that leaves no room.
            TypeError, ValueError: a batch size that is none, or a choice that is neither True nor False.
        """
        check_count("batch_size", batch_size)
        check_flag("constrained", constrained)
        self.labels = tuple(labels)
        self.label_scheme = label_scheme
        self.scheme = scheme
        self._model = model
        self._tokenizer = tokenizer
        self._capacity, self._stride = window_room(max_seq_length, stride, tokenizer)
        self.whole_documents = whole_documents
        self.word_splitting: WordSplitting = word_splitting
        self.batch_size = batch_size
        self.calibration = calibration or Calibration()
        self._allowed = allowed_transitions(self.labels, label_scheme) if constrained else None
        self._transitions = transitions
        if promise is not None and not constrained:
            raise ValueError("a precision is promised of tags that are decoded together: leave constrained=False out")
        self.promise = promise
        self.usual_scores = usual_scores if constrained and label_scheme is not Scheme.PLAIN else None

    @classmethod
    def from_pretrained(
        cls,
        model_dir: str | Path,
        backend: Backend = "torch",
        *,
        onnx_file: str = ONNX_FILE,
        device: str | None = None,
        batch_size: int | None = None,
        threads: int | None = None,
        constrained: bool = True,
        min_precision: float | None = None,
        trust_remote_code: bool = False,
    ) -> Tagger:
        """Load a model directory: ``runs/NAME/model``, an export, or any Hugging Face token classifier.

        Args:
            backend: ``torch``, or ``onnx`` (ONNX Runtime).
            onnx_file: which ONNX file of the directory; an export's int8 file is ``model_quantized.onnx``.
            device: such as ``cpu`` or ``cuda:1``; None: a GPU if there is one (for onnx: that the installed onnxruntime
                can use; for an int8 file the CPU).
            batch_size: windows that go through the model together, those of like length; None: as many as make about
                4,096 pieces, which fills a CPU.
            threads: for ONNX Runtime on the CPU; None: one a core. (For torch, call ``torch.set_num_threads``.)
            constrained: choose the most probable sequence of tags that the scheme allows (no I-PER after O), rather
                than the most probable tag of each word by itself.
            min_precision: withhold entities whose score is below the threshold that ``determined-ner thresholds`` has
                found for this precision; None: give all.
            trust_remote_code: run Python code that the directory contains.

        Raises:
            UserError: something is missing in the directory or wrong with it, the precision is not promised there, or
                the installed onnxruntime cannot use ``device``.
            TypeError: a number that is none, or a choice that is neither True nor False.
            ValueError: no such backend, device, batch size or number of threads.
        """
        for name, number in (("batch_size", batch_size), ("threads", threads)):
            check_count(name, number)
        for name, choice in (("constrained", constrained), ("trust_remote_code", trust_remote_code)):
            check_flag(name, choice)
        if backend not in get_args(Backend):
            raise ValueError(f"backend {backend!r} must be one of {', '.join(map(repr, get_args(Backend)))}")
        directory = ModelDirectory(Path(model_dir).expanduser(), trust_remote_code=trust_remote_code)
        promise = None
        check_number("min_precision", min_precision)
        if min_precision is not None:
            promise = directory.promise(min_precision, onnx_file if backend == "onnx" else None)
        model: Model = (
            _torch_model(directory, device) if backend == "torch" else directory.onnx_model(onnx_file, threads, device)
        )
        return cls.from_directory(directory, model, constrained, batch_size, promise)

    @classmethod
    def from_directory(
        cls,
        directory: ModelDirectory,
        model: Model | None = None,
        constrained: bool = True,
        batch_size: int | None = None,
        promise: Promise | None = None,
    ) -> Tagger:
        """A tagger from a model directory that has already been read.

        Args:
            model: what computes the logits; None: load the directory's weights into PyTorch.
            constrained: see `from_pretrained`.
            batch_size: see `from_pretrained`.
            promise: of precision, by this model; None: give all entities.

        Raises:
            UserError: the weights are missing or damaged.
        """
        model = model or _torch_model(directory)
        max_seq_length = directory.max_seq_length or model.max_seq_length
        assert max_seq_length is not None  # or an ONNX file is refused
        return cls(
            model,
            directory.tokenizer,
            directory.labels,
            directory.label_scheme,
            directory.scheme,
            max_seq_length,
            directory.stride,
            directory.whole_documents,
            directory.word_splitting,
            constrained,
            batch_size,
            directory.calibration,
            directory.transitions,
            promise,
            directory.usual_scores,
        )

    @property
    def runs_on(self) -> str:
        """What computes, and on which device, in words."""
        return self._model.description

    def __call__(self, texts: Sequence[str]) -> list[list[Entity]]:
        """Find the entities of raw texts, which are cut into words like those of the training data.

        Returns:
            the entities of each text, in order.

        Raises:
            TypeError: one text instead of a list of them, texts given as words, or something else.
            ValueError: half a character (a lone surrogate).
        """
        found: list[list[Entity]] = []
        for some in in_buffers(map(self.cut, checked_texts(texts)), lambda raw: len(raw.offsets)):
            tagged = self._tag([raw.words for raw in some])
            found.extend(raw.entities(tagged, i) for i, raw in enumerate(some))
        return found

    def cut(self, text: str) -> RawText:
        """Cut a raw text into words like those of the training data."""
        return RawText(text, self.word_splitting)

    def tag(
        self,
        texts: Sequence[Sequence[str]],
        documents: Sequence[int] | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> Tagged:
        """Tag texts given as words. All of them are held in memory; `in_buffers` cuts up a longer list.

        Args:
            texts: the words of each; a text may be empty.
            documents: (S,) the number of each text's document, non-decreasing. Only a model that was trained with
                ``data.context: document`` uses it. None: each text is a document by itself.
            progress: called with the number of words that went through the model, as they do.

        Raises:
            TypeError: raw texts, one text's words instead of a list of texts, or something else.
            ValueError: half a character (a lone surrogate); documents that decrease, or are not as many as the texts.
        """
        words = checked_words(texts)
        return self._tag(words, documents if documents is None else checked_documents(documents, len(words)), progress)

    def _tag(
        self,
        texts: Sequence[Sequence[str]],
        documents: Sequence[int] | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> Tagged:
        cut = cut_windows(
            self._tokenizer, texts, documents if self.whole_documents else None, self._capacity, self._stride
        )
        logits = self._logits(cut, progress)
        if self._transitions is not None:  # of a CRF no word is tagged by itself
            anything = np.ones((len(self.labels) + 1,) * 2, np.bool_)
            allowed = anything if self._allowed is None else self._allowed
            ids = best_tags(logits, cut.sentences, allowed, transitions=self._transitions)
        elif self._allowed is None:
            ids = logits.argmax(1).astype(np.int64)
        else:
            ids = best_tags(logits, cut.sentences, self._allowed)
        tagged = Tagged(
            *(self.labels, self.label_scheme, self.scheme, logits, ids, cut.sentences, cut.cut_words),
            self.calibration,
            self._transitions,
        )
        return tagged if self.promise is None else tagged.withhold(self.promise.least_scores(tagged.types))

    def _logits(self, cut: CutTexts, progress: Callable[[int], object] | None) -> NDArray[np.float32]:
        """(N, K) logits of all words, computed in batches of windows of similar length."""
        logits = np.empty((int(cut.sentences[-1]), len(self.labels)), np.float32)
        if not len(logits):
            return logits
        for windows in self._batches(np.diff(cut.windows) + self._tokenizer.specials):
            padded = pad_windows(cut.ids, cut.windows, windows, self._tokenizer)
            is_first_piece = padded.place(cut.is_first_piece, False, np.bool_)
            of_words = self._model(padded.input_ids, padded.attention_mask)[is_first_piece]
            logits[words_of(cut.words, windows)] = of_words
            if progress is not None:
                progress(len(of_words))
        return logits

    def _batches(self, lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """The windows of each batch, longest first.

        Args:
            lengths: (W,) pieces of each window, special ones included.
        """
        if self.batch_size is None:
            for batch in evaluation_batches(np.arange(len(lengths)), lengths):
                yield np.array(batch.windows)
            return
        order = np.argsort(-lengths, kind="stable")
        for begin in range(0, len(order), self.batch_size):
            yield order[begin : begin + self.batch_size]


def _torch_model(directory: ModelDirectory, device: str | None = None) -> Model:
    """The weights of a directory in PyTorch.

    Raises:
        UserError: PyTorch or transformers is not installed; the weights are missing or damaged.
        ValueError: no such device.
    """
    remedy = directory.onnx_instead
    side = import_torch_side("determined_ner.model.torch_model", directory.path, "the backend torch", remedy)
    model: Model = side.torch_model(directory, device)
    return model


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
