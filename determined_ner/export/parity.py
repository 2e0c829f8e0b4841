"""Is an exported model the trained one? Both read the same labelled windows; logits, tags and scores are compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from determined_ner.data.batches import EvaluationBatches
from determined_ner.data.collate import BatchDataset
from determined_ner.model.onnx_session import open_session, run_session
from determined_ner.training.metrics import EvaluationMetrics
from determined_ner.training.trained import Trained

LOGIT_TOLERANCE = 1e-4
"""Largest difference of a logit that float32 may bring, where the tags stay the same."""
POINTS_TOLERANCE = 0.5
"""F1 (or accuracy, of plain tags) that int8 may lose, in points of 100."""


@dataclass(frozen=True)
class Comparison:
    """An exported model beside the trained one, on the same words."""

    difference: float
    """Largest of a logit's, over all pieces."""
    changed: int
    """Words with another tag."""
    words: int
    metric: str
    """``f1``, or ``accuracy`` where tags are plain."""
    scores: dict[str, float]
    """Of the exported model."""
    trained_scores: dict[str, float]

    @property
    def points_lost(self) -> float:
        return 100 * (self.trained_scores[self.metric] - self.scores[self.metric])

    def describe(self) -> str:
        """Differences and scores in words."""
        return (
            f"logits within {self.difference:.1e}, {self.changed:,} of {self.words:,} tags differ, "
            f"{self.metric} {self.scores[self.metric]:.4f} (trained {self.trained_scores[self.metric]:.4f})"
        )

    def is_same(self) -> bool:
        """The gate of float32; not passed by what is no number."""
        return self.difference <= LOGIT_TOLERANCE and self.changed == 0

    def loses_little(self) -> bool:
        """The gate of int8."""
        return self.points_lost <= POINTS_TOLERANCE


class Check:
    """The labelled text that exports are checked on.

    Attributes:
        files: where it is from.
        changed: whether it is no longer what the training validated on.
    """

    def __init__(self, trained: Trained, model: Any, data: str | None) -> None:
        """
        Args:
            model: the trained one, of transformers, on the CPU.
            data: a labelled file; None: the run's own validation data.

        Raises:
            UserError: no data is at hand, or something is wrong with it.
        """
        self._directory, self._model = trained.directory, model
        with trained.labelled_text(data, "an export checks itself on") as (text, self.split):
            self.files = text.source.files
        before = trained.validation_fingerprint
        self.changed = data is None and before not in (None, self.split.fingerprint)

    def compare(self, exported: Any, name: str) -> Comparison:
        """Run both on every window.

        Args:
            exported: input_ids and attention_mask, (B, L) int64 tensors each, to logits (B, L, K).
            name: what the progress bar says.
        """
        directory, split = self._directory, self.split
        ours, theirs = (EvaluationMetrics(split, directory.named_labels()) for _ in range(2))
        difference, changed, words = 0.0, 0, 0
        dataset = BatchDataset(split, directory.tokenizer)
        batches = EvaluationBatches(split, directory.tokenizer.specials, slots=1)
        with torch.inference_mode():
            for (chosen,) in tqdm(batches, desc=f"checking {name}", unit="batch", disable=None, leave=False):
                batch = dataset[chosen]
                ids, mask = batch["input_ids"], batch["attention_mask"]
                expected = self._model(input_ids=ids, attention_mask=mask).logits
                got = torch.as_tensor(exported(ids, mask))
                # Not max(): what is no number must not pass.
                gap = float((got - expected)[mask.bool()].abs().max())
                difference = difference if gap <= difference else gap
                first = batch["is_first_piece"]
                changed += int((got[first].argmax(-1) != expected[first].argmax(-1)).sum())
                words += int(first.sum())
                ours.update(expected, batch)
                theirs.update(got, batch)
        scores, trained_scores = (m.cross_slot_reduce([m.per_slot_reduce()]) for m in (theirs, ours))
        metric = "f1" if "f1" in scores else "accuracy"
        return Comparison(difference, changed, words, metric, scores, trained_scores)


def torch_logits(model: Any) -> Any:
    """A model of transformers as `Check.compare` takes it."""
    return lambda ids, mask: model(input_ids=ids, attention_mask=mask).logits


def onnx_logits(path: Path) -> Any:
    """An ONNX file as `Check.compare` takes it."""
    session = open_session(path, torch.get_num_threads())
    return lambda ids, mask: run_session(session, ids, mask)
