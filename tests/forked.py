"""Commands in a copy of this process, in which all is imported: killed before a file operation, or on a full disk."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate", "os.link", "os.symlink"}
"""What Python's audit hooks tell of beside ``open``; each is told before it is done."""


def forked(
    action: Callable[[], int],
    operation: int = 0,
    seconds: float = 0.0,
    largest_file: int = 0,
    log: str | os.PathLike[str] = os.devnull,
) -> tuple[int, int]:
    """Do something in a copy of this process.

    Args:
        action: gives an exit status.
        operation: number of the file operation (from 1) before which the copy is killed; 0: of none.
        seconds: after which it is killed; 0: never. What libraries of C and Rust do to files is hit by time alone.
        largest_file: bytes of a file, of which writing more fails as on a full disk, whatever writes; 0: any number.
        log: where its output goes.

    Returns:
        exit status, -9 of a killed one, and how many file operations there were (0 if it was killed).
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        status = 99
        try:
            os.close(reading)
            written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(written, 1)
            os.dup2(written, 2)
            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
            done = _count_operations(operation)
            if largest_file:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
            status = action()
            os.write(writing, str(done()).encode())
        except BaseException:
            os.write(writing, traceback.format_exc().encode())
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(writing)
    if seconds:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    with open(reading, "rb") as pipe:  # noqa: PTH123
        told = pipe.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status != 99, told
    return status, int(told or 0)


def _count_operations(fatal: int) -> Callable[[], int]:
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event == "open":
            if not arguments[2] or not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif event not in CHANGES:
            return
        if f"{os.sep}code{os.sep}" in str(arguments[0]):
            return  # of a checkpoint: 150 files that differ in nothing
        count += 1
        if count == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return lambda: count


def content(folder: Path) -> dict[str, bytes]:
    """Of every file in a folder, by its path in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def litter(folder: Path) -> list[Path]:
    """What is only there while a command writes."""
    return [path for path in folder.rglob(".*") if "partial" in path.name]
