"""The processes of a run without a cluster: one, or those that ``torchrun`` starts."""

from __future__ import annotations

import contextlib
import datetime
import os
import pickle
import socket
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import torch

from determined_ner.errors import UserError
from determined_ner.training.slots import OneSlot, Slots

PATIENCE = datetime.timedelta(days=7)
"""How long one process waits for what another does alone, such as reading the data."""

LAST_WAIT = 0.2
"""Seconds, without Python's lock, in which gloo's threads let go of what was exchanged last, gradients among it: torch
2.3 waits for them at the end of a group, for ever if they need that lock."""


LAUNCHED = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What ``torchrun`` says to each of several processes, beside their number."""


def process_count() -> int:
    """How many processes this command has, as ``torchrun`` says in the environment.

    Raises:
        UserError: it is no number, or something else has set it.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if size == "1":
        return 1
    remedy = "start several processes by torchrun, or unset WORLD_SIZE"
    for name in ("WORLD_SIZE", *LAUNCHED):
        value = os.environ.get(name)
        if value is None:
            raise UserError(name, f"is not set, and WORLD_SIZE is {size!r}", remedy)
        if name != "MASTER_ADDR" and not (value.isascii() and value.isdecimal()):
            raise UserError(name, f"{value!r} is no number", remedy)
    if int(os.environ["RANK"]) >= int(size):
        raise UserError("RANK", f"{os.environ['RANK']} is none of {size} processes (WORLD_SIZE)", remedy)
    return int(size)


@contextlib.contextmanager
def joined_processes() -> Iterator[Slots]:
    """All processes of this training.

    Raises:
        UserError: as `process_count`.
    """
    if process_count() == 1:
        yield OneSlot()
        return
    if os.environ["LOCAL_WORLD_SIZE"] == os.environ["WORLD_SIZE"]:
        loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
        os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = loopback  # no other machine is needed
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield ProcessGroupSlots()
    finally:
        time.sleep(LAST_WAIT)
        torch.distributed.destroy_process_group()


class ProcessGroupSlots:
    """The processes of ``torchrun``, which exchange objects through a process group of the CPU."""

    def __init__(self) -> None:
        self.rank = int(os.environ["RANK"])
        self.size = int(os.environ["WORLD_SIZE"])
        self.local_rank = int(os.environ["LOCAL_RANK"])
        self.group = torch.distributed.new_group(backend="gloo", timeout=PATIENCE)
        # A thread of gloo lets go of an exchange's tensors some time later, under a lock that the end of its group
        # waits for while it holds Python's. Were they not held here, that thread would need Python's to free them.
        self._held: deque[list[torch.Tensor]] = deque(maxlen=8)

    def allgather(self, stuff: Any) -> list[Any]:
        content = torch.frombuffer(bytearray(pickle.dumps(stuff)), dtype=torch.uint8)
        sizes = self._gathered(torch.tensor([len(content)]))
        longest = int(max(sizes))
        contents = self._gathered(torch.nn.functional.pad(content, (0, longest - len(content))))
        return [pickle.loads(c[: int(n)].numpy().tobytes()) for c, n in zip(contents, sizes, strict=True)]

    def broadcast(self, stuff: Any) -> Any:
        return self.allgather(stuff if self.rank == 0 else None)[0]

    def _gathered(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """That of each process, which are of one shape."""
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        self._held.append([tensor, *found])
        with noticing_the_dead():
            torch.distributed.all_gather(found, tensor, self.group)
        return found


@contextlib.contextmanager
def noticing_the_dead() -> Iterator[None]:
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
