"""Of other labels a checkpoint is refused, of another trial it gives its weights alone; what diverges ends a trial."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from determined import core, pytorch

from determined_ner.cluster.callbacks import SelfContained, StopWhereDiverged
from determined_ner.errors import UserError
from determined_ner.training.divergence import DivergedError


def callback(steps: int, labels: tuple[str, ...] = ("B-PER", "O")) -> SelfContained:
    """Of a trial with so many steps behind it."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=0.5)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 20)
    context: Any = SimpleNamespace(get_initial_batch=lambda: steps, optimizers=[optimizer], lr_schedulers=[schedule])
    training: Any = SimpleNamespace(labels=SimpleNamespace(names=labels), schedule=schedule, grouped=True)
    training.device, training.slots = torch.device("cpu"), SimpleNamespace(size=1)
    training.settings = SimpleNamespace(hparams=SimpleNamespace(group_by_length=None))
    training.data_fingerprints, training.device = {}, SimpleNamespace(type="cuda")
    training.stopping, training.slots = SimpleNamespace(state=dict, load=lambda state: None), SimpleNamespace(size=1)
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


# -- Divergence ---------------------------------------------------------------------------------------------------


def watcher(searcher: str | None = None, **hyperparameters: Any) -> StopWhereDiverged:
    """Of a local run, or of a trial of that search on a cluster."""
    hparams = {"learning_rate": 0.5, "precision": "fp32", "use_apex_amp": False, "max_grad_norm": 1.0}
    training: Any = SimpleNamespace(
        model=torch.nn.Linear(3, 2), settings=SimpleNamespace(hparams=SimpleNamespace(**hparams | hyperparameters))
    )
    train: Any = core.DummyTrainContext()
    if searcher:
        train = SimpleNamespace(report_early_exit=lambda reason: train.reasons.append(reason), reasons=[])
    context: Any = SimpleNamespace(
        _core=SimpleNamespace(train=train),
        distributed=core.DummyDistributedContext(),
        get_experiment_config=lambda: {"searcher": {"name": searcher}},
    )
    made = StopWhereDiverged(training, context)
    made.training, made.train = training, train
    return made


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["weight", "bias"])
def test_a_weight_that_is_not_finite_is_named(value: float, name: str) -> None:
    made = watcher()
    made.on_training_workload_end({"loss": 0.5, "batches": 7}, {})
    with torch.no_grad():
        getattr(made.training.model, name).view(-1)[1] = value
    with pytest.raises(DivergedError, match=rf"weights are no longer finite at batch 7 \({name}\)"):
        made.on_training_workload_end({"loss": 0.5, "batches": 7}, {})


def test_weights_to_begin_with_that_are_not_finite_are_refused() -> None:
    made = watcher()
    made.on_training_start()
    torch.nn.init.constant_(made.training.model.bias, float("nan"))
    with pytest.raises(UserError, match=r"to begin with are not finite \(bias\)"):
        made.on_training_start()


def test_the_newest_checkpoint_is_the_last_good_one() -> None:
    made = watcher(precision="fp16")
    made.on_trial_startup(3, "first")
    with pytest.raises(DivergedError, match="the last good checkpoint is first") as raised:
        made.on_validation_end({"loss": float("nan")})
    assert "precision: bf16 or fp32" in raised.value.remedy
    made.on_checkpoint_upload_end("second")
    with pytest.raises(DivergedError, match="the last good checkpoint is second"):
        made.on_validation_end({"loss": float("nan")})


def test_on_a_cluster_a_single_trial_ends_and_a_search_goes_on() -> None:
    with pytest.raises(DivergedError):
        watcher("single").on_validation_end({"loss": float("inf")})
    made = watcher("random")
    with pytest.raises(pytorch._ShouldExit):
        made.on_validation_end({"loss": float("inf")})
    assert made.train.reasons == [core.EarlyExitReason.INVALID_HP]
