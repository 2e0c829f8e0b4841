"""How far a training was, as Determined's loop and ours write it into a checkpoint."""

from __future__ import annotations

import pickle
import pickletools
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any

from determined_ner.errors import UserError


@dataclass
class TrialState:
    """The fields of Determined's own state, in its order."""

    trial_id: int = 0
    """Of the master's; 0 without a cluster."""
    last_ckpt: int = 0
    """Batches after which the last checkpoint was made."""
    step_id: int = 0
    """Of earlier releases of Determined."""
    last_val: int = 0
    """Batches after which the last validation was made."""
    batches_trained: int = 0
    """Micro-batches of each slot."""
    epochs_trained: int = 0

    def write(self, file: Path) -> None:
        """Write it where both loops look for it."""
        with file.open("wb") as opened:
            pickle.dump(asdict(self), opened)


FIELDS = [field.name for field in fields(TrialState)]
_MARKS = {"PROTO", "FRAME", "EMPTY_DICT", "MEMOIZE", "BINPUT", "MARK", "SETITEM", "SETITEMS", "STOP"}
_VALUES = {"SHORT_BINUNICODE", "BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "NONE"}
"""All that the pickle of a dict of names and whole numbers is made of, with a value and without."""


def read_trial_state(file: IO[bytes]) -> dict[str, int | None]:
    """Read ``trial_state.pkl`` without unpickling it.

    Raises:
        UserError: it is anything but the whole numbers of that state.
    """
    values: list[Any] = []
    try:
        for code, argument, _ in pickletools.genops(file.read(4096)):
            if code.name in _VALUES:
                values.append(argument)
            elif code.name not in _MARKS:
                raise ValueError(f"it holds more than numbers: {code.name}")
        state = dict(zip(values[::2], values[1::2], strict=True))
        if state.keys() != set(FIELDS):
            raise ValueError("it has other fields")
        if not all(value is None or (isinstance(value, int) and value >= 0) for value in state.values()):
            raise ValueError("its numbers are none")
    except (ValueError, TypeError) as error:
        problem = f"is not how far a training was: {str(error)[:100]}"
        raise UserError(file.name, problem, "copy the checkpoint again, or use another") from None
    return state
