"""ONNX files give the numbers of torch for every shape, whatever the model was doing; what cannot be written."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile

import numpy as np
import pytest
import torch

from determined_ner.errors import UserError
from determined_ner.model import ort
from determined_ner.model.onnx_export import export_onnx, fuse, halve_onnx, quantize_onnx
from determined_ner.model.onnx_session import open_session, read_labels, read_metadata

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

NAMES = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def make_model(kind="bert", **sizes):
    import transformers

    prefix = {"bert": "Bert", "distilbert": "DistilBert", "roberta": "Roberta", "electra": "Electra"}[kind]
    names = {"distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}}.get(
        kind,
        {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32},
    )
    config = getattr(transformers, f"{prefix}Config")(
        **{
            "vocab_size": 90,
            "max_position_embeddings": 70,
            "num_labels": len(NAMES),
            "pad_token_id": 0,
            **names,
            **sizes,
        }
    )
    torch.manual_seed(3)
    return getattr(transformers, f"{prefix}ForTokenClassification")(config).eval()


def largest_difference(model, session):
    """Of the logits of real pieces, over batches and lengths that tracing did not see."""
    worst = 0.0
    for batch, length in ((1, 3), (7, 60), (1, 60), (7, 3), (1, 1)):
        ids = torch.randint(1, 90, (batch, length), generator=torch.Generator().manual_seed(length))
        mask = torch.ones_like(ids)
        mask[batch // 2 + 1 :, length // 2 + 1 :] = 0
        with torch.no_grad():
            expected = model(input_ids=ids * mask, attention_mask=mask).logits
        got = session.logits((ids * mask).numpy(), mask.numpy())
        assert got.shape == expected.shape and got.dtype == np.float32
        worst = max(worst, float(np.abs(got - expected.numpy())[mask.numpy() == 1].max()))
    return worst


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "electra"])
def test_the_file_gives_the_logits_of_the_model_for_every_shape(kind, tmp_path):
    model = make_model(kind)
    export_onnx(model, tmp_path / "plain.onnx", NAMES, "BIOES", 70)
    fused = fuse(tmp_path / "plain.onnx", tmp_path / "fused.onnx", model.config)
    assert fused["Attention"] == 2 and fused["SkipLayerNormalization"] >= 4 and fused["BiasGelu"] == 2
    for name in ("plain", "fused"):
        path = tmp_path / f"{name}.onnx"
        session = open_session(path, threads=1)
        assert largest_difference(model, session) < 1e-5
        assert read_labels(session, path) == NAMES
        metadata = read_metadata(session)
        assert metadata["scheme"] == "BIOES" and metadata["max_seq_length"] == "70"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fused.onnx", "plain.onnx"]


def test_a_model_in_training_is_left_as_it_was(tmp_path):
    model = make_model(hidden_dropout_prob=0.5).train()
    model.bert.encoder.layer[0].eval()  # a part that its owner froze
    modes = [module.training for module in model.modules()]
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    attention = model.config._attn_implementation
    torch.manual_seed(5)
    state = torch.get_rng_state()
    export_onnx(model, tmp_path / "model.onnx", NAMES)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert model.config._attn_implementation == attention
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    session = open_session(tmp_path / "model.onnx", threads=1)
    assert largest_difference(model.eval(), session) < 1e-5  # dropout is not in the file


def test_int8_is_close_and_smaller_and_keeps_the_labels(tmp_path):
    model = make_model()
    export_onnx(model, tmp_path / "plain.onnx", NAMES, "IOB2", 70)
    fuse(tmp_path / "plain.onnx", tmp_path / "fused.onnx", model.config)
    quantize_onnx(tmp_path / "fused.onnx", tmp_path / "int8.onnx")
    session = open_session(tmp_path / "int8.onnx", threads=1)
    assert 0 < largest_difference(model, session) < 0.05
    assert read_labels(session, tmp_path / "int8.onnx") == NAMES
    assert read_metadata(session)["scheme"] == "IOB2"
    kinds = {node.op_type for node in onnx.load(str(tmp_path / "int8.onnx")).graph.node}
    assert "QAttention" in kinds and "MatMul" not in kinds


def test_float16_of_a_graph_that_also_gives_means_of_layer_norms(tmp_path):
    """As torch exports it in a process that has imported ORTModule."""
    model = make_model("bert", vocab_size=2000)
    export_onnx(model, tmp_path / "plain.onnx", NAMES, "IOB2", 70)
    graph = onnx.load(str(tmp_path / "plain.onnx"))
    norms = [node for node in graph.graph.node if node.op_type == "LayerNormalization"]
    for i, node in enumerate(norms):
        node.output.extend([f"mean_{i}", f"deviation_{i}"][: 3 - len(node.output)])
    assert norms
    onnx.save(graph, str(tmp_path / "more.onnx"))
    halve_onnx(tmp_path / "more.onnx", tmp_path / "half.onnx")
    assert 0 < largest_difference(model, open_session(tmp_path / "half.onnx", threads=1)) < 2e-3


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta"])
def test_float16_is_nearer_and_half_as_large_and_keeps_the_labels(kind, tmp_path):
    model = make_model(kind, vocab_size=2000)
    export_onnx(model, tmp_path / "plain.onnx", NAMES, "IOB2", 70)
    fuse(tmp_path / "plain.onnx", tmp_path / "fused.onnx", model.config)
    halve_onnx(tmp_path / "fused.onnx", tmp_path / "half.onnx")
    session = open_session(tmp_path / "half.onnx", threads=1)
    assert 0 < largest_difference(model, session) < 2e-3
    assert read_labels(session, tmp_path / "half.onnx") == NAMES
    assert read_metadata(session) | {"id2label": ""} == {
        "id2label": "",
        "scheme": "IOB2",
        "max_seq_length": "70",
        "precision": "float16",
    }
    sizes = [(tmp_path / f"{name}.onnx").stat().st_size for name in ("half", "fused")]
    assert sizes[0] < 0.6 * sizes[1]


def test_an_architecture_that_the_optimizer_does_not_know_is_left_plain(tmp_path):
    model = make_model()
    export_onnx(model, tmp_path / "plain.onnx", NAMES)
    model.config.model_type = "fancy"
    assert fuse(tmp_path / "plain.onnx", tmp_path / "fused.onnx", model.config) == {}
    assert largest_difference(model, open_session(tmp_path / "fused.onnx", threads=1)) < 1e-5


def test_weights_beyond_the_limit_of_one_file_go_beside_it(tmp_path):
    model = make_model()
    folder = tmp_path / "made"
    folder.mkdir()
    export_onnx(model, folder / "plain.onnx", NAMES, file_limit=1000)
    fuse(folder / "plain.onnx", folder / "fused.onnx", model.config, file_limit=1000)
    quantize_onnx(folder / "fused.onnx", folder / "int8.onnx", file_limit=1000)
    halve_onnx(folder / "fused.onnx", folder / "half.onnx", file_limit=1000)
    assert sorted(p.name for p in folder.iterdir()) == [
        f"{name}.onnx{end}" for name in ("fused", "half", "int8", "plain") for end in ("", ".data")
    ]
    folder.rename(tmp_path / "moved")  # the two belong together wherever they lie
    for name, limit in (("plain", 1e-5), ("fused", 1e-5), ("int8", 0.05), ("half", 2e-3)):
        session = open_session(tmp_path / "moved" / f"{name}.onnx", threads=1)
        assert largest_difference(model, session) < limit
    export_onnx(model, tmp_path / "moved" / "plain.onnx", NAMES)
    assert not (tmp_path / "moved" / "plain.onnx.data").exists()  # nor does it stay where it is no longer needed


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export_onnx(make_model(), path, NAMES)
    return path


def test_a_package_that_is_absent_is_named_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"the package onnx is not installed, which ONNX files need; pip install onnx$"):
        export_onnx(make_model(), tmp_path / "model.onnx", NAMES)


def test_what_cannot_be_written_leaves_the_old_file(exported, tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    shutil.copy(exported, path)
    path.with_name("model.onnx.data").touch()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx, "save_model", full)
    with pytest.raises(UserError, match=r"model\.onnx: cannot be written: .*No space left on device"):
        export_onnx(make_model(), path, ("A", "B", "C", "D", "E"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
    session = open_session(path)
    assert read_labels(session, path) == NAMES


def test_a_temporary_directory_that_is_full_is_named(exported, tmp_path, monkeypatch):
    """onnxruntime writes there too, and says no more than that it cannot read what it wrote."""

    class InvalidProtobuf(Exception):  # noqa: N818
        pass

    def full(*_, **__):
        raise InvalidProtobuf("Load model from x failed:Protobuf parsing failed.")

    monkeypatch.setattr("onnxruntime.quantization.quantize_dynamic", full)
    with pytest.raises(UserError, match=r"int8\.onnx: cannot be written: .*No space left.*free disk space") as caught:
        quantize_onnx(exported, tmp_path / "int8.onnx")
    assert tempfile.gettempdir() in str(caught.value) and list(tmp_path.iterdir()) == []


def test_a_model_that_cannot_be_traced_is_refused(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("unsupported operator\nmore for developers")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(
        UserError, match=r"^a model of type 'bert' cannot be written as ONNX: unsupported operator; leave"
    ):
        export_onnx(make_model(), tmp_path / "model.onnx", NAMES)
    assert list(tmp_path.iterdir()) == []


def test_the_label_map_is_json_of_any_script(tmp_path):
    names = ("O", "B-LIEUX·É", "I-地名", "B-X", "I-X")
    export_onnx(make_model(), tmp_path / "model.onnx", names)
    session = open_session(tmp_path / "model.onnx")
    assert read_labels(session, tmp_path / "model.onnx") == names
    assert json.loads(read_metadata(session)["id2label"])["2"] == "I-地名"


@pytest.mark.backend
def test_what_ortmodule_teaches_the_exporter_is_not_in_a_file(tmp_path):
    """Its own operators run in a process that has an ORTModule, and in no other."""
    pytest.importorskip("torch_ort")
    dropout = {"hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0}
    model = make_model()
    export_onnx(model, tmp_path / "before.onnx", NAMES)
    for _ in range(2):
        wrapped = ort.wrap(make_model(**dropout).train())
        export_onnx(model, tmp_path / "after.onnx", NAMES)  # before it has made its graph
        wrapped(torch.tensor([[1, 2, 3]])).logits.sum().backward()
        assert all(p.grad is not None for name, p in wrapped.named_parameters() if "position" not in name)
        assert (tmp_path / "after.onnx").read_bytes() == (tmp_path / "before.onnx").read_bytes()
