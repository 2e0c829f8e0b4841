"""A trial that is preempted, killed, cut off from its master or out of disk ends as if nothing had happened."""

from __future__ import annotations

import random
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.trials import DISTRIBUTED_WITNESS, STEPS, TOTAL, UNEVEN, WITNESS, Cluster, Trial
from tests.conftest import assert_equal_states


def assert_resumed(trial: Trial, expected: Trial, checkpoint: int) -> None:
    """The second task went on from the checkpoint of so many steps, and all ended as if nothing had happened."""
    assert trial.reported(task=2) == [steps for steps in expected.reported(task=1) if steps > checkpoint]
    assert_undisturbed(trial, expected)


def assert_undisturbed(trial: Trial, expected: Trial) -> None:
    """Weights, optimizer, schedule and all that was reported, bit for bit."""
    for group in ("training", "validation"):
        assert trial.last(group) == expected.compared(group)
    assert_equal_states(trial.state(), expected.state())


def saved_steps(trial: Trial) -> list[int]:
    return [checkpoint["metadata"]["steps_completed"] for checkpoint in trial.master.checkpoints]


# ----- preemption


@pytest.mark.slow
def test_a_trial_preempted_at_random_ends_as_if_nothing_had_happened(cluster: Cluster) -> None:
    seed = random.randrange(10**6)
    draw = random.Random(seed)
    requests = [draw.randint(0, 5) for _ in range(5)]  # of the training thread; a step makes two
    found = f"preempted at requests {requests} (seed {seed})"
    with cluster.trial("preempted", scheduling_unit=1) as trial:
        for request in requests:
            trial.master.preempt_at(request)
            task = trial.run_well()
            assert sum(r.path.endswith("/signals/ack_preemption") for r in task.requests) == 1, found
        last = trial.run_well()
        assert sum(r.path.endswith("/signals/ack_preemption") for r in last.requests) == 0, found
    steps = [report.steps for report in trial.master.reports("training")]
    assert steps == list(range(1, TOTAL + 1)), f"steps twice or missing: {found}"
    assert trial.compared("validation") == cluster.every_step.compared("validation"), found
    assert_undisturbed(trial, cluster.every_step)


# ----- death


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_slot_that_dies_ends_the_task_and_the_next_resumes(cluster: Cluster, rank: int) -> None:
    death = {"task": 1, "rank": rank, "batch": 12}
    name = f"rank-{rank}-dies"
    with cluster.trial(name, entrypoint=DISTRIBUTED_WITNESS, slots=2, deaths=[death], **UNEVEN) as trial:
        assert trial.run().status != 0
        died = max(path.stat().st_mtime for path in (trial.folder / "witness").glob("seen-*.jsonl"))
        assert time.time() - died < 60
        (saved,) = saved_steps(trial)
        trial.run_well()
        assert_resumed(trial, cluster.uneven(2), saved)


def test_a_task_that_is_killed_resumes(cluster: Cluster) -> None:
    with cluster.trial("killed") as trial:
        trial.master.hold_at(STEPS + 4)
        with trial.task() as task:
            trial.master.wait_until_held()
            task.kill(0)
            assert trial.wait(task).status != 0
        assert saved_steps(trial) == [STEPS]
        trial.run_well()
        assert_resumed(trial, cluster.script, STEPS)


def test_a_death_amid_a_checkpoint_leaves_the_one_before(cluster: Cluster) -> None:
    with cluster.trial("half-a-checkpoint", entrypoint=WITNESS, deaths=[{"task": 1, "checkpoint": 2}]) as trial:
        assert trial.run().status != 0
        halves = {path.parent.name for path in trial.storage.glob("*/state_dict.pth")}
        (whole,) = trial.master.checkpoints
        assert len(halves - {whole["uuid"]}) == 1, "there is no half checkpoint"
        trial.run_well()
        assert_resumed(trial, cluster.script, STEPS)


# ----- a master that is away, out of order or slow


