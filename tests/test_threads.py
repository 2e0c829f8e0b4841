"""How threads wait is told before their library is loaded, and never over what the user has set."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# The library says how it waits when OMP_DISPLAY_ENV asks for it.
LOAD = "import sys; sys.argv = [sys.argv[1], '--help']; import runpy\n"
LOAD += "try: runpy.run_path(sys.argv[0], run_name='__main__')\nexcept SystemExit: pass\n"
LOAD += "assert 'torch' not in sys.modules; import torch"


@pytest.mark.parametrize("command", ["ner_trial.py", "determined_ner/__main__.py"])
@pytest.mark.parametrize(
    ("own", "spins"), [({}, "2000"), ({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "passive"}, "0")]
)
def test_threads_sleep_soon_unless_the_user_says_how_they_wait(command, own, spins):
    unset = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, ROOT / command],
        env={**environment, **own, "OMP_DISPLAY_ENV": "verbose"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr, done.stderr
