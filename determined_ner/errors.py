"""What a user did wrong, as opposed to what we did wrong (which is an assert)."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import select
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from determined_ner.interrupts import StopRequestedError, is_chief, stop_signal, was_interrupted, was_stopped
from determined_ner.masks import masked, printable_lines


class UserError(Exception):
    """A mistake in the settings, the data or the machine that its owner can fix.

    As text it is `masked`: no URL shows a secret. Commands print it alone, without a traceback, and end with exit
    status 2. Its parts are kept apart, so that whoever knows more (the option that named a directory, say) raises a new
    one from them and nobody cuts up a sentence.

    Attributes:
        where: the place: ``file:line``, a setting's dotted name, an option, a path; "" where the problem names it.
        problem: what is wrong there, with the offending value.
        remedy: what to write or do instead; "" where the problem says it.
        errors: of several mistakes that were found together, each; then the other three are empty.
    """

    def __init__(self, where: object, problem: str = "", remedy: str = "", errors: Sequence[UserError] = ()) -> None:
        self.where, self.problem, self.remedy, self.errors = str(where), problem, remedy, tuple(errors)
        super().__init__(self.where, problem, remedy, self.errors)  # what a slot sends to the others is rebuilt from it

    @classmethod
    def several(cls, errors: Sequence[UserError]) -> UserError:
        """All mistakes of one input, to be fixed in one go: one a line."""
        return errors[0] if len(errors) == 1 and type(errors[0]) is cls else cls("", errors=errors)

    def __str__(self) -> str:
        if self.errors:
            return "\n".join(map(str, self.errors))
        said = "; ".join(part for part in (self.problem, self.remedy) if part)
        return masked(": ".join(part for part in (self.where, said) if part))


class TemporaryError(UserError):
    """What may be otherwise at the next try: a network, a server, a disk that is full, a node that has died.

    Told as ``temporary error: …``, so that a cluster's log policy on ``^error: `` lets the task be tried again.
    """


class DeviceError(ValueError):
    """A device that is not here. No `UserError`, as it is an argument in Python; commands name their option."""

    def __init__(self, name: str, here: Sequence[str]) -> None:
        super().__init__(f"device {name!r} is not here; there is {', '.join(here)}")


class HyperparameterError(UserError):
    """A point of the hyperparameter space that cannot work; a search goes on with its other points."""


def first_line(error: BaseException) -> str:
    """What a library's message says first (the rest speaks to programmers), or its kind, where that says more.

    Three hundred characters of it: it may name all that there is. Advice to load a file unsafely is left out.
    """
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in str(error):
        return "it is no file of plain tensors"
    lines = [line.strip() for line in str(error).strip().split("\n")]
    said = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    if not said:
        return type(error).__name__
    bare = isinstance(error, LookupError | ArithmeticError | TypeError | AttributeError)  # KeyError: 'x'
    said = f"{type(error).__name__}: {said}" if bare else said.rstrip(".")
    return said if len(said) <= 300 else f"{said[:300]}…"


UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG)
"""Errors of the system that more room or rights would fix."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
"""Of these, the errors that others' files cause."""
TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)
"""Errors of the system that a higher limit would fix."""
_TORCH_IS_STUCK = ("PytorchStreamWriter", "inline_container", "iostream error")
"""What torch's writer of archives says when it cannot write."""


def why_unwritable(error: BaseException) -> str | None:
    """What keeps a file from being written; None: the error is of another kind."""
    if isinstance(error, shutil.Error):  # of copytree: (source, destination, reason) of each file
        return str(error.args[0][0][2]) if isinstance(error.args[0], list) else str(error)
    if isinstance(error, OSError):
        return str(error) if error.errno in UNWRITABLE else None
    if isinstance(error, UserError):
        return None
    said = str(error)
    for number in UNWRITABLE:  # Rust's libraries (tokenizers, safetensors) raise kinds of their own
        if f"(os error {number})" in said or (number in (errno.ENOSPC, errno.EDQUOT) and os.strerror(number) in said):
            return f"[Errno {number}] {os.strerror(number)}"
    if any(words in said for words in _TORCH_IS_STUCK):
        return f"the disk is full, or lost ({first_line(error)})"
    return None


_NETWORK = ("ConnectionError", "Timeout", "TimeoutError", "TransportError", "gaierror", "ProtocolError")
"""Names of what Python, requests, urllib3, httpx and aiohttp raise where a network or a server does not answer."""


def is_busy(status: int) -> bool:
    """Whether a server that answers with this status of HTTP may answer otherwise later."""
    return status >= 500 or status in (408, 425, 429)


def may_pass(error: BaseException) -> bool:
    """Whether the next try may go better: a full disk, or a network or server that does not answer.

    What an exception was raised from, or in place of, counts too: libraries wrap what their network says.
    """
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in chain:
        chain.append(at)
        at = at.__cause__ or at.__context__
    if any(type(one).__name__ == "OfflineModeIsEnabled" for one in chain):
        return False  # it was told not to ask
    for one in chain:
        if (status := getattr(getattr(one, "response", None), "status_code", None)) is not None:
            return is_busy(status)
    return any(_is_full(one) or _is_of_network(one) for one in chain)


