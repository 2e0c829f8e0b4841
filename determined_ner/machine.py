"""The machine that a figure is of, in words."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

UNITS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16")
"""Vector units in the names of /proc/cpuinfo that products are faster for."""


def processor() -> str:
    """Its name, with the vector units that matter."""
    text = _cpuinfo()
    named = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    there = flags()
    units = [unit for unit in UNITS if unit in there]
    model = named.group(1).strip() if named else platform.processor() or platform.machine()
    return f"{model} ({', '.join(units)})" if units else model


def flags() -> set[str]:
    """What the processor can do, in the names of /proc/cpuinfo; empty where that does not say."""
    found = re.search(r"^flags\s*: (.*)$", _cpuinfo(), re.MULTILINE)
    return set(found.group(1).split()) if found else set()


def maker() -> str:
    """Who made the processor, in the names of /proc/cpuinfo, as GenuineIntel; empty where that does not say."""
    found = re.search(r"^vendor_id\s*: (.*)$", _cpuinfo(), re.MULTILINE)
    return found.group(1).strip() if found else ""


def processors() -> int:
    """How many this process has, of its machine or, in a container, of its quota."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return here
    return here if quota == "max" else max(1, min(here, int(quota) // int(period)))


def load() -> float:
    """Processes that wanted to run, over the last minute; 0 where the system does not count them."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def described() -> str:
    """For under a table: the processor, how many there are, and what threads the user asked for."""
    threads = os.environ.get("OMP_NUM_THREADS")
    return f"{processor()}, {processors()} processors" + (f", OMP_NUM_THREADS={threads}" if threads else "")


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
