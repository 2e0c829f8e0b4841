"""ONNX Runtime's fused Adam is PyTorch's AdamW, and a training goes on with the state of either.

On a CPU the real optimizer runs with a kernel in PyTorch (`fused_kernel`).
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from determined_ner.model.engine import Engine
from determined_ner.model.fused_adam import as_torch, from_torch
from determined_ner.model.optimizer import build_optimizer, build_schedule
from determined_ner.settings.hyperparameters import Hyperparameters
from tests.model.fused_kernel import install
from tests.model.test_engine import one_slot

FUSED = {"optim": "adamw_ort_fused", "backend": "ort"}


def settings(**others: Any) -> Hyperparameters:
    return Hyperparameters(
        pretrained_model_name_or_path="x", learning_rate=0.01, weight_decay=0.3, adam_epsilon=1e-3, **others
    )


@pytest.fixture
def kernel(monkeypatch) -> None:
    pytest.importorskip("onnxruntime.training.optim")
    install(lambda *place: monkeypatch.setattr(*place, raising=False))


def make_model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4), torch.nn.Linear(4, 2))


def train(model: torch.nn.Module, optimizer: Any, steps: range) -> None:
    for i in steps:
        torch.manual_seed(i)
        model(torch.randn(5, 3)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def assert_same(left: torch.nn.Module, right: torch.nn.Module) -> None:
    for ours, theirs in zip(left.parameters(), right.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_its_formula_is_that_of_pytorch(kernel):
    models = make_model(), make_model()
    for model, hparams in zip(models, (settings(**FUSED), settings()), strict=True):
        train(model, build_optimizer(model, hparams), range(6))
    assert_same(*models)
    assert not torch.equal(models[0][0].weight, make_model()[0].weight)


@pytest.mark.parametrize(("first", "second"), [(FUSED, {}), ({}, FUSED), (FUSED, FUSED)])
def test_a_training_goes_on_with_the_state_of_the_other(kernel, first, second):
    whole = make_model()
    optimizer = build_optimizer(whole, settings())
    build_schedule(optimizer, settings(), 10)
    train(whole, optimizer, range(6))

    model = make_model()
    optimizer = build_optimizer(model, settings(**first))
    schedule = build_schedule(optimizer, settings(), 10)
    train(model, optimizer, range(3))
    state = optimizer.state_dict()
    assert [set(group) for group in state["param_groups"]] == [
        {*torch.optim.AdamW(make_model().parameters()).state_dict()["param_groups"][0], "initial_lr"}
    ] * 2
    of_torch = build_optimizer(model, settings()).param_groups[0]
    for group in state["param_groups"]:
        assert (group["fused"], group["foreach"]) == (of_torch["fused"], of_torch["foreach"])
    assert len(state["state"]) == 6 and {float(s["step"]) for s in state["state"].values()} == {3.0}
    other = build_optimizer(model, settings(**second))
    build_schedule(other, settings(), 10)
    other.load_state_dict(state)
    assert schedule.get_last_lr() == [group["lr"] for group in other.param_groups]
    train(model, other, range(3, 6))
    assert_same(model, whole)


def test_a_state_before_the_first_step_and_a_state_there_and_back(kernel):
    model = make_model()
    optimizer = build_optimizer(model, settings(**FUSED))
    optimizer.load_state_dict(build_optimizer(make_model(), settings()).state_dict())
    assert "step" not in optimizer.param_groups[0]
    train(model, optimizer, range(2))
    state = optimizer.state_dict()
    again = as_torch(from_torch(state), fused=state["param_groups"][0]["fused"])
    assert again["param_groups"] == state["param_groups"]
    for index, values in state["state"].items():
        assert {n: v.tolist() for n, v in again["state"][index].items()} == {n: v.tolist() for n, v in values.items()}


def test_an_engine_clips_and_scales_with_it(kernel, monkeypatch):
    """As with PyTorch's: unscaled, clipped, a step with infinite gradients left out."""
    monkeypatch.setattr("determined_ner.model.ort.wrap", lambda model: model)
    ends = []
    for chosen in (FUSED, {}):
        model = make_model()
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
        hparams = settings(precision="fp16", max_grad_norm=0.1, **chosen)
        engine = Engine(one_slot(), model, hparams, fused=False, scaler=scaler)
        for i in range(4):
            torch.manual_seed(i)
            factor = float("inf") if i == 1 else 1.0
            engine._context.backward(scaler.scale(model(torch.randn(5, 3)).square().sum() * factor))
            engine._context.step_optimizer(engine.optimizer, clip_grads=engine._clip, scaler=scaler)
            scaler.update()
        assert scaler.get_scale() == 2.0**9
        assert all(torch.isfinite(p).all() for p in model.parameters())
        assert {float(s["step"]) for s in engine.optimizer.state_dict()["state"].values()} == {3.0}
        ends.append(model)
    assert_same(*ends)
