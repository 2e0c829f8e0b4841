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
PAGES = 10 * (40 << 20) // 4096


def faults(how: str, **environment: str) -> int:
    root = str(ROOT)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_", "LD_"))}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, root, how],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc's allocator is not there"
)
def test_a_step_faults_in_no_memory_that_the_last_one_had():
    assert faults("given back") > PAGES / 10
    assert faults("kept") < PAGES / 100
    assert faults("kept", MALLOC_MMAP_THRESHOLD_="1048576") > PAGES / 10
