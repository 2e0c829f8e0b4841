"""Hidden directories beside what is being written or removed, and the locks that tell whose they are.

A workplace is ``.NAME.partial-XXXXXXXX`` beside NAME.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import hashlib
import logging
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

logger = logging.getLogger("determined_ner")

LONGEST_NAME = 255
"""Bytes of a file's name that the usual file systems take."""
NEW, REPLACED, REMOVED, _LOCK = "new", "replaced", "removed", "lock"
"""What lies in a workplace: what takes the target's name, what had it until then, what gives it up, and the lock."""
_WORKPLACE = re.compile(r"\.(.+)\.partial-([a-z0-9_]{8})", re.DOTALL)
_WITHOUT_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
"""Errors of a file system that has no locks."""


@contextlib.contextmanager
def workplace(target: Path) -> Iterator[Path]:
    """A hidden directory beside ``target`` to work in, removed at the end with all that is left in it.

    Nobody else can plant a file in it or guess its name, and the process at work holds a lock in it. So what a killed
    process left is told from what a live one needs: the next workplace for the same target takes it away.

    Raises:
        OSError: it cannot be made.
    """
    remove_litter(target.parent, target.name)
    lock: int | None = None
    while True:
        place = Path(tempfile.mkdtemp(prefix=_workplace_prefix(target.name), dir=target.parent))
        try:
            lock = _lock(place / _LOCK)
        except (BlockingIOError, FileNotFoundError):
            continue  # before the lock was held, another process took it for litter
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                shutil.rmtree(place, ignore_errors=True)
                raise
        break
    try:
        yield place
    finally:
        _clear(place, target, lock)


def remove_litter(directory: Path, name: str | None = None) -> bool:
    """Remove the workplaces that killed processes left; where one was killed between two renames, undo the first.

    Those of other users, and all on a file system without locks, are left alone.

    Args:
        name: the target whose workplaces they are; None: of every target in the directory.

    Returns:
        whether a live process is at work on the target.
    """
    at_work = False
    try:
        names = [entry.name for entry in os.scandir(directory)]
    except OSError:  # it does not exist, or its list is not for us
        return False
    for found in names:
        match = _WORKPLACE.fullmatch(found)
        if match is None or (name is not None and found[: match.start(2)] != _workplace_prefix(name)):
            continue
        place = directory / found
        try:
            status = place.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
                continue
            lock = _lock(place / _LOCK)
        except BlockingIOError:
            at_work = True
        except OSError:
            continue
        else:
            _clear(place, directory / (name or match[1]), lock)
    return at_work


def _workplace_prefix(name: str) -> str:
    suffix = ".partial-"
    if len(os.fsencode(name)) + len(suffix) + len(".12345678") > LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return f".{name}{suffix}"


def _clear(place: Path, target: Path, lock: int | None) -> None:
    """Remove a workplace; what was to be replaced and was not is put back first."""
    with contextlib.suppress(OSError):
        if os.path.lexists(place / REPLACED):
            (place / REPLACED).rename(place / REMOVED if os.path.lexists(target) else target)
    if lock is not None:
        os.close(lock)  # before it is removed: NFS would keep a file that is open
    shutil.rmtree(place, ignore_errors=True)


@functools.cache
def _renameat2() -> Callable[..., int] | None:
    """Linux's call that exchanges two names; None: this C library does not have it."""
    return getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


def exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two directories at one stroke.

    Returns:
        whether it was done; False: the file system cannot do it.
    """
    renameat2 = _renameat2()
    if renameat2 is None:
        return False
    at_cwd, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if renameat2(at_cwd, os.fsencode(one), at_cwd, os.fsencode(other), exchange) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM):
        return False
    raise OSError(number, os.strerror(number), str(other))


# -- Locks -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(file: Path, wait: bool = True) -> Iterator[None]:
    """Hold a lock file, which is made if need be, never written to, and stays.

    Not by the library filelock: it empties the file, which a hard link of its name would make any file of the user's.
    On a file system without locks nothing is held, and a warning says so.

    Args:
        wait: for another process that holds it.

    Raises:
        BlockingIOError: another process holds it.
        OSError: it cannot be made, or is no file.
    """
    descriptor: int | None = None
    try:
        descriptor = _lock(file, wait)
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise
        logger.warning(f"{file.parent}: its file system has no locks: let no second process write there meanwhile")
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _lock(file: Path, wait: bool = False) -> int:
    """The descriptor of a lock file that is held until it is closed.

    Raises:
        OSError: as `locked`, and where the file system has no locks.
    """
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "is no file", str(file))
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # who held it has removed it: another one is made
