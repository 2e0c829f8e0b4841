"""Metrics as counts, kept on each slot and brought together once a report. No logits are kept."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from determined_ner.data.split import IGNORED, Split
from determined_ner.model.crf import Crf
from determined_ner.tags.decoding import allowed_transitions, best_tags
from determined_ner.tags.entities import TagTable
from determined_ner.tags.labels import Labels
from determined_ner.tags.schemes import Scheme
from determined_ner.tags.scores import evaluate


class TrainingMetrics:
    """Mean loss of a word and speed since the last report; sums stay on the device until then.

    Speed leaves out the batches in which a backend compiled: 0 where there was no other.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._sums: torch.Tensor | None = None
        self._samples = 0
        self._compile_seconds = 0.0
        self._started = time.perf_counter()

    def update(self, loss_sum: torch.Tensor, batch: dict[str, torch.Tensor], compile_seconds: float = 0.0) -> None:
        """Count one micro-batch.

        Args:
            loss_sum: () loss summed over its words.
            batch: of `BatchDataset`.
            compile_seconds: that it took, if a backend compiled in it; else 0.
        """
        pieces = batch["attention_mask"].sum()
        # (Of a student also words without a label.)
        words = (batch["labels"] != IGNORED).sum() if "words" not in batch else pieces.new_tensor(len(batch["words"]))
        if compile_seconds:
            self._compile_seconds += compile_seconds
            pieces = torch.zeros_like(pieces)
        else:
            self._samples += len(batch["windows"])
        sums = torch.stack([loss_sum.detach().double(), words.double(), pieces.double()])
        self._sums = sums if self._sums is None else self._sums + sums

    def so_far(self) -> tuple[float, float]:
        """Loss of a word and windows a second of this slot since the last report; waits for the device."""
        report = self.cross_slot_reduce([self.per_slot_reduce()])
        return report["loss"], report["samples_per_second"]

    def per_slot_reduce(self) -> tuple[list[float], int, float, float]:
        """Sums of loss, words and pieces; windows; seconds; of these, those of compiling."""
        sums = [0.0, 0.0, 0.0] if self._sums is None else self._sums.tolist()
        return sums, self._samples, time.perf_counter() - self._started, self._compile_seconds

    def cross_slot_reduce(self, per_slot_metrics: Sequence[Any]) -> dict[str, float]:
        """The report, of what each slot's `per_slot_reduce` gave."""
        loss, words, pieces = np.sum([sums for sums, *_ in per_slot_metrics], axis=0)
        # While one slot compiles, the others wait for it.
        seconds = max(seconds for *_, seconds, _ in per_slot_metrics) - max(
            compile_seconds for *_, compile_seconds in per_slot_metrics
        )
        return {
            "loss": float(loss / max(words, 1)),
            "samples_per_second": sum(samples for _, samples, *_ in per_slot_metrics) / seconds,
            "tokens_per_second": float(pieces / seconds),
        }


