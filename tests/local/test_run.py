"""A run off the cluster does what the experiment config asks for, and leaves what is promised."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import ner_trial
from tests.conftest import assert_equal_states, final_state, read_metrics, without_times


def test_the_run_folder_holds_what_is_promised(train, tmp_path):
    before = set(tmp_path.rglob("*"))
    folder = train()
    outside = {p for p in set(tmp_path.rglob("*")) - before if folder not in (p, *p.parents)}
    assert not outside, "written beside the run folder"
    summary = json.loads((folder / "summary.json").read_text())
    validations = read_metrics(folder, "validation")
    assert [v["epochs"] for v in validations] == [1, 2]
    assert summary["last"] == validations[-1]
    assert summary["best"]["f1"] == max(v["f1"] for v in validations)
    assert summary["test"].keys() >= {"loss", "accuracy", "precision", "recall", "f1", "f1_strict", "f1_PER", "f1_LOC"}
    assert all(isinstance(v, float | int) for v in summary["test"].values())
    training = read_metrics(folder, "training")
    names = {"kind", "batches", "epochs", "loss", "learning_rate", "samples_per_second", "tokens_per_second"}
    assert all(line.keys() == names for line in training)
    assert {p.name for p in folder.iterdir()} - {".lock"} == {
        *("metrics.jsonl", "summary.json", "config.json"),
        *("checkpoints", "model", "figures", "tensorboard", "cache", "report"),
    }
    assert {p.name for p in (folder / "figures").iterdir()} == {"loss.png", "f1.png"}
    assert list((folder / "tensorboard").glob("*tfevents*"))


def test_the_same_seed_trains_the_same_model_and_another_does_not(train):
    one, two = (train(output=name) for name in ("one", "two"))
    three = train("reproducibility.experiment_seed=8", output="three")
    assert_equal_states(final_state(one)["models_state_dict"], final_state(two)["models_state_dict"])
    assert without_times(read_metrics(one)) == without_times(read_metrics(two))
    assert read_metrics(one, "validation")[0]["loss"] != read_metrics(three, "validation")[0]["loss"]


def test_lengths_and_periods_of_the_config_are_honoured(train):
    folder = train(
        "searcher.max_length.batches=10",
        "min_validation_period.batches=4",
        "min_checkpoint_period.batches=3",
        "scheduling_unit=5",
        "perform_initial_validation=true",
        "checkpoint_policy=none",
        "checkpoint_storage.save_trial_latest=9",
    )
    assert [v["batches"] for v in read_metrics(folder, "validation")] == [0, 4, 8, 10]
    assert {5, 10} <= {m["batches"] for m in read_metrics(folder, "training")}
    assert sorted(int(p.name[5:]) for p in (folder / "checkpoints").iterdir()) == [3, 6, 9, 10]


def test_a_model_that_is_best_before_the_first_batch_has_a_checkpoint(train, tmp_path):
    first = train("hyperparameters.learning_rate=0.02", "searcher.max_length.epochs=8", output="first")
    begin = f"hyperparameters.pretrained_model_name_or_path={first / 'model'}"
    options = (begin, "perform_initial_validation=true", "hyperparameters.learning_rate=10")
    folder = train(*options, output="second")
    validations = read_metrics(folder, "validation")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["best"]["batches"] == 0 and validations[0]["f1"] > validations[-1]["f1"]
    assert (folder / "checkpoints" / "step-00000000").is_dir()
    before, after = (load_file(run / "model" / "model.safetensors") for run in (first, folder))
    assert all(torch.equal(before[name], after[name]) for name in before)
    shutil.rmtree(max((folder / "checkpoints").iterdir()))
    assert ner_trial.main(["--output-dir", str(folder), "--resume"]) == 0
    assert without_times(read_metrics(folder, "validation")) == without_times(validations)


@pytest.mark.parametrize("name", ["source_checkpoint_uuid", "source_trial_id"])
def test_weights_that_a_cluster_alone_has_are_not_left_out_in_silence(refuse, name):
    message = refuse(f"searcher.{name}=17")
    assert f"searcher.{name}: 17 is known to a cluster alone" in message
    assert "determined-ner export UUID --output DIR" in message and "pretrained_model_name_or_path" in message


@pytest.mark.parametrize(
    ("override", "batches"),
    [
        ("searcher.max_length.epochs=1", 6),
        ("searcher.max_length.records=24", 3),
        ("hyperparameters.max_steps=4", 4),
        ("hyperparameters.num_train_epochs=1", 6),
    ],
)
def test_the_length_can_be_given_in_each_unit(train, override, batches):
    assert read_metrics(train(override))[-1]["batches"] == batches


def test_the_length_can_be_given_as_max_time(train):
    folder = train("searcher.time_metric=batches", "searcher.max_time=5")
    assert read_metrics(folder)[-1]["batches"] == 5


def test_the_learning_rate_falls_to_zero_over_exactly_the_training(train):
    folder = train("scheduling_unit=1", "hyperparameters.num_warmup_steps=3", "searcher.max_length.batches=9")
    rates = [m["learning_rate"] for m in read_metrics(folder, "training")]
    expected = [0, 1 / 3, 2 / 3, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    np.testing.assert_allclose(rates, np.array(expected) * 1e-3, rtol=1e-6)


def test_bf16_trains_to_nearly_the_same_loss(train):
    full, half = train(output="fp32"), train("hyperparameters.precision=bf16", output="bf16")
    a, b = (read_metrics(f, "validation")[-1]["loss"] for f in (full, half))
    assert a != b and a == pytest.approx(b, rel=0.02)


def test_a_config_of_the_earlier_example_trains_and_names_what_means_nothing(train, tmp_path, capsys):
    """All keys of Determined's model_hub example, its metric name included; local files in place of the hub."""
    config = json.loads((tmp_path / "experiment.yaml").read_text())
    config["hyperparameters"] |= {
        "model_mode": "token-classification",
        "finetuning_task": "ner",
        "use_pretrained_weights": True,
        "use_apex_amp": False,
        "adam_epsilon": 1e-8,
        "weight_decay": 0,
        "lr_scheduler_type": "linear",
        "num_warmup_steps": 0,
    }
    config["data"] |= {
        "dataset_name": None,
        "dataset_config_name": None,
        "preprocessing_num_workers": None,
        "cache_dir": None,
        "overwrite_cache": False,
        "pad_to_max_length": False,
        "label_all_tokens": False,
    }
    config |= {
        "records_per_epoch": 44,
        "min_validation_period": {"batches": 6},
        "entrypoint": "ner_trial:NERTrial",
        "bind_mounts": [{"host_path": "/tmp", "container_path": "/root/.cache"}],
    }
    config["searcher"] = {
        "name": "single", "metric": "accuracy_score", "max_length": {"epochs": 1}, "smaller_is_better": False
    }  # fmt: skip
    old = tmp_path / "old.yaml"
    old.write_text(json.dumps(config))
    folder = train(config=old)
    final = read_metrics(folder, "validation")[-1]
    assert final["accuracy_score"] == final["accuracy"]
    message = capsys.readouterr().err
    assert "hyperparameters.model_mode" in message and "records_per_epoch" in message


def test_own_files_take_the_place_of_the_configs_data_set(train, capsys):
    train("data.dataset_name=conll2003", "data.dataset_revision=refs/convert/parquet")
    assert "data.dataset_name: 'conll2003' is not used" in capsys.readouterr().err
