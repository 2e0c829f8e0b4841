"""Stopping before the end: all processes of a training agree on the step after which they do."""

from __future__ import annotations

import enum
from typing import Any

import torch

from determined_ner import interrupts
from determined_ner.local.processes import ProcessGroupSlots, noticing_the_dead
from determined_ner.training.slots import Slots
from determined_ner.training.stopping import Stopping


class Request(enum.IntEnum):
    """What a process wants after a step; of several, all do the greatest."""

    GO_ON = 0
    END = 1
    """Time is over: the run ends here, as one that is done."""
    STOP = 2
    """A signal has come: the run is saved, and may go on later."""


class StopAgreement:
    """Whether any process is to stop, said to all at the same place.

    What each knows after one step is exchanged while the next one is computed, through the process group of the CPU: no
    device is waited for, and no process runs ahead of another by more than a step. So a signal in step n is known to
    all after step n + 1; to one process by itself, after step n.
    """

    def __init__(self, slots: Slots, stopping: Stopping) -> None:
        self._stopping = stopping
        self._group = slots.group if isinstance(slots, ProcessGroupSlots) else None
        self._pending: tuple[Any, torch.Tensor] | None = None

    def at_step(self) -> Request:
        """After each step: what to do. All processes call it equally often."""
        if self._group is None:
            return self._own()
        known = self._known()
        flag = torch.tensor([float(self._own())])
        work = torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX, group=self._group, async_op=True)
        self._pending = work, flag
        return known

    def at_border(self) -> Request:
        """Where all processes wait for each other anyway: what each knows now counts."""
        return max(self.at_step(), self._known())

    def _own(self) -> Request:
        if interrupts.stop_signal() is not None:
            return Request.STOP
        return Request.END if self._stopping.out_of_time else Request.GO_ON

    def _known(self) -> Request:
        """What all knew when it was last asked."""
        if self._pending is None:
            return Request.GO_ON
        (work, flag), self._pending = self._pending, None
        with noticing_the_dead():
            work.wait()
        return Request(int(flag.item()))
