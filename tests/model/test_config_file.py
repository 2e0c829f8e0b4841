"""What a model's own files say is checked before it is done: nothing of it fetches code, hangs, or ends a program."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from determined_ner import Tagger, cli
from determined_ner.errors import UserError
from determined_ner.hub import Pretrained
from determined_ner.model.build import load_config
from determined_ner.model.directory import SETTINGS_FILE, ModelDirectory
from determined_ner.model.torch_model import load_model
from determined_ner.settings.hyperparameters import Hyperparameters
from tests.model.test_directory import SETTINGS, add_settings, as_checkpoint, change_config, make_model, save
from tests.own_code import MODELING


@pytest.fixture
def directory(tiny_encoder: Path, tmp_path: Path) -> Path:
    return save(make_model(tiny_encoder), tiny_encoder, tmp_path / "model")


def refusal(folder: Path) -> str:
    """What both readers say of a directory: who trains from it, and who tags with it."""
    hparams = Hyperparameters(pretrained_model_name_or_path=str(folder))
    with pytest.raises(UserError) as training:
        load_config(Pretrained.of_setting(hparams, "config_name"))
    with pytest.raises(UserError) as tagging:
        Tagger.from_pretrained(folder)
    for caught in (training, tagging):
        assert str(folder) in str(caught.value) and caught.value.remedy and "\n" not in str(caught.value)
    assert "hyperparameters.pretrained_model_name_or_path" in training.value.where
    return tagging.value.problem


# -- Code and other models -----------------------------------------------------------------------------------------

KERNEL = "kernels-community/flash-attn"


@pytest.mark.parametrize(
    "changes",
    [
        {"_attn_implementation": KERNEL},
        {"attn_implementation": KERNEL},
        {"_attn_implementation_internal": KERNEL},
        {"attn_implementation": "flash_attention_2"},  # fetched from there where flash_attn is not installed
        {"attn_implementation": f"paged|{KERNEL}"},
        {"attn_implementation": {"": "eager", "text_config": KERNEL}},
        {"text_config": {"_attn_implementation": KERNEL}},
        {"experts_implementation": KERNEL},
        {"attn_implementation": [KERNEL]},
    ],
    ids=str,
)
def test_a_kernel_of_the_hub_is_not_fetched_because_a_config_names_it(directory, changes):
    change_config(directory, **changes)
    assert "which the library would fetch from the hub and run" in refusal(directory)


@pytest.mark.parametrize("name", ["eager", "sdpa", None])
def test_attention_of_pytorchs_own_may_be_named(directory, name):
    assert load_model(ModelDirectory(change_config(directory, attn_implementation=name))) is not None


def test_quantized_weights_and_adapters_are_refused(directory):
    change_config(directory, quantization_config={"quant_method": "fp8"})
    assert "has quantized weights" in refusal(directory)
    change_config(directory, quantization_config=None)
    (directory / "adapter_config.json").write_text('{"base_model_name_or_path": "somebody/model"}')
    assert "is an adapter" in refusal(directory)


def with_code(directory: Path, marker: Path, where: str, model_type: str) -> None:
    """A directory that brings code for one of the library's classes."""
    (directory / "own.py").write_text(MODELING.format(marker=str(marker)))
    classes = {
        "AutoConfig": "own.OwnConfig",
        "AutoModel": "own.OwnModel",
        "AutoModelForTokenClassification": "own.OwnForTokenClassification",
        "AutoTokenizer": [None, "own.OwnTokenizer"],
    }
    name = "tokenizer_config.json" if where == "AutoTokenizer" else "config.json"
    change_config(directory, model_type=model_type)
    settings = json.loads((directory / name).read_text())
    settings["auto_map"] = classes if where == "all" else {where: classes[where]}
    settings |= {"trust_remote_code": True}
    if where == "AutoTokenizer":
        settings["tokenizer_class"] = "OwnTokenizer"
    (directory / name).write_text(json.dumps(settings))


class Never(io.StringIO):
    """A standard input that must not be read."""

    def readline(self, *_: Any) -> str:
        raise AssertionError("standard input was read")

    read = readline


