"""The processes of a run without a cluster: one, or those that ``torchrun`` starts."""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from determined import core

from determined_ner import determined_api
from determined_ner.errors import UserError

T = TypeVar("T")

PATIENCE = datetime.timedelta(days=7)
"""How long one process waits for what another does alone, such as reading the data."""


@contextlib.contextmanager
def joined_processes() -> Iterator[core.DistributedContext]:
    """What Determined knows the processes by; ``torchrun`` says in the environment how many there are."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield core.DummyDistributedContext()
        return
    os.environ["USE_TORCH_DISTRIBUTED"] = "True"  # what Determined's launcher sets
    if os.environ["LOCAL_WORLD_SIZE"] == os.environ["WORLD_SIZE"]:
        loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
        os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = loopback  # no other machine is needed
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield ProcessGroupSlots()
    finally:
        torch.distributed.destroy_process_group()


class ProcessGroupSlots(determined_api.Slots):
    """The processes of ``torchrun``, which exchange objects through torch's process group."""

    def __init__(self) -> None:
        environment = os.environ
        super().__init__(
            rank=int(environment["RANK"]),
            size=int(environment["WORLD_SIZE"]),
            local_rank=int(environment["LOCAL_RANK"]),
            local_size=int(environment["LOCAL_WORLD_SIZE"]),
            cross_rank=int(environment["GROUP_RANK"]),
            cross_size=int(environment["GROUP_WORLD_SIZE"]),
            chief_ip=environment["MASTER_ADDR"],
        )
        self._all = torch.distributed.new_group(backend="gloo", timeout=PATIENCE)
        nodes: dict[int, list[int]] = {}
        for rank, node in enumerate(self.allgather(self.cross_rank)):
            nodes.setdefault(node, []).append(rank)
        groups = {node: torch.distributed.new_group(ranks, PATIENCE, "gloo") for node, ranks in sorted(nodes.items())}
        self._here, self._first_here = groups[self.cross_rank], nodes[self.cross_rank][0]

    def gather(self, stuff: Any) -> list[Any] | None:
        return self._gather(stuff, self._all, first=0)

    def gather_local(self, stuff: Any) -> list[Any] | None:
        return self._gather(stuff, self._here, self._first_here)

    def allgather(self, stuff: Any) -> list[Any]:
        return self._allgather(stuff, self._all)

    def allgather_local(self, stuff: Any) -> list[Any]:
        return self._allgather(stuff, self._here)

    def broadcast(self, stuff: Any) -> Any:
        return self._broadcast(stuff, self._all, first=0)

    def broadcast_local(self, stuff: Any = None) -> Any:
        return self._broadcast(stuff, self._here, self._first_here)

    def _allgather(self, stuff: Any, group: Any) -> list[Any]:
        found: list[Any] = [None] * group.size()
        with _noticing_the_dead():
            torch.distributed.all_gather_object(found, stuff, group)
        return found

    def _gather(self, stuff: Any, group: Any, first: int) -> list[Any] | None:
        found = self._allgather(stuff, group)
        return found if self.rank == first else None

    def _broadcast(self, stuff: Any, group: Any, first: int) -> Any:
        objects = [stuff]
        with _noticing_the_dead():
            torch.distributed.broadcast_object_list(objects, first, group)
        return objects[0]


@contextlib.contextmanager
def _noticing_the_dead() -> Iterator[None]:
    """
    Raises:
        UserError: in place of the connection's error: another process has ended.
    """
    try:
        yield
    except RuntimeError as error:
        raise UserError(
            "", "another process of this training is gone", "its own message says why; go on with --resume"
        ) from error


def on_chief(processes: core.DistributedContext, action: Callable[[], T]) -> T:
    """Run ``action`` on the first process; all get its result, or its error."""
    result: T | None = None
    error: UserError | None = None
    if processes.rank == 0:
        try:
            result = action()
        except UserError as mistake:
            error = mistake
    outcome: tuple[T, UserError | None] = processes.broadcast((result, error))
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]
