"""Settings of what is trained, and how: resumed, on two slots and in Determined's loop they train the same."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import transformers

import ner_trial
from tests.conftest import assert_equal_states, final_state, make_encoder, newest_checkpoint, read_metrics, write_config
from tests.determined_loop import train_by_determined
from tests.forked import together
from tests.local.test_processes import assert_close, metrics_of

needs_peft = pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="PEFT is not installed")
WAYS = {
    "rates": ("layerwise_lr_decay=0.8", "head_learning_rate=0.01"),
    "frozen": ("freeze=2",),
    "checkpointing": ("gradient_checkpointing=true",),
    "frozen encoder": ("freeze=encoder", "weight_decay=0.1"),
    "adapters": ("peft={r: 2, dropout: 0.1}", "head_learning_rate=0.01", "layerwise_lr_decay=0.9", "weight_decay=0.1"),
}
PARAMETERS = [pytest.param(w, marks=needs_peft) if w == "adapters" else w for w in WAYS]
STILL = {way: [s.replace(", dropout: 0.1", "") for s in settings] for way, settings in WAYS.items()}


def overrides(way: str) -> list[str]:
    return [f"hyperparameters.{setting}" for setting in WAYS[way]]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of three layers, with dropout."""
    return make_encoder(tmp_path_factory.mktemp("encoder"), layers=3)


@pytest.fixture
def config(tmp_path: Path, encoder: Path, corpus: dict[str, Path]) -> Path:
    return write_config(tmp_path / "c.yaml", encoder, corpus)


@pytest.mark.parametrize("way", PARAMETERS)
def test_a_resumed_run_ends_with_the_same_bits(tmp_path, train, config, way):
    options = [*overrides(way), "scheduling_unit=2", "checkpoint_policy=all", "checkpoint_storage.save_trial_latest=9"]
    whole, half = (train(*options, output=name, config=config) for name in ("whole", "half"))
    shutil.rmtree(newest_checkpoint(half))
    assert ner_trial.main(["--output-dir", str(half), "--resume"]) == 0
    left, right = final_state(whole), final_state(half)
    for part in left.keys() - {"callbacks"}:
        assert_equal_states(left[part], right[part], part)
    models = [(folder / "model" / "model.safetensors").read_bytes() for folder in (whole, half)]
    assert models[0] == models[1]


@pytest.mark.parametrize("way", PARAMETERS)
def test_two_slots_train_what_one_does(tmp_path, corpus, way):
    (still := tmp_path / "still").mkdir()
    config = write_config(tmp_path / "c.yaml", make_encoder(still, dropout=0.0, layers=3), corpus)
    options = [word for setting in STILL[way] for word in ("--config", f"hyperparameters.{setting}")]
    for processes in (1, 2):
        arguments = [str(config), "--output-dir", str(tmp_path / f"p{processes}"), "--config", "scheduling_unit=1"]
        status, output = together(lambda a=arguments: ner_trial.main([*a, *options]), processes)
        assert status == 0, output
    for kind in ("training", "validation"):
        assert_close(metrics_of(tmp_path / "p1", kind), metrics_of(tmp_path / "p2", kind), 1e-5)


@pytest.mark.parametrize("way", PARAMETERS)
def test_determineds_loop_trains_the_same_bits(tmp_path, train, config, way):
    options = (*overrides(way), "scheduling_unit=2")
    ours, theirs = train(*options, config=config, output="ours"), tmp_path / "theirs"
    status, output = together(lambda: train_by_determined(config, theirs, *options), 1)
    assert status == 0, output
    left, right = final_state(ours), final_state(theirs)
    for part in left.keys() - {"callbacks"}:
        assert_equal_states(left[part], right[part], part)


def test_frozen_parts_of_a_run_are_those_of_the_encoder_to_the_bit(train, config, encoder):
    folder = train("hyperparameters.freeze=2", config=config)
    before, after = (safetensors.torch.load_file(f / "model.safetensors") for f in (encoder, folder / "model"))
    for name, weights in before.items():
        same = after[f"bert.{name}"].equal(weights)
        assert same == ("layer.2." not in name), name
    state = final_state(folder)["optimizers_state_dict"][0]["state"]
    assert len(state) == sum("layer.2." in name or "classifier" in name for name in after)


