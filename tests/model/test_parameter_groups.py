"""The parts of a model by its structure, the rate of each by formula, and what is frozen."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from determined_ner.errors import HyperparameterError
from determined_ner.model.engine import Engine
from determined_ner.model.optimizer import build_optimizer
from determined_ner.model.parameter_groups import Parts, describe_groups, find_layers, freeze
from determined_ner.settings.hyperparameters import Hyperparameters
from tests.model.test_backends import needs_ort
from tests.model.test_engine import make_batches, one_slot

BERT: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 90,
}


def settings(**others: Any) -> Hyperparameters:
    return Hyperparameters(pretrained_model_name_or_path="x", **{"learning_rate": 1e-2, **others})


def bert() -> Any:
    torch.manual_seed(0)
    return transformers.BertForTokenClassification(transformers.BertConfig(**BERT, num_labels=3)).train()


def names_of(model: Any, parameters: Any) -> set[str]:
    wanted = {id(p) for p in parameters}
    return {name for name, p in model.named_parameters() if id(p) in wanted}


@pytest.mark.parametrize(
    ("config", "layers", "embedding", "top"),
    [
        ("Bert", 12, "bert.embeddings.LayerNorm.weight", None),
        ("DistilBert", 6, "distilbert.embeddings.position_embeddings.weight", None),
        ("Electra", 12, "electra.embeddings_project.weight", None),
        ("DebertaV2", 24, "deberta.encoder.rel_embeddings.weight", "deberta.encoder.LayerNorm.weight"),  # behind them
        ("MegatronBert", 24, "bert.embeddings.word_embeddings.weight", "bert.encoder.ln.weight"),
        ("XLM", 12, "transformer.layer_norm_emb.weight", None),  # a list each of attentions, norms, products
        ("Funnel", 12, "funnel.embeddings.word_embeddings.weight", "funnel.decoder.layers.1.ffn.linear_1.weight"),
        ("Albert", 1, "albert.encoder.embedding_hidden_mapping_in.weight", None),  # one, twelve times
        ("MarkupLM", 12, "markuplm.embeddings.xpath_embeddings.xpath_tag_sub_embeddings.49.weight", None),
        ("T5", 6, "transformer.shared.weight", "transformer.encoder.final_layer_norm.weight"),
        ("GPT2", 12, "transformer.wpe.weight", "transformer.ln_f.bias"),
        ("XLNet", 24, "transformer.word_embedding.weight", None),
        ("Mixtral", 32, "model.embed_tokens.weight", "model.norm.weight"),  # whose layers have lists of their own
    ],
)
def test_the_parts_of_an_architecture_are_found_by_its_structure(config, layers, embedding, top):
    asked = {"position_biased_input": False, "relative_attention": True, "norm_rel_ebd": "layer_norm"}
    with torch.device("meta"):
        model = transformers.AutoModelForTokenClassification.from_config(
            getattr(transformers, f"{config}Config")(**(asked if config == "DebertaV2" else {}))
        )
    parts = Parts.of(model)
    assert len(parts.layers) == layers
    assert embedding in names_of(model, parts.embeddings)
    assert (not parts.top) if top is None else top in names_of(model, parts.top)
    head = names_of(model, parts.head)
    assert head in ({"classifier.weight", "classifier.bias"}, {"score.weight", "score.bias"})
    whole = [*parts.embeddings, *(p for layer in parts.layers for p in layer), *parts.top, *parts.head]
    assert len(whole) == len({id(p) for p in whole}) == len(list(model.parameters()))
    if layers > 1:
        assert len({len(layer) for layer in parts.layers[1:]}) == 1  # all that a layer has (T5's first has more)


def test_rates_are_those_of_the_formula_and_what_decays_stays_the_same():
    model = bert()
    hparams = settings(layerwise_lr_decay=0.5, head_learning_rate=0.3, weight_decay=0.1)
    optimizer = build_optimizer(model, hparams)
    names = {id(p): name for name, p in model.named_parameters()}
    found = {names[id(p)]: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    plain = {n for g in build_optimizer(model, settings(weight_decay=0.1)).param_groups if not g["weight_decay"]
             for n in names_of(model, g["params"])}  # fmt: skip
    assert found.keys() == set(names.values())
    for name, (rate, decay) in found.items():
        part = next(part for part in ("layer.0.", "layer.1.", "layer.2.", "embeddings", "classifier") if part in name)
        expected = {"layer.2.": 1e-2, "layer.1.": 5e-3, "layer.0.": 2.5e-3, "embeddings": 1.25e-3, "classifier": 0.3}
        assert rate == expected[part], name
        assert decay == (0 if name in plain else 0.1), name
    assert optimizer.param_groups[0]["lr"] == 1e-2  # which is the rate that is reported


def test_rates_that_are_all_the_same_are_the_two_groups_of_none():
    model = bert()
    groups = [build_optimizer(model, settings(**o)).param_groups for o in ({}, {"head_learning_rate": 1e-2})]
    for one, other in zip(*groups, strict=True):
        assert [id(p) for p in one["params"]] == [id(p) for p in other["params"]]
    assert len(groups[0]) == 2


@pytest.mark.parametrize(
    ("what", "moves"),
    [
        ("embeddings", {"layer.0", "layer.1", "layer.2", "classifier"}),
        (2, {"layer.2", "classifier"}),
        (3, {"classifier"}),
        ("encoder", {"classifier"}),
    ],
)
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_what_is_frozen_never_moves_and_has_neither_gradient_nor_state(what, moves, weight_decay):
    model = bert()
    before = {name: p.clone() for name, p in model.named_parameters()}
    hparams = settings(freeze=what, weight_decay=weight_decay)
    freeze(model, hparams)
    engine = Engine(one_slot(), model, hparams)
    for i, batch in enumerate(make_batches(4)):
        engine.train_step(batch, i, ends_step=True)
    frozen = 0
    for name, parameter in model.named_parameters():
        if any(part in name for part in moves):
            assert not torch.equal(parameter, before[name]), name
        else:
            frozen += 1
            assert torch.equal(parameter, before[name]), name
            assert parameter.grad is None and parameter not in engine.optimizer.state, name
    assert frozen == len(before) - sum(any(part in name for part in moves) for name in before) > 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, None),
        ({"head_learning_rate": 0.3}, "layers 3 to 1 and embeddings 0.01, head 0.3; 0.0 of 0.0 M parameters train"),
        ({"layerwise_lr_decay": 0.5}, "layer 3 and head 0.01, layer 2 0.005, layer 1 0.0025, embeddings 0.00125; "),
        ({"freeze": 2}, "layer 3 and head 0.01; frozen: layers 2 to 1 and embeddings; "),
        ({"freeze": "encoder"}, "head 0.01; frozen: layers 3 to 1 and embeddings; "),
    ],
)
def test_what_each_part_trains_is_said_in_one_line(given, said):
    model = bert()
    freeze(model, settings(**given))
    described = describe_groups(model, settings(**given))
    assert described is said is None or described.startswith(f"learning rates: {said}")


def test_what_a_model_without_an_encoder_cannot_do_is_refused():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    assert find_layers(model) == []
    for name, value in (("freeze", "encoder"), ("head_learning_rate", 0.1)):
        with pytest.raises(HyperparameterError, match=f"{name}: Sequential has no part that is its encoder.*leave"):
            freeze(model, settings(**{name: value}))


@pytest.mark.backend
@pytest.mark.parametrize(
    "backend", [pytest.param("compile", marks=pytest.mark.slow), pytest.param("ort", marks=needs_ort)]
)
def test_each_backend_trains_the_parts_as_pytorch_does(backend):
    asked = {"freeze": 1, "layerwise_lr_decay": 0.5, "head_learning_rate": 0.03}
    weights = []
    for computed in ("eager", backend):
        torch.manual_seed(0)
        still = dict.fromkeys(["hidden_dropout_prob", "attention_probs_dropout_prob"], 0.0)
        config = transformers.BertConfig(**BERT, **still, num_labels=3)
        model = transformers.AutoModelForTokenClassification.from_config(config, attn_implementation="eager").train()
        hparams = settings(backend=computed, **asked)
        freeze(model, hparams)
        engine = Engine(one_slot(), model, hparams)
        before = model.state_dict()["bert.encoder.layer.0.output.dense.weight"].clone()
        for i, batch in enumerate(make_batches(4)):
            engine.train_step(batch, i, ends_step=True)
        weights.append(model.state_dict())
        assert weights[-1]["bert.encoder.layer.0.output.dense.weight"].equal(before)
    for name in weights[0]:
        torch.testing.assert_close(weights[1][name], weights[0][name], rtol=0, atol=1e-4, msg=name)
