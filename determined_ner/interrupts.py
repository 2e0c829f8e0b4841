"""Ctrl-C from the first moment to the last, and being asked to stop: one line and exit status, never a traceback."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""By which Slurm, Kubernetes and clouds that take a machine back ask a process to stop."""

_asked = False
_importing = False
_stop_signal: str | None = None
_stop_raised = False
_loop_asks = False
"""Whether a loop looks for a signal by itself, at places where it can save what it has."""


class StopRequestedError(KeyboardInterrupt):
    """One of `STOP_SIGNALS`: a training ends, after a checkpoint if it has begun, with exit status 143.

    Attributes:
        saved: what is saved, and how to go on; "" where nothing has begun.
    """

    def __init__(self, saved: str = "") -> None:
        super().__init__(saved)
        self.saved = saved


def end_at_interrupt() -> None:
    """Have Ctrl-C end the process at once, while it imports its libraries.

    Nothing is there to be put away yet, and C code in the middle of an import takes an exception for a failure of its
    own. Where signals are handled otherwise (in a background job, by a program that calls us) that stays.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def raise_at_interrupt() -> None:
    """After `end_at_interrupt`: have Ctrl-C raise KeyboardInterrupt, so that what was begun is put away.

    A second one ends the process at once, as being killed would.
    """
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, _raise)


def die_of_interrupt() -> None:
    """After both: have Ctrl-C kill the process, which has done its work and only winds up."""
    if signal.getsignal(signal.SIGINT) in (_end, _raise):
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def was_interrupted() -> bool:
    """Whether Ctrl-C was pressed: a library may have made another exception of it."""
    return _asked


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """While libraries are imported: whatever would raise ends the process at once, as `end_at_interrupt` has it."""
    global _importing
    _importing = True
    try:
        yield
    finally:
        _importing = False


@contextlib.contextmanager
def stop_signals_heard() -> Iterator[None]:
    """Have `STOP_SIGNALS` raise `StopRequestedError`, so that what was begun is put away; a second one changes nothing.

    Where they are handled otherwise (by a program that calls us, by this very function) that stays.
    """
    global _stop_signal, _stop_raised
    main_thread = threading.current_thread() is threading.main_thread()
    ours = [number for number in STOP_SIGNALS if main_thread and signal.getsignal(number) is signal.SIG_DFL]
    if ours:
        _stop_signal, _stop_raised = None, False
    for number in ours:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def stop_signals_kept() -> Iterator[None]:
    """Within `stop_signals_heard`: have them raise nothing; the loop asks for `stop_signal` where it can save."""
    global _loop_asks
    _loop_asks = True
    try:
        yield
    finally:
        _loop_asks = False
    if _stop_signal is not None:
        raise StopRequestedError


def stop_signal() -> str | None:
    """The name of the signal that has asked this process to stop; None: none has."""
    return _stop_signal


def was_stopped() -> bool:
    """Whether `StopRequestedError` was raised by a signal: a library may have made another exception of it."""
    return _stop_raised


def is_chief() -> bool:
    """Whether this process speaks for its machine: one message, not one of each process of torchrun."""
    rank = os.environ.get("LOCAL_RANK", "0")
    return not rank.isdecimal() or int(rank) == 0  # of what is no number, a process would be silent


def _end(*_: Any) -> None:
    if is_chief():
        os.write(2, b"interrupted\n")
    os._exit(130)


def _raise(*_: Any) -> None:
    global _asked
    if _asked or _importing:
        _end()
    _asked = True
    raise KeyboardInterrupt


def _stop(number: int, _: Any) -> None:
    global _stop_signal, _stop_raised
    if _stop_signal is not None:
        return
    _stop_signal = signal.Signals(number).name
    if _importing:
        if is_chief():
            os.write(2, f"stopped by {_stop_signal}\n".encode())
        os._exit(128 + signal.SIGTERM)
    if not _loop_asks:
        _stop_raised = True
        raise StopRequestedError
