"""Our dropout has PyTorch's distribution and gradient, and the attention is the one it stands for."""

import math

import pytest
import torch
from torch.nn import functional

from determined_ner.model.calls import replaced
from determined_ner.model.cpu.dropout import LEVELS, FastDropout, fast_dropout
from tests.conftest import make_encoder


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5])
def test_a_share_of_p_is_dropped_and_the_rest_scaled(p):
    with replaced(FastDropout(1).functions):
        kept = functional.dropout(torch.ones(1000, 1003), p)
    dropped = round(p * LEVELS) / LEVELS
    assert abs(dropped - p) <= 0.5 / LEVELS
    assert kept.unique().tolist() == pytest.approx([0, 1 / (1 - dropped)])
    deviation = math.sqrt(dropped * (1 - dropped) / kept.numel())
    assert abs((kept == 0).double().mean() - dropped) < 5 * deviation
    assert abs(kept.double().mean() - 1) < 5 * deviation / (1 - dropped)


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.999])
def test_factors_in_half_precision_are_those_of_fp32_rounded(p):
    single, half = (FastDropout(1).factors((3, 1001), p, dtype) for dtype in (torch.float32, torch.bfloat16))
    assert half.dtype == torch.bfloat16 and torch.equal(half, single.bfloat16())


def test_elements_are_dropped_independently():
    """Pairs at every distance a vectorized generator could repeat itself at."""
    with replaced(FastDropout(2).functions):
        masks = [functional.dropout(torch.ones(1 << 20), 0.3) == 0 for _ in range(2)]
    for shift in (1, 2, 3, 4, 5, 8, 64, 4096):
        together = (masks[0][shift:] & masks[0][:-shift]).double().mean()
        assert abs(together - 0.09) < 5 * math.sqrt(0.09 / (1 << 20)), shift
    assert abs((masks[0] & masks[1]).double().mean() - 0.09) < 5 * math.sqrt(0.09 / (1 << 20))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_passes_where_the_value_passed(dtype):
    x = torch.randn(7, 33, dtype=dtype, requires_grad=True)
    with replaced(FastDropout(3).functions):
        y = torch.nn.Dropout(0.4)(x)
    y.backward(torch.ones_like(y))
    assert y.dtype == dtype
    torch.testing.assert_close(y, x * x.grad)
    assert 0 < (x.grad == 0).sum() < x.numel()


def test_the_seed_decides_and_evaluation_drops_nothing():
    layer, x = torch.nn.Dropout(0.5), torch.randn(50, 50)

    def draw(seed):
        with replaced(FastDropout(seed).functions):
            return layer(x), layer(x)

    assert all(torch.equal(a, b) for a, b in zip(draw(5), draw(5), strict=True))
    assert not torch.equal(draw(5)[0], draw(6)[0]) and not torch.equal(*draw(5))
    layer.eval()
    assert torch.equal(draw(5)[0], x)
    layer.train().p = 1e-7
    assert torch.allclose(draw(5)[0], x)


@pytest.mark.parametrize("mask_type", [None, torch.bool, torch.float32])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_attention_is_what_pytorch_computes_with_the_same_factors(mask_type, scale):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, 5, 4, requires_grad=True) for _ in range(3))
    mask = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    mask[1, ..., 3:] = False
    mask = {None: None, torch.bool: mask, torch.float32: torch.zeros(2, 1, 5, 5).masked_fill(~mask, -torch.inf)}[
        mask_type
    ]
    with replaced(FastDropout(7).functions):
        ours = functional.scaled_dot_product_attention(query, key, value, mask, dropout_p=0.3, scale=scale)
    factors = FastDropout(7).factors((2, 3, 5, 5), 0.3, torch.float32)
    scores = query @ key.transpose(-1, -2) * (scale or 0.5)
    if mask is not None:
        scores = scores + (mask if mask.dtype != torch.bool else torch.zeros(mask.shape).masked_fill(~mask, -torch.inf))
    reference = (scores.softmax(-1) * factors) @ value
    torch.testing.assert_close(ours, reference)
    upstream = torch.randn_like(ours)
    for a, b in zip(*(torch.autograd.grad(y, (query, key, value), upstream) for y in (ours, reference)), strict=True):
        torch.testing.assert_close(a, b)


def test_attention_without_dropout_is_left_alone():
    query = torch.randn(1, 2, 5, 4)
    with replaced(FastDropout(7).functions):
        ours = functional.scaled_dot_product_attention(query, query, query)
    assert torch.equal(ours, functional.scaled_dot_product_attention(query, query, query))


@pytest.mark.parametrize("bf16", [False, True])
def test_no_dropout_of_an_encoder_draws_from_torch(tmp_path, bf16):
    """All of them pass through here: torch's generator stands where it stood, and the seed alone decides."""
    from transformers import AutoModelForTokenClassification

    model = AutoModelForTokenClassification.from_pretrained(make_encoder(tmp_path)).train()
    ids = torch.randint(5, 40, (3, 9))

    def draw(seed):
        with replaced(FastDropout(seed).functions), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits

    before = torch.get_rng_state()
    first, second, other = draw(1), draw(1), draw(2)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, second) and not torch.equal(first, other)
    first.float().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_only_eager_steps_on_a_cpu_use_it():
    assert isinstance(fast_dropout(0, torch.device("cpu"), "eager"), FastDropout)
    assert fast_dropout(0, torch.device("cpu"), "compile") is None
    assert fast_dropout(0, torch.device("cuda"), "eager") is None
