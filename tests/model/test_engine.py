"""One step after another, by Determined's context and by ours: backend, precision, clipping."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import transformers
from determined import core, pytorch

from determined_ner.errors import UserError
from determined_ner.model.calls import replaced
from determined_ner.model.cpu.products import fast_products
from determined_ner.model.engine import Engine, LoopContext
from determined_ner.model.onnx_session import OnnxSession
from determined_ner.model.optimizer import has_fused_kernel
from determined_ner.settings.hyperparameters import Hyperparameters
from determined_ner.training.loop_context import TorchContext
from determined_ner.training.slots import OneSlot

CPU = torch.device("cpu")
needs_fused = pytest.mark.skipif(not has_fused_kernel(CPU), reason="no fused AdamW on a CPU")


@contextlib.contextmanager
def our_loop(accumulation_steps: int) -> Iterator[tuple[LoopContext, Callable[[int], None]]]:
    context = TorchContext(OneSlot(), accumulation_steps)
    yield context, context.begin_batch


@contextlib.contextmanager
def determined_loop(accumulation_steps: int) -> Iterator[tuple[LoopContext, Callable[[int], None]]]:
    with pytorch.init(
        hparams={},
        exp_conf={},
        distributed=core.DummyDistributedContext(),
        aggregation_frequency=accumulation_steps,
        enable_tensorboard_logging=False,
    ) as context:
        yield context, lambda index: setattr(context, "_current_batch_idx", index)


LOOPS = [our_loop, determined_loop]


def one_slot() -> TorchContext:
    """A context of which each micro-batch is a step."""
    context = TorchContext(OneSlot(), 1)
    context.begin_batch(0)
    return context


def settings(**hyperparameters) -> Hyperparameters:
    values = {"learning_rate": 1e-3, "weight_decay": 0.01, "max_grad_norm": 0.1, **hyperparameters}
    return Hyperparameters(pretrained_model_name_or_path="x", **values)


@pytest.fixture
def model(tiny_encoder) -> Any:
    config = transformers.BertConfig.from_pretrained(tiny_encoder, num_labels=3)
    torch.manual_seed(4)
    return transformers.BertForTokenClassification(config).train()


def make_batches(count: int) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(5)
    batches = []
    for rows, length in [(4, 9), (2, 17), (7, 5), (3, 12)][:count]:
        ids = torch.randint(5, 80, (rows, length), generator=generator)
        labels = torch.randint(-1, 3, (rows, length), generator=generator)
        labels[labels < 0] = -100
        words = int((labels >= 0).sum())
        batches.append(
            {
                "input_ids": ids,
                "attention_mask": torch.ones_like(ids),
                "labels": labels,
                "loss_weight": torch.tensor(1 / words),
            }
        )
    return batches


def train(
    make_loop: Any, model: Any, hparams: Hyperparameters, accumulation_steps: int = 1, batches: int = 4, **options: Any
) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Train a copy of a model.

    Returns:
        the losses and the weights at the end.
    """
    with make_loop(accumulation_steps) as (context, begin_batch):
        engine = Engine(context, copy.deepcopy(model), hparams, **options)
        losses = []
        for i, batch in enumerate(make_batches(batches)):
            begin_batch(i)
            losses.append(engine.train_step(batch, seed=i, ends_step=(i + 1) % accumulation_steps == 0).item())
        return losses, engine.model.state_dict()


