"""Steps without padding: the same logits and gradients as padded ones, found by asking the model itself."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from determined_ner.data.packing import Packing
from determined_ner.data.pretrained_tokenizer import load_tokenizer
from determined_ner.hub import Pretrained
from determined_ner.model import flat_attention
from determined_ner.model.cpu.dropout import FastDropout
from determined_ner.model.flat import Flat, find_flat
from determined_ner.model.flat_attention import FlatAttention
from determined_ner.model.layout import Layout, unit_of
from determined_ner.model.probe import made_up_batch
from tests.model.test_probe import SIZES

WITH_INTERFACE = [
    "bert",
    "roberta",
    "xlm-roberta",
    "camembert",
    "distilbert",
    "electra",
    "albert",
    "ernie",
    "modernbert",
]
OLD = int(transformers.__version__.split(".")[0]) < 5
FLAT = ["bert", "roberta", "xlm-roberta", "camembert"] if OLD else WITH_INTERFACE
OPTIONS = {
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
    "albert": {"embedding_size": 16},
    "modernbert": {"local_attention": 16, "global_attn_every_n_layers": 2, "cls_token_id": 2, "sep_token_id": 3},
}


def make(kind: str, tokenizer, **options):
    torch.manual_seed(0)
    sizes = {**SIZES, "max_position_embeddings": 66, "pad_token_id": tokenizer.pad_id, **OPTIONS.get(kind, {})}
    config = transformers.CONFIG_MAPPING[kind](**sizes | options, num_labels=3)
    model = transformers.AutoModelForTokenClassification.from_config(config).eval()
    with torch.no_grad():  # so that attention, and with it the sight of another text, counts
        for weights in model.parameters():
            if weights.dim() > 1:
                weights.normal_(0, 0.15)
    return model


@pytest.fixture(scope="module")
def tokenizer(tiny_encoder):
    return load_tokenizer(Pretrained(str(tiny_encoder)))


def alone(model, batch):
    """Logits of each text by itself."""
    for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
        size = int(mask.sum())
        yield size, model(input_ids=ids[None, :size], attention_mask=mask[None, :size]).logits[0]


@pytest.mark.parametrize("few_sizes", [False, True])
@pytest.mark.parametrize("kind", FLAT)
def test_a_text_has_the_logits_that_it_has_alone(kind, few_sizes, tokenizer):
    model = make(kind, tokenizer)
    flat = find_flat(model, tokenizer, 64, few_sizes=few_sizes)
    assert flat is not None and flat.few_sizes is few_sizes
    batch = made_up_batch(tokenizer, SIZES["vocab_size"], [9, 64, 3, 31, 30, 5, 5, 40, 12, 17, 8, 3])
    with torch.no_grad():
        logits = flat.logits(model, batch)
        for i, (size, expected) in enumerate(alone(model, batch)):
            torch.testing.assert_close(logits[i, :size], expected, rtol=1e-5, atol=1e-5)
            assert not logits[i, size:].any()


@pytest.mark.parametrize("kind", ["deberta-v2", "mpnet", "convbert", "ibert"])
def test_a_model_with_attention_of_its_own_is_trained_on_padded_batches(kind, tokenizer):
    assert find_flat(make(kind, tokenizer), tokenizer, 64) is None


def test_attention_that_no_function_shows_is_noticed(tokenizer):
    """Computed so, texts see each other, and nothing says so but the logits."""
    model = make("bert", tokenizer)
    assert find_flat(model, tokenizer, 64) == Flat(0, True)
    eager = transformers.AutoModelForTokenClassification.from_config(model.config, attn_implementation="eager")
    eager.load_state_dict(model.state_dict())
    assert find_flat(eager, tokenizer, 64) is None


def test_asking_changes_nothing(tokenizer):
    model = make("bert", tokenizer).train()
    state = torch.get_rng_state()
    find_flat(model, tokenizer, 64)
    assert model.training and torch.equal(torch.get_rng_state(), state)
    assert all(weights.grad is None for weights in model.parameters())


LENGTHS = [9, 64, 3, 31, 30, 5, 5, 40, 12, 17, 8, 3]
"""Of texts, 227 tokens in all, which are filled up to 232 where sizes are few."""


@pytest.mark.parametrize("few_sizes", [False, True])
@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_the_gradient_is_that_of_the_padded_batch(kind, few_sizes, tokenizer):
    model = make(kind, tokenizer)
    flat = find_flat(model, tokenizer, 64, few_sizes=few_sizes)
    batch = made_up_batch(tokenizer, SIZES["vocab_size"], LENGTHS)
    labels = torch.randint(3, batch["input_ids"].shape).masked_fill(batch["attention_mask"] == 0, -100)
    assert_same_gradients(model, labels, flat.logits(model, batch), model(**batch).logits)


class Undropped(FastDropout):
    """Dropout that drops nothing, so that two ways of computing with it can be compared."""

    def factors(self, shape, p, dtype):
        return torch.ones(shape, dtype=dtype)


@pytest.mark.parametrize("few_sizes", [False, True])
@pytest.mark.parametrize("kind", FLAT)
def test_so_they_are_of_attention_with_dropout(kind, few_sizes, tokenizer):
    names = ("attention_probs_dropout_prob", "attention_dropout")
    model = make(kind, tokenizer, **dict.fromkeys(names, 0.1)).train()
    flat = find_flat(model, tokenizer, 64, few_sizes=few_sizes)
    batch = made_up_batch(tokenizer, SIZES["vocab_size"], LENGTHS)
    labels = torch.randint(3, batch["input_ids"].shape).masked_fill(batch["attention_mask"] == 0, -100)
    dropout = Undropped(0)
    with mock.patch.object(flat_attention, "attend", wraps=flat_attention.attend) as attend:
        found = flat.logits(model, batch, dropout=dropout), model.eval()(**batch).logits
    assert attend.call_count >= model.config.num_hidden_layers
    assert flat.inputs(batch)[0]["input_ids"].shape == (1, 232 if few_sizes else 227)
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(found[0][real], found[1][real], rtol=1e-5, atol=1e-5)
    assert_same_gradients(model, labels, *found)


def assert_same_gradients(model, labels, *found):
    """Of the loss by two computations of the logits."""
    gradients = []
    for logits in found:
        model.zero_grad()
        functional.cross_entropy(logits.flatten(0, 1), labels.flatten()).backward()
        gradients.append({name: weights.grad.clone() for name, weights in model.named_parameters()})
    for name, gradient in gradients[0].items():
        scale = float(gradients[1][name].abs().max())
        torch.testing.assert_close(gradient, gradients[1][name], rtol=0, atol=max(1e-6 * scale, 1e-8), msg=name)


def test_masks_of_the_model_such_as_a_sliding_window_hold_within_each_text():
    torch.manual_seed(0)
    mask = (torch.arange(7) < torch.tensor([[4], [7], [2]])).long()
    layout = Layout.of(torch.arange(21).view(3, 7), mask)
    assert layout.positions.tolist() == [[*range(7), *range(4), *range(2)]]
    tokens = layout.input_ids.shape[1]
    query, key, value = (torch.randn(1, 2, tokens, 4) for _ in range(3))
    near = (torch.arange(tokens)[:, None] - torch.arange(tokens)).abs() <= 1
    text = torch.repeat_interleave(torch.arange(3), torch.tensor([7, 4, 2]))
    expected = functional.scaled_dot_product_attention(query, key, value, near & (text[:, None] == text))
    additive = torch.zeros(tokens, tokens).masked_fill(~near, -torch.inf)
    for own in (near, additive):
        found = FlatAttention(layout)(query, key, value, own[None, None])
        torch.testing.assert_close(found, expected)


@pytest.mark.skipif("modernbert" not in FLAT, reason="this transformers computes its attention otherwise")
@pytest.mark.parametrize(
    ("packing", "few_sizes"), [(None, False), (None, True), (Packing(64, 0), False)], ids=["groups", "few", "packed"]
)
def test_padding_that_a_sliding_window_shows_nothing_leaves_gradients_finite(tokenizer, packing, few_sizes):
    """The texts of one group lie far apart, and so does the padding of one from what it would see."""
    model = make("modernbert", tokenizer, attention_dropout=0.1).train()
    batch = made_up_batch(tokenizer, SIZES["vocab_size"], [64, 60, 40, 9, 9, 3])
    batch = packing.added_to(batch) if packing else batch
    dropout = FastDropout(1)
    logits = Flat(0, False, packing, few_sizes).logits(model, batch, dropout=dropout)
    logits.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@given(st.lists(st.integers(1, 12), min_size=1, max_size=30))
@settings(max_examples=50, deadline=None)
def test_every_token_has_one_place(sizes):
    longest = max(sizes)
    mask = (torch.arange(longest) < torch.tensor(sizes)[:, None]).long()
    ids = torch.arange(mask.numel()).view(mask.shape)
    layout = Layout.of(ids, mask)
    assert sorted(layout.place.tolist()) == ids[mask.bool()].tolist() == sorted(layout.input_ids[0].tolist())
    torch.testing.assert_close(layout.padded(layout.input_ids[..., None].double())[..., 0], (ids * mask).double())
    assert len(set(layout.grouped.tolist())) == len(layout.grouped)
    assert sum(windows for windows, _ in layout.groups) == len(sizes)


def test_sizes_are_few_and_at_most_a_sixteenth_is_filled_up():
    sizes = {tokens + -tokens % unit_of(tokens) for tokens in range(1, 2049)}
    assert len([size for size in sizes if 1024 < size <= 2048]) == 16
    assert all(-tokens % unit_of(tokens) <= tokens / 16 for tokens in range(1, 2049))
    mask = (torch.arange(44) < torch.tensor([41, 7, 6, 5, 5, 4, 3, 2, 2])[:, None]).long()
    layout = Layout.of(torch.arange(mask.numel()).view(mask.shape), mask, few_sizes=True)
    assert layout.groups == ((8, 48), (1, 8)) and layout.input_ids.shape == layout.positions.shape == (1, 76)
    assert len(layout.place) == 75 and len(set(layout.grouped.tolist())) == 76
    assert layout.grouped[75] == 41, "what fills up lies where the longest window has padding"
    mask = torch.ones(33, 8, dtype=torch.int64)  # where nothing is padded, it is windows of one token
    layout = Layout.of(torch.arange(mask.numel()).view(mask.shape), mask, few_sizes=True)
    assert layout.groups == ((8, 8),) * 4 + ((1, 8), (8, 1)) and layout.input_ids.shape == (1, 272)


def test_dropout_of_attention_is_drawn_from_the_seed_of_the_step(tokenizer):
    model = make("bert", tokenizer).train()
    batch = made_up_batch(tokenizer, SIZES["vocab_size"], [9, 20, 3])
    found = []
    for seed in (1, 1, 2):
        dropout = FastDropout(seed)
        found.append(Flat(0, True).logits(model, batch, dropout=dropout))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
