"""A process for each slot, which share the processors of their node."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest

from determined_ner.cluster import launch


@pytest.fixture
def started(monkeypatch):
    """The command and the threads of what a task became."""
    found = []
    for name in (*launch.LAUNCHED, "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(launch, "processors", lambda: 7)
    monkeypatch.setattr(os, "execv", lambda _, command: found.append((command, os.environ["OMP_NUM_THREADS"])))
    yield found
    os.environ.pop("OMP_NUM_THREADS", None)


def task(slots, nodes=1):
    return SimpleNamespace(slot_ids=list(range(slots)), container_addrs=[f"10.0.0.{i}" for i in range(nodes)])


@pytest.mark.parametrize(("slots", "nodes", "threads"), [(2, 1, "3"), (3, 2, "2"), (8, 1, "1"), (1, 2, "7")])
def test_processes_of_a_node_share_its_processors(slots, nodes, threads, started):
    launch.start_a_process_for_each_slot(task(slots, nodes))
    ((command, given),) = started
    assert given == threads
    assert command[:3] == [sys.executable, "-m", "determined.launch.torch_distributed"]


def test_threads_that_the_user_chose_stay(started, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    launch.start_a_process_for_each_slot(task(2))
    assert started[0][1] == "5"


def test_one_slot_is_what_it_is(started):
    launch.start_a_process_for_each_slot(task(1))
    assert not started and "OMP_NUM_THREADS" not in os.environ
