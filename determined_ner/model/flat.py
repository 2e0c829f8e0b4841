"""Steps without padding: the windows of a batch one after the other, as one text, each attending to itself alone.

All that a model does to a token by itself (products with weights, norms, activations, dropout) then costs what the
tokens cost, however different their windows' lengths are. Attention alone is padded, on a CPU in groups of windows of
like length, on a GPU to one of few lengths: it is a small part of a step.

Nothing in the model is replaced: what it calls for ``scaled_dot_product_attention`` is `FlatAttention`. Whether an
architecture makes all its attention by that function, and takes positions that begin anew with each window, is found by
asking the model itself (`find_flat`); a model that would let windows see each other is told from the others by its
logits.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch.nn import functional

from determined_ner.data.packing import Packing
from determined_ner.data.tokenizer import WordTokenizer
from determined_ner.model.calls import Functions, replaced
from determined_ner.model.cpu.dropout import FastDropout
from determined_ner.model.flat_attention import FlatAttention
from determined_ner.model.layout import GROUP, Layout
from determined_ner.model.probe import made_up_batch
from determined_ner.model.quiet import quiet_transformers

CPU = torch.device("cpu")
NO_FUNCTIONS: Functions = MappingProxyType({})
TOLERANCE = 1e-4
"""Of the largest logit: another order of summing in fp32 differs by less; the sight of another window by far more."""

LONGEST = 160
"""Pieces of the longest text that a model is asked for: more than local attention sees (ModernBERT's: 128)."""
PARTS = (5, 9, 1, 7, 3, 8, 2, 5, 4)
"""Sixteenths of it that the other texts have."""


@dataclass(frozen=True)
class Flat:
    """How a model is computed on a flat batch."""

    first_position: int
    """Position of a window's first token: RoBERTa's begin after the row of the padding piece."""
    names_segments: bool
    """Whether the model has to be told that all tokens are of segment 0: its own list of them may be too short."""
    packing: Packing | None = None
    """How its batches are packed, on a GPU; None: they are not."""
    few_sizes: bool = False
    """Whether its batches are filled up to one of few sizes, on a CPU."""

    def inputs(self, batch: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], Layout]:
        """What a model is called with, by its names, and the layout of it.

        Args:
            batch: of `BatchDataset`, with this packing.
        """
        padded = batch["input_ids"], batch["attention_mask"]
        layout = Layout.packed(batch) if self.packing else Layout.of(*padded, self.few_sizes)
        inputs = {"input_ids": layout.input_ids, "position_ids": layout.positions + self.first_position}
        if self.names_segments:
            inputs["token_type_ids"] = torch.zeros_like(layout.input_ids)
        return inputs, layout

    def logits(
        self,
        model: Any,
        batch: Mapping[str, torch.Tensor],
        products: Functions = NO_FUNCTIONS,
        dropout: FastDropout | None = None,
    ) -> torch.Tensor:
        """The model's logits for a padded batch, of windows that are computed one after the other.

        Args:
            model: as `find_flat` saw it, or what wraps it.
            batch: of `BatchDataset`, with this packing.
            products: of its linear layers, in the place of PyTorch's.
            dropout: in the place of PyTorch's, that of attention too; None: PyTorch's own.

        Returns:
            (B, L, K), 0 at padding.
        """
        inputs, layout = self.inputs(batch)
        attention = {functional.scaled_dot_product_attention: FlatAttention(layout, dropout)}
        with replaced({**products, **(dropout.functions if dropout else {}), **attention}):
            return layout.padded(model(**inputs).logits)


def find_flat(
    model: Any, tokenizer: WordTokenizer, max_seq_length: int, device: torch.device = CPU, few_sizes: bool = False
) -> Flat | None:
    """How this model computes flat batches; None: it does not.

    It is asked for some texts together, more pieces than it takes of one text, and for each of them alone.

    Args:
        model: of Transformers, on the CPU.
        max_seq_length: pieces of a window, special ones included.
        device: on which it is asked, and will be trained.
        few_sizes: whether batches are filled up on a CPU.
    """
    taken = inspect.signature(model.forward).parameters
    if "position_ids" not in taken:
        return None
    rows = getattr(model.config, "vocab_size", None) or 64
    batch = made_up_batch(tokenizer, rows, _sizes(max_seq_length, tokenizer.specials + 1))
    packing = Packing(max_seq_length, tokenizer.pad_id) if device.type == "cuda" else None
    batch = {name: value.to(device) for name, value in (packing.added_to(batch) if packing else batch).items()}
    padding = [
        getattr(part, "padding_idx", None) for name, part in model.named_modules() if name.endswith("_embeddings")
    ]
    was_training = model.training
    model.eval().to(device)
    try:
        with quiet_transformers(), torch.no_grad(), torch.random.fork_rng(devices=[]):
            alone = _alone(model, batch["input_ids"], batch["attention_mask"])
            for first in dict.fromkeys([0, *(number + 1 for number in padding if number is not None)]):
                flat = Flat(first, "token_type_ids" in taken, packing, few_sizes)
                try:
                    together = flat.logits(model, batch)
                except Exception:  # as many kinds as architectures
                    continue
                if (together - alone).abs().max() <= TOLERANCE * alone.abs().max():
                    return flat
    finally:
        model.train(was_training).to("cpu")
    return None


def _sizes(max_seq_length: int, least: int) -> Sequence[int]:
    """Lengths of texts that are more than one window together, in no order, of more than one group."""
    longest = min(max_seq_length, LONGEST)
    sizes = [longest]
    while len(sizes) <= GROUP + 1 or sum(sizes) <= max_seq_length:
        sizes.append(max(least, longest * PARTS[len(sizes) % len(PARTS)] // 16))
    return sizes


def _alone(model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """(B, L, K) logits of each text by itself, 0 at padding."""
    result = torch.zeros(*input_ids.shape, model.config.num_labels, device=input_ids.device)
    for i, size in enumerate(attention_mask.sum(1).tolist()):
        ids, mask = input_ids[i : i + 1, :size], attention_mask[i : i + 1, :size]
        result[i, :size] = model(input_ids=ids, attention_mask=mask).logits[0]
    return result
