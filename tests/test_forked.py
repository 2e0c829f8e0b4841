"""Copies of a process are apart, and none hangs for ever."""

from __future__ import annotations

import threading
import time

import pytest
import tqdm

from tests import forked
from tests.forked import Copy, together


def test_a_copy_that_is_killed_in_a_progress_bar_stops_no_other(tmp_path):
    began = tmp_path / "began"

    def killed() -> int:
        with tqdm.tqdm.get_lock():
            began.touch()
            time.sleep(60)
        return 0

    copy = Copy(killed)
    copy.wait_until(began.exists)
    copy.kill()
    assert together(lambda: sum(tqdm.tqdm(range(3), disable=True)), 1) == (3, "")


def test_a_copy_that_hangs_ends_and_says_where(monkeypatch):
    monkeypatch.setattr(forked, "PATIENCE", 0.2)
    status, said = together(threading.Event().wait, 2)
    assert status == 1 and said.count("Timeout (0:00:00.2") == 2 and "in wait" in said


def test_a_copy_that_ends_too_early_says_why(tmp_path):
    copy = Copy(lambda: print("no more") or 3, tmp_path / "log.txt")
    with pytest.raises(AssertionError, match="ended before, with 3\nno more"):
        copy.wait_until(lambda: False)