def _is_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    reason = why_unwritable(error) or ""
    return "the disk is full" in reason or any(os.strerror(number) in reason for number in _FULL)


def _is_of_network(error: BaseException) -> bool:
    return any(kind.__name__ in _NETWORK for kind in type(error).__mro__) and not isinstance(error, BrokenPipeError)


def kind_of(error: BaseException) -> type[UserError]:
    """The error to raise in place of one that `may_pass`, or may not."""
    return TemporaryError if may_pass(error) else UserError


@contextlib.contextmanager
def write_errors_explained(where: object, remedy: str) -> Iterator[None]:
    """
    Args:
        where: what is being written.

    Raises:
        UserError: in place of whatever the system or a library raises when it cannot be written.
    """
    try:
        yield
    except Exception as error:
        reason = why_unwritable(error)
        if reason is None and isinstance(error, OSError) and error.errno not in TOO_MANY_FILES:
            reason = str(error)
        if reason is None:
            raise
        raise kind_of(error)(where, f"cannot be written: {reason}", remedy) from error


def exit_status(command: Callable[[], object], interrupted: str, unwritable: str) -> int:
    """Run a command to its end.

    Args:
        interrupted: what is said after Ctrl-C.
        unwritable: what is said after an error of the system that more room or rights would fix.

    Returns:
        exit status: 0; 2 after a mistake of the user, told in one message that begins with ``error: ``, or after what
        may be otherwise at the next try, with ``temporary error: ``; 130 when interrupted; 143 when asked to stop; 141
        when who read standard output has had enough.
    """
    _occupy_standard_descriptors()
    try:
        try:
            _check_current_directory()
            command()
        finally:
            output_error = _flush_output()
        if output_error is not None:
            raise output_error
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, StopRequestedError) or was_stopped():
            return _stopped(error.saved if isinstance(error, StopRequestedError) else "", interrupted)
        if isinstance(error, KeyboardInterrupt) or was_interrupted():
            if is_chief():
                print(printable_lines(f"interrupted; {interrupted}"), file=sys.stderr)
            return 130
        if isinstance(error, UserError):
            if is_chief():
                _print_problem(str(error), isinstance(error, TemporaryError))
            return 2
        if isinstance(error, BrokenPipeError) and (output_error is not None or _nobody_reads()):
            return 128 + signal.SIGPIPE  # as of a filter before `head`
        message = _of_the_system(error, output_error, unwritable)
        if message is None:
            raise
        _print_problem(masked(message), may_pass(error))
        return 2
    return 0


def _print_problem(message: str, temporary: bool) -> None:
    """The one place that prints one: a task is tried again whose log has no line that begins with ``error: ``."""
    print(printable_lines(f"{'temporary ' if temporary else ''}error: {message}"), file=sys.stderr)


def _stopped(saved: str, interrupted: str) -> int:
    """Say that a signal has ended it, once a machine."""
    if is_chief():
        by = stop_signal() or "a signal to another of its processes"
        print(printable_lines(f"stopped by {by}; {saved or interrupted}"), file=sys.stderr)
    return 128 + signal.SIGTERM


def _of_the_system(error: Exception, output_error: OSError | None, unwritable: str) -> str | None:
    """The message about an error that has to do with the machine, not with the program; None: it is of another kind."""
    if output_error is not None and isinstance(error, OSError):
        return f"standard output: cannot be written ({output_error.strerror}); make room, or send it elsewhere"
    if isinstance(error, OSError) and error.errno in TOO_MANY_FILES:
        return f"{error}; allow more, as by ulimit -n 1024, then {unwritable}"
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return f"{error}; give it another name, then {unwritable}"
    if (reason := why_unwritable(error)) is not None:
        return f"{reason}; make room or rights, then {unwritable}"
    return None


def _check_current_directory() -> None:
    """
    Raises:
        UserError: it was removed. Relative paths mean nothing then, and libraries end the process.
    """
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UserError("the current directory", "no longer exists", "change to one that does") from None


def standard_output() -> TextIO:
    """
    Raises:
        UserError: it is closed.
    """
    if sys.stdout is None:
        raise UserError("standard output", "is closed", "leave it open, or send it elsewhere")
    return sys.stdout


def _occupy_standard_descriptors() -> None:
    """A standard stream that is closed leaves its number to the next file opened, which a library would print into."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free


def _nobody_reads() -> bool:
    """Whether standard output is a pipe that its reader has closed."""
    poll = select.poll()
    poll.register(1, select.POLLERR)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def _flush_output() -> OSError | None:
    """What keeps standard output from being written; what still waits to be is dropped then."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        with contextlib.suppress(OSError, ValueError):  # else the interpreter would try again at its end, and fail
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error
    return None
