"""Files and directories written atomically: complete or not there at all. JSON files too.

What is being written or removed lies in a `workplace` beside its place, and takes its name, or gives it up, by one
rename.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from determined_ner.errors import UserError, first_line, write_errors_explained
from determined_ner.files.workplace import LONGEST_NAME, NEW, REMOVED, REPLACED, exchange, remove_litter, workplace

LONGEST_PATH = 4095
"""Bytes of a path that Linux takes."""

# -- Files -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The path of a file to write, which takes the name and place of ``path`` at the end.

    Whatever ends the writing before then leaves what was there. Several processes may do this: the last one wins.
    """
    with workplace(path) as place:
        yield place / NEW
        (place / NEW).replace(path)


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
    check_is_file(file, whole)
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(file, f"not readable ({first_line(error)})", f"copy {whole} again") from None
    if not isinstance(value, dict):
        raise UserError(file, "not a JSON object", f"copy {whole} again")
    return value


def check_is_file(file: Path, whole: str) -> None:
    """Check that what has a file's name can be read to its end; it may be missing.

    Raises:
        UserError: it is a directory, a pipe or a device.
    """
    if file.exists() and not file.is_file():
        raise UserError(file, "is no file, but a directory, a pipe or a device", f"copy {whole} again")


def check_name(path: Path, where: object) -> None:
    """Check that something could be written under a path, whatever is there.

    Args:
        where: what the user named it by, for the message.

    Raises:
        UserError: it cannot.
    """
    remedy = "give it another name"
    text = os.fspath(path)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UserError(where, f"the name {text!a} is not UTF-8", remedy) from None
    if "\0" in text:
        raise UserError(where, f"the name {text!a} contains a NUL character", remedy)
    for name in path.parts:
        if (length := len(os.fsencode(name))) > LONGEST_NAME:
            raise UserError(where, f"the name {name[:40]}… has {length} bytes, more than {LONGEST_NAME}", remedy)
    if (length := len(os.fsencode(text))) > LONGEST_PATH:
        raise UserError(where, f"the path {text[:40]}… has {length} bytes, more than {LONGEST_PATH}", remedy)


def check_output(path: Path, overwrite: bool) -> None:
    """Check that the output file of a command can be written; what a killed one left of it is removed.

    Raises:
        UserError: it cannot, another process is writing it, or it exists and is not to be replaced.
    """
    check_name(path, "--output")
    if remove_litter(path.parent, path.name):
        raise UserError(path, "another process is writing it", "wait for it, or name another file")
    _check_free(path, overwrite)


def _check_free(path: Path, overwrite: bool) -> None:
    """
    Raises:
        UserError: what is there, or is not, keeps the file from being written.
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

    Args:
        overwrite: replace a file of this name.

    Raises:
        UserError: it cannot be written, or another process is writing it.
    """
    check_output(path, overwrite)
    with (
        write_errors_explained(path, "make room or rights, or name another file"),
        replacing(path) as partial,
        partial.open("x", encoding="utf-8", newline="\n") as file,
    ):
        yield file
        file.flush()
        os.fsync(file.fileno())
        _check_free(path, overwrite)  # again: a file of this name may have appeared meanwhile


# -- Directories -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def replacing_directory(target: Path, check: Callable[[], None] = lambda: None) -> Iterator[Path]:
    """A directory to fill, which takes the name and place of ``target`` at the end.

    Whatever ends the filling before then leaves what was there. Several processes may do this: the last one wins.

    Args:
        check: called when the directory is filled; raises where what is at ``target`` must stay.
    """
    with workplace(target) as place:
        (new := place / NEW).mkdir()
        yield new
        _let_read(new)
        check()
        if not os.path.lexists(target):
            new.rename(target)
        elif not exchange(new, target):
            target.rename(place / REPLACED)
            new.rename(target)


@contextlib.contextmanager
def atomic_directory(output: Path, check: Callable[[Path], None]) -> Iterator[Path]:
    """A directory to fill with the output of a command; it becomes ``output`` at the end.

    Args:
        check: called with ``output`` before and after; raises where what is there must stay.

    Raises:
        UserError: it cannot be written; and as ``check``.
    """
    check_name(output, "--output")
    remove_litter(output.parent, output.name)  # may put back what `check` has to see
    check(output)
    with (
        write_errors_explained(f"--output {output}", "make room or rights"),
        made_directories(output.parent),
        replacing_directory(output, lambda: check(output)) as partial,
    ):
        yield partial


@contextlib.contextmanager
def made_directories(directory: Path, exclusive: bool = False) -> Iterator[None]:
    """Make a directory and its parents; those that were made go again where what follows fails and left them empty.

    Args:
        exclusive: the directory must not be there yet.

    Raises:
        FileExistsError: it is.
        OSError: one of them cannot be made.
    """
    made: list[Path] = []
    try:
        for path in [*reversed(directory.parents), directory]:
            if path == directory and exclusive:
                path.mkdir()
            elif not path.is_dir():
                path.mkdir(exist_ok=True)
            else:
                continue
            made.append(path)
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for path in reversed(made):
                path.rmdir()
        raise


def remove_directory(directory: Path) -> None:
    """Remove a directory with all that is in it: at no moment is half of it there under its name."""
    with workplace(directory) as place:
        directory.rename(place / REMOVED)


def _let_read(directory: Path) -> None:
    """Give all files in a directory the usual rights: safetensors keeps them to their owner."""
    rights = directory.stat().st_mode & 0o777  # what the umask leaves
    for path in directory.rglob("*"):
        if path.is_symlink():
            continue
        if path.is_dir():
            path.chmod(rights)
        elif path.is_file():
            path.chmod((path.stat().st_mode | 0o666) & rights)
