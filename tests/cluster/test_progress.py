"""Lines of the log while a task trains."""

from __future__ import annotations

import itertools
import logging
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from determined_ner.cluster.progress import INTERVAL, ProgressLines
from determined_ner.training.metrics import TrainingMetrics
from tests.cluster.trials import WITNESS, Cluster

LINE = re.compile(
    r"batch ([\d,]+) of ([\d,]+)  epoch ([\d.]+)  loss ([\d.]+)  ([\d.]+) samples/s  "
    r"about (\d+ s|\d+ min|\d+ h \d\d min) left"
)


class Read(TrainingMetrics):
    """Counts how often the device is waited for."""

    times = 0

    def per_slot_reduce(self) -> tuple[list[float], int, float, float]:
        self.times += 1
        return super().per_slot_reduce()


def lines(caplog: pytest.LogCaptureFixture, seconds: list[float], rank: int = 0) -> tuple[list[str], Read]:
    """Those of a training whose batches end at these seconds."""
    slots = SimpleNamespace(rank=rank, size=2)
    training: Any = SimpleNamespace(
        loop=SimpleNamespace(length=None), in_batches=lambda _: 4000, epoch_batches=250, slots=slots
    )
    metrics, clock = Read(), iter(seconds)
    progress = ProgressLines(training, metrics, lambda: next(clock))
    batch = {
        "labels": torch.zeros(2, 3, dtype=torch.int64),
        "attention_mask": torch.ones(2, 3, dtype=torch.int64),
        "windows": torch.arange(2),
    }
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="determined_ner.progress"):
        for index in range(len(seconds)):
            metrics.update(torch.tensor(3.0), batch)
            progress.after_batch(index)
    return [record.getMessage() for record in caplog.records], metrics


@pytest.mark.parametrize("step", [0.1, 1.0, 7.0, 29.0])
def test_a_line_comes_at_least_every_half_minute(caplog: pytest.LogCaptureFixture, step: float) -> None:
    batches = int(300 / step)
    said, metrics = lines(caplog, [step * (i + 1) for i in range(batches)])
    found = [LINE.fullmatch(line) for line in said]
    assert all(found) and found
    at = [0.0, *(step * int(match[1].replace(",", "")) for match in found if match)]
    assert all(later - before <= INTERVAL + step for before, later in itertools.pairwise(at))
    assert 300 - at[-1] <= INTERVAL + step
    assert metrics.times == len(said)  # the device is waited for by no other batch
    first = found[0]
    assert first is not None and first[2] == "4,000" and first[4] == "0.5000"  # 3.0 over 6 words


def test_a_line_says_how_long_it_will_take(caplog: pytest.LogCaptureFixture) -> None:
    said, _ = lines(caplog, [0.0, 40.0])
    assert len(said) == 1 and said[0].startswith("batch 2 of 4,000  epoch 0.01  loss 0.5000  ")
    assert said[0].endswith("about 44 h 25 min left")  # 3,998 batches of 40 s
    assert lines(caplog, [i * 0.1 for i in range(299)])[0] == []  # less than half a minute


def test_only_the_first_slot_says_so(caplog: pytest.LogCaptureFixture) -> None:
    said, metrics = lines(caplog, [10.0 * i for i in range(20)], rank=1)
    assert said == [] and metrics.times == 0


def test_a_task_says_lines_and_reports_at_its_borders_alone(cluster: Cluster) -> None:
    with cluster.trial("with-lines", entrypoint=WITNESS, deaths=[{"task": 1, "line_every": 0}]) as trial:
        task = trial.run_well()
    said = [line for line in task.log.splitlines() if "determined_ner.progress: " in line]
    assert len(said) == 17  # all but the first of 18 batches
    assert all(LINE.search(line) for line in said)
    assert trial.compared("training") == cluster.script.compared("training")
    assert trial.compared("validation") == cluster.script.compared("validation")