@pytest.mark.parametrize("model_type", ["bert", "own-bert"])
@pytest.mark.parametrize(
    "where", ["all", "AutoConfig", "AutoModel", "AutoModelForTokenClassification", "AutoTokenizer"]
)
def test_no_command_runs_code_or_asks_on_the_word_of_what_it_reads(
    directory, config_file, tmp_path, monkeypatch, capsys, where, model_type
):
    """Whatever file brings it, for a type of model that the library knows or not."""
    marker = tmp_path / "code-has-run"
    with_code(directory, marker, where, model_type)
    described = {"hyperparameters": {"trust_remote_code": True, "pretrained_model_name_or_path": str(directory)}}
    add_settings(directory, **described)
    monkeypatch.setattr(sys, "stdin", Never())
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    (tmp_path / "a.txt").write_text("Ada went to Oslo\n")
    data = str(tmp_path / "train.conll")
    for arguments in (
        ["predict", directory, tmp_path / "a.txt"],
        ["report", directory, "--data", data, "--output", tmp_path / "report"],
        ["export", directory, "--data", data, "--output", tmp_path / "exported"],
        ["check", config_file, "--no-timing", "--config", f"hyperparameters.pretrained_model_name_or_path={directory}"],
        ["check", config_file, "--no-timing", "--config", f"hyperparameters.tokenizer_name={directory}"],
    ):
        status = cli.main([str(argument) for argument in arguments])
        message = capsys.readouterr().err
        assert not marker.exists(), arguments[0]
        assert status in (0, 2) and "Traceback" not in message and "argument `trust_remote_code" not in message
        if model_type == "own-bert" and where == "all" and "tokenizer_name" not in str(arguments[-1]):
            option = "--trust-remote-code"
            if arguments[0] == "check":
                option = "--config hyperparameters.trust_remote_code=true"
            assert status == 2 and f"read the code, then allow it with {option}" in message


# -- Damaged and hostile -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"architectures": 5},
        {"architectures": [5]},
        {"architectures": "BertForTokenClassification"},
        {"id2label": 5},
        {"id2label": {"0": ["O"]}},
        {"num_labels": 10**9},
        {"_num_labels": -1},
        {"auto_map": 5},
        {"num_hidden_layers": 1_000_000},
        {"text_config": {"num_hidden_layers": 10**30}},
        {"block_sizes": [2_000]},
    ],
    ids=str,
)
def test_a_config_that_says_what_cannot_be_is_refused_with_the_value(directory, changes):
    change_config(directory, **changes)
    ((key, value),) = changes["text_config"].items() if "text_config" in changes else changes.items()
    said = value[0] if key == "block_sizes" else value
    assert refusal(directory).startswith(f"its config.json says {key}: {said!r}, which ")


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize(
    "changes", [{"vocab_size": 10**10}, {"intermediate_size": 10**9}, {"max_position_embeddings": 10**12}], ids=str
)
def test_a_config_of_a_larger_model_than_its_weights_is_refused_before_it_is_built(directory, changes, checkpoint):
    if checkpoint:
        as_checkpoint(directory)
    change_config(directory, **changes)
    with pytest.raises(
        UserError, match=r"its config\.json describes [\d,]+ weights, where its files have [\d,]+ bytes"
    ):
        load_model(ModelDirectory(directory))


