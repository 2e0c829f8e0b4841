"""A training by itself: what it needs, how long it is, what it says of itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from determined_ner.errors import UserError
from determined_ner.model.engine import Engine
from determined_ner.settings.experiment import read_config
from determined_ner.settings.loop import parse_loop
from determined_ner.settings.parsing import parse_settings
from determined_ner.training.checkpoint_state import LABELS_KEY, THREADS_KEY, label_state, restore_run
from determined_ner.training.setup import Training
from determined_ner.training.slots import OneSlot
from tests.conftest import ROOT, newest_checkpoint


def make_training(config_file: Path, tmp_path: Path, *overrides: str) -> Training:
    config = read_config(config_file, list(overrides))
    settings = parse_settings(config["hyperparameters"], config["data"])
    loop = parse_loop(config, settings)
    steps = loop.aggregation_frequency
    return Training(settings, loop, torch.device("cpu"), OneSlot(), steps, loop.seed, tmp_path / "cache")


def test_a_training_needs_no_determined():
    script = (
        "import sys, determined_ner.training.setup; print([m for m in sys.modules if m.split('.')[0] == 'determined'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_what_is_written_beside_weights_describes_them(train, config_file, tmp_path):
    folder = train()
    training = make_training(config_file, tmp_path)
    assert json.loads((newest_checkpoint(folder) / "ner_settings.json").read_text()) == training.describe()


@pytest.mark.parametrize(
    ("overrides", "grouped", "flat"),
    [
        ((), False, True),
        (("hyperparameters.group_by_length=true",), True, False),
        (("hyperparameters.gradient_checkpointing=true",), True, False),
        (("hyperparameters.gradient_checkpointing=true", "hyperparameters.group_by_length=false"), False, False),
        (("data.pad_to_max_length=true",), True, False),
    ],
)
def test_batches_are_random_where_they_are_not_padded_and_by_length_elsewhere(
    config_file, tmp_path, overrides, grouped, flat
):
    training = make_training(config_file, tmp_path, *overrides)
    assert (training.grouped, training.flat is not None) == (grouped, flat)
    assert training.describe()["hyperparameters"]["group_by_length"] is grouped


def test_a_checkpoint_goes_on_with_the_batches_that_it_is_of_alone(config_file, tmp_path):
    random = make_training(config_file, tmp_path)
    grouped = make_training(config_file, tmp_path, "hyperparameters.group_by_length=true")
    of_earlier_release = {"labels": list(random.labels.names)}
    for state, training in (
        (label_state(random), grouped),
        (label_state(grouped), random),
        (of_earlier_release, random),
    ):
        with pytest.raises(UserError, match=r"hyperparameters\.group_by_length: the checkpoint is of a training on "):
            restore_run({"callbacks": {LABELS_KEY: state}}, training)
    for state, training in (
        (label_state(random), random),
        (label_state(grouped), grouped),
        (of_earlier_release, grouped),
    ):
        restore_run({"callbacks": {LABELS_KEY: state}}, training)


def test_a_run_goes_on_with_the_number_of_threads_that_it_began_with(config_file, tmp_path, caplog):
    training, here = make_training(config_file, tmp_path), torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        state = label_state(training)
        torch.set_num_threads(1)
        with caplog.at_level("INFO", "determined_ner"):
            restore_run({"callbacks": {LABELS_KEY: state}}, training)
            assert torch.get_num_threads() == 3
            restore_run({"callbacks": {LABELS_KEY: state}}, training)  # it has them
        assert [r.message for r in caplog.records if r.message.startswith("threads: 3 a process")] == [
            "threads: 3 a process, with which the run began; 1 would round its sums otherwise"
        ]
        of_earlier_release = {name: value for name, value in state.items() if name != THREADS_KEY}
        of_two_slots = {**state, THREADS_KEY: [2, 3]}  # whose sums one slot rounds otherwise anyway
        for other in (of_earlier_release, of_two_slots):
            torch.set_num_threads(1)
            restore_run({"callbacks": {LABELS_KEY: other}}, training)
            assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(here)


def test_one_slot_of_a_machine_goes_first_and_a_mistake_of_one_is_that_of_all(config_file, tmp_path):
    mistake = UserError("there", "is wrong", "correct it")
    order = []

    class SecondSlot(OneSlot):
        rank = local_rank = 1
        size = 2

        def allgather(self, stuff: Any) -> list[Any]:
            order.append("together")
            return [None, stuff]

    training = make_training(config_file, tmp_path)
    training.slots = SecondSlot()
    assert training._one_slot_first(lambda first: order.append(first) or "done") == "done"
    assert order == ["together", False, "together"]

    class AfterAMistake(SecondSlot):
        def allgather(self, stuff: Any) -> list[Any]:
            return [mistake, stuff]

    training.slots = AfterAMistake()
    with pytest.raises(UserError) as raised:
        training._one_slot_first(lambda first: pytest.fail("the first slot has failed"))
    assert raised.value is mistake


def test_lengths_are_whole_optimizer_steps(config_file, tmp_path):
    training = make_training(config_file, tmp_path, "optimizations.aggregation_frequency=4")
    for given, batches in ((1, 4), (4, 4), (5, 8), (8, 8)):
        length = parse_loop(
            read_config(config_file, [f"searcher.max_length.batches={given}"]), training.settings
        ).length
        assert training.in_batches(length) == batches


def test_lengths_of_batches_are_few_in_half_precision_and_one_if_asked(train, monkeypatch):
    monkeypatch.setattr("determined_ner.model.precision.faster_than_mkl", lambda: False)
    lengths = set()

    def recorded(method):
        def record(self, batch, *arguments, **named):
            lengths.add(batch["input_ids"].shape[1])
            return method(self, batch, *arguments, **named)

        return record

    for name in ("train_step", "logits"):  # in training and in evaluation
        monkeypatch.setattr(Engine, name, recorded(getattr(Engine, name)))
    at_most_18 = ("data.max_seq_length=18", "hyperparameters.max_steps=8", "hyperparameters.global_batch_size=2")
    at_most_18 += ("hyperparameters.group_by_length=true",)
    rounded = {4, 8, 12, 16, 18}
    train(*at_most_18, output="fp32")
    assert not lengths <= rounded
    lengths.clear()
    train(*at_most_18, "hyperparameters.precision=bf16", output="bf16")
    assert lengths <= rounded and 18 in lengths and len(lengths) > 2
    lengths.clear()
    train(*at_most_18, "data.pad_to_max_length=true", output="padded")
    assert lengths == {18}
