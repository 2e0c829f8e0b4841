"""Several slots and several nodes train what one slot trains, and each record once an epoch."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch

from tests.cluster import chain
from tests.cluster.trials import DISTRIBUTED, DISTRIBUTED_WITNESS, EPOCHS, SCRIPT, UNEVEN, Cluster, Trial
from tests.conftest import assert_equal_states


def assert_close(trial: Trial, expected: Trial) -> None:
    """Metrics and weights to 1e-5."""
    for group in ("training", "validation"):
        left, right = trial.compared(group), expected.compared(group)
        assert [steps for steps, _ in left] == [steps for steps, _ in right]
        for (steps, metrics), (_, wanted) in zip(left, right, strict=True):
            assert metrics == pytest.approx(wanted, abs=1e-5), f"{group} at {steps}"
    weights = expected.weights()
    for name, tensor in trial.weights().items():
        if name.endswith("attention.self.key.bias"):
            continue  # attention does not feel it: its gradient is rounding, of which Adam makes whole steps
        torch.testing.assert_close(tensor, weights[name], rtol=0, atol=1e-5, msg=name)


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_every_record_is_trained_once_an_epoch(cluster: Cluster, slots: int) -> None:
    trial = cluster.uneven(slots)
    found = re.search(r"train: 44 sentences, (\d+) words, (\d+) windows", trial.tasks[0].log)
    assert found is not None
    words, windows = map(int, found.groups())
    assert windows > 44, "no sentence has two windows"
    assert windows % 7 > 0 and (slots == 1 or 7 % slots > 0), "the batches divide"
    seen = trial.seen()
    for epoch in range(EPOCHS):
        batches = [batch for batch in seen if batch["epoch"] == epoch]
        assert Counter(window for batch in batches for window in batch["windows"]) == Counter(range(windows))
        assert sum(batch["words"] for batch in batches) == words
    assert {batch["epoch"] for batch in seen} == set(range(EPOCHS))


@pytest.mark.parametrize("slots", [2, 3])
def test_slots_train_what_one_slot_trains(cluster: Cluster, slots: int) -> None:
    assert_close(cluster.uneven(slots), cluster.uneven(1))


@pytest.mark.slow
def test_two_slots_train_what_one_slot_trains_on_a_real_corpus(cluster: Cluster, shared_data: Path) -> None:
    inputs = cluster.inputs / "wnut17"
    shutil.copytree(shared_data / "wnut17", inputs)
    data = {f"{split}_file": str(inputs / f"{split}.json") for split in ("train", "validation")}
    options = {
        "encoder": "encoder-without-dropout",
        "data": data,
        "global_batch_size": 32,
        "num_train_epochs": 1,
        "learning_rate": 1e-3,
        "scheduling_unit": 20,
    }
    one = cluster.run("wnut17-1", entrypoint=SCRIPT, **options)
    two = cluster.run("wnut17-2", entrypoint=DISTRIBUTED, slots=2, **options)
    assert "train: 3,394 sentences" in one.tasks[0].log
    assert_close(two, one)


def test_an_entrypoint_without_the_launcher_trains_on_all_its_slots(cluster: Cluster) -> None:
    """``slots_per_trial`` is all that has to be changed."""
    trial = cluster.run("no-launcher", entrypoint=SCRIPT, slots=2, **UNEVEN)
    assert "on 2 × cpu" in trial.tasks[0].log
    assert trial.tasks[0].log.count("train: 44 sentences") == 1
    assert_equal_states(trial.state(), cluster.uneven(2).state())


# ----- two nodes


@pytest.fixture
def _two_nodes() -> None:
    if reason := chain.why_not(nodes=2):
        pytest.skip(reason)


@pytest.mark.usefixtures("_two_nodes")
def test_two_nodes_train_what_two_slots_of_one_node_train(cluster: Cluster) -> None:
    trial = cluster.run("nodes", entrypoint=DISTRIBUTED, slots=2, nodes=2, **UNEVEN)
    rendezvous = [r.answer["rendezvousInfo"] for r in trial.tasks[0].requests if r.path.endswith("/rendezvous")]
    assert sorted(info["rank"] for info in rendezvous) == [0, 1]
    assert {tuple(info["addresses"]) for info in rendezvous} == {("10.0.0.1", "10.0.0.2")}
    expected = cluster.uneven(2)
    for group in ("training", "validation"):
        assert trial.compared(group) == expected.compared(group)
    assert_equal_states(trial.state(), expected.state())


@pytest.mark.usefixtures("_two_nodes")
@pytest.mark.slow
def test_an_entrypoint_without_the_launcher_trains_on_all_its_nodes(cluster: Cluster) -> None:
    trial = cluster.run("no-launcher-on-nodes", entrypoint=SCRIPT, slots=2, nodes=2, **UNEVEN)
    assert_equal_states(trial.state(), cluster.uneven(2).state())


@pytest.mark.slow
@pytest.mark.usefixtures("_two_nodes")
@pytest.mark.parametrize(("death", "validations"), [({"rank": 1, "scored": 2}, 1), ({"rank": 0, "asked": 3}, 0)])
def test_no_node_waits_for_the_word_of_one_that_has_vanished(
    cluster: Cluster, death: dict[str, int], validations: int
) -> None:
    """A worker during a validation; the chief before it says whether all are to pause."""
    rank = death["rank"]
    deaths = [{"task": 1, **death}]
    with cluster.trial(f"word-of-{rank}", entrypoint=DISTRIBUTED_WITNESS, slots=2, deaths=deaths, **UNEVEN) as trial:
        assert trial.run(nodes=2, timeout=100).status != 0
        assert len(trial.master.reports("validation")) == validations


@pytest.mark.usefixtures("_two_nodes")
@pytest.mark.slow
@pytest.mark.parametrize("node", [0, 1])
def test_a_node_that_vanishes_ends_the_task_of_the_other(cluster: Cluster, node: int) -> None:
    """It was killed (out of memory, or taken back by the cloud): its kernel has closed the connections."""
    with cluster.trial(f"node-{node}-vanishes", entrypoint=DISTRIBUTED, slots=2, **UNEVEN) as trial:
        trial.master.hold_at(12)
        with trial.task(nodes=2) as task:
            trial.master.wait_until_held()
            task.kill(node)
            trial.master.go_on()
            assert trial.wait(task, timeout=60).status != 0
        (saved,) = trial.master.checkpoints
        trial.run_well(nodes=2)
        expected = cluster.uneven(2)
        resumed_at = saved["metadata"]["steps_completed"]
        assert trial.reported(task=2) == [steps for steps in expected.reported(task=1) if steps > resumed_at]
        for group in ("training", "validation"):
            assert trial.last(group) == expected.compared(group)
        assert_equal_states(trial.state(), expected.state())
