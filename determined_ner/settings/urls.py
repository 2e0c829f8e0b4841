"""Files named by a URL."""

from __future__ import annotations

import re

FILES = ("train_file", "validation_file", "test_file", "unlabelled_file")
"""Settings of the ``data:`` section that name a file."""
_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")


def is_remote(file: str) -> bool:
    """Whether it is the URL of a file, not a path."""
    return _URL.match(file) is not None
