"""Leaving out the embedding rows that no training piece uses changes nothing but the time."""

import copy

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForTokenClassification

from determined_ner.model.calls import replaced
from determined_ner.model.cpu.dropout import FastDropout
from determined_ner.model.cpu.embedding import PartlyTrainedEmbedding, train_only_rows
from tests.conftest import final_state, make_encoder, read_metrics, without_times

USED = np.array([0, 2, 3, 7, 8, 9, 20])


@pytest.fixture
def models(tmp_path):
    whole = AutoModelForTokenClassification.from_pretrained(make_encoder(tmp_path, dropout=0.0))
    partly = copy.deepcopy(whole)
    train_only_rows(partly, USED)
    assert isinstance(partly.get_input_embeddings(), PartlyTrainedEmbedding)
    return whole, partly


def train_some(model, steps=20):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    rng = torch.Generator().manual_seed(0)
    model.train()
    for _ in range(steps):
        ids = torch.from_numpy(USED)[torch.randint(0, len(USED), (4, 6), generator=rng)]
        labels = torch.randint(0, 2, (4, 6), generator=rng)
        logits = model(input_ids=ids, attention_mask=(ids != 0).long()).logits
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()


def test_training_gives_the_same_weights(models):
    whole, partly = models
    before = whole.get_input_embeddings().weight.detach().clone()
    train_some(whole)
    train_some(partly)
    left, right = whole.state_dict(), partly.state_dict()
    assert list(left) == list(right)
    for name in left:
        # The norm is summed over fewer zeros, in another order: the last bit of the clipping factor.
        torch.testing.assert_close(left[name], right[name], rtol=0, atol=1e-5 if "bias" in name else 1e-6)
    unused = np.setdiff1d(np.arange(len(before)), USED)
    table = partly.get_input_embeddings().weight
    assert torch.equal(table[unused], before[unused]) and not torch.equal(table[USED], before[USED])


def test_evaluation_looks_up_every_row(models):
    whole, partly = models
    train_some(partly, 3)
    whole.load_state_dict(partly.state_dict())
    ids = torch.arange(40).view(4, 10)
    assert torch.equal(whole.eval()(input_ids=ids).logits, partly.eval()(input_ids=ids).logits)


def test_state_dicts_are_interchangeable(models):
    whole, partly = models
    train_some(whole, 2)
    partly.load_state_dict(whole.state_dict())
    for name, value in partly.state_dict().items():
        assert torch.equal(value, whole.state_dict()[name]), name
    with pytest.raises(RuntimeError, match=r"word_embeddings\.weight"):
        partly.load_state_dict({k: v for k, v in whole.state_dict().items() if "word_embeddings" not in k})


def test_rows_that_do_not_train_are_written_to_only_where_they_differ(models):
    whole, partly = models  # a table is the pages of a file until it is written to
    embedding = partly.get_input_embeddings()
    train_some(partly, 2)
    before = embedding._table._version
    partly.load_state_dict(whole.state_dict())
    assert embedding._table._version == before
    changed = {name: value.clone() for name, value in whole.state_dict().items()}
    name = next(name for name in changed if "word_embeddings" in name)
    changed[name][[1, 2]] += 1.0
    assert 1 not in USED and 2 in USED
    partly.load_state_dict(changed)
    assert torch.equal(embedding.weight, changed[name]) and embedding._table._version > before
    partly.load_state_dict({key: value.double() for key, value in whole.state_dict().items()})
    assert torch.equal(embedding.weight, whole.state_dict()[name])


def test_the_padding_row_stays_without_a_gradient(models):
    embedding = models[1].get_input_embeddings()
    assert embedding.padding_idx == 0
    embedding.train()(torch.tensor([[0, 7]])).sum().backward()
    assert embedding.trained.grad[0].abs().sum() == 0 and embedding.trained.grad[3].abs().sum() > 0


def test_a_shared_embedding_is_left_alone(tmp_path):
    model = AutoModelForTokenClassification.from_pretrained(make_encoder(tmp_path))
    model.other = torch.nn.Linear(16, model.config.vocab_size, bias=False)
    model.other.weight = model.get_input_embeddings().weight
    train_only_rows(model, USED)
    assert type(model.get_input_embeddings()) is torch.nn.Embedding


def test_a_run_ends_as_with_all_rows_and_decay_trains_them_all(train, monkeypatch, corpus):
    left = train(output="partly")
    with monkeypatch.context() as patch:
        patch.setattr("determined_ner.training.setup.train_only_rows", lambda model, ids: None)
        right = train(output="whole")
    for a, b in zip(*(without_times(read_metrics(folder)) for folder in (left, right)), strict=True):
        assert a == pytest.approx(b, abs=1e-5)
    weights = [final_state(folder)["models_state_dict"][0] for folder in (left, right)]
    assert list(weights[0]) == list(weights[1])
    for name in weights[0]:
        torch.testing.assert_close(weights[0][name], weights[1][name], rtol=0, atol=1e-5)
    decayed = final_state(train("hyperparameters.weight_decay=0.5", output="decayed"))["models_state_dict"][0]
    name = next(name for name in decayed if "word_embeddings" in name)
    unused = (weights[1][name] != 0).any(1) & (weights[1][name] != decayed[name]).all(1)
    assert unused.any()


@pytest.mark.parametrize("kind", ["roberta", "electra", "distilbert", "deberta-v2", "albert", "mpnet", "modernbert"])
@pytest.mark.parametrize("bf16", [False, True])
def test_encoders_of_other_families_give_the_same_and_draw_all_dropout_from_ours(kind, bf16):
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    if kind == "distilbert":
        sizes = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
    if kind == "modernbert":
        ids = dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "pad_token_id"), 0)
        sizes |= {"attention_dropout": 0.1, "mlp_dropout": 0.1, "embedding_dropout": 0.1, **ids}
    config = AutoConfig.for_model(kind, vocab_size=100, **sizes)
    torch.manual_seed(0)
    whole = AutoModelForTokenClassification.from_config(config).train()
    ids = torch.randint(5, 90, (3, 9))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    partly = copy.deepcopy(whole)
    train_only_rows(partly, np.unique(np.append(ids.numpy(), 0)))
    assert isinstance(partly.get_input_embeddings(), PartlyTrainedEmbedding)
    assert list(partly.state_dict()) == list(whole.state_dict())

    def draw(model, seed):
        with replaced(FastDropout(seed).functions), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return model(input_ids=ids, attention_mask=mask).logits

    before = torch.get_rng_state()
    first, other = draw(whole, 1), draw(whole, 2)
    assert torch.equal(torch.get_rng_state(), before), "some dropout drew from torch"
    assert torch.equal(first, draw(partly, 1)) and not torch.equal(first, other)
