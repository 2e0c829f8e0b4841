"""Which of these tests run on which stack: each takes tasks of seconds, and clusters have an older one than laptops."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import transformers

OF_CLUSTERS = int(transformers.__version__.partition(".")[0]) < 5
"""Whether this is the cluster stack (``make test-ort``)."""
ON_THEIRS = {
    *("test_batch_inference", "test_end", "test_faults", "test_progress", "test_restarts", "test_search", "test_slots"),
}
"""Whose short tests run on the cluster stack, and the long ones on the other (``make test-slow``)."""


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    if OF_CLUSTERS:
        return
    for item in items:
        here = item.path.parent == Path(__file__).parent and item.path.stem in ON_THEIRS
        if here and item.get_closest_marker("slow") is None:
            item.add_marker(pytest.mark.skip(reason="runs on the cluster stack: make test-ort"))
