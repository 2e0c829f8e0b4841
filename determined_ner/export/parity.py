"""Whether an exported model is the trained one: both read the same labelled text; logits, tags, scores are compared."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from determined_ner.data.batches import EvaluationBatches, MicroBatch
from determined_ner.data.collate import BatchDataset
from determined_ner.errors import UserError, first_line
from determined_ner.model.calls import replaced
from determined_ner.model.cpu.products import fast_products
from determined_ner.model.crf import Crf
from determined_ner.model.onnx_session import CPU, open_session
from determined_ner.tagging.cost import first_texts
from determined_ner.training.metrics import EvaluationMetrics
from determined_ner.training.trained import Trained

SAMPLE = 128
"""Windows of a sample of the text."""
LEAVE_OUT = "leave this file out (--onnx, --fp16, --quantize): the model cannot be exported so"


@dataclass(frozen=True)
class Comparison:
    """An exported model beside the trained one, on the same words."""

    difference: float
    """Largest absolute difference of a logit, over all pieces of the words and of texts alone."""
    changed: int
    """Words that get another tag; of a CRF's, the tags of the best sequences."""
    words: int
    """All words."""
    metric: str
    """``f1``, or ``accuracy`` where tags are plain."""
    scores: dict[str, float]
    """Of the exported model, by metric."""
    trained_scores: dict[str, float]
    """Of the trained model, by metric."""
    length: int | None = None
    """Pieces of the text alone on which the difference is largest; None: it is largest in a batch of the words."""

    @property
    def points_lost(self) -> float:
        """By how much ``metric`` is lower than the trained model's, in points of 100."""
        return 100 * (self.trained_scores[self.metric] - self.scores[self.metric])

    def describe(self) -> str:
        """Differences and scores, for a message."""
        alone = "" if self.length is None else f" (of a text of {self.length} pieces alone)"
        return (
            f"logits within {self.difference:.1e}{alone}, {self.changed:,} of {self.words:,} tags differ, "
            f"{self.metric} {self.scores[self.metric]:.4f} (trained {self.trained_scores[self.metric]:.4f})"
        )


@dataclass(frozen=True)
class Tolerances:
    """What an export may differ by from the trained model."""

    logit: float = 1e-4
    """float32: the largest difference of a logit. No tag may be another."""
    half_logit: float = 0.1
    """float16: the largest difference of a logit; its rounding is 5e-4 of each number on the way."""
    half_points: float = 0.1
    """float16: F1 (or accuracy, where tags are plain) that may be lost, in points of 100."""
    points: float = 0.5
    """int8: F1 (or accuracy, where tags are plain) that may be lost, in points of 100."""

    def is_same(self, compared: Comparison) -> bool:
        """Whether a float32 file passes. One that gives NaN does not."""
        return compared.difference <= self.logit and compared.changed == 0

    def is_nearly_same(self, compared: Comparison) -> bool:
        """Whether a float16 file passes. One that gives NaN does not."""
        return compared.difference <= self.half_logit and compared.points_lost <= self.half_points

    def loses_little(self, compared: Comparison) -> bool:
        """Whether an int8 file passes. One that gives NaN does not."""
        return compared.points_lost <= self.points and math.isfinite(compared.difference)


