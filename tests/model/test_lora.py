"""Adapters: what trains, merging, and what a run, its checkpoints and its exports have of them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import transformers

from determined_ner import cli
from determined_ner.errors import HyperparameterError, UserError
from determined_ner.hub import Pretrained
from determined_ner.model.directory import ModelDirectory
from determined_ner.model.lora import add_adapters, check_lora, merge_adapters
from determined_ner.model.parameter_groups import Parts
from determined_ner.model.torch_model import load_model
from tests.conftest import final_state, newest_checkpoint
from tests.model.test_parameter_groups import bert

if importlib.util.find_spec("peft") is None:
    pytest.skip("PEFT is not installed", allow_module_level=True)
LORA: dict[str, Any] = {"r": 2, "alpha": 4.0, "dropout": 0.0, "target_modules": None}
IDS = torch.arange(24).view(2, 12) + 5


def moved(**others: Any) -> Any:
    """A model whose adapters are something, as after training."""
    model = bert().eval()
    add_adapters(model, {**LORA, **others}, seed=3)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    return model


def test_adapters_and_the_head_train_and_nothing_else_and_begin_as_the_model():
    plain, model = bert().eval(), bert().eval()
    add_adapters(model, LORA, seed=3)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name for name in trained if "lora_" not in name} == {"classifier.weight", "classifier.bias"}
    assert len(trained) == 2 + 2 * 6 * 3  # A and B of six matrices of three layers
    assert [len([p for p in layer if p.requires_grad]) for layer in Parts.of(model).layers] == [12] * 3
    with torch.no_grad():
        assert model(input_ids=IDS).logits.equal(plain(input_ids=IDS).logits)


def test_merged_is_unmerged_to_1e_6_and_has_the_plain_names():
    model = moved()
    with torch.no_grad():
        plain, before = bert().eval()(input_ids=IDS).logits, model(input_ids=IDS).logits
        weights = model.bert.encoder.layer[1].attention.self.query
        by_hand = (
            weights.base_layer.weight + 4 / 2 * weights.lora_B["default"].weight @ weights.lora_A["default"].weight
        )
        merge_adapters(model)
        after = model(input_ids=IDS).logits
    assert (before - plain).abs().max() > 1e-2
    assert (after - before).abs().max() < 1e-6
    assert list(model.state_dict()) == list(bert().state_dict())
    torch.testing.assert_close(model.bert.encoder.layer[1].attention.self.query.weight, by_hand, rtol=0, atol=1e-7)


def test_the_seed_decides_how_adapters_begin():
    first, same, other = bert(), bert(), bert()
    for model, seed in ((first, 1), (same, 1), (other, 2)):
        add_adapters(model, LORA, seed)
    name = "bert.encoder.layer.0.attention.self.query.lora_A.default.weight"
    assert first.state_dict()[name].equal(same.state_dict()[name])
    assert not first.state_dict()[name].equal(other.state_dict()[name])


def test_matrices_are_those_that_are_named_and_none_outside_of_the_layers(tmp_path):
    model = moved(target_modules=["query", "attention.self.value"])
    found = {n.partition(".lora_A")[0].rpartition(".")[2] for n in model.state_dict() if ".lora_A." in n}
    assert found == {"query", "value"}
    config = bert().config
    with pytest.raises(
        HyperparameterError, match=r"target_modules: 'classifier' is no matrix of .*it has dense, key, q"
    ):
        check_lora(config, Pretrained(str(tmp_path)), {**LORA, "target_modules": ["classifier"]})


def test_without_peft_it_is_refused_with_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        UserError, match=r"peft: needs PEFT, which is not installed; pip install 'determined-ner\[peft\]'"
    ):
        check_lora(bert().config, Pretrained(str(tmp_path)), LORA)


@pytest.fixture
def run(train) -> Path:
    return train("hyperparameters.peft={r: 2}", "hyperparameters.learning_rate=0.05")


def logits_of(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=IDS).logits
    return found


def test_a_run_leaves_a_plain_model_which_is_its_checkpoint_merged(run, tiny_encoder):
    kept = transformers.AutoModelForTokenClassification.from_pretrained(run / "model")
    best = run / json.loads((run / "summary.json").read_text())["checkpoint"]
    assert (logits_of(load_model(ModelDirectory(best))) - logits_of(kept)).abs().max() < 1e-6
    before = safetensors.torch.load_file(tiny_encoder / "model.safetensors")
    after = safetensors.torch.load_file(run / "model" / "model.safetensors")
    changed = {name for name, weights in before.items() if not after[f"bert.{name}"].equal(weights)}
    assert changed == {name for name in before if ".layer." in name and "Norm" not in name and name.endswith("weight")}
    state = final_state(run)
    assert len(state["optimizers_state_dict"][0]["state"]) == 2 * 6 + 2
    unmerged = state["models_state_dict"][0]["bert.encoder.layer.0.attention.self.query.base_layer.weight"]
    assert unmerged.equal(before["encoder.layer.0.attention.self.query.weight"])


def test_a_checkpoint_is_exported_merged_and_its_adapters_alone_on_request(run, tmp_path, tiny_encoder):
    import peft

    for source, output in ((newest_checkpoint(run), "of-checkpoint"), (run, "of-run")):
        folder = tmp_path / output
        assert cli.main(["export", str(source), "--output", str(folder), "--adapters"]) == 0
        merged = logits_of(transformers.AutoModelForTokenClassification.from_pretrained(folder))
        labels = transformers.AutoConfig.from_pretrained(folder)
        base = transformers.AutoModelForTokenClassification.from_pretrained(tiny_encoder, num_labels=labels.num_labels)
        adapted = peft.PeftModel.from_pretrained(base, folder / "adapter")
        assert (logits_of(adapted) - merged).abs().max() < 1e-6


def test_adapters_of_what_has_none_are_refused(train, run, tmp_path, capsys):
    plain = train(output="plain")
    for source in (plain, run / "model"):
        output = tmp_path / "out"
        assert cli.main(["export", str(source), "--output", str(output), "--adapters"]) == 2
        assert "--adapters" in capsys.readouterr().err and not output.exists()
