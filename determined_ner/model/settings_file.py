"""``ner_settings.json``, which a training writes beside its weights, checked before anything is made of it."""

from __future__ import annotations

import math
from typing import Any, get_args

from determined_ner.data.words import WordSplitting
from determined_ner.model.config_file import is_count, is_list_of_names, shorten


def check_described(described: dict[str, Any], longest_window: int) -> None:
    """Check what readers of the file take from it.

    Args:
        described: its content.
        longest_window: pieces that the model takes.

    Raises:
        LookupError: something is missing.
        ValueError: something is not what a training writes; the message has its value.
    """
    for section in ("hyperparameters", "data"):
        settings = described.get(section, {})
        _require(isinstance(settings, dict), section, settings, "is no section")
    labels, fingerprints = described["labels"], described.get("data_fingerprints", {})
    _require(is_list_of_names(labels), "labels", labels, "are no list of names")
    _require(
        isinstance(fingerprints, dict) and is_list_of_names(list(fingerprints.values())),
        "data_fingerprints",
        fingerprints,
        "is no map of names",
    )
    _require(isinstance(described["scheme"], str), "scheme", described["scheme"], "is no name")
    length = described["max_seq_length"]
    _require(
        is_count(length, 1, longest_window),
        "max_seq_length",
        length,
        f"is no number from 1 to the {longest_window:,} pieces that the model takes",
    )
    stride = described["data"]["stride"]
    _require(
        stride is None or is_count(stride, 0, length - 1),
        "data.stride",
        stride,
        f"is no number from 0 to max_seq_length ({length})",
    )
    context = described["data"]["context"]
    _require(context in ("sentence", "document"), "data.context", context, "is neither sentence nor document")
    if "transitions" in described:
        rows = described["transitions"]
        square = isinstance(rows, list) and all(isinstance(row, list) and len(row) == len(labels) for row in rows)
        numbers = square and all(isinstance(x, int | float) and math.isfinite(x) for row in rows for x in row)
        _require(numbers and len(rows) == len(labels), "transitions", rows, "are no finite numbers, a row a label")
    splitting = described.get("word_splitting", "rules")
    kinds = get_args(WordSplitting)
    _require(splitting in kinds, "word_splitting", splitting, f"is neither {' nor '.join(kinds)}")


def _require(holds: bool, name: str, value: Any, problem: str) -> None:
    if not holds:
        raise ValueError(f"{name}: {shorten(value)} {problem}")
