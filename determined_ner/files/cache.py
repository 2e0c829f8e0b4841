"""Directories that are built once, whoever asks first, and that are complete or not there at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from determined_ner.errors import UserError

FORMAT = "2"
"""Changes when cached files of an earlier version can no longer be used."""


def cached(root: Path, name: str, build: Callable[[Path], None], overwrite: bool = False) -> Path:
    """The directory ``root/name``, built once whoever asks first: complete or not there at all.

    ``build`` fills a directory of its own, which gets its name only when it is done; others that ask meanwhile wait.
    ``overwrite`` builds it again; the old one stays in its place until then, and what others have mapped of it lasts.

    Raises:
        UserError: the cache cannot be written.
    """
    from filelock import FileLock

    target = root / name
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{name}.lock"):
            if overwrite or not target.exists():
                partial, replaced = root / f".{name}.partial", root / f".{name}.replaced"
                for left in (partial, replaced):  # by one that was killed: we hold the lock
                    shutil.rmtree(left, ignore_errors=True)
                partial.mkdir()
                try:
                    build(partial)
                    if target.exists():
                        target.rename(replaced)
                    partial.rename(target)
                finally:
                    shutil.rmtree(partial, ignore_errors=True)
                    shutil.rmtree(replaced, ignore_errors=True)
    except OSError as error:
        raise UserError(f"{root}: the cache of tokenized data cannot be written: {error}; set data.cache_dir") from None
    return target


def hash_of(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def hash_of_file(path: Path) -> str:
    """Raises UserError where the file cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): check its disk and your rights") from None
    return digest.hexdigest()
