"""An ONNX file is opened where it is a tagger with its label map; what is said of anything else."""

from __future__ import annotations

import sys
import warnings

import pytest

from determined_ner.errors import UserError
from determined_ner.model.onnx_export import export_onnx
from determined_ner.model.onnx_session import open_session, read_labels, read_metadata, require, without_cuda_warning
from tests.model.test_onnx_export import NAMES, make_model

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


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
    with pytest.raises(UserError, match=r"^the package onnxruntime is not installed.*pip install onnx onnxruntime"):
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
