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


def processors() -> int:
    """On how many this process may run."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load() -> float:
    """Processes that wanted to run, over the last minute."""
    return os.getloadavg()[0]


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