def test_the_rate_that_is_reported_is_that_of_the_uppermost_layer(train, config):
    folder = train(*overrides("rates"), "scheduling_unit=1", config=config)
    rates = [line["learning_rate"] for line in read_metrics(folder, "training")]
    assert rates == pytest.approx([1e-3 * (1 - step / 12) for step in range(12)])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("freeze=4",), "hyperparameters.freeze: 4 is more than the 3 layers of this encoder; write at most 3"),
        (("freeze=0",), "hyperparameters.freeze: 0 is wrong: write embeddings, encoder, or how many of the lowest"),
        (("freeze=layers",), "hyperparameters.freeze: 'layers' is wrong: write embeddings, encoder, or how many"),
        (("freeze=encoder", "layerwise_lr_decay=0.9"), "freeze: encoder leaves no layer to train"),
        (("layerwise_lr_decay=1.1",), "hyperparameters.layerwise_lr_decay: 1.1 is wrong"),
        (("gradient_checkpointing=true", "backend=compile"), "and backend: compile computes them by other means"),
        (("gradient_checkpointing=true", "use_apex_amp=true"), "and use_apex_amp: true computes them by other"),
        (("peft={r: 2}", "freeze=encoder"), "peft freezes the encoder and trains adapters in its layers, where freeze"),
        (("peft={r: 2}", "backend=compile"), "peft needs layers that PyTorch computes, and backend: compile computes"),
        (("peft={rank: 2}",), "hyperparameters.peft.rank: unknown setting (value 2)"),
        (("peft={r: 0}",), "hyperparameters.peft.r: 0 is wrong"),
        (("peft={r: 4}", "evaluate_with_ort=true"), "peft has adapters in the model"),
        (("head_learning_rate=0",), "hyperparameters.head_learning_rate: 0 is wrong"),
    ],
)
def test_what_cannot_be_is_refused_before_data_is_read(refuse, config, given, message):
    data = json.loads(config.read_text())["data"]
    Path(data["train_file"]).write_text("\0 no text\n")  # which would be refused, too
    assert message in refuse(*(f"hyperparameters.{setting}" for setting in given), config=config)


def test_a_run_goes_on_with_its_own_settings_of_what_is_trained_alone(train, config, refuse):
    folder = train("hyperparameters.freeze=2", config=config, output="begun")
    for change in ("freeze=1", "layerwise_lr_decay=0.5", "head_learning_rate=0.5"):
        message = refuse(f"hyperparameters.{change}", options=("--resume", "--output-dir", str(folder)))
        assert "was started with other settings" in message and change.partition("=")[0] in message
    message = refuse("searcher.metric=accuracy", options=("--resume", "--output-dir", str(folder)))
    assert "was started with other settings" in message and "metric: f1 → accuracy" in message


@pytest.mark.parametrize("others", [(), ("hyperparameters.freeze=1",), ("optimizations.aggregation_frequency=2",)])
@pytest.mark.usefixtures("onednn_products")
def test_checkpointed_gradients_train_the_same_bits(train, config, others):
    """With dropout, on one slot; a run may begin without and go on with it."""
    options = ("scheduling_unit=2", "checkpoint_policy=all", "checkpoint_storage.save_trial_latest=9", *others)
    options += ("hyperparameters.group_by_length=true",)
    plain = train(*options, config=config, output="plain")
    less = train(*options, "hyperparameters.gradient_checkpointing=true", config=config, output="less")
    shutil.rmtree(newest_checkpoint(half := train(*options, config=config, output="half")))
    again = ["--output-dir", str(half), "--resume", "--config", "hyperparameters.gradient_checkpointing=true"]
    assert ner_trial.main(again) == 0
    expected = final_state(plain)
    for found in map(final_state, (less, half)):
        for part in expected.keys() - {"callbacks"}:
            assert_equal_states(found[part], expected[part], part)


@pytest.mark.parametrize(("before", "after", "grouped"), [("false", "true", False), ("true", "false", True)])
def test_a_run_goes_on_with_the_batches_that_it_began_with(train, config, before, after, grouped):
    """Where nothing asks for either, what computes the rest of it would have chosen the others."""
    folder = train(f"hyperparameters.gradient_checkpointing={before}", config=config, output="begun")
    options = [
        "--config",
        f"hyperparameters.gradient_checkpointing={after}",
        "--config",
        "hyperparameters.num_train_epochs=4",
    ]
    assert ner_trial.main(["--output-dir", str(folder), "--resume", *options]) == 0
    for checkpoint in (folder / "checkpoints").glob("step-*"):
        settings = json.loads((checkpoint / "ner_settings.json").read_text())["hyperparameters"]
        assert settings["group_by_length"] is grouped


def test_an_architecture_that_cannot_recompute_is_refused_before_data_is_read(tmp_path, refuse, config):
    (encoder := tmp_path / "encoder").mkdir()
    transformers.MPNetConfig(vocab_size=85, hidden_size=16, num_hidden_layers=1, num_attention_heads=2).save_pretrained(
        encoder
    )
    said = refuse(
        "hyperparameters.gradient_checkpointing=true", f"hyperparameters.config_name={encoder}", config=config
    )
    assert "gradient_checkpointing: true is not offered by transformers for a model of type 'mpnet'" in said
