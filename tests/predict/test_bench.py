"""What a model costs to run: each backend is measured in a process of its own, and none is left."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from determined_ner import cli
from determined_ner.errors import UserError
from determined_ner.tagging import cost
from determined_ner.tagging.cost import WORDS, Backend, find_backends, first_texts, measure
from tests.damage import own_copy

TEXT = "Ada went to Oslo.\n\nBo Li stayed.\n"


@pytest.fixture
def once(monkeypatch):
    """One start and one turn of each backend; all processes that were started."""
    monkeypatch.setattr(cost, "STARTS", 1)
    monkeypatch.setattr(cost, "ROUNDS", 1)
    started = []

    class Recorded(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    return started


@pytest.fixture
def text(tmp_path):
    (path := tmp_path / "text.txt").write_text(TEXT)
    return path


def test_every_backend_of_a_directory_is_measured(once, model_dir, text, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    exported = tmp_path / "exported"
    assert cli.main(["export", str(model_dir), "--output", str(exported), "--onnx", "--quantize"]) == 0
    capsys.readouterr()
    assert cli.main(["bench", str(exported), str(text), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["sentences"], found["words"], found["text"]) == (2, 9, str(text))
    assert [each["backend"] for each in found["backends"]] == ["torch", "model.onnx", "model_quantized.onnx"]
    for each, file in zip(found["backends"], ("model.safetensors", "model.onnx", "model_quantized.onnx"), strict=True):
        assert each["size"] == pytest.approx((exported / file).stat().st_size / 1e6)
        assert each["words_per_second"] / each["sentences_per_second"] == pytest.approx(9 / 2)
        assert 0 < each["latency"]["p50"] <= each["latency"]["p95"] <= each["latency"]["p99"]
        assert each["start_up"] > 0 and each["memory"] > 20
    assert found["backends"][1]["memory"] != found["backends"][0]["memory"]
    assert len(once) == 3 and all(process.poll() is not None for process in once)


def test_a_run_is_measured_on_its_validation_data(once, model_dir, capsys):
    assert cli.main(["bench", str(model_dir)]) == 0
    head, row, text, machine = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["backend", "words/s"] and row.split()[0] == "torch" and "PyTorch on" in row
    assert text.startswith("13 sentences, ") and text.endswith("validation.conll")
    assert " processor" in machine and ", load " in machine


def test_mistakes_are_refused_in_one_message(once, model_dir, text, tmp_path, capsys):
    (empty := tmp_path / "empty.txt").write_text("\n \n")
    alone = tmp_path / "alone"
    own_copy(model_dir, alone)
    settings = json.loads((alone / "ner_settings.json").read_text())
    settings["data"]["validation_file"] = str(tmp_path / "gone.conll")
    (alone / "ner_settings.json").write_text(json.dumps(settings))
    broken = tmp_path / "broken"
    own_copy(model_dir, broken)
    (broken / "model.onnx").write_bytes(b"no graph")
    bare = tmp_path / "bare"
    own_copy(model_dir, bare)
    for file in bare.glob("*.safetensors"):
        file.unlink()
    for arguments, expected in [
        ([tmp_path / "nothing", text], "no such directory"),
        ([model_dir, tmp_path / "gone.txt"], "gone.txt"),
        ([model_dir, empty], "has no words; name a text with sentences"),
        ([alone], f"name a text: determined-ner bench {alone} TEXT"),
        ([broken, text], "model.onnx: cannot be opened by onnxruntime"),
        ([bare, text], "bare: "),
    ]:
        assert cli.main(["bench", *map(str, arguments)]) == 2
        captured = capsys.readouterr()
        assert captured.out == "" and "Traceback" not in captured.err
        assert expected in captured.err.strip().splitlines()[-1]
    assert all(process.poll() is not None for process in once)


def test_a_process_that_dies_is_told(once, model_dir, monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("true"))  # which knows none of what it is asked
    with pytest.raises(UserError, match="torch: its process ended with exit status 0"):
        measure(model_dir, [Backend("torch", ())], [["Ada"]])
    assert once[0].poll() == 0


def test_no_process_is_left_after_an_interrupt(once, model_dir):
    def interrupt(step):
        if step.startswith("tagging"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(model_dir, [Backend("torch", ())], [["Ada"]], interrupt)
    assert len(once) == 1 and once[0].poll() is not None


def test_what_cannot_run_here_is_left_out(model_dir, tmp_path, monkeypatch):
    import importlib.util

    shutil.copytree(model_dir, tmp_path / "model")
    (tmp_path / "model" / "model.onnx").touch()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else object())
    backends, missing = find_backends(tmp_path / "model")
    assert [backend.name for backend in backends] == ["torch"]
    assert missing == ["model.onnx is left out: onnxruntime not installed (pip install 'determined-ner[onnx]')"]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UserError,
        match=r"can run it; .*torch and transformers not installed .*; model\.onnx is left",
    ):
        find_backends(tmp_path / "model")


def test_the_first_words_of_a_text_are_enough():
    texts = ([f"{i}"] * 7 if i % 3 else [] for i in range(10**9))
    chosen = first_texts(texts)
    assert all(chosen) and WORDS <= sum(map(len, chosen)) < WORDS + 7
