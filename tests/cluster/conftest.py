"""On which stack these tests run: each takes tasks of seconds, and clusters have an older one than laptops.

The slow ones run on the other (``make test-slow``).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import transformers

OF_CLUSTERS = int(transformers.__version__.partition(".")[0]) < 5
"""Whether this is the cluster stack (``make test-ort``)."""


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    if OF_CLUSTERS:
        return
    for item in items:
        if item.path.parent == Path(__file__).parent and item.get_closest_marker("slow") is None:
            item.add_marker(pytest.mark.skip(reason="runs on the cluster stack: make test-ort"))
