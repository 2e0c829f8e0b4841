"""An ONNX file is opened where it is a tagger with its label map; what is said of anything else."""

from __future__ import annotations

import logging
import sys
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from determined_ner.errors import DeviceError, UserError
from determined_ner.model.cuda_libraries import count_gpus
from determined_ner.model.inference import OnnxModel
from determined_ner.model.onnx_export import export_onnx
from determined_ner.model.onnx_session import (
    CPU,
    CPU_PROVIDER,
    CUDA_PROVIDER,
    OnnxSession,
    choose_provider,
    find_device,
    open_session,
    read_labels,
    read_metadata,
    require,
    without_cuda_warning,
)
from tests.model.test_onnx_export import NAMES, make_model

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

GPU = "cuda:1"
IDS = np.array([[5, 6, 7], [8, 9, 0]])
MASK = np.array([[1, 1, 1], [1, 1, 0]])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export_onnx(make_model(), path, NAMES)
    return path


def test_metadata_that_is_not_known_is_left_out(exported):
    session = open_session(exported)
    assert read_labels(session, exported) == NAMES and list(read_metadata(session)) == ["id2label"]


def relabelled(exported, tmp_path, metadata):
    graph = onnx.load(str(exported))
    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, metadata)
    onnx.save_model(graph, str(tmp_path / "model.onnx"))
    return tmp_path / "model.onnx"


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ({}, "has no label map"),
        ({"id2label": "[1, 2"}, "which is none"),
        ({"id2label": "[1, 2]"}, "which is none"),
        ({"id2label": '{"0": "O", "2": "B-PER"}'}, "which is none"),
        ({"id2label": '{"0": "O", "1": "B-PER"}'}, "has 2 labels, its logits are 5"),
    ],
)
def test_a_file_without_its_label_map_is_refused(exported, tmp_path, metadata, problem):
    path = relabelled(exported, tmp_path, metadata)
    with pytest.raises(UserError, match=problem) as refused:
        read_labels(open_session(path), path)
    assert str(path) in str(refused.value) and "determined-ner export --onnx" in str(refused.value)


def test_what_is_no_tagger_is_refused(exported, tmp_path):
    with pytest.raises(UserError, match="not a file"):
        open_session(tmp_path / "none.onnx")
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(exported.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"cut\.onnx: cannot be opened"):
        open_session(cut)
    graph = onnx.load(str(exported))
    graph.graph.input[1].name = "token_type_ids"
    for node in graph.graph.node:
        node.input[:] = ["token_type_ids" if name == "attention_mask" else name for name in node.input]
    onnx.save_model(graph, str(tmp_path / "other.onnx"))
    with pytest.raises(UserError, match="takes input_ids, token_type_ids and gives logits, where a tagger takes"):
        open_session(tmp_path / "other.onnx")


def test_a_package_that_is_absent_is_named_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        UserError, match=r"^the package onnxruntime is not installed.*pip install 'determined-ner\[onnx\]'"
    ):
        open_session(tmp_path / "model.onnx")
    assert require("json").__name__ == "json"


def test_only_the_warning_of_a_cuda_build_is_left_out():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with without_cuda_warning():
            warnings.warn("WARNING: failed to get cudart_version from onnxruntime build info.", stacklevel=1)
            warnings.warn("another", stacklevel=1)
        warnings.warn("WARNING: failed to get cudart_version from onnxruntime build info.", stacklevel=1)
    assert [str(w.message)[:7] for w in caught] == ["another", "WARNING"]


# -- On which device it runs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize(
    ("device", "available", "provider"),
    [
        (CPU, [CPU_PROVIDER], CPU_PROVIDER),
        (CPU, [CUDA_PROVIDER, CPU_PROVIDER], CPU_PROVIDER),
        (GPU, ["TensorrtExecutionProvider", CUDA_PROVIDER, CPU_PROVIDER], CUDA_PROVIDER),
    ],
)
def test_the_provider_is_that_of_the_device(device, asked, available, provider):
    assert choose_provider(device, asked, available) == provider


@pytest.mark.parametrize(
    ("device", "remedy"),
    [
        (GPU, "pip install onnxruntime-gpu, or name the device cpu"),
        ("mps", "; name the device cpu, or take PyTorch"),
    ],
)
def test_a_device_that_onnx_runtime_lacks_is_refused_if_it_was_asked_for(device, remedy):
    available = ["AzureExecutionProvider", CPU_PROVIDER]
    assert choose_provider(device, False, available) == CPU_PROVIDER
    with pytest.raises(UserError, match=f"device {device}: .*it has AzureExecutionProvider, CPUE.*{remedy}"):
        choose_provider(device, True, available)


