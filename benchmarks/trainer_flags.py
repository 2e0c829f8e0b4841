"""Flags of ``transformers.Trainer`` whose names depend on its version."""

from __future__ import annotations

from typing import Any

import transformers

GROUPED: dict[str, Any] = (
    {"train_sampling_strategy": "group_by_length"}
    if int(transformers.__version__.split(".")[0]) >= 5
    else {"group_by_length": True}
)
"""Batches of like length."""
