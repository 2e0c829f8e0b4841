"""How the threads of a processor's products wait for each other: told before their library is loaded."""

from __future__ import annotations

import os

SPINS = "2000"
"""Looks at the others that a thread takes before it sleeps; libgomp's own choice is 300,000. Beside another process
that is at work, a thread that looks on keeps the one it waits for from running."""
USERS_OWN = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
"""Variables by which a user has chosen already."""


def spin_briefly() -> None:
    """Have OpenMP's threads sleep soon when they wait, in this process and those that it starts.

    libgomp reads it once, when it is loaded: to be called before torch is imported.
    """
    if not any(name in os.environ for name in USERS_OWN):
        os.environ["GOMP_SPINCOUNT"] = SPINS
