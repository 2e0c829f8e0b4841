"""A fixture that writes the files to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.readers.files import PACK, Write


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(PACK.get(path.suffix, bytes)(data))
        return path

    return write
