"""Sizes and checksums of a directory's files, written beside them and compared when the directory is opened.

CRC-32 finds whatever a disk or a copy does to a file, and is the fastest hash of the standard library. Against a
forger, who would forge the sums too, no hash beside the files helps.
"""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Sequence
from pathlib import Path

from determined_ner.errors import UserError
from determined_ner.files.atomic import read_json, write_json

CHECKSUMS_FILE = "checksums.json"
"""``{"path/in/the/directory": [bytes, CRC-32], …}``"""


def write_checksums(directory: Path, name: str = CHECKSUMS_FILE) -> None:
    """Write down all files that the directory holds by now.

    Args:
        name: of the file that it is written to.
    """
    own = directory / name
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path != own)
    sums = {path.relative_to(directory).as_posix(): [path.stat().st_size, checksum(path)] for path in files}
    write_json(own, sums)


def check_files(directory: Path, remedy: str, may_lack: Sequence[str] = ()) -> None:
    """Check that all files are as they were written; others may have come.

    A directory without checksums, of an earlier version, is taken as it is.

    Args:
        remedy: what to do where one is not.
        may_lack: patterns of names of files that may be gone.

    Raises:
        UserError: naming the first file that is missing, another, or none (a pipe, say, which is not waited for).
    """
    for path in directory.rglob("*"):
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise UserError(path, "is a pipe or a device", remedy)
    sums = read_json(directory / CHECKSUMS_FILE, "the checkpoint")
    files: list[tuple[Path, int]] = []
    for name, recorded in (sums or {}).items():
        match recorded:
            case [int(size), int(value)] if not (Path(name).is_absolute() or ".." in Path(name).parts):
                if not os.path.lexists(directory / name) and any(map(Path(name).match, may_lack)):
                    continue
                files.append((directory / name, value))
                _check_size(directory / name, size, remedy)
            case _:
                raise UserError(directory / CHECKSUMS_FILE, f"{name!r} is no file's entry", remedy)
    for path, recorded in files:
        try:
            found = checksum(path)
        except OSError as error:
            raise UserError(path, f"cannot be read ({error.strerror})", "check its disk and your rights") from None
        if found != recorded:
            raise UserError(path, "is damaged: its checksum is another", remedy)


def _check_size(path: Path, size: int, remedy: str) -> None:
    """
    Raises:
        UserError: there is no such file, or it is longer or shorter.
    """
    try:
        status = path.stat()
    except OSError:
        raise UserError(path, "is missing", remedy) from None
    if not stat.S_ISREG(status.st_mode) or status.st_size != size:
        found = f"{status.st_size:,} bytes" if stat.S_ISREG(status.st_mode) else "no file"
        raise UserError(path, f"is damaged: {found}, where {size:,} bytes were written", remedy)


def checksum(path: Path) -> int:
    """CRC-32 of a file.

    Raises:
        OSError: it cannot be read.
    """
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            value = zlib.crc32(block, value)
    return value
