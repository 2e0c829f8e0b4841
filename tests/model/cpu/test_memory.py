"""Freed memory is kept for the next step, unless the environment sets up the allocator."""

import ctypes
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

FAULTS = """
import resource, sys
import torch
sys.path.insert(0, sys.argv[1])
from determined_ner.model.cpu.memory import keep_memory
if sys.argv[2] == "kept":
    keep_memory()
def step():
    torch.ones(10 << 20)  # 40 MiB, which glibc never keeps by itself
step(), step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
GIVEN_BACK = """
import resource, sys
import torch
sys.path.insert(0, sys.argv[1])
from determined_ner.model.cpu.memory import give_back_memory, keep_memory
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20
keep_memory()
before = resident()
tensors = [torch.ones(10 << 20) for _ in range(8)]
last = tensors.pop()  # what is free lies before it, where the heap cannot end
del tensors
kept = resident() - before
give_back_memory()
print(kept, resident() - before, int(last.sum()))
"""
PAGES = 10 * (40 << 20) // 4096


pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc's allocator is not there"
)


def printed(script: str, *arguments: str, **environment: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_", "LD_"))}
    done = subprocess.run(
        [sys.executable, "-c", script, str(ROOT), *arguments],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def faults(how: str, **environment: str) -> int:
    return int(printed(FAULTS, how, **environment))


def test_a_step_faults_in_no_memory_that_the_last_one_had():
    assert faults("given back") > PAGES / 10
    assert faults("kept") < PAGES / 100
    assert faults("kept", MALLOC_MMAP_THRESHOLD_="1048576") > PAGES / 10


def test_the_end_of_a_training_gives_back_what_is_free():
    kept, left, intact = (int(number) for number in printed(GIVEN_BACK).split())
    assert kept >= 300 and left < 80  # MiB, of eight tensors and of one
    assert intact == 10 << 20
