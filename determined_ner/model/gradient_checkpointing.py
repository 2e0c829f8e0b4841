"""Gradient checkpointing: activations of a layer are dropped, and computed again when its gradient is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from determined_ner.errors import HyperparameterError
from determined_ner.hub import Pretrained
from determined_ner.model.build import skeleton
from determined_ner.model.cpu.dropout import FastDropout
from determined_ner.settings.hyperparameters import Hyperparameters


def check_supported(config: Any, source: Pretrained, hparams: Hyperparameters) -> None:
    """Check that an architecture knows how to compute its layers again.

    Args:
        source: of the config.

    Raises:
        HyperparameterError: it does not.
    """
    if hparams.gradient_checkpointing and not skeleton(config, source).supports_gradient_checkpointing:
        raise HyperparameterError(
            "hyperparameters.gradient_checkpointing",
            f"true is not offered by transformers for a model of type {config.model_type!r}",
            "leave it out: lower global_batch_size for its memory, or raise optimizations.aggregation_frequency",
        )


def enable(model: Any, dropout: Callable[[], contextlib.AbstractContextManager[Any]]) -> None:
    """Have the layers of a model of Transformers computed twice in training, the second time with the same dropout.

    PyTorch sets its own generators back by itself, and autocast; not the one of `FastDropout`, and by the time of
    the second computation that is no longer there.

    Args:
        dropout: gives the context that the forward pass runs in at the time.
    """

    def contexts() -> tuple[contextlib.AbstractContextManager[Any], contextlib.AbstractContextManager[Any]]:
        now = dropout()
        return contextlib.nullcontext(), now.repeated() if isinstance(now, FastDropout) else contextlib.nullcontext()

    options = {"use_reentrant": False, "context_fn": contexts}
    # transformers 5 renames it, and removes the name of 4 with its next.
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=options)
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
