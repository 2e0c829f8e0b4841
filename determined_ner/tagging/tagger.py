"""A trained model as a tagger: texts to entities, words to tags.

    tagger = Tagger.from_pretrained("runs/mine/model")
    tagger(["Ada went to Oslo."])
    # [[Entity(type='PER', text='Ada', start=0, end=3, score=0.99…), Entity(type='LOC', text='Oslo', …)]]
    tagger.tag([["Ada", "went", "to", "Oslo", "."]]).tags
    # [['B-PER', 'O', 'O', 'B-LOC', 'O']]

It reads text through the windows of training (`ner_encode`), each word owned by one of them, so that a text of any
length gets as many tags as it has words. The same object serves the command `ner_predict`, reports and evaluation.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, pre_tokenizers

from determined_ner.data.batches import BatchDataset, EvaluationBatches
from determined_ner.tags.decoding import allowed_transitions, best_tags
from determined_ner.data.encode import IGNORED, CutTexts, Split, cut_windows, window_room
from determined_ner.model.directory import ONNX_FILE, Backend, Model, ModelDirectory
from determined_ner.data.tokenizer import WordTokenizer
from determined_ner.tags.entities import Scheme, from_iob2, split_tag, to_iob2

T = TypeVar("T")

BUFFER_WORDS = 1 << 15
"""Words whose windows are sorted by length and held at a time; one longer text is too."""


@dataclass(frozen=True, slots=True)
class Entity:
    """What was found in a text. Of a model with plain labels (parts of speech) every word is one."""

    type: str
    text: str
    """The characters from start to end."""
    start: int
    """Its first character in the text, from 0."""
    end: int
    """One past its last character."""
    score: float
    """The mean, over its words, of the softmax probability of the word's tag."""


@dataclass(frozen=True)
class Tagged:
    """What a model says of the N words of S texts, end to end, K labels each."""

    labels: tuple[str, ...]
    """(K,) names by id, of the model."""
    label_scheme: Scheme
    """Scheme of these labels."""
    scheme: Scheme
    """Scheme of ``tags``: that of the training files."""
    logits: NDArray[np.float32]
    """(N, K), of the first piece of each word."""
    ids: NDArray[np.int64]
    """(N,) chosen labels."""
    starts: NDArray[np.int64]
    """(S + 1,) first word of each text."""

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """(N, K), softmax of the logits."""
        shifted = self.logits.astype(np.float64)
        shifted -= shifted.max(1, keepdims=True)
        exponentials = np.exp(shifted)
        return exponentials / exponentials.sum(1, keepdims=True)

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """(N,) probability of each word's chosen label."""
        return np.take_along_axis(self.probabilities, self.ids[:, None], 1)[:, 0]

    @cached_property
    def tags(self) -> list[list[str]]:
        """Tags of each text, as many as it has words."""
        spelled = []
        for names in self._names():
            same = self.scheme is self.label_scheme
            spelled.append(names if same else from_iob2(to_iob2(names, self.label_scheme)[0], self.scheme))
        return spelled

    @cached_property
    def spans(self) -> list[list[tuple[str, int, int]]]:
        """Entities of each text as (type, first word, one past the last), broken tags read as seqeval reads them."""
        found: list[list[tuple[str, int, int]]] = []
        for names in self._names():
            spans: list[tuple[str, int, int]] = []
            if self.label_scheme is Scheme.PLAIN:
                spans.extend((name, i, i + 1) for i, name in enumerate(names))
            elif any(name != "O" for name in names):
                for i, tag in enumerate(to_iob2(names, self.label_scheme)[0]):
                    prefix, entity_type = split_tag(tag) or ("O", "")
                    if prefix == "B":
                        spans.append((entity_type, i, i + 1))
                    elif prefix == "I":
                        spans[-1] = (entity_type, spans[-1][1], i + 1)
            found.append(spans)
        return found

    def _names(self) -> Iterator[list[str]]:
        names = [self.labels[i] for i in self.ids.tolist()]
        for begin, end in itertools.pairwise(self.starts.tolist()):
            yield names[begin:end]


