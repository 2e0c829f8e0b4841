"""Packed batches and recorded steps on a GPU: the same logits, gradients and, replayed, the same bits."""

from __future__ import annotations

import copy
import gc
import os
from typing import Any

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from determined_ner.data.packing import Packing
from determined_ner.data.pretrained_tokenizer import load_tokenizer
from determined_ner.hub import Pretrained
from determined_ner.model.cuda_graphs import _agree, can_be_recorded
from determined_ner.model.engine import Engine
from determined_ner.model.flat import Flat, find_flat
from determined_ner.model.loss import WordLoss
from determined_ner.model.probe import made_up_batch
from determined_ner.settings.hyperparameters import Hyperparameters
from determined_ner.training.loop_context import TorchContext
from determined_ner.training.slots import OneSlot
from tests.model.test_flat import FLAT, make
from tests.model.test_probe import SIZES

needs_gpu = pytest.mark.skipif(
    not (torch.cuda.is_available() and can_be_recorded()), reason="no GPU here, or transformers before 5"
)

GPU = torch.device("cuda", 0)
TEXTS = [[9, 64, 3, 31, 30, 5], [5, 40, 12, 17, 8, 3], [9, 9, 9], [64, 60, 61, 3, 20, 22], [9, 63, 3, 31, 31, 5]]
LARGER = {"hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 128}


@pytest.fixture(scope="module")
def tokenizer(tiny_encoder):
    return load_tokenizer(Pretrained(str(tiny_encoder)))


@pytest.fixture(scope="module")
def model(tokenizer) -> Any:
    return make("bert", tokenizer, **LARGER).train()


def make_batch(tokenizer, sizes, seed=0) -> dict[str, torch.Tensor]:
    batch = Packing(64, 0).added_to(made_up_batch(tokenizer, SIZES["vocab_size"], sizes))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, batch["input_ids"].shape, generator=generator)
    batch["labels"] = labels.masked_fill(batch["attention_mask"] == 0, -100)
    batch["loss_weight"] = torch.tensor(1 / sum(sizes))
    return {name: value.to(GPU) for name, value in batch.items()}


def settings(**hyperparameters) -> Hyperparameters:
    values = {"learning_rate": 1e-3, "weight_decay": 0.01, "max_grad_norm": 0.1, **hyperparameters}
    return Hyperparameters(pretrained_model_name_or_path="x", **values)


def train(model, batches, flat, recorded: bool, steps: int = 1, **hyperparameters) -> tuple[list[float], Any]:
    """Losses, and weights at the end, of a copy of the model."""
    context = TorchContext(OneSlot(), steps)
    engine = Engine(context, copy.deepcopy(model), settings(**hyperparameters), flat=flat, accumulates=steps > 1)
    if not recorded:
        engine._replays = None
    losses = []
    for i, batch in enumerate(batches):
        context.begin_batch(i)
        losses.append(engine.train_step(batch, i, (i + 1) % steps == 0).item())
    return losses, engine.model.state_dict()


@needs_gpu
@pytest.mark.parametrize("kind", FLAT)
def test_the_model_is_asked_on_the_gpu(kind, tokenizer):
    flat = find_flat(make(kind, tokenizer), tokenizer, 64, GPU)
    assert flat is not None and flat.packing == Packing(64, 0)


@needs_gpu
def test_logits_and_gradient_are_those_of_the_padded_batch(tokenizer, model):
    model = copy.deepcopy(model).eval().to(GPU)
    batch, found = make_batch(tokenizer, TEXTS[0]), []
    padded = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    for logits in (Flat(0, True, Packing(64, 0)).logits(model, batch), padded):
        model.zero_grad()
        WordLoss()(logits, batch["labels"]).backward()
        found.append((logits.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}))
    there = batch["attention_mask"].bool()
    largest = float(found[1][0][there].abs().max())
    torch.testing.assert_close(found[0][0][there], found[1][0][there], rtol=0, atol=1e-5 * largest)
    largest = max(float(gradient.abs().max()) for gradient in found[1][1].values())
    for name, gradient in found[0][1].items():
        # (That of a key's bias is 0 but for rounding: softmax does not see what all its terms have in common.)
        scale = max(float(found[1][1][name].abs().max()), 1e-2 * largest)
        torch.testing.assert_close(gradient, found[1][1][name], rtol=0, atol=1e-5 * scale, msg=name)


