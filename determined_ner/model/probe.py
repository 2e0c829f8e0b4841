"""Whether a model reads a text the same alone and in a batch, at every length: the model itself is asked."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch

from determined_ner.data.tokenizer import WordTokenizer
from determined_ner.errors import first_line
from determined_ner.hub import Pretrained
from determined_ner.model.quiet import quiet_transformers

logger = logging.getLogger("determined_ner")

NOTED, REFUSED = 1e-3, 0.1
"""Differences, of the largest logit. Another order of summing differs by less than a hundredth of the first; ConvBERT's
convolutions, which reach over the end of a text, by a few times it; FNet, which has no mask, by more than REFUSED."""
REMEDY = "choose another model, such as bert-base-cased"


def check_behaviour(
    model: Any, tokenizer: WordTokenizer, max_seq_length: int, source: Pretrained, lengths: bool = True
) -> None:
    """Check that a model's logits are a function of the text, and of nothing beside it.

    An architecture that computes otherwise once it has seen a short text (BigBird's attention, no longer sparse from
    then on) does so ever after this: it has seen one.

    Args:
        model: of Transformers, on the CPU.
        max_seq_length: pieces of a window, special ones included.
        lengths: also compute a full window and one of an odd length, which takes the time of two sentences of that
            length; else a few pieces alone.

    Raises:
        UserError: it needs more than text, gives a text other logits beside a longer one or after another one, or
            cannot compute some length (of a hyperparameter, a HyperparameterError).
    """
    rows = getattr(model.config, "vocab_size", None) or 64
    was_training = model.training
    model.eval()

    def logits(*sizes: int) -> Any:
        """(sizes, pieces, K) of made-up texts of these lengths."""
        try:
            output = model(**made_up_batch(tokenizer, rows, sizes)).logits
        except Exception as error:  # as many kinds as architectures
            raise source.refused(
                f"is a model of type {model.config.model_type!r}, which cannot compute a text of {max(sizes)} pieces: "
                f"{first_line(error)}",
                REMEDY,
            ) from error
        return output

    least = tokenizer.specials + 1
    short, longer = min(max(7, least), max_seq_length), min(max(11, least), max_seq_length)
    try:
        with quiet_transformers(), torch.no_grad(), torch.random.fork_rng(devices=[]):
            logits(least)
            before = _modes(model)
            alone, beside = logits(short)[0], logits(short, longer)[0, :short]
            difference, scale = float((alone - beside).abs().max()), float(alone.abs().max())
            problem = (
                f"is a model of type {model.config.model_type!r}, which gives a text other logits beside a longer one "
                f"than alone, as it reads the padding too: by {difference:.1g}, where the largest is {scale:.1g}"
            )
            if math.isfinite(scale) and difference > REFUSED * scale:
                raise source.refused(problem, REMEDY)
            if lengths and difference > NOTED * scale:
                logger.warning(f"{source.where}: {problem}")
            if lengths:
                for length in sorted({max(least, max_seq_length * 2 // 3 | 1), max_seq_length}):
                    logits(min(length, max_seq_length))
                logits(short)
            if _modes(model) != before:
                raise source.refused(
                    f"is a model of type {model.config.model_type!r}, which computes a text otherwise after another",
                    REMEDY,
                )
    finally:
        model.train(was_training)


def made_up_batch(tokenizer: WordTokenizer, rows: int, sizes: Sequence[int]) -> dict[str, torch.Tensor]:
    """Texts of any pieces between the special ones.

    Args:
        rows: pieces that the model knows.
        sizes: (B,) pieces of each text, special ones included.

    Returns:
        ``input_ids`` and ``attention_mask``, (B, L) int64 each.
    """
    ids = torch.full((len(sizes), max(sizes)), tokenizer.pad_id)
    mask = torch.zeros_like(ids)
    for i, size in enumerate(sizes):
        inner = (torch.arange(size - tokenizer.specials) * 7 + 11) % rows
        inner[inner == tokenizer.pad_id] = tokenizer.unknown_id
        ids[i, :size] = torch.cat([torch.tensor(tokenizer.prefix), inner, torch.tensor(tokenizer.suffix)])
        mask[i, :size] = 1
    return {"input_ids": ids, "attention_mask": mask}


def _modes(model: Any) -> dict[str, str | bool]:
    """By what names its parts say how they compute."""
    return {
        f"{name}.{key}": value
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, str | bool)
    }
