"""Directories that are built once, whoever asks first, under a hash of all that their content depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from determined_ner.errors import UserError
from determined_ner.files.atomic import locked, replacing_directory

FORMAT = "2"
"""Changes when cached files of an earlier version can no longer be used."""


def build_once(root: Path, name: str, build: Callable[[Path], None], overwrite: bool = False) -> Path:
    """The directory ``root/name``, built once whoever asks first: complete or not there at all.

    ``build`` fills a directory of its own, which gets its name only when it is done; others that ask meanwhile wait.
    ``overwrite`` builds it again; the old one stays in its place until then, and what others have mapped of it lasts.

    Raises:
        UserError: the cache cannot be written.
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
    """A name of whatever JSON can tell."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def hash_file(path: Path) -> str:
    """A name of a file's content.

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
