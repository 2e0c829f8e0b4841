"""A training step on a CPU gets its memory from what the process already has, in huge pages.

A step allocates and frees hundreds of tensors of a megabyte or more. glibc gives each such block back to the kernel
when it is freed, so that every step faults in, and the kernel clears, the same memory again: a tenth of a step.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from pathlib import Path

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Options of glibc's ``mallopt``, from malloc.h."""
MADV_HUGEPAGE = 14
"""Advice to Linux's ``madvise``, from sys/mman.h."""
NEVER = -1
"""As a trim threshold: keep all memory."""
BLOCK, HUGE_PAGE = 1 << 30, 2 << 20
"""Bytes of what is allocated at once, and of a huge page."""


def keep_memory() -> None:
    """Have the allocator keep freed memory for the next step, and put the heap into huge pages.

    This takes address space, not memory, for a quarter of the machine's memory. Nothing happens where there is no
    glibc, where address space is limited, or where the environment sets up its allocator (GLIBC_TUNABLES, MALLOC_…) or
    preloads another.
    """
    set_up = any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ)
    if sys.platform != "linux" or set_up or "LD_PRELOAD" in os.environ or _address_space_is_limited():
        return
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return
    for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, NEVER), (M_TOP_PAD, 64 << 20)):
        libc.mallopt(option, value)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    blocks = []
    for _ in range(os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE // 4 // BLOCK):
        block = libc.malloc(BLOCK)  # the top of the heap, and still so when it is free
        if not block:
            break
        blocks.append(block)
        begin = -(-block // HUGE_PAGE) * HUGE_PAGE
        libc.madvise(begin, block + BLOCK - begin - HUGE_PAGE, MADV_HUGEPAGE)
    for block in blocks:
        libc.free(block)


def give_back_memory() -> None:
    """Give what is free back to the kernel, which glibc does not do by itself after `keep_memory`."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):
            libc.malloc_trim(0)


def _address_space_is_limited() -> bool:
    """Whether a large block of address space may be refused, or counted as memory."""
    import resource  # Unix alone

    limits = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    if any(resource.getrlimit(limit)[0] != resource.RLIM_INFINITY for limit in limits):
        return True
    try:
        return Path("/proc/sys/vm/overcommit_memory").read_text("ascii").strip() == "2"  # all of it is accounted for
    except OSError:
        return False
