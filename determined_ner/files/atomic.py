"""Files and directories written atomically: complete or not there at all. Locks and JSON files too.

Each is written under a hidden name beside its own, ``.NAME….partial``, and takes its name by a rename at the end.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from determined_ner.errors import UNWRITABLE, UserError, first_line

# -- Files -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def replacing(path: Path, alone: bool = False) -> Iterator[Path]:
    """The path of a file to write beside ``path``, whose name and place it takes at the end.

    Whatever ends the writing before then leaves what was there.

    Args:
        alone: no other process writes this file meanwhile, as under a lock; then what a killed one left half written
            is overwritten. Else several may, and the last one wins.
    """
    partial = path.with_name(f".{path.name}.partial" if alone else f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, atomically."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any, default: Callable[[Any], Any] | None = None) -> None:
    """Write a JSON file, one key a line, atomically.

    Args:
        default: called with a value that JSON does not know; returns one that it does.
    """
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, default=default) + "\n")


def read_json(file: Path, whole: str = "it") -> dict[str, Any] | None:
    """Read a JSON object that this project once wrote.

    Args:
        whole: what the file is part of, which is to be copied again where the file is damaged.

    Returns:
        the object; None: there is no such file.

    Raises:
        UserError: the file is damaged.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(file, f"not readable ({first_line(error)})", f"copy {whole} again") from None
    if not isinstance(value, dict):
        raise UserError(file, "not a JSON object", f"copy {whole} again")
    return value


def check_output(path: Path, overwrite: bool) -> None:
    """Check that the output file of a command can be written.

    Raises:
        UserError: it cannot, or it exists and is not to be replaced.
    """
    if path.is_dir():
        raise UserError(path, "is a directory", "name a file in it")
    if path.exists() and not path.is_file():
        raise UserError(path, "is a pipe or a device", "leave --output out and redirect standard output to it")
    if path.exists() and not overwrite:
        raise UserError(path, "exists", "name another file, or replace it with --overwrite")
    if not path.absolute().parent.is_dir():
        raise UserError(path, f"there is no directory {path.absolute().parent}", "make it, or name another file")


@contextlib.contextmanager
def atomic_file(path: Path, overwrite: bool) -> Iterator[IO[str]]:
    """Open the output file of a command for writing; it takes its name at the end.

    One process at a time writes it. What a killed one leaves, ``.NAME.partial``, is overwritten by the next.

    Args:
        overwrite: replace a file of this name.

    Raises:
        UserError: it cannot be written, or another process is writing it.
    """
    check_output(path, overwrite)
    partial = path.with_name(f".{path.name}.partial")
    try:
        file = partial.open("a", encoding="utf-8", newline="\n")
    except OSError as error:
        raise UserError(path, f"cannot be written ({error})", "name a file that you may write") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # If it is no longer the file of this name, another process has just completed it.
            alone = partial.exists() and os.path.samestat(partial.stat(), os.fstat(file.fileno()))
        except BlockingIOError:
            alone = False
        if not alone:
            raise UserError(path, "another process is writing it", "wait for it, or name another file")
        file.truncate(0)
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            check_output(path, overwrite)  # again: a file of this name may have appeared meanwhile
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


# -- Directories -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def replacing_directory(target: Path) -> Iterator[Path]:
    """A directory to fill beside ``target``, whose name and place it takes at the end.

    Whatever ends the filling before then leaves what was there. One process at a time may do this to one target.
    """
    partial = target.with_name(f".{target.name}.partial")
    replaced = target.with_name(f".{target.name}.replaced")
    for left in (partial, replaced):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        _let_read(partial)
        if target.exists():
            target.rename(replaced)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if not target.exists() and replaced.exists():
            replaced.rename(target)
        shutil.rmtree(replaced, ignore_errors=True)


@contextlib.contextmanager
def atomic_directory(output: Path, check: Callable[[Path], None]) -> Iterator[Path]:
    """A directory to fill with the output of a command; it becomes ``output`` at the end.

    Several processes may fill one each: the last one wins, unless ``check`` says otherwise.

    Args:
        check: called with ``output`` before and after; raises where what is there must stay.

    Raises:
        UserError: it cannot be written; and as ``check``.
    """
    check(output)
    partial = old = None
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{output.name}.partial-", dir=output.parent))
        yield partial
        _let_read(partial)
        check(output)
        if output.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{output.name}.old-", dir=output.parent))
            output.rename(old / output.name)
        partial.rename(output)
    except Exception as error:
        if not (isinstance(error, OSError) or type(error).__name__ == "SafetensorError"):  # which wraps the system's
            raise
        raise UserError(f"--output {output}", f"cannot be written: {error}", "make room or rights") from error
    finally:
        if old is not None:
            if not output.exists() and (old / output.name).exists():
                (old / output.name).rename(output)
            shutil.rmtree(old, ignore_errors=True)
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


def _let_read(directory: Path) -> None:
    """Give a directory and its files the usual rights: mkdtemp and safetensors keep them to their owner."""
    umask = os.umask(0)
    os.umask(umask)
    directory.chmod(0o777 & ~umask)
    for path in directory.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod((path.stat().st_mode | 0o666) & ~umask)


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Wait for a lock file, and hold it."""
    from filelock import FileLock  # not installed with the tagger alone, which locks nothing

    with FileLock(file):
        yield


def why_unwritable(error: OSError | RuntimeError) -> str | None:
    """What keeps a file from being written; None: the error is of another kind."""
    if isinstance(error, shutil.Error):  # of copytree: (source, destination, reason) of each file
        return str(error.args[0][0][2]) if isinstance(error.args[0], list) else str(error)
    if isinstance(error, OSError):
        return str(error) if error.errno in UNWRITABLE else None
    # torch's writer of archives says no more than where it got stuck.
    stuck = "PytorchStreamWriter" in str(error) or "inline_container" in str(error)
    return f"the disk is full, or lost ({str(error).strip()})" if stuck else None