def test_a_gpu_whose_libraries_do_not_load_is_refused_if_it_was_asked_for(exported, monkeypatch, caplog):
    def refuse(folder: Any, where: str) -> None:
        assert folder.name == "onnxruntime"
        raise UserError(where, "its CUDA part needs libcublasLt.so.11", "pip install that")

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA_PROVIDER, CPU_PROVIDER])
    monkeypatch.setattr("determined_ner.model.onnx_session.load_cuda_libraries", refuse)
    with caplog.at_level(logging.WARNING, "determined_ner"):
        session = open_session(exported, GPU)
    assert (session.provider, session.device) == (CPU_PROVIDER, CPU)
    [said] = caplog.messages
    assert said == ("its CUDA part needs libcublasLt.so.11; model.onnx runs on the CPU. For the GPU: pip install that")
    with pytest.raises(UserError, match=r"^device cuda:1: its CUDA part needs libcublasLt.so.11; pip install that$"):
        open_session(exported, GPU, asked=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU the provider starts")
@pytest.mark.filterwarnings("ignore:Specified provider 'CUDA")
def test_a_session_that_onnx_runtime_left_on_the_cpu_is_noticed(exported, monkeypatch, caplog):
    """ONNX Runtime itself says so to its developers, and goes on."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA_PROVIDER, CPU_PROVIDER])
    monkeypatch.setattr("determined_ner.model.onnx_session.load_cuda_libraries", lambda *_: None)
    with caplog.at_level(logging.WARNING, "determined_ner"):
        session = open_session(exported, GPU)
    assert (session.provider, session.device) == (CPU_PROVIDER, CPU)
    assert "CUDAExecutionProvider does not start here" in caplog.text and "model.onnx runs on the CPU" in caplog.text
    with pytest.raises(UserError, match="device cuda:1: ONNX Runtime's CUDAExecutionProvider does not start"):
        open_session(exported, GPU, asked=True)


def test_what_onnx_runtime_prints_of_a_gpu_is_no_part_of_the_output(exported, monkeypatch, capsys):
    make = onnxruntime.InferenceSession

    def printing(*arguments: Any, **options: Any) -> Any:
        print("EP Error: no memory. Falling back to CPU")
        return make(*arguments, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", printing)
    open_session(exported)
    captured = capsys.readouterr()
    assert not captured.out and "EP Error" in captured.err


def test_arrays_of_any_layout_give_the_same_logits(exported):
    session = open_session(exported)
    logits = session.logits(IDS, MASK)
    assert logits.shape == (2, 3, len(NAMES)) and logits.dtype == np.float32
    np.testing.assert_array_equal(session.logits(np.asfortranarray(IDS), MASK), logits)
    np.testing.assert_array_equal(session.logits(IDS[::-1], MASK[::-1]), logits[::-1])


def test_a_slot_without_rows_gets_logits_without_rows(exported):
    assert open_session(exported).logits(IDS[:0], MASK[:0]).shape == (0, 3, len(NAMES))


def test_a_graph_whose_shapes_do_not_say_how_many_labels_there_are(exported, tmp_path):
    graph = onnx.load(str(exported))
    graph.graph.output[0].type.tensor_type.shape.dim[2].dim_param = "labels"
    onnx.save_model(graph, str(tmp_path / "model.onnx"))
    session = open_session(tmp_path / "model.onnx")
    assert read_labels(session, tmp_path) == NAMES
    np.testing.assert_array_equal(session.logits(IDS, MASK), open_session(exported).logits(IDS, MASK))


@pytest.mark.parametrize(("precision", "devices"), [("int8", [GPU, CPU]), ("float16", [GPU])])
def test_an_int8_file_runs_on_the_cpu_unless_a_gpu_is_named(exported, monkeypatch, precision, devices):
    opened: list[str] = []

    def open_(path: Any, device: str = CPU, *_: Any, **__: Any) -> OnnxSession:
        opened.append(device)
        described = SimpleNamespace(custom_metadata_map={"precision": precision})
        return OnnxSession(SimpleNamespace(get_modelmeta=lambda: described), CUDA_PROVIDER, device)

    monkeypatch.setattr("determined_ner.model.inference.open_session", open_)
    monkeypatch.setattr("determined_ner.model.inference.find_device", lambda name: GPU)
    assert OnnxModel(exported, None, None).session.device == devices[-1] and opened == devices
    assert OnnxModel(exported, None, "cuda:1").session.device == GPU


def test_a_device_is_found_by_its_name(monkeypatch):
    """No GPU is looked for that the installed ONNX Runtime could not use."""
    monkeypatch.setattr("determined_ner.model.onnx_session.count_gpus", lambda: 2)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA_PROVIDER, CPU_PROVIDER])
    assert [find_device(name) for name in (None, "cpu", "cuda", "cuda:1")] == ["cuda", "cpu", "cuda", "cuda:1"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU_PROVIDER])
    assert find_device(None) == CPU
    for name in ("cuda:2", "tpu", "CPU", ""):
        with pytest.raises(DeviceError, match=f"^device '{name}' is not here; there is cpu, cuda:0, cuda:1$"):
            find_device(name)
    monkeypatch.setattr("determined_ner.model.onnx_session.count_gpus", lambda: 0)
    with pytest.raises(DeviceError, match=r"^device 'cuda' is not here; there is cpu$"):
        find_device("cuda")


@pytest.mark.skipif(torch.version.cuda is None, reason="this PyTorch counts none")
def test_gpus_are_counted_as_pytorch_counts_them():
    assert count_gpus() == torch.cuda.device_count()


@pytest.mark.parametrize(("started", "counted", "expected"), [(0, 0, 2), (100, 0, 0), (0, 3, 0)])
def test_gpus_are_those_that_the_driver_counts(started, counted, expected, monkeypatch):
    class Driver:
        def cuInit(self, flags):  # noqa: N802
            assert flags == 0
            return started

        def cuDeviceGetCount(self, count):  # noqa: N802
            count._obj.value = 2
            return counted

    monkeypatch.setattr("ctypes.CDLL", lambda name: {"libcuda.so.1": Driver()}[name])
    assert count_gpus() == expected
