"""Files and directories that are complete or not there at all: the one home of writing them, and of our JSON."""

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
def replacing(path: Path) -> Iterator[Path]:
    """The path of a file to write beside ``path``, which takes its name, and the place of what was there, at the end.

    Whatever ends the writing before leaves what was there.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
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
        default: makes something of what JSON does not know.
    """
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, default=default) + "\n")


def read_json(file: Path, whole: str = "it") -> dict[str, Any] | None:
    """A JSON object that we once wrote; None: there is no such file.

    Args:
        whole: what is to be copied again where it is damaged.

    Raises:
        UserError: it is damaged.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(file, f"not readable ({first_line(error)})", f"copy {whole} again") from None
    if not isinstance(value, dict):
        raise UserError(file, "not a JSON object", f"copy {whole} again")
    return value


def check_output(path: Path, overwrite: bool) -> None:
    """
    Raises:
        UserError: the output file of a command cannot be written there.
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
    """The output file of a command, to be written for as long as it takes; it takes its name when it is complete.

    One process at a time writes it. What a killed one leaves, ``.NAME.partial``, is written anew by the next.

    Raises:
        UserError: the output cannot be written there, or another process is writing it.
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
            # Else it has just been renamed.
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
            check_output(path, overwrite)  # again: it may have come up meanwhile
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


# -- Directories -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def replacing_directory(target: Path) -> Iterator[Path]:
    """A directory to fill beside ``target``, which takes its name, and the place of what was there, at the end."""
    partial = target.with_name(f".{target.name}.partial")
    replaced = target.with_name(f".{target.name}.replaced")
    for left in (partial, replaced):  # by one that was killed
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
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
    """The output directory of a command, filled beside ``output``; it takes its name when all went well.

    Several processes may make the same: the last one wins, unless ``check`` says otherwise.

    Args:
        check: raises where what is there must stay; asked before and after.

    Raises:
        UserError: none can be written; and as ``check``.
    """
    check(output)
    partial = old = None
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{output.name}.partial-", dir=output.parent))
        yield partial
        partial.chmod(0o755)  # as mkdir does, not as mkdtemp
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


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a lock file, as soon as whoever holds it has let go."""
    from filelock import FileLock  # none where only a tagger is used

    with FileLock(file):
        yield


def why_unwritable(error: OSError | RuntimeError) -> str | None:
    """What keeps a file from being written, if it is that."""
    if isinstance(error, shutil.Error):  # of copytree: (source, destination, reason) of each file
        return str(error.args[0][0][2]) if isinstance(error.args[0], list) else str(error)
    if isinstance(error, OSError):
        return str(error) if error.errno in UNWRITABLE else None
    # torch's writer of archives says no more than where it got stuck.
    stuck = "PytorchStreamWriter" in str(error) or "inline_container" in str(error)
    return f"the disk is full, or lost ({str(error).strip()})" if stuck else None
