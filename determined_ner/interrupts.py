"""Ctrl-C from the first moment to the last: one line and exit status 130, never a traceback."""

from __future__ import annotations

import os
import signal
from typing import Any

_asked = False


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


def is_chief() -> bool:
    """Whether this process speaks for its machine: one message, not one of each process of torchrun."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


def _end(*_: Any) -> None:
    if is_chief():
        os.write(2, b"interrupted\n")
    os._exit(130)


def _raise(*_: Any) -> None:
    global _asked
    if _asked:
        _end()
    _asked = True
    raise KeyboardInterrupt
