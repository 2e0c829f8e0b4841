"""Whatever is asked for and whatever lies there, a command ends well or with one message, in time, and runs nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT


def run_cases(count: int, seed: int) -> str:
    command = [sys.executable, "-m", "tests.fuzz", "--cases", str(count), "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_odd_settings_command_lines_models_runs_and_caches_end_well_or_with_one_message() -> None:
    assert "0 of 40 cases of seed 0 failed" in run_cases(40, 0)


@pytest.mark.slow
def test_300_more_of_them_do_too() -> None:
    assert "0 of 300 cases of seed 1 failed" in run_cases(300, 1)