@needs_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("steps", [1, 2])
def test_a_replayed_step_computes_the_bits_of_one_that_is_not(tokenizer, model, precision, steps):
    """Sizes come once and several times, and micro-batches of one size follow each other."""
    batches = [make_batch(tokenizer, TEXTS[i], seed=i // 2) for i in (0, 4, 1, 1, 2, 3, 0, 0)]
    flat = Flat(0, True, Packing(64, 0))
    (losses, weights), (expected, unrecorded) = (
        train(model, batches, flat, recorded, steps, precision=precision) for recorded in (True, False)
    )
    assert losses == expected
    for name, value in weights.items():
        assert torch.equal(value, unrecorded[name]), name
    assert not torch.equal(weights["classifier.weight"].cpu(), model.classifier.weight)


@needs_gpu
def test_dropout_is_drawn_from_the_seed_of_the_step(tokenizer, model):
    batch = make_batch(tokenizer, TEXTS[0])
    context = TorchContext(OneSlot(), 1)
    engine = Engine(
        context,
        copy.deepcopy(model),
        settings(learning_rate=1e-30, weight_decay=0.0),
        flat=Flat(0, True, Packing(64, 0)),
    )
    context.begin_batch(0)
    losses = [engine.train_step(batch, seed, True).item() for seed in (1, 2, 1, 3)]
    assert losses[0] == losses[2] and len(set(losses)) == 3


@needs_gpu
def test_frozen_weights_have_no_gradient(tokenizer, model):
    frozen = copy.deepcopy(model)
    frozen.bert.embeddings.requires_grad_(False)
    batches = [make_batch(tokenizer, TEXTS[i]) for i in (0, 1, 0)]
    flat = Flat(0, True, Packing(64, 0))
    (losses, weights), (expected, unrecorded) = (train(frozen, batches, flat, recorded) for recorded in (True, False))
    assert losses == expected and all(torch.equal(value, unrecorded[name]) for name, value in weights.items())
    for name, value in model.bert.embeddings.state_dict().items():
        assert torch.equal(weights[f"bert.embeddings.{name}"].cpu(), value)


@needs_gpu
@pytest.mark.parametrize("at_record", [False, True], ids=["before", "within"])
def test_what_cannot_be_recorded_is_computed_as_it_comes(tokenizer, model, caplog, at_record):
    """The CPU waits for the GPU, which is found before anything is recorded, or only while it is."""
    caplog.set_level("WARNING")
    waiting, flat = copy.deepcopy(model), Flat(0, True, Packing(64, 0))

    def wait(module, given, result):
        if not at_record or torch.cuda.is_current_stream_capturing():
            result.sum().item()

    waiting.bert.embeddings.register_forward_hook(wait)
    batches = [make_batch(tokenizer, TEXTS[i]) for i in (0, 1, 0)]
    losses, _ = train(waiting, batches, flat, True)
    assert caplog.text.count("training goes on without CUDA graphs, more slowly: ") == 1
    assert losses == train(model, batches, flat, False)[0]


@needs_gpu
def test_memory_holds_one_step_and_one_set_of_gradients(tokenizer, model):
    large = make("bert", tokenizer, hidden_size=512, num_attention_heads=8, intermediate_size=2048).train()
    batches = [make_batch(tokenizer, [60] * count) for count in range(2, 18)]
    peaks = []
    for chosen in (batches[-2:], batches):
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        train(large, chosen, Flat(0, True, Packing(64, 0)), True)
        peaks.append(torch.cuda.max_memory_reserved())
    assert peaks[1] <= 1.2 * peaks[0]


def share(rank: int, folder: str, model: Any, batches: list[dict[str, torch.Tensor]]) -> None:
    """One of two processes that share the GPU, as torchrun's would each have one."""
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": "29713"}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    context = TorchContext(OneSlot(), 1)
    context._shared = DistributedDataParallel  # type: ignore[method-assign]
    engine = Engine(context, model, settings(), flat=Flat(0, True, Packing(64, 0)))
    assert engine._replays is None
    for i, batch in enumerate(batches[rank::2]):
        context.begin_batch(i)
        engine.train_step({name: value.to(GPU) for name, value in batch.items()}, 2 * i + rank, True)
    torch.save(engine.model.module.state_dict(), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@needs_gpu
def test_slots_train_as_accumulation_does_without_being_recorded(tokenizer, tmp_path):
    model = make("bert", tokenizer, **LARGER, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).train()
    batches = [make_batch(tokenizer, TEXTS[i], seed=i) for i in (0, 4, 1, 1, 0, 0, 2, 3)]
    on_cpu = [{name: value.cpu() for name, value in batch.items()} for batch in batches]
    torch.multiprocessing.spawn(share, (str(tmp_path), copy.deepcopy(model), on_cpu), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    _, expected = train(model, batches, Flat(0, True, Packing(64, 0)), True, steps=2)
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
    # (AdamW makes a step of every gradient, also of one that is nothing but rounding.)
    assert distance(found[0], expected) <= 1e-2 * distance(model.state_dict(), expected)


def distance(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    return sum(float((left[name].cpu() - right[name].cpu()).square().sum()) for name in right) ** 0.5


@pytest.mark.parametrize(
    ("found", "agree"),
    [([1.0, 2.0], True), ([1.001, 2.0], True), ([1.0, 2.1], False), ([0.0, 2.0], False), ([float("nan"), 2.0], False)],
)
def test_what_is_recorded_is_compared_number_for_number(found, agree):
    logits, gradients = torch.tensor([[3.0, 4.0]], dtype=torch.bfloat16), [torch.ones(3), torch.full((2, 2), 50.0)]
    scaled = [logits * found[1] / 2, gradients[0] * found[0], gradients[1]]
    assert _agree(scaled, [logits, *gradients]) == agree


def test_a_gradient_that_is_nothing_but_rounding_may_differ():
    expected = [torch.ones(2), torch.full((4,), 10.0), torch.full((4,), 1e-6)]
    assert _agree([*expected[:2], -expected[2]], expected)
