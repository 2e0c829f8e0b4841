"""Directories that are built once, whoever asks first, under a hash of all that their content depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from determined_ner.errors import UserError
from determined_ner.files.atomic import replacing_directory
from determined_ner.files.workplace import locked

FORMAT = "2"
"""Changes when cached files of an earlier version can no longer be used."""


def build_once(root: Path, name: str, build: Callable[[Path], None], overwrite: bool = False) -> Path:
    """Return the directory ``root/name``; whoever asks first builds it, and others that ask meanwhile wait.

    Args:
        build: fills the empty directory that it is given, which takes its name when that is done.
        overwrite: build it again. The old one stays in place until then, and what others have mapped of it lasts.

    Raises:
        UserError: the cache cannot be written; and as ``build``.
    """
    target = root / name
    try:
        root.mkdir(parents=True, exist_ok=True)
        with locked(root / f".{name}.lock"):
            if overwrite or not target.exists():
                with replacing_directory(target) as partial:
                    build(partial)
    except OSError as error:
        raise UserError(root, f"the cache of tokenized data cannot be written: {error}", "set data.cache_dir") from None
    return target


def hash_parts(parts: Any) -> str:
    """32 hexadecimal digits that stand for any value that JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def hash_file(path: Path) -> str:
    """64 hexadecimal digits that stand for a file's content (SHA-256).

    Raises:
        UserError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", "check its disk and your rights") from None
    return digest.hexdigest()
