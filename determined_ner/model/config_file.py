"""A model's ``config.json``, checked before the library does what it says: the model's word is not the user's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from determined_ner.hub import Pretrained
from determined_ner.model.stored_weights import count_stored_tensors
from determined_ner.tags.labels import MOST_LABELS

IMPLEMENTATIONS = ("eager", "sdpa", "flex_attention")
"""Of attention, which are PyTorch's own. Any other name can make the library fetch a kernel from the hub and run it,
whatever ``trust_remote_code`` is: one with a slash, and flash attention's where its package is missing."""
_IMPLEMENTATION = re.compile(r"_?(attn|experts)_implementation(_internal)?")
_LAYERS = re.compile(r"layers?$|^(block|depth|num_block|num_hidden_group|inner_group_num)")
MOST_LAYERS = 1000
"""That are built whatever the weights are: beyond, building takes long enough to look at the weights first."""


def check_config(described: dict[str, Any], source: Pretrained) -> None:
    """Check what a ``config.json`` says.

    Args:
        described: its content.

    Raises:
        UserError: it would run code, load another model, or cannot be built.
    """
    folder = Path(source.location())
    if (folder / "adapter_config.json").is_file():
        raise source.refused(
            "is an adapter (adapter_config.json), which names another model as its base",
            "merge it into that model (PEFT: merge_and_unload) and save the whole",
        )
    if described.get("quantization_config") is not None:
        raise source.refused(
            "has quantized weights (quantization_config in its config.json)", "take the model in full precision"
        )
    again = "correct its config.json, or copy it again"
    tensors: int | None = None
    for key, value in _entries(described):
        problem = None
        if _IMPLEMENTATION.fullmatch(key) and not isinstance(value, dict) and value not in (None, *IMPLEMENTATIONS):
            problem, remedy = "which the library would fetch from the hub and run", "remove it from its config.json"
        elif key == "architectures" and value is not None and not is_list_of_names(value):
            problem, remedy = "which is no list of names", again
        elif key in ("auto_map", "id2label", "label2id") and value is not None and not isinstance(value, dict):
            problem, remedy = "which is no map", again
        elif key in ("num_labels", "_num_labels") and not is_count(value, 1, MOST_LABELS):
            problem, remedy = f"which is no number from 1 to {MOST_LABELS:,}", again
        elif _LAYERS.search(key) and isinstance(value, int) and value > MOST_LAYERS:
            tensors = count_stored_tensors(folder) if tensors is None else tensors
            if value > tensors:
                problem, remedy = f"which are more than the {tensors:,} tensors of its weights", again
        if problem:
            raise source.refused(f"its config.json says {key}: {shorten(value)}, {problem}", remedy)
    labels = described.get("id2label") or {}
    if not all(isinstance(name, str | int) for name in labels.values()):
        raise source.refused(f"its config.json says id2label: {shorten(labels)}, which are no names", again)


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, those of parts included (a model in a model has its own section)."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            if isinstance(inner, list):
                yield from ((key, item) for item in inner if isinstance(item, int))
            # A map of implementations has the names of parts as its keys.
            if _IMPLEMENTATION.fullmatch(key) and isinstance(inner, dict):
                yield from ((key, item) for item in inner.values())
            yield from _entries(inner)


def is_list_of_names(value: Any) -> bool:
    """Whether it is a list of texts."""
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def is_count(value: Any, least: int, most: int) -> bool:
    """Whether it is a whole number from ``least`` to ``most``."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def shorten(value: Any) -> str:
    """The ``repr`` of a value for a message, of 60 characters at most."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
