"""A checkpoint of other labels is refused, and one of another trial gives its weights alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from determined_ner.errors import UserError
from determined_ner.training.callbacks import SelfContained


def callback(steps: int, labels: tuple[str, ...] = ("B-PER", "O")) -> SelfContained:
    """Of a trial with so many steps behind it."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=0.5)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 20)
    context: Any = SimpleNamespace(get_initial_batch=lambda: steps, optimizers=[optimizer], lr_schedulers=[schedule])
    training: Any = SimpleNamespace(labels=SimpleNamespace(names=labels), schedule=schedule)
    return SelfContained(training, context)


@pytest.mark.parametrize(
    ("steps", "where", "remedy"),
    [(0, "searcher.source_checkpoint_uuid", "ignore_mismatched_sizes: true"), (9, "", "bring the old files back")],
)
def test_a_checkpoint_of_other_labels_is_refused(steps: int, where: str, remedy: str) -> None:
    with pytest.raises(UserError) as raised:
        callback(steps).on_checkpoint_load_start({"callbacks": {"self_contained": {"labels": ["B-LOC", "O"]}}})
    assert raised.value.where == where
    assert "B-LOC O" in raised.value.problem and "B-PER O" in raised.value.problem
    assert remedy in raised.value.remedy


def test_a_checkpoint_of_other_code_is_refused() -> None:
    with pytest.raises(UserError, match="it is of other code"):
        callback(9).on_checkpoint_load_start({"models_state_dict": []})


@pytest.mark.parametrize("steps", [0, 9])
def test_only_a_trials_own_checkpoint_brings_its_optimizer(steps: int) -> None:
    checkpoint = {
        "callbacks": {"self_contained": callback(steps).state_dict()},
        "optimizers_state_dict": [{"state": "saved", "param_groups": [{"lr": 0.1}]}],
        "lr_schedulers_state_dict": [{"base_lrs": [0.5], "last_epoch": 9, "_last_lr": [0.1]}],
    }
    callback(steps).on_checkpoint_load_start(checkpoint)
    if steps:  # at the rate of its own schedule, however long that of the checkpoint was
        rate = 0.5 * (1 - 9 / 20)
        assert checkpoint["optimizers_state_dict"] == [{"state": "saved", "param_groups": [{"lr": rate}]}]
        assert checkpoint["lr_schedulers_state_dict"][0]["_last_lr"] == [rate]
    else:
        assert checkpoint["optimizers_state_dict"][0]["param_groups"][0]["initial_lr"] == 0.5
        assert checkpoint["lr_schedulers_state_dict"][0]["last_epoch"] == 0


def test_what_is_saved_is_read_by_torchs_safe_loader_and_names_no_slots(tmp_path) -> None:
    import numpy as np

    state = np.random.RandomState(3).get_state()
    checkpoint = {
        "rng_state": {"np_rng_state": state},
        "models_state_dict": [{"module.table.weight": torch.ones(2)}],
    }
    callback(9).on_checkpoint_save_start(checkpoint)
    torch.save(checkpoint, tmp_path / "state")
    read = torch.load(tmp_path / "state", weights_only=True)
    assert list(read["models_state_dict"][0]) == ["table.weight"]
    restored = np.random.RandomState()
    restored.set_state(read["rng_state"]["np_rng_state"])
    assert (restored.rand(3) == np.random.RandomState(3).rand(3)).all()


def test_a_checkpoint_that_torch_cut_short_on_a_full_disk_is_noticed_when_it_is_written(tmp_path) -> None:
    torch.save({"a": torch.zeros(1000)}, state := tmp_path / "state_dict.pth")
    state.write_bytes(state.read_bytes()[:-1])
    with pytest.raises(OSError, match="No space left on device"):
        callback(9).on_checkpoint_write_end(str(tmp_path))
