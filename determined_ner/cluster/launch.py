"""A process for each slot, where the entrypoint of a config starts a single one."""

from __future__ import annotations

import os
import sys

import determined as det

from determined_ner.machine import processors

LAUNCHED = ("USE_TORCH_DISTRIBUTED", "RANK")
"""Variables of which a process of Determined's torch launcher, or of torchrun, has one."""


def start_a_process_for_each_slot(info: det.ClusterInfo) -> None:
    """Become Determined's torch launcher of this very command, if it has several slots and nothing has launched it.

    The slots are there and the launcher does what the user meant by them: a message that names the line to write would
    end the task for nothing. On several nodes each of them does the same. Returns where there is nothing to launch.

    The processes of a node share its processors (the launcher would give each one thread), unless the user has set
    ``OMP_NUM_THREADS``. Tasks beside this one know nothing of it.
    """
    slots = len(info.container_addrs) * len(info.slot_ids)
    if slots > 1 and not any(name in os.environ for name in LAUNCHED):
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, processors() // len(info.slot_ids))))
        command = [sys.executable, "-m", "determined.launch.torch_distributed", sys.executable, *sys.orig_argv[1:]]
        sys.stdout.flush()
        os.execv(sys.executable, command)