@pytest.mark.parametrize(
    "changes",
    [{"return_dict": False}, {"torchscript": True}, {"output_attentions": True}, {"output_hidden_states": True}],
    ids=str,
)
def test_a_config_may_ask_for_other_outputs(directory, changes):
    expected = Tagger.from_pretrained(directory)(["Ada went to Oslo"])
    assert Tagger.from_pretrained(change_config(directory, **changes))(["Ada went to Oslo"]) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"max_seq_length": 10**9},
        {"max_seq_length": 10**30},
        {"max_seq_length": float("inf")},
        {"max_seq_length": 0},
        {"max_seq_length": True},
        {"max_seq_length": 48.5},
        {"data": []},
        {"labels": [1, 2, 3]},
        {"labels": "O"},
        {"hyperparameters": []},
        {"data_fingerprints": None},
        {"data_fingerprints": []},
        {"data_fingerprints": {"validation": 5}},
        {"scheme": ["IOB2"]},
    ],
    ids=str,
)
def test_settings_that_no_training_writes_are_refused_with_the_value(directory, changes):
    add_settings(directory, **changes)
    with pytest.raises(UserError) as caught:
        ModelDirectory(directory)
    assert caught.value.where == str(directory / SETTINGS_FILE)
    assert caught.value.problem.startswith("not readable (") and caught.value.remedy == "copy the model directory again"
    ((key, value),) = changes.items()
    assert f"{key}: {value!r} " in caught.value.problem


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"stride": "abc", "context": "sentence"}, "data.stride: 'abc' is no number from 0 to max_seq_length (48)"),
        ({"stride": 48, "context": "sentence"}, "data.stride: 48 is no number"),
        ({"stride": None, "context": 7}, "data.context: 7 is neither"),
        ({"context": "sentence"}, "KeyError: 'stride'"),
    ],
)
def test_settings_of_the_data_that_no_training_writes_are_refused(directory, data, problem):
    add_settings(directory, data=data)
    with pytest.raises(UserError) as caught:
        ModelDirectory(directory)
    assert problem in caught.value.problem


@pytest.mark.parametrize("name", ["config.json", SETTINGS_FILE, "tokenizer.json", "tokenizer_config.json"])
def test_a_file_that_cannot_be_read_to_its_end_is_refused(directory, name):
    add_settings(directory)
    (directory / name).write_text("[" * 100_000)
    with pytest.raises(UserError):
        Tagger.from_pretrained(directory)
    (directory / name).unlink()
    os.mkfifo(directory / name)
    with pytest.raises(UserError, match="is a pipe or a device"):
        Tagger.from_pretrained(directory)
    (directory / name).unlink()
    (directory / name).symlink_to("/dev/zero")
    with pytest.raises(UserError, match="is a pipe or a device"):
        Tagger.from_pretrained(directory)
    (directory / name).unlink()
    with (directory / name).open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UserError, match="has 1,099,511,627,776 bytes, more than the 268,435,456"):
        Tagger.from_pretrained(directory)


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_the_name_of_the_tensor(directory, value, checkpoint):
    model = transformers.BertForTokenClassification.from_pretrained(directory)
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.weight[0, :3] = value
    model.save_pretrained(directory)
    if checkpoint:
        as_checkpoint(directory)
    with pytest.raises(UserError) as caught:
        Tagger.from_pretrained(directory)
    assert "3 of the 512 weights of bert.encoder.layer.0.output.dense.weight are not finite" in caught.value.problem
    assert caught.value.where == str(directory)


def test_logits_that_are_not_finite_never_become_tags(directory):
    """In an ONNX file, whose weights are not looked at."""
    pytest.importorskip("onnx")
    from determined_ner.model.onnx_export import export_onnx

    model = make_model(directory)
    with torch.no_grad():
        model.classifier.bias[0] = float("nan")
    export_onnx(model, directory / "model.onnx", ("O", "B-PER", "I-PER"), max_seq_length=64)
    tagger = Tagger.from_pretrained(directory, backend="onnx")
    with pytest.raises(UserError, match=r"model\.onnx: gives logits that are not finite"):
        tagger(["Ada went to Oslo"])


def test_a_checkpoint_of_determined_tags_like_its_model(train, tmp_path):
    """As it is downloaded: its config still names the class of the encoder."""
    run = train("hyperparameters.max_steps=2")
    checkpoint = shutil.copytree(max((run / "checkpoints").iterdir()), tmp_path / "downloaded")
    text = ["Ada Bo went to Oslo ."]
    ours, theirs = (Tagger.from_pretrained(folder)(text)[0] for folder in (checkpoint, run / "model"))
    assert [entity[:4] for entity in map(astuple, ours)] == [entity[:4] for entity in map(astuple, theirs)] != []
    (tmp_path / "a.txt").write_text(text[0])
    assert cli.main(["predict", str(checkpoint), str(tmp_path / "a.txt"), "--output", str(tmp_path / "out")]) == 0
    assert cli.main(["report", str(checkpoint), "--output", str(tmp_path / "report")]) == 0


assert SETTINGS["max_seq_length"] == 48  # which the values above are beside
