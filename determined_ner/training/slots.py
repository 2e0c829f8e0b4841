"""The processes that train one model, as a training sees them: how many, which one this is, and what they exchange."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from determined_ner.errors import HyperparameterError, UserError

T = TypeVar("T")


class Slots(Protocol):
    """The processes that train one model; Determined's ``DistributedContext`` is one."""

    rank: int
    size: int
    local_rank: int

    def allgather(self, stuff: Any) -> list[Any]:
        """What each of them gave, by rank."""

    def broadcast(self, stuff: Any) -> Any:
        """What the first of them gave."""


class OneSlot:
    """This process alone."""

    rank = local_rank = 0
    size = 1

    def allgather(self, stuff: Any) -> list[Any]:
        return [stuff]

    def broadcast(self, stuff: Any) -> Any:
        return stuff


def on_chief(slots: Slots, action: Callable[[], T]) -> T:
    """Run ``action`` on the first process; all get its result, or its error."""
    result: T | None = None
    error: UserError | None = None
    if slots.rank == 0:
        try:
            result = action()
        except UserError as mistake:
            error = mistake
    outcome: tuple[T, UserError | None] = slots.broadcast((result, error))
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def check_batch_size(global_batch_size: int, slots: int) -> None:
    """
    Raises:
        HyperparameterError: fewer sentences in a step than slots to share them.
    """
    if global_batch_size < slots:
        raise HyperparameterError(
            "hyperparameters.global_batch_size",
            f"{global_batch_size} is less than the {slots} slots that share it",
            f"write at least {slots}, or take fewer slots (resources.slots_per_trial)",
        )
