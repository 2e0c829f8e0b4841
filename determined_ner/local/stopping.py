"""Stopping where a signal asks for it: all processes of a training agree on the step after which they stop."""

from __future__ import annotations

from typing import Any

import torch

from determined_ner import interrupts
from determined_ner.local.processes import ProcessGroupSlots, noticing_the_dead
from determined_ner.training.slots import Slots


class StopAgreement:
    """Whether any process has been asked to stop, said to all at the same place.

    What each knows after one step is exchanged while the next one is computed, through the process group of the CPU: no
    device is waited for, and no process runs ahead of another by more than a step. So a signal in step n is known to
    all after step n + 1; to one process by itself, after step n.
    """

    def __init__(self, slots: Slots) -> None:
        self._group = slots.group if isinstance(slots, ProcessGroupSlots) else None
        self._pending: tuple[Any, torch.Tensor] | None = None

    def at_step(self) -> bool:
        """After each step: whether to stop. All processes call it equally often."""
        if self._group is None:
            return interrupts.stop_signal() is not None
        known = self._known()
        flag = torch.tensor([float(interrupts.stop_signal() is not None)])
        work = torch.distributed.all_reduce(flag, group=self._group, async_op=True)
        self._pending = work, flag
        return known

    def at_border(self) -> bool:
        """Where all processes wait for each other anyway: what each knows now counts."""
        return self.at_step() | self._known()

    def _known(self) -> bool:
        """What all knew when it was last asked."""
        if self._pending is None:
            return False
        (work, flag), self._pending = self._pending, None
        with noticing_the_dead():
            work.wait()
        return bool(flag.item())
