"""The command: every source gives the same model; its files are checked and written atomically, or refused."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace

import pytest
import torch

from determined_ner import cli
from determined_ner.errors import UserError
from determined_ner.export import command
from determined_ner.export.command import FUSED, PLAIN, export
from determined_ner.export.parity import Tolerances
from determined_ner.model.directory import CALIBRATION_FILE
from determined_ner.model.onnx_session import open_session, read_labels
from determined_ner.model.torch_model import load_model
from determined_ner.tagging import cost
from determined_ner.tagging.tagger import Tagger
from determined_ner.training.trained import find_trained
from tests.conftest import make_sentences, write_conll
from tests.damage import flip_a_bit, own_copy
from tests.own_code import OwnCode

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def checkpoint_of(run):
    return run / json.loads((run / "summary.json").read_text())["checkpoint"]


def only(folder):
    return sorted(path.name for path in folder.iterdir())


def refused(capsys, *arguments):
    """The message of an export that is refused, with exit status 2."""
    assert cli.main(["export", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    message = captured.err.strip().splitlines()[-1]
    assert message.startswith(("error: ", "temporary error: ")) and "Traceback" not in captured.err
    return message


def test_all_files_are_made_checked_and_load(run, tmp_path, capsys):
    output = tmp_path / "made" / "exported"
    assert cli.main(["export", str(run), "--output", str(output), "--onnx", "--fp16", "--quantize"]) == 0
    assert only(tmp_path / "made") == ["exported"]
    models = {"model.safetensors", "model.onnx", "model_fp16.onnx", "model_quantized.onnx"}
    assert {"README.md", "config.json", *models} <= set(only(output))
    assert output.stat().st_mode & 0o777 == 0o755

    from transformers import pipeline

    found = pipeline("token-classification", str(output), aggregation_strategy="first")("Ada Bo went to Oslo .")
    summary = json.loads((run / "summary.json").read_text())
    assert summary["best"]["f1"] > 0.9  # or the next line says nothing
    assert [(entity["entity_group"], entity["word"]) for entity in found] == [("PER", "ada bo"), ("LOC", "oslo")]

    kept = json.loads((run / "model" / CALIBRATION_FILE).read_text())
    assert json.loads((output / CALIBRATION_FILE).read_text()) == kept == summary["calibration"]
    texts = [" ".join(word for word, _ in sentence) for sentence in make_sentences(20, 300)]
    in_torch, in_onnx = Tagger.from_pretrained(run / "model")(texts), Tagger.from_pretrained(output, "onnx")(texts)
    pairs = [pair for both in zip(in_torch, in_onnx, strict=True) for pair in zip(*both, strict=True)]
    assert pairs and all(one == replace(other, score=one.score) for one, other in pairs)
    assert [one.score for one, _ in pairs] == pytest.approx([other.score for _, other in pairs], abs=1e-3)

    text = write_conll(tmp_path / "text.conll", make_sentences(2))
    predict = ["predict", str(output), str(text), "--backend", "onnx", "--output"]
    flip_a_bit(output / "model_quantized.onnx")
    assert cli.main([*predict, str(tmp_path / "refused")]) == 2
    assert f"{output / 'model_quantized.onnx'}: is damaged: its checksum" in capsys.readouterr().err
    flip_a_bit(output / "model_quantized.onnx")
    (output / "model.safetensors").unlink()  # which this backend does not need, and the card is the user's
    (output / "README.md").write_text((output / "README.md").read_text() + "Edited.\n")
    assert cli.main([*predict, str(tmp_path / "tagged")]) == 0

    card = (output / "README.md").read_text(encoding="utf-8")
    assert f"| f1 | {summary['best']['f1']:.4f} (" in card and f" {summary['test']['f1']:.4f} (" in card  # intervals
    assert "| f1_PER |" in card and "`validation.conll`" in card and str(tmp_path.parent) not in card
    errors = kept["errors"]["test"]
    assert f"| test | {errors['entities']} | {errors['before']:.3f} | {errors['after']:.3f} |" in card
    assert "pipeline_tag: token-classification" in card and "`model_quantized.onnx`" in card
    for name in ("model.onnx", "model_fp16.onnx", "model_quantized.onnx"):
        session = open_session(output / name)
        assert list(read_labels(session, output / name)) == summary["labels"]


def test_every_source_gives_the_same_weights(run, tmp_path, monkeypatch):
    from determined.experimental import client

    fetched = "3fa85f64-5717-4562-b3fc-2c963f66afa6"

    class Checkpoint:
        def download(self, path):
            shutil.copytree(checkpoint_of(run), path, dirs_exist_ok=True)

    monkeypatch.setenv("DET_MASTER", "http://nowhere:8080")
    monkeypatch.setattr(client, "get_checkpoint", lambda uuid: Checkpoint() if uuid == fetched else None)
    sources = {"run": run, "model": run / "model", "checkpoint": checkpoint_of(run), "uuid": fetched}
    monkeypatch.chdir(tmp_path)
    for name, source in sources.items():
        assert cli.main(["export", str(source), "--output", name]) == 0
    files = {name: (tmp_path / name / "model.safetensors").read_bytes() for name in sources}
    assert len(set(files.values())) == 1
    assert only(tmp_path) == sorted(sources)


def test_a_run_that_was_stopped_gives_its_best_checkpoint(run, tmp_path):
    stopped = tmp_path / "run"
    shutil.copytree(run, stopped)
    shutil.rmtree(stopped / "model")
    (stopped / "summary.json").unlink()
    (tmp_path / "downloads").mkdir()
    best = load_model(find_trained(str(stopped), tmp_path / "downloads").directory).state_dict()
    reference = load_model(find_trained(str(run / "model"), tmp_path / "downloads").directory).state_dict()
    for name, value in reference.items():
        assert torch.equal(value, best[name]), name


def test_the_user_names_the_labelled_text(run, tmp_path, capsys):
    moved = tmp_path / "moved"
    own_copy(run / "model", moved)
    settings = json.loads((moved / "ner_settings.json").read_text())
    settings["data"]["train_file"] = settings["data"]["validation_file"] = "gone.conll"
    (moved / "ner_settings.json").write_text(json.dumps(settings))
    message = refused(capsys, moved, "--output", tmp_path / "out")
    assert "gone.conll" in message and "--data FILE" in message
    other = write_conll(tmp_path / "other.conll", make_sentences(9, 300))
    assert cli.main(["export", str(moved), "--output", str(tmp_path / "out"), "--data", str(other)]) == 0
    assert "`other.conll`" in (tmp_path / "out" / "README.md").read_text()
    wrong = write_conll(tmp_path / "wrong.conll", [[("Ada", "B-ORG")]])
    assert "'B-ORG'" in refused(capsys, moved, "--output", tmp_path / "out2", "--data", wrong)
    assert only(tmp_path) == ["moved", "other.conll", "out", "wrong.conll"]


def test_text_that_changed_since_the_training_is_warned_of(run, tmp_path, capsys):
    moved = tmp_path / "moved"
    own_copy(run / "model", moved)
    settings = json.loads((moved / "ner_settings.json").read_text())
    settings["data"]["validation_file"] = str(write_conll(tmp_path / "new.conll", make_sentences(9, 300)))
    (moved / "ner_settings.json").write_text(json.dumps(settings))
    assert cli.main(["export", str(moved), "--output", str(tmp_path / "out")]) == 0
    assert "no longer the text that the training validated on" in capsys.readouterr().err


def test_a_float32_file_beyond_its_tolerance_is_refused(run, tmp_path):
    with pytest.raises(UserError) as error:
        export(str(run), tmp_path / "out", onnx=True, tolerances=Tolerances(logit=1e-12))
    assert error.value.where == "model.onnx"
    assert "is not the trained model" in error.value.problem and "1e-12" in error.value.problem
    assert only(tmp_path) == []


@pytest.mark.parametrize("faster", [FUSED, PLAIN])
def test_the_faster_graph_is_shipped_and_told(faster, run, tmp_path, monkeypatch):
    speeds = {FUSED: 1.0, PLAIN: 0.5 if faster == FUSED else 2.0}
    monkeypatch.setattr(command, "relative_speeds", lambda runs, batches: {name: speeds[name] for name in runs})
    export(str(run), tmp_path / "out", onnx=True)
    kinds = {node.op_type for node in onnx.load(str(tmp_path / "out" / "model.onnx")).graph.node}
    assert ("Attention" in kinds) == (faster == FUSED)
    assert f"fused 1.00, plain {speeds[PLAIN]:.2f}" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_what_it_costs_is_measured_for_the_card(run, tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "STARTS", 1)
    monkeypatch.setattr(cost, "ROUNDS", 1)
    arguments = ["export", str(run), "--output", str(tmp_path / "out"), "--onnx", "--quantize", "--measure"]
    assert cli.main(arguments) == 0
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    costs = card.partition("## What it costs to run")[2].partition("## ")[0].splitlines()
    rows = [line.split(" | ") for line in costs if line.startswith("| `")]
    assert [row[0] for row in rows] == ["| `torch`", "| `model.onnx`", "| `model_quantized.onnx`"]
    assert all(float(row[4].replace(",", "")) > 0 for row in rows)
    assert "| plain | none |" in card and "| fused | none |" in card  # both were tried in int8


@pytest.mark.parametrize("tolerance", [{"half_logit": 1e-7}, {"half_points": -1.0}])
def test_float16_that_is_too_far_off_is_refused(run, tmp_path, tolerance):
    with pytest.raises(UserError) as error:
        export(str(run), tmp_path / "out", fp16=True, tolerances=Tolerances(**tolerance))
    assert error.value.where == "model_fp16.onnx" and "float16 is too far from the trained" in error.value.problem
    assert error.value.remedy == "export without --fp16"
    assert only(tmp_path) == []


def test_int8_that_loses_too_much_is_refused(run, tmp_path):
    with pytest.raises(UserError) as error:
        export(str(run), tmp_path / "out", quantize=True, tolerances=Tolerances(points=-1.0))
    assert "points of f1" in error.value.problem and "where -1.0 may be lost" in error.value.problem
    assert "layers were left in float32" in error.value.problem and "without --quantize" in error.value.remedy
    assert only(tmp_path) == []


def spoilt(run, tmp_path, source, name, spoil):
    folder = tmp_path / "spoilt"
    own_copy(run / "model" if source == "model" else checkpoint_of(run), folder)
    (folder / name).write_bytes(spoil((folder / name).read_bytes()))
    return folder


@pytest.mark.parametrize("source", ["model", "checkpoint"])
@pytest.mark.parametrize("size", [0, 40, 3000])
def test_weights_cut_short_are_refused(source, size, run, tmp_path, capsys):
    name = {"model": "model.safetensors", "checkpoint": "state_dict.pth"}[source]
    folder = spoilt(run, tmp_path, source, name, lambda content: content[:size])
    message = refused(capsys, folder, "--output", tmp_path / "out")
    assert str(folder) in message and "copy" in message
    assert only(tmp_path) == ["spoilt"]


@pytest.mark.parametrize(
    ("name", "spoil", "expected"),
    [
        ("config.json", lambda c: c.replace(b"BertForTokenClassification", b"BertForMaskedLM"), "BertForMaskedLM"),
        ("config.json", lambda c: c.replace(b'"B-PER"', b'"B-ORG"'), "of two models"),
        ("config.json", lambda c: c[:30], "config.json: not readable"),
        ("ner_settings.json", lambda c: c[:30], "ner_settings.json: not readable"),
        ("ner_settings.json", lambda c: b"[]", "not a JSON object"),
        ("ner_settings.json", lambda c: c.replace(b'"scheme"', b'"skeem"'), "KeyError: 'scheme'"),
        ("tokenizer.json", lambda c: c[:30], "no tokenizer can be loaded"),
    ],
)
def test_directories_that_are_damaged_or_of_another_task_are_refused(name, spoil, expected, run, tmp_path, capsys):
    folder = spoilt(run, tmp_path, "model", name, spoil)
    message = refused(capsys, folder, "--output", tmp_path / "out")
    assert expected in message and str(folder) in message
    assert only(tmp_path) == ["spoilt"]


def test_what_is_no_source_is_refused(run, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("DET_MASTER", raising=False)
    monkeypatch.chdir(tmp_path)
    fetched = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
    assert "export DET_MASTER=" in refused(capsys, fetched, "--output", "out")
    assert "no such directory" in refused(capsys, "nothing", "--output", "out")
    assert "is a file" in refused(capsys, run / "summary.json", "--output", "out")
    assert "no token classifier" in refused(capsys, run.parent / "encoder", "--output", "out")
    (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
    assert "without a checkpoint" in refused(capsys, "empty", "--output", "out")
    own_copy(run / "model", tmp_path / "other")
    (tmp_path / "other" / "ner_settings.json").unlink()
    assert "no model of this trial" in refused(capsys, "other", "--output", "out")
    assert only(tmp_path) == ["empty", "other"]
    message = refused(capsys, run, "--output", "empty")
    assert message == "error: --output empty: exists already; name a directory that does not"


def test_a_master_that_does_not_answer_is_named(tmp_path, monkeypatch, capsys):
    from determined.experimental import client

    def fail(_):
        raise ConnectionError("no route to host\nmore")

    monkeypatch.setenv("DET_MASTER", "http://nowhere:8080")
    monkeypatch.setattr(client, "get_checkpoint", fail)
    message = refused(capsys, "3fa85f64-5717-4562-b3fc-2c963f66afa6", "--output", tmp_path / "out")
    assert "cannot be downloaded from http://nowhere:8080: no route to host" in message
    assert only(tmp_path) == []


def test_without_its_packages_an_onnx_file_is_refused_at_once(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    message = refused(capsys, run, "--output", tmp_path / "out", "--quantize")
    assert "pip install 'determined-ner[onnx]'" in message
    assert only(tmp_path) == []


def test_code_of_a_model_runs_only_when_this_command_is_told_so(run, tmp_path, monkeypatch, capsys):
    """By the command line alone: that the settings in the directory allowed it counts for nothing."""
    own = OwnCode(run / "model", tmp_path, monkeypatch)
    described = json.loads((own.path / "ner_settings.json").read_text())
    described["hyperparameters"]["trust_remote_code"] = True
    (own.path / "ner_settings.json").write_text(json.dumps(described))
    message = refused(capsys, own.path, "--output", tmp_path / "out")
    assert str(own.path) in message and "--trust-remote-code" in message
    assert own.stdin.tell() == 0 and not own.has_run and not (tmp_path / "out").exists()
    assert cli.main(["export", str(own.path), "--output", str(tmp_path / "out"), "--trust-remote-code"]) == 0
    assert own.has_run and {"modeling_own.py", "model.safetensors"} <= set(only(tmp_path / "out"))


def test_a_model_without_a_calibration_is_exported_and_reported_as_it_is(run, tmp_path):
    """As a model directory of an older version."""
    model, data = shutil.copytree(run / "model", tmp_path / "model"), str(run.parent / "validation.conll")
    for name in ("calibration.json", "checksums.json"):
        (model / name).unlink()
    assert cli.main(["export", str(model), "--output", str(tmp_path / "out"), "--onnx", "--data", data]) == 0
    assert not (tmp_path / "out" / "calibration.json").exists()
    assert "calibration error" not in (tmp_path / "out" / "README.md").read_text()
    assert cli.main(["report", str(model), "--data", data, "--output", str(tmp_path / "report")]) == 0
