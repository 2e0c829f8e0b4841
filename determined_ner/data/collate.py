"""Windows of a split as the padded tensors of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from determined_ner.data.batches import MicroBatch
from determined_ner.data.packing import Packing
from determined_ner.data.padding import Padding, pad_windows
from determined_ner.data.split import IGNORED, Split
from determined_ner.data.tokenizer import WordTokenizer
from determined_ner.data.window_losses import WindowLosses


class BatchDataset(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """A split whose items are whole batches, collated: its index is a `MicroBatch`."""

    def __init__(
        self,
        split: Split,
        tokenizer: WordTokenizer,
        padding: Padding | None = None,
        losses: WindowLosses | None = None,
        teacher: Callable[[], NDArray[np.float16]] | None = None,
        packing: Packing | None = None,
    ) -> None:
        """
        Args:
            losses: how its windows count; None: all alike, and labels are what they say.
            teacher: gives (N, K) log-probabilities of its words, of which a student learns; None: there is none. It is
                asked with the first item.
            packing: packs each batch besides; None: it is only padded.
        """
        self._split = split
        self._losses, self._teacher = losses, teacher
        self._tokenizer = tokenizer
        self._padding = padding
        self._packing = packing

    def __getitem__(self, batch: MicroBatch) -> dict[str, torch.Tensor]:
        """Pad the windows of a micro-batch to one length L.

        An empty micro-batch becomes one window without words: every slot has to take part in every step.

        Returns:
            - input_ids, attention_mask and labels: (B, L) int64;
            - is_first_piece: (B, L) bool, first pieces of owned words;
            - windows: (B,) int64, empty for an empty micro-batch;
            - loss_weight: () float32;
            - window_weights, where windows weigh differently: (B,) float32;
            - possible, where a corpus does not label all types: (G, K) bool; a label of K + g is one of those that row
              g allows;
            - where batches are packed, what `Packing` gives.
        """
        split = self._split
        windows = chosen = np.array(batch.windows or (0,), np.int64)
        padded = pad_windows(split.ids, split.windows, chosen, self._tokenizer, self._padding)
        labels = padded.place(split.labels, IGNORED, np.int64)
        is_first_piece = padded.place(split.is_first_piece, False, np.bool_)
        if not batch.windows:
            windows = windows[:0]
            labels[:], is_first_piece[:] = IGNORED, False
        counted: dict[str, torch.Tensor] = {}
        if self._losses is not None:
            if self._losses.weights is not None:
                counted["window_weights"] = torch.from_numpy(self._losses.weights[chosen])
            if len(possible := self._losses.possible):
                row = self._losses.open_labels[chosen][:, None]
                is_open = (labels == self._losses.outside) & (row > 0)
                labels = np.where(is_open, possible.shape[1] + row - 1, labels)
                counted["possible"] = torch.from_numpy(possible)
        if self._teacher is not None:
            counted["teacher"] = torch.from_numpy(np.asarray(self._teacher()[self._split.words_of(windows)]))
            counted["words"] = torch.from_numpy(np.flatnonzero(is_first_piece))
        item = {
            "input_ids": torch.from_numpy(padded.input_ids),
            "attention_mask": torch.from_numpy(padded.attention_mask),
            "labels": torch.from_numpy(labels),
            "is_first_piece": torch.from_numpy(is_first_piece),
            "windows": torch.from_numpy(windows),
            "loss_weight": torch.tensor(batch.loss_weight),
            **counted,
        }
        return item if self._packing is None else self._packing.added_to(item)


def only_item(items: list[Any]) -> Any:
    """``collate_fn`` of a dataset whose items are batches already."""
    (item,) = items
    return item