class EvaluationMetrics:
    """Scores over the words of a split: 2 bytes a word and 4 a window until the report."""

    def __init__(
        self,
        split: Split,
        labels: Labels,
        aliases: dict[str, str] | None = None,
        per_type: bool = False,
        crf: Crf | None = None,
    ) -> None:
        """
        Args:
            aliases: metrics to report under one more name: that name → ours.
            per_type: report precision, recall and support of each entity type, beside its F1.
            crf: of the model; then the loss is its, and whole sentences are decoded at the report, as a tagger does:
                4 bytes a word and label until then.
        """
        self._split = split
        self._table = TagTable(labels.names, plain=labels.scheme is Scheme.PLAIN)
        self._aliases = aliases or {}
        self._per_type = per_type
        self._crf, self._labels = crf, labels
        self.reset()

    def reset(self) -> None:
        self._losses: list[torch.Tensor] = []
        self._windows: list[torch.Tensor] = []
        self._tags: list[torch.Tensor] = []

    def update(self, logits: torch.Tensor, batch: dict[str, torch.Tensor]) -> None:
        """Take the tags and the loss of the owned words of one batch.

        Args:
            logits: (B, L, K).
            batch: of `BatchDataset`.
        """
        if len(batch["windows"]) == 0:
            return
        chosen = logits[batch["is_first_piece"]].float()  # (words, K), in reading order of each window
        gold = batch["labels"][batch["is_first_piece"]]
        if self._crf is not None:
            self._losses.append(self._crf(logits, batch["labels"]).detach().double())
            self._tags.append(chosen.detach().cpu())
        else:
            self._losses.append(torch.nn.functional.cross_entropy(chosen, gold, reduction="sum").double())
            self._tags.append(chosen.argmax(-1).to(torch.int16))
        self._windows.append(batch["windows"].to(torch.int32))

    def per_slot_reduce(self) -> tuple[list[float], Any, Any]:
        """Loss of each batch; (W,) windows; (N,) label ids of their N words, window by window (of a CRF, logits)."""
        if not self._losses:
            width = () if self._crf is None else (len(self._labels.names),)
            return [], np.zeros(0, np.int32), np.zeros((0, *width), np.int16 if self._crf is None else np.float32)
        return (
            torch.stack(self._losses).tolist(),
            torch.cat(self._windows).cpu().numpy(),
            torch.cat(self._tags).cpu().numpy(),
        )

    def predicted(self, per_slot_metrics: Sequence[Any]) -> NDArray[np.int16]:
        """(N,) label ids of the split's words, of what each slot's `per_slot_reduce` gave; -1 of words not seen."""
        tags = np.full(len(self._split.tags), -1, np.int16)
        scores_of_words = None if self._crf is None else np.zeros((len(tags), len(self._labels.names)), np.float32)
        for _, windows, predicted in per_slot_metrics:
            words_of_windows = self._split.words_of(windows)
            if scores_of_words is None:
                tags[words_of_windows] = predicted
            else:
                scores_of_words[words_of_windows], tags[words_of_windows] = predicted, 0
        if scores_of_words is not None:
            tags = np.where(tags < 0, tags, self._decoded(scores_of_words))
        return tags

    def cross_slot_reduce(self, per_slot_metrics: Sequence[Any]) -> dict[str, float]:
        """The report, of what each slot's `per_slot_reduce` gave."""
        return self.report(self.predicted(per_slot_metrics), per_slot_metrics)

    def report(self, tags: NDArray[np.int16], per_slot_metrics: Sequence[Any]) -> dict[str, float]:
        """The report on tags that are `predicted` already."""
        scores = self._scores(tags)
        words = int((tags >= 0).sum())
        # Rounded once: the sum is the same in whatever order slots dealt out the batches.
        loss = math.fsum(loss for losses, _, _ in per_slot_metrics for loss in losses)
        metrics = {"loss": loss / max(words, 1), **scores}
        return {**metrics, **{name: metrics[ours] for name, ours in self._aliases.items()}}

    def _decoded(self, logits: Any) -> NDArray[np.int16]:
        """(N,) label ids of the split's words, as `determined_ner.tagging.Tagger` decodes them."""
        assert self._crf is not None
        allowed = allowed_transitions(self._labels.names, Scheme.IOB2)
        return best_tags(logits, self._split.sentences, allowed, transitions=self._crf.scores()).astype(np.int16)

    def _scores(self, tags: Any) -> dict[str, float]:
        gold, sentences = np.asarray(self._split.tags), np.asarray(self._split.sentences)
        if (tags < 0).any():
            # det's local test evaluates one batch only: score the sentences that are complete.
            complete = np.minimum.reduceat(tags, sentences[:-1]) >= 0
            sizes = np.diff(sentences)
            kept = np.repeat(complete, sizes)
            gold, tags = gold[kept], tags[kept]
            sentences = np.concatenate([[0], np.cumsum(sizes[complete])])
        return evaluate(gold, tags, sentences, self._table, self._per_type)

    def names(self) -> list[str]:
        """All metrics that a report holds."""
        nothing = np.zeros(0, np.int16)
        reported = evaluate(nothing, nothing, np.zeros(1, np.int64), self._table, self._per_type)
        return ["loss", *reported, *self._aliases]


class KeptLogits(EvaluationMetrics):
    """The same of one process, with the logits of all words: 4 bytes a word and label."""

    def reset(self) -> None:
        super().reset()
        self._parts: list[tuple[Any, Any]] = []

    def update(self, logits: torch.Tensor, batch: dict[str, torch.Tensor]) -> None:
        super().update(logits, batch)
        if len(batch["windows"]):
            chosen = logits[batch["is_first_piece"]].float().cpu().numpy()
            self._parts.append((batch["windows"].cpu().numpy(), chosen))

    def logits(self) -> Any:
        """(N, K) float32 of the words of the split, all of which have been seen."""
        logits = np.empty((len(self._split.tags), len(self._table.labels)), np.float32)
        for windows, of_words in self._parts:
            logits[self._split.words_of(windows)] = of_words
        return logits