class Check:
    """The labelled text that exports are checked on.

    Attributes:
        files: where it comes from.
        split: its windows.
        changed: whether it is no longer the text that the training validated on.
        words: of its first texts (`tagging.cost.first_texts`).
    """

    def __init__(self, trained: Trained, model: Any, data: str | None) -> None:
        """
        Args:
            model: the trained one, of transformers, on the CPU.
            data: a labelled file; None: the run's own validation data.

        Raises:
            UserError: the data is not at hand, or something is wrong with it.
        """
        self._directory, self._model = trained.directory, model
        self._window = trained.max_seq_length
        with trained.labelled_text(data, "an export checks itself on") as (text, self.split):
            self.files = text.source.files
            texts = (words for batch in text.batches() for words in batch.column("words").to_pylist())
            self.words = first_texts(texts)
        before = trained.fingerprint("validation")
        self.changed = data is None and before not in (None, self.split.fingerprint)

    def compare(self, exported: Any, name: str) -> Comparison:
        """Run both models on every window, and on texts alone from one piece to a full window.

        A graph that was traced can be the model at the lengths of some batches and fail, or be another one, at others.

        Args:
            exported: makes logits (B, L, K) of input_ids and attention_mask, int64 tensors (B, L) each.
            name: of the file, for the progress bar and messages.

        Raises:
            UserError: the exported model fails.
        """
        directory, split = self._directory, self.split
        crf = None if directory.transitions is None else Crf.of_scores(directory.transitions)
        ours, theirs = (EvaluationMetrics(split, directory.named_labels(), crf=crf) for _ in range(2))
        difference = 0.0
        length: int | None = None
        dataset = BatchDataset(split, directory.tokenizer)
        batches = EvaluationBatches(split, directory.tokenizer.specials, slots=1)
        trained = torch_logits(self._model)
        with torch.inference_mode():
            for (chosen,) in tqdm(batches, desc=f"checking {name}", unit="batch", disable=None, leave=False):
                batch = dataset[chosen]
                ids, mask = batch["input_ids"], batch["attention_mask"]
                expected = trained(ids, mask)
                got = _run(exported, ids, mask, name)
                difference = _greater(difference, float((got - expected)[mask.bool()].abs().max()))
                ours.update(expected, batch)
                theirs.update(got, batch)
            for pieces in self._lengths():
                ids, mask = self._text_alone(pieces)
                got = _run(exported, ids, mask, name)
                largest = float((got - trained(ids, mask)).abs().max())
                before, difference = difference, _greater(difference, largest)
                if difference != before and before == before:
                    length = pieces
        (tags, scores), (trained_tags, trained_scores) = map(_tags_and_scores, (theirs, ours))
        changed, words = int((tags != trained_tags).sum()), int((trained_tags >= 0).sum())
        metric = "f1" if "f1" in scores else "accuracy"
        return Comparison(difference, changed, words, metric, scores, trained_scores, length)

    @functools.cached_property
    def sample(self) -> list[dict[str, torch.Tensor]]:
        """Batches of some windows, spread evenly over the text: enough to time a model, or to see what changes it."""
        windows = len(self.split.windows) - 1
        chosen = np.unique(np.linspace(0, windows - 1, min(windows, SAMPLE)).astype(np.int64)).tolist()
        dataset = BatchDataset(self.split, self._directory.tokenizer)
        return [dataset[MicroBatch(tuple(chosen[i : i + 32]))] for i in range(0, len(chosen), 32)]

    @functools.cached_property
    def _sample_log_probabilities(self) -> list[torch.Tensor]:
        """(N, K) of the trained model at the words of each batch of `sample`."""
        with torch.inference_mode():
            return [_of_words(torch_logits(self._model), batch).log_softmax(-1) for batch in self.sample]

    def divergence(self, exported: Any, name: str) -> float:
        """The Kullback-Leibler divergence of the trained model's tags to another's, in nats a word of `sample`.

        Raises:
            UserError: the other model fails.
        """
        total, words = 0.0, 0
        for batch, expected in zip(self.sample, self._sample_log_probabilities, strict=True):
            got = _of_words(functools.partial(_run, exported, name=name), batch).log_softmax(-1)
            total += float(torch.nn.functional.kl_div(got, expected, reduction="sum", log_target=True))
            words += len(expected)
        return total / max(words, 1)

    def _lengths(self) -> list[int]:
        """Pieces of the texts that are read alone: few, odd and even, as many as fit."""
        least, most = self._directory.tokenizer.specials + 1, self._window
        return sorted({n for n in (least, 7, 8, 33, most // 2 | 1, most - 1, most) if least <= n <= most})

    def _text_alone(self, pieces: int) -> tuple[torch.Tensor, torch.Tensor]:
        """``input_ids`` and ``attention_mask``, (1, pieces) each, of pieces of the data in their order."""
        tokenizer = self._directory.tokenizer
        inner = np.resize(self.split.ids, pieces - tokenizer.specials)
        ids = torch.from_numpy(np.concatenate([tokenizer.prefix, inner, tokenizer.suffix]).astype(np.int64))[None]
        return ids, torch.ones_like(ids)


def _greater(one: float, other: float) -> float:
    """Of two numbers; NaN if one of them is, which ``max`` would drop."""
    return one if one != one or other <= one else other


def _tags_and_scores(metrics: EvaluationMetrics) -> tuple[NDArray[np.int16], dict[str, float]]:
    """Of all windows that they have been given."""
    seen = [metrics.per_slot_reduce()]
    tags = metrics.predicted(seen)
    return tags, metrics.report(tags, seen)


def _of_words(run: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """(N, K) float64 logits of a batch's words."""
    logits = torch.as_tensor(run(batch["input_ids"], batch["attention_mask"])).cpu()
    return logits[batch["is_first_piece"]].double()


def _run(exported: Any, ids: torch.Tensor, mask: torch.Tensor, name: str) -> torch.Tensor:
    """(B, L, K) logits of an exported model.

    Raises:
        UserError: it fails.
    """
    try:
        logits: torch.Tensor = exported(ids, mask)
        return logits
    except Exception as error:  # of ONNX Runtime, of one kind for each thing that can be wrong with a graph
        said = f"fails at {len(ids)} × {ids.shape[1]} pieces: {first_line(error)}"
        raise UserError(name, said, LEAVE_OUT) from error


def torch_logits(model: Any) -> Any:
    """A model of transformers, as `Check.compare` takes it, computed as a tagger computes it."""

    def logits(ids: torch.Tensor, mask: torch.Tensor) -> Any:
        with replaced(fast_products(ids.device)):
            return model(input_ids=ids, attention_mask=mask).logits

    return logits


def onnx_logits(path: Path, device: str = CPU) -> Any:
    """An ONNX file, as `Check.compare` takes it, on a device if ONNX Runtime can use it."""
    session = open_session(path, device, threads=torch.get_num_threads(), remedy=LEAVE_OUT)
    return lambda ids, mask: torch.from_numpy(session.logits(ids.numpy(), mask.numpy()))
