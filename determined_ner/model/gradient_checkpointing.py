"""Gradient checkpointing: activations of a layer are dropped, and computed again when its gradient is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from determined_ner.errors import HyperparameterError
from determined_ner.hub import Pretrained
from determined_ner.model.build import skeleton
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


def enable(model: Any, again: Callable[[], contextlib.AbstractContextManager[Any]]) -> None:
    """Have the layers of a model of Transformers computed twice in training, the second time with the same dropout.

    PyTorch sets its own generators back by itself, and autocast; by the time of the second computation, no other
    context of the forward pass is there.

    Args:
        again: called in the forward pass; the context in which what follows can be computed once more.
    """

    def contexts() -> tuple[contextlib.AbstractContextManager[Any], contextlib.AbstractContextManager[Any]]:
        return contextlib.nullcontext(), again()

    options = {"use_reentrant": False, "context_fn": contexts}
    # transformers 5 renames it, and removes the name of 4 with its next.
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=options)
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