class Tagger:
    """Tags texts with a trained model. Threads may share one: tagging changes nothing in it.

    Attributes:
        labels: names by id, K of them.
        label_scheme: their scheme: of models of this trial IOB2 or PLAIN, whatever the training files had.
        scheme: the scheme that tags are given in, that of the training files.
        whole_documents: whether a window sees the neighbours of a text in its document.
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
            whole_documents: as after training with ``data.context: document``.

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
    ) -> Tagger:
        """Load a model directory: ``runs/NAME/model``, an export, or any Hugging Face token classifier.

        Args:
            backend: torch (on a GPU where there is one), or onnx: ONNX Runtime on the CPU.
            onnx_file: which ONNX file of the directory; ``model_quantized.onnx`` is the int8 one of an export.
            threads: of ONNX Runtime; None: one a core. (Those of torch: ``torch.set_num_threads``.)
            constrained: give the most probable tags among the sequences that the scheme allows (no I-PER after O),
                not the most probable tag of each word by itself.

        Raises:
            UserError: what is missing in the directory or wrong with it.
            ValueError: another backend.
        """
        if backend not in get_args(Backend):
            raise ValueError(f"backend {backend!r}: torch and onnx are what there is")
        directory = ModelDirectory(Path(model_dir).expanduser())
        model = directory.torch_model() if backend == "torch" else directory.onnx_model(onnx_file, threads)
        return cls(
            model,
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
        """The entities of each text, in order; texts are cut into words by `split_words`.

        Raises:
            TypeError: a string instead of a list of them.
        """
        if isinstance(texts, str):
            raise TypeError("give a list of texts: tagger([text])")
        found: list[list[Entity]] = []
        for some in in_buffers((RawText(text) for text in texts), lambda words: len(words.spans)):
            tagged = self.tag([words.words for words in some])
            found.extend(words.entities(tagged, i) for i, words in enumerate(some))
        return found

    def tag(self, texts: Sequence[Sequence[str]], documents: Sequence[int] | None = None) -> Tagged:
        """Tag texts given as words. All are held in memory: cut a long list up with `in_buffers`.

        Args:
            texts: words of each; a text may be empty.
            documents: (S,) each text's document, non-decreasing; only a model that was trained with
                ``data.context: document`` looks at it. None: each text is one of its own.
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
        """(N, K) logits of every word, from batches of windows of like length."""
        logits = np.empty((int(cut.sentences[-1]), len(self.labels)), np.float32)
        if not len(logits):
            return logits
        unlabelled = np.full(len(cut.ids), IGNORED, np.int16)
        no_tags = np.zeros(0, np.int16)
        split = Split("", cut.ids, unlabelled, cut.first, cut.windows, cut.words, no_tags, cut.sentences, {})
        batches = BatchDataset(split, self._tokenizer)
        for (chosen,) in EvaluationBatches(split, self._tokenizer.specials, slots=1):
            batch = batches[chosen]
            of_words = self._model(batch["input_ids"], batch["attention_mask"])[batch["first"].numpy()]
            windows = np.array(chosen.windows)
            sizes = cut.words[windows + 1] - cut.words[windows]
            offset = np.cumsum(sizes) - sizes
            logits[np.arange(len(of_words)) - np.repeat(offset - cut.words[windows], sizes)] = of_words
        return logits


# -- Raw text --------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _splitter() -> Any:
    # In Oniguruma \w is Unicode's letters, marks, decimal digits and connectors (_); the joiners are added to them.
    run = r"[\w\x{200c}\x{200d}&&[^\p{Han}]]+"
    clitic = r"['’](?:[sStTdDmM]|re|ve|ll|RE|VE|LL)(?!\w)"
    return pre_tokenizers.Split(Regex(rf"\p{{Han}}|{run}(?:[-.]{run})*|{clitic}|[^\s\w]"), "removed", invert=True)


def split_words(text: str) -> list[tuple[int, int]]:
    """Cut a text into words, (start, end) in characters each; white space parts them and is in none.

    A word is a run of letters, combining marks, digits and ``_`` of any script, held together across single hyphens and
    full stops inside it (``e-mail``, ``3.5``, ``U.S`` of ``U.S.``); a Chinese character; an English clitic (``'s``,
    ``'ll``); or any one other character. Most corpora are cut much like this (README, «Tag text», has figures). Whoever
    wants other words gives them to `Tagger.tag`.
    """
    return [span for _, span in _splitter().pre_tokenize_str(text)]


class RawText:
    """A raw text and its words."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.spans = split_words(text)

    @property
    def words(self) -> list[str]:
        return [self.text[start:end] for start, end in self.spans]

    def entities(self, tagged: Tagged, index: int) -> list[Entity]:
        """The entities of this text, which is number ``index`` of those tagged."""
        found = []
        begin = int(tagged.starts[index])
        for entity_type, first, end in tagged.spans[index]:
            start, stop = self.spans[first][0], self.spans[end - 1][1]
            score = float(tagged.scores[begin + first : begin + end].mean())
            found.append(Entity(entity_type, self.text[start:stop], start, stop, score))
        return found


def in_buffers(
    items: Iterable[T],
    words: Callable[[T], int],
    document: Callable[[T], int] | None = None,
    limit: int | None = None,
) -> Iterator[list[T]]:
    """Runs of items of about ``limit`` words (BUFFER_WORDS), so that any stream is tagged in bounded memory.

    Args:
        words: how many an item has; one of none counts as one.
        document: an item's document, which is not cut, however long it is; None: items stand for themselves.
    """
    limit = BUFFER_WORDS if limit is None else limit
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
