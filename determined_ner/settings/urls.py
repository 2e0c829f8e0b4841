"""Files named by a URL, and URLs as they may be shown."""

from __future__ import annotations

import re
import urllib.parse
from typing import Any

from determined_ner.settings.data import DataSettings

FILES = ("train_file", "validation_file", "test_file")
"""Settings of the ``data:`` section that name a file."""
_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")


def is_remote(file: str) -> bool:
    return _URL.match(file) is not None


def without_secrets(settings: DataSettings) -> dict[str, Any]:
    """The settings as they go into a model, which may be handed on: URLs without what may be secret.

    Determined keeps the config as it was written, in its checkpoints (``load_data.json``) and in the web UI.
    """
    dumped = settings.model_dump()
    for name in FILES:
        if dumped[name] is not None and is_remote(dumped[name]):
            dumped[name] = shown_url(dumped[name])
    return dumped


def shown_url(url: str) -> str:
    """A URL for a message or a log: without user, password and query, in which secrets travel."""
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urllib.parse.urlunsplit((parts.scheme, host, parts.path, "…" if parts.query else "", ""))
