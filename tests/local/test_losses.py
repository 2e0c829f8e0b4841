"""Losses other than the cross entropy: the same on any number of slots, across resumes, and refused where wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import ner_trial
from tests.conftest import (
    assert_equal_states,
    assert_trained_alike,
    final_state,
    read_metrics,
    without_times,
    write_config,
)
from tests.forked import together, train

LOSSES = {
    "given": ("hyperparameters.class_weights={PER: 3, O: 0.5}",),
    "smoothed": ("hyperparameters.label_smoothing=0.1",),
    "both": ("hyperparameters.class_weights=balanced", "hyperparameters.label_smoothing=0.1"),
}


def run(config: Path, folder: Path, *overrides: str, processes: int = 1, resume: bool = False) -> str:
    return train(config, folder, "scheduling_unit=2", *overrides, processes=processes, resume=resume)


@pytest.fixture
def config(tmp_path, tiny_encoder_without_dropout, corpus) -> Path:
    return write_config(tmp_path / "c.yaml", tiny_encoder_without_dropout, corpus)


@pytest.mark.parametrize("grouped", ["true", "false"])
def test_one_slot_two_slots_and_accumulation_train_the_same_loss(config, tmp_path, grouped):
    settings = (*LOSSES["both"], f"hyperparameters.group_by_length={grouped}", "hyperparameters.learning_rate=1e-4")
    folders = {name: tmp_path / name for name in ("one", "two", "accumulated")}
    said = run(config, folders["one"], *settings)
    assert said.count("loss: of training, cross entropy with class weights ") == 1
    run(config, folders["two"], *settings, processes=2)
    run(config, folders["accumulated"], *settings, "optimizations.aggregation_frequency=2", "scheduling_unit=4")
    assert_trained_alike(folders.values())
    losses = [[line["loss"] for line in read_metrics(folder, "training")] for folder in folders.values()]
    for other_losses in losses[1:]:
        assert losses[0] == pytest.approx(other_losses, rel=1e-4)


@pytest.mark.parametrize("loss", ["given", "smoothed"])
def test_a_resumed_run_trains_the_same_loss(config_file, tmp_path, loss):
    whole, folder = tmp_path / "whole", tmp_path / "run"
    run(config_file, whole, *LOSSES[loss], "checkpoint_storage.save_trial_latest=9")
    shutil.copytree(whole, folder)
    shutil.rmtree(folder / "checkpoints" / "step-00000012")
    run(config_file, folder, *LOSSES[loss], "checkpoint_storage.save_trial_latest=9", resume=True)
    assert_equal_states(final_state(folder)["models_state_dict"], final_state(whole)["models_state_dict"])
    assert without_times(read_metrics(folder)) == without_times(read_metrics(whole))
    arguments = [str(config_file), "--output-dir", str(folder), "--resume"]
    assert together(lambda: ner_trial.main(arguments), 1)[0] == 2, "went on with another loss"


def test_wrong_weights_and_smoothing_are_refused(refuse):
    message = refuse("hyperparameters.class_weights={ORG: 2}")
    assert message.startswith("error: hyperparameters.class_weights: 'ORG' is no label or type of the training data")
    assert "it has B-LOC B-PER I-PER LOC O PER" in message
    for wrong in ("{PER: 0}", "{PER: -1}", "even", "{PER: much}"):
        assert "hyperparameters.class_weights" in refuse(f"hyperparameters.class_weights={wrong}")
    for wrong in ("1", "-0.1", "true"):
        assert "hyperparameters.label_smoothing" in refuse(f"hyperparameters.label_smoothing={wrong}")
