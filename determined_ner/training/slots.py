"""The processes that train one model, as a training sees them: how many, which one this is, and what they exchange."""

from __future__ import annotations

from typing import Any, Protocol


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
