"""What a user did wrong, as opposed to what we did wrong (which is an assert)."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence


class UserError(Exception):
    """A mistake in the settings, the data or the machine that its owner can fix.

    Commands print it alone, without a traceback, and end with exit status 2. Its parts are kept apart, so that whoever
    knows more (the option that named a directory, say) raises a new one from them and nobody cuts up a sentence.

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
        return ": ".join(part for part in (self.where, said) if part)


class HyperparameterError(UserError):
    """A point of the hyperparameter space that cannot work; a search goes on with its other points."""


def first_line(error: BaseException) -> str:
    """What a library's message says first (the rest speaks to programmers); its kind, where that says more."""
    lines = [line.strip() for line in str(error).strip().split("\n")]
    said = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    if not said:
        return type(error).__name__
    bare = isinstance(error, LookupError | ArithmeticError | TypeError | AttributeError)  # KeyError: 'x'
    return f"{type(error).__name__}: {said}" if bare else said.rstrip(".")


UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""Errors of the system that more room or rights would fix."""


def exit_status(command: Callable[[], object], interrupted: str, unwritable: str) -> int:
    """Run a command to its end.

    Args:
        interrupted: what is said after Ctrl-C.
        unwritable: what is said after an error of the system that more room or rights would fix.

    Returns:
        exit status: 0; 2 after a mistake of the user, told in one message; 130 when interrupted.
    """
    try:
        command()
    except UserError as error:
        if int(os.environ.get("LOCAL_RANK", "0")) == 0:  # one message a machine, not one a process
            print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        print(f"error: {error}; make room or rights, then {unwritable}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; {interrupted}", file=sys.stderr)
        return 130
    return 0