@pytest.mark.slow
def test_a_master_that_is_away_for_half_a_minute_is_waited_for(cluster: Cluster) -> None:
    with cluster.trial("away", profiling={"enabled": True}) as trial:
        trial.master.hold_at(STEPS)
        with trial.task() as task:
            trial.master.wait_until_held()
            task.set_master(reachable=False)
            time.sleep(1)
            trial.master.go_on()
            before = len(trial.master.requests)
            time.sleep(29)
            assert len(trial.master.requests) <= before + 1, "the master was reached"
            task.set_master(reachable=True)
            assert trial.wait(task).status == 0, trial.tasks[-1].log
    assert trial.compared("training") == cluster.script.compared("training")
    assert_undisturbed(trial, cluster.script)
    # The only trial here that lasts for the ten seconds of a profiler's report.
    for group, metric in (("cpu", "cpu_util_simple"), ("memory", "memory_free"), ("network", "net_throughput_sent")):
        reports = trial.master.reports(group)
        assert reports
        assert all(metric in str(report.metrics) for report in reports), reports


@pytest.mark.slow
def test_a_master_that_is_out_of_order_and_then_slow_is_waited_for(cluster: Cluster) -> None:
    with cluster.trial("out-of-order") as trial:
        master = trial.master
        master.hold_at(STEPS)
        with trial.task() as task:
            master.wait_until_held()
            for master.failing in (500, 502):
                failed = master.failed
                master.go_on()
                time.sleep(2.5)
                assert master.failed > failed
            master.failing, master.delay = None, 0.2
            assert trial.wait(task).status == 0, trial.tasks[-1].log
    assert trial.compared("training") == cluster.script.compared("training")
    assert_undisturbed(trial, cluster.script)


# ----- storage


def size_on_disk(checkpoint: Path) -> int:
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in checkpoint.rglob("*"))


@pytest.mark.parametrize("fault", ["full", pytest.param("read-only", marks=pytest.mark.slow)])
def test_a_checkpoint_that_cannot_be_written_is_reported_and_not_taken_for_one(cluster: Cluster, fault: str) -> None:
    room = size_on_disk(cluster.script.checkpoint(0))
    with cluster.trial(fault) as trial:
        master = trial.master
        disk = f"size={room * 3 // 2 if fault == 'full' else room * 5}"  # the second is too much
        if fault == "read-only":
            master.hold_at(STEPS + 2)
        with trial.task(disk=disk) as task:
            if fault == "read-only":
                master.wait_until_held()
                task.run_inside(0, f"mount -o remount,ro {trial.storage}")
                time.sleep(1)
                master.go_on()
            log = trial.wait(task).log
        assert trial.tasks[0].status == 2, log
        (message,) = (line for line in log.splitlines() if line.startswith("temporary error:"))
        assert "cannot be written (checkpoint_storage" in message and str(trial.storage) in message
        # torch's writer of archives says less than those of other files.
        assert re.search("No space left|the disk is full" if fault == "full" else "Read-only file system", message)
        assert "Traceback" not in log
        assert saved_steps(trial) == [STEPS]

        left = trial.folder / "disk-1" / "checkpoints"
        assert {path.parent.name for path in left.glob("*/metadata.json")} == {master.checkpoints[0]["uuid"]}
        assert len([path for path in left.iterdir() if path.name != "cluster-1"]) == 1, "half a checkpoint is left"
        shutil.copytree(left, trial.storage, dirs_exist_ok=True)
        trial.run_well()
        assert_resumed(trial, cluster.script, STEPS)


def test_storage_that_is_read_only_is_reported_before_training(cluster: Cluster) -> None:
    with cluster.trial("read-only-from-the-start") as trial:
        task = trial.run(disk="ro")
        assert task.status != 0
        found: list[Any] = [
            line for line in task.log.splitlines() if re.search(r"ERROR|(^|\] )(temporary )?error: ", line)
        ]
        assert len(found) == 1
        assert "Checkpoint storage validation failed" in found[0]
        assert "Read-only file system" in found[0]
        assert "Traceback" not in task.log
        assert trial.master.reports("training") == []
