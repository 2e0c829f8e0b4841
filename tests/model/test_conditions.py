"""What cannot be active on this machine is refused before any data is read, in words that name setting and way out."""

from __future__ import annotations

import logging
import sys

import pytest
import torch

from determined_ner.errors import HyperparameterError, UserError
from determined_ner.model.conditions import check_architecture, check_conditions
from determined_ner.model.ort import Installation
from determined_ner.settings.hyperparameters import Hyperparameters
from determined_ner.settings.parsing import parse_settings

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def settings(**hyperparameters) -> Hyperparameters:
    return Hyperparameters(pretrained_model_name_or_path="x", **hyperparameters)


def test_validation_by_onnx_runtime_needs_its_packages(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match="the package onnx is not installed"):
        check_conditions(settings(evaluate_with_ort=True), CPU, 1, 1)


def test_settings_that_exclude_each_other_are_named_together():
    for hyperparameters, expected in (
        ({"use_apex_amp": True, "precision": "bf16"}, ["use_apex_amp: true", "precision: bf16", "drop one"]),
        ({"use_apex_amp": True, "backend": "ort"}, ["backend: ort", "precision: fp16"]),
        ({"use_apex_amp": True, "backend": "compile"}, ["backend: compile"]),
        ({"optim": "adamw_ort_fused"}, ["optim: adamw_ort_fused", "backend is eager", "backend: ort"]),
        ({"optim": "adamw_torch_fused"}, ["'adamw_torch_fused' is wrong: write adamw_torch, which is one kernel"]),
        ({"optim": "adafactor"}, ["'adafactor'", "AdamW, in 32 bits; write adamw_torch"]),
        ({"optim": "adam_torch"}, ["'adam_torch'", "'adamw_ort_fused'"]),
        ({"backend": "tpu"}, ["'tpu'", "eager"]),
        ({"precision": "fp8"}, ["'fp8'", "bf16"]),
        ({"apex_opt_level": "O4"}, ["'O4'", "O3"]),
    ):
        with pytest.raises(HyperparameterError) as refusal:
            parse_settings({"pretrained_model_name_or_path": "x", **hyperparameters}, {"dataset_name": "d"})
        for part in expected:
            assert part in str(refusal.value)


def test_apex_and_fp16_need_a_gpu():
    with pytest.raises(
        UserError, match="use_apex_amp: true needs a CUDA GPU, and this trains on cpu; write precision: bf16 or fp32"
    ):
        check_conditions(settings(use_apex_amp=True), CPU, 1, 1)
    with pytest.raises(UserError, match="'fp16' needs a CUDA GPU, and this trains on cpu; write bf16 or fp32"):
        check_conditions(settings(precision="fp16"), CPU, 1, 1)


def test_apex_does_not_accumulate_on_several_slots():
    with pytest.raises(HyperparameterError, match=r"aggregation_frequency: 4\) under Apex on 2 slots"):
        check_conditions(settings(use_apex_amp=True), CUDA, 2, 4)


@pytest.mark.parametrize(("installed", "problem"), [(None, "NVIDIA Apex is not installed"), ("pypi", "not NVIDIA's")])
def test_apex_that_is_missing_or_another_project(tmp_path, monkeypatch, installed, problem):
    monkeypatch.delitem(sys.modules, "apex", raising=False)
    if installed:
        (tmp_path / "apex").mkdir()
        (tmp_path / "apex" / "__init__.py").write_text("from zope import interface\n")
        monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=problem) as refusal:
        check_conditions(settings(use_apex_amp=True), CUDA, 1, 1)
    assert "never pip install apex" in str(refusal.value)


def test_bf16_on_a_gpu_without_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla V100")
    with pytest.raises(UserError, match=r"Tesla V100 has 7\.0; write fp16"):
        check_conditions(settings(precision="bf16"), CUDA, 1, 1)


def test_bf16_on_a_processor_without_it_is_warned_of(monkeypatch, caplog):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    with caplog.at_level(logging.WARNING, "determined_ner"):
        check_conditions(settings(precision="bf16"), CPU, 1, 1)
    assert "slower than fp32" in caplog.text


def test_torch_compile_without_a_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="no-such-compiler is not on the PATH; install one"):
        check_conditions(settings(backend="compile"), CPU, 1, 1)


def test_torch_compile_on_a_gpu_needs_triton(monkeypatch):
    monkeypatch.setenv("CXX", sys.executable)  # anything that is there
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="'compile' needs triton on a GPU; pip install triton"):
        check_conditions(settings(backend="compile"), CUDA, 1, 1)


def test_the_compiler_of_an_old_torch_and_roberta():
    compiled = settings(backend="compile")
    with pytest.raises(UserError, match="'compile' computes a model of type 'xlm-roberta' wrongly with PyTorch"):
        check_architecture(compiled, "xlm-roberta", CPU, old_compiler=True)
    check_architecture(compiled, "xlm-roberta", CPU, old_compiler=False)
    check_architecture(compiled, "bert", CPU, old_compiler=True)


def test_ort_multiplies_no_bf16_on_a_cpu():
    with pytest.raises(UserError, match="'bf16' with backend: ort needs a GPU"):
        check_conditions(settings(precision="bf16", backend="ort"), CPU, 1, 1)


def test_the_fused_adam_of_onnx_runtime_is_refused_where_it_is_not(monkeypatch, tmp_path):
    fused = settings(backend="ort", optim="adamw_ort_fused")
    with pytest.raises(
        UserError, match="optim: 'adamw_ort_fused' needs a CUDA GPU, and this trains on cpu; write adamw_torch"
    ):
        check_conditions(fused, CPU, 1, 1)
    monkeypatch.setattr("determined_ner.model.ort.check_installation", lambda *_: None)
    installation = Installation({}, tmp_path)
    monkeypatch.setattr(Installation, "of_this_process", lambda: installation)
    with pytest.raises(UserError, match=r"optim: 'adamw_ort_fused' needs ORTModule's extension fused_ops.*adamw_torch"):
        check_conditions(fused, CUDA, 1, 1)
    folder = tmp_path / "training" / "ortmodule" / "torch_cpp_extensions"
    folder.mkdir(parents=True)
    (folder / "fused_ops.cpython-310-x86_64-linux-gnu.so").touch()
    check_conditions(fused, CUDA, 1, 1)


@pytest.mark.parametrize("model_type", ["deberta", "deberta-v2"])
def test_ort_and_deberta_on_a_cpu(model_type):
    with pytest.raises(UserError, match=f"type '{model_type}' on a CPU.*write backend: eager"):
        check_architecture(settings(backend="ort"), model_type, CPU)
    check_architecture(settings(backend="ort"), model_type, CUDA)
    check_architecture(settings(backend="eager"), model_type, CPU)
