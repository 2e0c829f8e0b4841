"""The processes of a run without a cluster: one, or those that ``torchrun`` starts."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from determined import core

from determined_ner.errors import UserError

T = TypeVar("T")


@contextlib.contextmanager
def joined_processes() -> Iterator[core.DistributedContext]:
    """What Determined knows the processes by; ``torchrun`` says in the environment how many there are."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield core.DummyDistributedContext()
        return
    os.environ["USE_TORCH_DISTRIBUTED"] = "True"  # what Determined's launcher sets
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    ports: list[Any] = [_free_port(), _free_port()]  # Determined's own are fixed: a second run here would clash
    torch.distributed.broadcast_object_list(ports)
    environment = os.environ
    try:
        yield core.DistributedContext(
            rank=int(environment["RANK"]),
            size=int(environment["WORLD_SIZE"]),
            local_rank=int(environment["LOCAL_RANK"]),
            local_size=int(environment["LOCAL_WORLD_SIZE"]),
            cross_rank=int(environment["GROUP_RANK"]),
            cross_size=int(environment["GROUP_WORLD_SIZE"]),
            chief_ip=environment["MASTER_ADDR"],
            pub_port=ports[0],
            pull_port=ports[1],
        )
    finally:
        torch.distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


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
