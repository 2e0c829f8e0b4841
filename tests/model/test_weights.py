"""Weights of a Hugging Face directory and of a checkpoint; what is said of damaged ones and of others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from determined_ner.errors import UserError
from determined_ner.files.checksums import CHECKSUMS_FILE, write_checksums
from determined_ner.hub import Pretrained
from determined_ner.model.stored_weights import check_model_files, count_stored_tensors, stored_bytes
from determined_ner.model.weights import STATE_FILE, load_token_classifier, load_weights
from tests.damage import flip_a_bit

REMEDY = "name another"


@pytest.fixture
def model(tiny_encoder):
    config = transformers.BertConfig.from_pretrained(tiny_encoder, num_labels=3)
    torch.manual_seed(1)
    return transformers.BertForTokenClassification(config)


@pytest.fixture
def other(tiny_encoder):
    """Of the same shape, with other weights."""
    torch.manual_seed(2)
    return transformers.BertForTokenClassification(transformers.BertConfig.from_pretrained(tiny_encoder, num_labels=3))


def checkpoint(folder: Path, model, prefix: str = "") -> Path:
    weights = {prefix + name: value for name, value in model.state_dict().items()}
    torch.save({"models_state_dict": [weights], "optimizers_state_dict": []}, folder / STATE_FILE)
    return folder


def load(folder: Path, config):
    return load_token_classifier(Pretrained(str(folder)), config, REMEDY)


def assert_same_weights(left, right) -> None:
    assert list(left.state_dict()) == list(right.state_dict())
    assert all(torch.equal(value, right.state_dict()[name]) for name, value in left.state_dict().items())


def test_a_directory_gives_its_weights(model, tmp_path):
    model.save_pretrained(tmp_path)
    assert_same_weights(load(tmp_path, model.config), model)


def test_a_directory_with_damaged_weights(model, tmp_path):
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(UserError) as refusal:
        load(tmp_path, model.config)
    assert refusal.value.where == str(tmp_path) and refusal.value.problem.startswith("its weights cannot be loaded: ")
    assert refusal.value.remedy == "copy it again, or name another"


def test_a_directory_without_weights(model, tmp_path):
    model.config.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="its weights cannot be loaded: "):
        load(tmp_path, model.config)


def test_a_directory_whose_weights_have_no_head(model, tmp_path):
    model.base_model.save_pretrained(tmp_path)
    with pytest.raises(
        UserError, match=r"its weights lack classifier\.\w+, so it is no trained token classifier; name"
    ):
        load(tmp_path, model.config)


@pytest.mark.parametrize("prefix", ["", "module."], ids=["one slot", "several slots"])
def test_a_checkpoint_gives_its_weights_whatever_number_of_slots_wrote_it(model, other, tmp_path, prefix):
    load_weights(other, checkpoint(tmp_path, model, prefix))
    assert_same_weights(other, model)


def test_a_damaged_checkpoint(model, tmp_path):
    file = checkpoint(tmp_path, model) / STATE_FILE
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(UserError, match=r"state_dict\.pth: is damaged, or of another model: .*; copy the checkpoint"):
        load_weights(model, tmp_path)


def test_a_checkpoint_of_another_model(model, tmp_path):
    checkpoint(tmp_path, torch.nn.Linear(2, 2))
    with pytest.raises(UserError, match="is damaged, or of another model: "):
        load_weights(model, tmp_path)


def test_a_checkpoint_runs_no_code(model, tmp_path):
    torch.save({"models_state_dict": [Path("x")]}, tmp_path / STATE_FILE)  # a pickle of a class
    with pytest.raises(UserError, match="is damaged, or of another model: "):
        load_weights(model, tmp_path)


def test_a_pickle_in_the_place_of_weights_is_refused_in_our_words(model, tmp_path):
    """torch would advise to load it unsafely."""
    model.config.save_pretrained(tmp_path)
    torch.save({"x": Path("x")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError) as refusal:
        load(tmp_path, model.config)
    assert "its weights cannot be loaded: " in str(refusal.value) and "weights_only" not in str(refusal.value)


# -- Checksums beside the weights ----------------------------------------------------------------------------------


@pytest.fixture
def directory(model, tmp_path) -> Path:
    """A model directory with checksums, as a run leaves it."""
    model.save_pretrained(tmp_path)
    (tmp_path / "model.onnx").write_bytes(bytes(1000))
    (tmp_path / "vocab.txt").write_text("a")
    write_checksums(tmp_path)
    return tmp_path


def say_twice(config: Path) -> None:
    config.write_text(config.read_text().replace("{", '{"num_hidden_layers": 2, ', 1))


@pytest.mark.parametrize(
    ("name", "damage", "problem"),
    [
        ("model.safetensors", flip_a_bit, "is damaged: its checksum is another"),
        ("model.onnx", flip_a_bit, "is damaged: its checksum is another"),
        ("config.json", say_twice, "is damaged: "),
        ("vocab.txt", Path.unlink, "is missing"),
    ],
)
def test_a_file_of_a_model_that_is_not_as_it_was_written_is_named(directory, name, damage, problem):
    check_model_files(directory)
    damage(directory / name)
    with pytest.raises(UserError, match=problem) as refusal:
        check_model_files(directory)
    assert refusal.value.where == str(directory / name)
    assert refusal.value.remedy.endswith("or remove its checksums.json if you changed it yourself")
    (directory / CHECKSUMS_FILE).unlink()
    check_model_files(directory)


def test_what_its_owner_does_to_a_model_directory_is_no_damage(directory):
    """A card is written; weights in the form that is not used are left out."""
    (directory / "README.md").write_text("mine")
    (directory / "model.safetensors").unlink()
    (directory / "model.onnx").unlink()
    check_model_files(directory)


def test_tensors_are_counted_without_reading_them(model, tmp_path):
    """By the table of contents of either form; a file that has none counts nothing."""
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    assert count_stored_tensors(tmp_path) == len(model.state_dict())
    assert stored_bytes(tmp_path) == file.stat().st_size
    for damaged in (b"", file.read_bytes()[:50], b"\xff" * 50):
        file.write_bytes(damaged)
        assert count_stored_tensors(tmp_path) == 0
    file.unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    assert count_stored_tensors(tmp_path) == len(model.state_dict())
    assert count_stored_tensors(tmp_path / "none") == stored_bytes(tmp_path / "none") == 0
