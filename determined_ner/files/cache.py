"""Directories that are built once, whoever asks first, under a hash of all that their content depends on."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from determined_ner.errors import TOO_MANY_FILES, UserError, kind_of
from determined_ner.files.atomic import replacing_directory
from determined_ner.files.checksums import checksum, write_checksums
from determined_ner.files.workplace import locked, remove_litter

FORMAT = "2"
"""Changes when cached files of an earlier version can no longer be used."""

ENTRY_FILE = "cache_entry.json"
"""Checksums of an entry. (A checkpoint that is kept here has its own, of when it was saved.)"""

_BLOCK = 1 << 20

logger = logging.getLogger("determined_ner")


def build_once(root: Path, name: str, build: Callable[[Path], None], overwrite: bool = False) -> Path:
    """Return the directory ``root/name``; whoever asks first builds it, and others that ask meanwhile wait.

    Every file of it is read and compared with its checksum. An entry that is not as it was written is built again,
    with a warning. One that is needs no right to write.

    Args:
        build: fills the empty directory that it is given, which takes its name when that is done.
        overwrite: build it again. The old one stays in place until then, and what others have mapped of it lasts.

    Raises:
        UserError: the cache cannot be written; and as ``build``.
    """
    target = root / name
    remove_litter(root, name)
    if not overwrite and _damage(target) is None:
        return target
    try:
        root.mkdir(parents=True, exist_ok=True)
        with locked(root / f".{name}.lock"):
            damage = _damage(target)  # again: another process may have built it meanwhile
            if overwrite or damage is not None:
                if damage is not None and os.path.lexists(target):
                    logger.warning(f"{target}: {damage}; it is built again")
                if not stat.S_ISDIR(_mode(target)):
                    target.unlink(missing_ok=True)
                with replacing_directory(target) as partial:
                    build(partial)
                    write_checksums(partial, ENTRY_FILE)
    except OSError as error:
        if error.errno in TOO_MANY_FILES:
            raise
        raise kind_of(error)(
            root, f"the cache of tokenized data cannot be written: {error}", "set data.cache_dir"
        ) from None
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
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", "check its disk and your rights") from None
    return digest.hexdigest()


# -- Is an entry what was written? -----------------------------------------------------------------------------


def _damage(entry: Path) -> str | None:
    """What is wrong with an entry; None: it is what was written. No link in it, and no pipe, is opened."""
    try:
        if not stat.S_ISDIR(_mode(entry)):
            return "is no directory"
        if not stat.S_ISREG(_mode(entry / ENTRY_FILE)):
            return f"has no {ENTRY_FILE}: it is damaged, or an earlier version made it"
        with (entry / ENTRY_FILE).open("rb") as file:
            recorded = json.loads(file.read(_BLOCK))  # it is a line or two for each file
        sizes = {name: size for name, (size, _) in recorded.items()}
        found = _sizes(entry)
        wrong = sorted(name for name in {*sizes, *found} if sizes.get(name, -1) != found.get(name, -1))
        if not wrong:
            wrong = [name for name, (_, value) in recorded.items() if checksum(entry / name) != value]
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except (ValueError, TypeError, AttributeError, RecursionError):
        return f"{ENTRY_FILE} is damaged"
    return f"{wrong[0]} is not what was written" if wrong else None


def _sizes(directory: Path) -> dict[str, int]:
    """Bytes of every file except `ENTRY_FILE`, by its path in the directory; -2: a link, a pipe or a device."""
    found = {}
    for path in directory.rglob("*"):  # which goes through no link
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode):
            name = path.relative_to(directory).as_posix()
            found[name] = status.st_size if stat.S_ISREG(status.st_mode) else -2
    found.pop(ENTRY_FILE, None)
    return found


def _mode(path: Path) -> int:
    """Type and rights of what lies there, a link itself; 0: nothing."""
    return path.lstat().st_mode if os.path.lexists(path) else 0
