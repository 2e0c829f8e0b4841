"""What decays, how the learning rate goes, and clipping in the fused step."""

import pytest
import torch
import transformers

from determined_ner.errors import HyperparameterError
from determined_ner.model.optimizer import build_optimizer, build_schedule, clipping_divisor, has_fused_kernel
from determined_ner.settings.hyperparameters import Hyperparameters

CPU = torch.device("cpu")


def settings(**others) -> Hyperparameters:
    return Hyperparameters(pretrained_model_name_or_path="x", **others)


class RMSNorm(torch.nn.Module):
    """As modern encoders bring along."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2))


def test_biases_and_norms_are_not_decayed_and_all_else_is(tiny_encoder):
    model = transformers.AutoModelForTokenClassification.from_pretrained(tiny_encoder)
    model.extra = RMSNorm()
    optimizer = build_optimizer(
        model, settings(weight_decay=0.3, learning_rate=0.1, adam_beta1=0.5, adam_beta2=0.6, adam_epsilon=1e-3)
    )
    names = {id(p): name for name, p in model.named_parameters()}
    decay = {names[id(p)]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay.keys() == set(names.values())
    for name, value in decay.items():
        plain = name.endswith(".bias") or ".LayerNorm." in name or name.startswith("extra.")
        assert value == (0.0 if plain else 0.3), name
    assert decay["classifier.weight"] == 0.3 and decay["bert.embeddings.LayerNorm.weight"] == 0.0
    for group in optimizer.param_groups:
        assert (group["lr"], group["betas"], group["eps"]) == (0.1, (0.5, 0.6), 1e-3)


def rates(steps: int, **others) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = build_schedule(optimizer, settings(lr_scheduler_type="constant_with_warmup", **others), steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize(
    ("others", "warmup"),
    [
        ({}, 0),
        ({"warmup_ratio": 0.1}, 3),  # of 25 steps 2.5, rounded up
        ({"warmup_ratio": 0.01}, 1),
        ({"num_warmup_steps": 5}, 5),
        ({"num_warmup_steps": 5, "warmup_ratio": 0.5}, 5),
        ({"num_warmup_steps": 25}, 25),
    ],
)
def test_the_warm_up_is_as_long_as_asked(others, warmup):
    assert rates(25, **others) == pytest.approx([min(1.0, step / warmup) if warmup else 1.0 for step in range(25)])


def test_a_warm_up_longer_than_the_training_is_refused():
    with pytest.raises(HyperparameterError, match=r"num_warmup_steps: 26 is more than the 25 steps.*write at most 25"):
        rates(25, num_warmup_steps=26)


def test_the_update_is_one_kernel_where_there_is_one_unless_asked_otherwise():
    layer = torch.nn.Linear(2, 2)
    here = has_fused_kernel(CPU)
    for asked, fused in ((None, here), (False, False), *([(True, True)] if here else [])):
        groups = build_optimizer(layer, settings(), fused=asked).param_groups
        assert [(g["fused"], g["foreach"]) for g in groups] == [(fused, not fused)] * 2
    assert has_fused_kernel(torch.device("cuda"))


@pytest.mark.skipif(not has_fused_kernel(CPU), reason="no fused AdamW on a CPU")
@pytest.mark.parametrize("scale", [0.1, 10.0])
def test_clipping_in_the_fused_step_is_clip_grad_norm(scale):
    """Below the limit nothing is divided, to the bit."""
    torch.manual_seed(0)
    weights = [torch.randn(7, 5), torch.randn(5), torch.randn(3, 4).t()]
    gradients = [torch.randn(w.shape) * scale / 10 for w in weights]
    results = []
    for ours in (True, False):
        parameters = [torch.nn.Parameter(w.clone()) for w in weights]
        optimizer = torch.optim.AdamW(parameters, lr=0.1, eps=1e-3, fused=True)
        for _ in range(3):
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient.clone()
            if ours:
                divisor = clipping_divisor([p.grad for p in parameters], 1.0)
                assert (divisor == 1) == (scale < 1)
                optimizer.grad_scale = divisor
            else:
                torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
        results.append(parameters)
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6 if scale >= 1 else 0)