def difference(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    assert list(left) == list(right)
    return max((left[name] - right[name]).abs().max().item() for name in left)


@pytest.mark.parametrize("accumulation_steps", [1, 2])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("max_grad_norm", [0, 0.1])
def test_our_context_trains_the_bits_of_determineds(model, precision, accumulation_steps, max_grad_norm):
    hparams = settings(precision=precision, max_grad_norm=max_grad_norm)
    (ours, weights), (theirs, expected) = (train(loop, model, hparams, accumulation_steps) for loop in LOOPS)
    assert ours == theirs
    assert difference(weights, expected) == 0
    assert difference(weights, model.state_dict()) > 1e-4


def test_the_seed_of_a_step_is_that_of_its_dropout(model):
    batch = make_batches(1)[0]
    losses = [
        Engine(one_slot(), copy.deepcopy(model), settings()).train_step(batch, seed, ends_step=True).item()
        for seed in (1, 1, 2)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_evaluation_is_the_bare_models(model):
    engine = Engine(one_slot(), model, settings())
    engine.model.eval()
    engine.begin_evaluation()
    batch = make_batches(1)[0]
    with torch.no_grad():
        with replaced(fast_products(torch.device("cpu"))):
            expected = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        assert torch.equal(engine.logits(batch), expected)


def test_linear_layers_are_onednns_in_steps_computed_once_or_twice_and_in_evaluation(model, onednn_products):
    batch, counts = make_batches(1)[0], []
    for changes in ({}, {"gradient_checkpointing": True}, {"backend": "compile"}):
        onednn_products.clear()
        engine = Engine(one_slot(), copy.deepcopy(model), settings(**changes))
        if engine.description.startswith("eager"):
            engine.train_step(batch, 0, ends_step=True)
        counts.append(len(onednn_products))
        onednn_products.clear()
        with torch.no_grad():
            engine.logits(batch)
        counts.append(len(onednn_products))
    layers = sum(isinstance(module, torch.nn.Linear) for module in model.modules())
    once, evaluated, twice, again, compiled, beside = counts
    assert evaluated == again == beside == layers and not compiled
    assert once < twice <= once + layers  # a layer of the first pass needs no gradient of its input


def test_evaluation_by_onnx_runtime_follows_the_weights(model, caplog):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    engine = Engine(one_slot(), model, settings(evaluate_with_ort=True, learning_rate=0.1))
    batch = make_batches(1)[0]
    seen = []
    caplog.set_level("INFO", "determined_ner")
    for i in range(2):
        engine.begin_evaluation()
        model.eval()
        with torch.no_grad():
            expected = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        seen.append(engine.logits(batch))
        torch.testing.assert_close(seen[-1], expected, rtol=0, atol=1e-5)
        model.train()
        engine.train_step(batch, i, ends_step=True)
    assert (seen[0] - seen[1]).abs().max() > 1e-2
    assert caplog.messages == ["validation by ONNX Runtime: CPUExecutionProvider on cpu"]


def test_evaluation_by_onnx_runtime_is_on_the_device_of_the_slot(model, monkeypatch):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    asked: list[Any] = []

    def open_(path: Any, device: Any, **_: Any) -> OnnxSession:
        asked.append(device)
        return OnnxSession(None, "CUDAExecutionProvider", device)

    monkeypatch.setattr("determined_ner.model.engine.open_session", open_)
    engine = Engine(one_slot(), model, settings(evaluate_with_ort=True))
    engine._device = torch.device("cuda", 1)
    engine.begin_evaluation()
    assert asked == ["cuda:1"]


def test_what_computes_is_described(model):
    assert Engine(one_slot(), model, settings(precision="bf16")).description == "eager, bf16"


# -- The optimizer's kernel ----------------------------------------------------------------------------------------


@needs_fused
def test_both_kernels_train_the_same(model):
    (_, fused), (_, single) = (train(our_loop, model, settings(), fused=fused) for fused in (True, False))
    assert difference(fused, single) < 1e-6


@needs_fused
@pytest.mark.parametrize("fused", [True, False])
def test_a_training_goes_on_with_the_state_of_another_kernel(model, fused):
    """As with a checkpoint of a torch that has another kernel: the optimizer's groups come with it."""
    batches = make_batches(4)
    _, expected = train(our_loop, model, settings(), fused=fused)
    first = Engine(one_slot(), copy.deepcopy(model), settings(), fused=fused)
    for i in (0, 1):
        first.train_step(batches[i], i, ends_step=True)
    second = Engine(one_slot(), copy.deepcopy(model), settings(), fused=not fused)
    second.model.load_state_dict(first.model.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    for i in (2, 3):
        second.train_step(batches[i], i, ends_step=True)
    assert difference(second.model.state_dict(), expected) < 1e-6


# -- The end -------------------------------------------------------------------------------------------------------


def test_after_the_training_the_weights_alone_are_left(model):
    engine = Engine(one_slot(), copy.deepcopy(model), settings())
    batch = make_batches(1)[0]
    engine.train_step(batch, 0, ends_step=True)
    engine.model.eval()
    expected = engine.logits(batch)
    engine.logits(batch).sum().backward()
    assert engine.optimizer.state and all(p.grad is not None for p in engine.model.parameters())
    engine.end_training()
    assert not engine.optimizer.state and all(p.grad is None for p in engine.model.parameters())
    assert torch.equal(engine.logits(batch), expected)


# -- What a backend cannot compute ---------------------------------------------------------------------------------


def failing_engine(model: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, backend: str) -> Engine:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: None)
    engine = Engine(one_slot(), model, settings(backend=backend))
    monkeypatch.setattr(type(model), "forward", fail)
    return engine


def test_a_model_that_does_not_compile_is_refused_in_one_message(model, monkeypatch):
    error = torch._dynamo.exc.Unsupported("a thing that\nit cannot compile")
    engine = failing_engine(model, monkeypatch, error, "compile")
    with pytest.raises(UserError) as refusal:
        engine.train_step(make_batches(1)[0], 0, ends_step=True)
    assert str(refusal.value) == (
        "hyperparameters.backend: 'compile' cannot compute BertForTokenClassification: a thing that it cannot compile; "
        "write backend: eager"
    )
    assert refusal.value.__cause__ is error


@pytest.mark.parametrize("backend", ["eager", "compile"])
@pytest.mark.parametrize("kind", [RuntimeError, torch.cuda.OutOfMemoryError])
def test_an_error_that_is_not_the_compilers_stays_what_it_is(model, monkeypatch, backend, kind):
    engine = failing_engine(model, monkeypatch, kind("no"), backend)
    with pytest.raises(kind, match=r"^no$"):
        engine.train_step(make_batches(1)[0], 0, ends_step=True)


def test_a_python_that_torch_compile_does_not_know_is_refused(model, monkeypatch):
    def fail(self: Any, **_: Any) -> None:
        raise RuntimeError("Dynamo is not supported on Python 9.9")

    monkeypatch.setattr(torch.nn.Module, "compile", fail)
    with pytest.raises(
        UserError, match=r"backend: 'compile': Dynamo is not supported on Python 9\.9; write backend: ea"
    ):
        Engine(one_slot(), model, settings(backend="compile"))


def test_slots_exchange_gradients_once_a_step(model, tmp_path):
    exchanged = []

    def count(_, bucket):  # (whose annotations would have to be classes)
        exchanged.append(bucket.is_last())
        future = torch.futures.Future()
        future.set_result(bucket.buffer())
        return future

    store = f"file://{tmp_path / 'store'}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    try:
        context = TorchContext(OneSlot(), 2)
        context._several = True
        engine = Engine(context, copy.deepcopy(model), settings(), accumulates=True)
        engine.model.register_comm_hook(None, count)
        for i, batch in enumerate(make_batches(4)):
            context.begin_batch(i)
            engine.train_step(batch, seed=i, ends_step=i % 2 == 1)
            assert exchanged.count(True) == (i + 1) // 2
    finally:
        torch.distributed.destroy_process_group()
    _, expected = train(our_loop, model, settings(), accumulation_steps=2)
    assert difference({n.removeprefix("module."): w for n, w in engine.model.state_dict().items()}, expected) == 0


# -- fp16, whose GPU is not here: the real scaler on the CPU -------------------------------------------------------


class Scaler(torch.amp.GradScaler):
    """Writes down what it is asked, and does it."""

    def __init__(self) -> None:
        super().__init__("cpu", init_scale=2.0**10)
        self.calls: list[str] = []

    def scale(self, outputs: Any) -> Any:
        self.calls.append("scale")
        return super().scale(outputs)

    def unscale_(self, optimizer: Any) -> Any:
        self.calls.append("unscale")
        return super().unscale_(optimizer)

    def step(self, optimizer: Any, *arguments: Any, **options: Any) -> Any:
        self.calls.append("step")
        return super().step(optimizer, *arguments, **options)

    def update(self, new_scale: Any = None) -> Any:
        self.calls.append("update")
        return super().update(new_scale)


@pytest.mark.parametrize("accumulation_steps", [1, 2])
@pytest.mark.parametrize("loop", LOOPS)
def test_fp16_scales_each_loss_and_unscales_before_it_clips(model, loop, accumulation_steps):
    scaler = Scaler()
    _, half = train(loop, model, settings(precision="fp16"), accumulation_steps, scaler=scaler)
    steps = 4 // accumulation_steps
    assert scaler.calls == (["scale"] * accumulation_steps + ["unscale", "step", "update"]) * steps
    assert scaler.get_scale() == 2.0**10
    _, full = train(loop, model, settings(), accumulation_steps)
    assert 0 < difference(full, half) < 4e-3


def test_fp16_without_clipping_leaves_unscaling_to_the_step(model):
    scaler = Scaler()
    train(determined_loop, model, settings(precision="fp16", max_grad_norm=0), batches=1, scaler=scaler)
    assert scaler.calls[:2] == ["scale", "step"] and scaler.calls[-1] == "update"
