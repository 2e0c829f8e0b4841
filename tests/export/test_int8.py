"""An int8 file leaves those layers alone that rounding hurts, as few as will do; what was tried is told."""

from __future__ import annotations

import platform

import numpy as np
import pytest

from determined_ner.export import int8
from determined_ner.export.command import FUSED, PLAIN, write_graphs
from determined_ner.export.int8 import by_damage, growing, quantize_within
from determined_ner.export.parity import Check, Tolerances, onnx_logits
from determined_ner.model.onnx_export import quantizable_layers, quantize_onnx
from determined_ner.model.onnx_session import open_session, read_metadata
from determined_ner.model.torch_model import load_model
from determined_ner.training.trained import find_trained

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def trained(run, tmp_path_factory):
    return find_trained(str(run), tmp_path_factory.mktemp("downloads"))


@pytest.fixture(scope="module")
def check(trained):
    return Check(trained, load_model(trained.directory), None)


@pytest.fixture
def graphs(trained, check, tmp_path):
    written, _ = write_graphs(tmp_path, trained, check._model, check, Tolerances())
    assert list(written) == [FUSED, PLAIN]
    return written


def spoil(file, part):
    """Turn the logits of a graph upside down."""
    graph = onnx.load(str(file))
    bias = next(w for w in graph.graph.initializer if w.name.endswith(part))
    values = onnx.numpy_helper.to_array(bias)
    bias.CopyFrom(onnx.numpy_helper.from_array(values[::-1] * 100 + np.arange(len(values), dtype="f"), bias.name))
    onnx.save_model(graph, str(file))


def only(folder):
    return sorted(path.name for path in folder.iterdir())


def test_every_layer_is_rounded_where_that_loses_little_in_the_faster_graph(graphs, check, tmp_path, monkeypatch):
    monkeypatch.setattr(int8, "relative_speeds", lambda runs, _: {"float32": 1.0, "int8": float(next(speeds))})
    for order, taken in ([2, 3], PLAIN), ([3, 2], FUSED):
        speeds = iter(order)
        compared, tried = quantize_within(tmp_path / "int8.onnx", graphs, FUSED, check, Tolerances())
        assert [one.speed for one in tried] == [2, 3] and tried[-1].graph == taken  # the one taken is the last
        assert compared == tried[-1].result and compared.points_lost <= 0.5
        assert tried[-1].left_alone == ()
        assert only(tmp_path) == ["fused.onnx", "int8.onnx", "plain.onnx"]
        kinds = {node.op_type for node in onnx.load(str(tmp_path / "int8.onnx")).graph.node}
        assert "MatMulInteger" in kinds and ("QAttention" in kinds) == (taken == FUSED)
        assert read_metadata(open_session(tmp_path / "int8.onnx"))["precision"] == "int8"


@pytest.mark.parametrize("faster", [FUSED, PLAIN])
def test_the_layer_that_hurts_stays_in_float32(graphs, check, tmp_path, monkeypatch, faster):
    """The faster graph is searched first, the other where that gives nothing as fast as it would be at best."""
    hurtful, half = quantizable_layers(graphs[FUSED])[3], len(quantizable_layers(graphs[PLAIN])) // 2
    source_of = []
    monkeypatch.setattr(
        int8, "relative_speeds", lambda *_: {"int8": 2.0 if source_of[-1] == graphs[faster] else 1.0, "float32": 1.0}
    )

    def quantize(source, target, layers, reduced):
        source_of.append(source)
        quantize_onnx(source, target, layers, reduced)
        if (len(layers) > 1 and hurtful in layers) or source == graphs[PLAIN] or layers == [hurtful]:
            spoil(target, "classifier.bias")

    compared, tried = quantize_within(tmp_path / "int8.onnx", graphs, PLAIN, check, Tolerances(), quantize)
    searched = [len(one.left_alone) for one in tried if one.graph == PLAIN]
    assert [one.left_alone for one in tried if one.graph == FUSED] == [(), (hurtful,)] and tried[-1].graph == FUSED
    assert searched == ([0] if faster == FUSED else [0, *growing(half)])
    assert compared.points_lost <= 0.5 < tried[0].result.points_lost
    graph = onnx.load(str(tmp_path / "int8.onnx")).graph
    assert hurtful in {node.name for node in graph.node}  # which a rounded one is not any more
    assert f"all layers but {hurtful}: " in tried[-1].describe()


@pytest.mark.parametrize("left_alone", [2.0, 1.0])
def test_the_faster_graph_may_leave_a_layer_alone_where_the_slower_one_need_not(
    graphs, check, tmp_path, monkeypatch, left_alone
):
    """Unless that makes it no faster than the slower one."""
    layers = quantizable_layers(graphs[PLAIN])
    speeds = iter([1.5, 2.5, left_alone])
    monkeypatch.setattr(int8, "relative_speeds", lambda *_: {"int8": next(speeds), "float32": 1.0})

    def quantize(source, target, chosen, reduced):
        quantize_onnx(source, target, chosen, reduced)
        if source == graphs[PLAIN] and layers[3] in chosen:
            spoil(target, "classifier.bias")

    compared, tried = quantize_within(tmp_path / "int8.onnx", graphs, PLAIN, check, Tolerances(), quantize)
    assert len(tried) == 3 and compared.points_lost <= 0.5
    assert {(one.graph, one.left_alone) for one in tried} == {(FUSED, ()), (PLAIN, ()), (PLAIN, (layers[3],))}
    assert (tried[-1].graph, tried[-1].left_alone) == ((PLAIN, (layers[3],)) if left_alone == 2 else (FUSED, ()))


def test_what_was_tried_is_told_where_nothing_fits(graphs, check, tmp_path, caplog):
    from determined_ner.errors import UserError

    with caplog.at_level("INFO", "determined_ner"), pytest.raises(UserError) as error:
        quantize_within(tmp_path / "int8.onnx", {FUSED: graphs[FUSED]}, FUSED, check, Tolerances(points=-1))
    layers = len(quantizable_layers(graphs[FUSED]))
    assert f"up to {layers // 2} of {layers} layers were left in float32" in error.value.problem
    lines = [record.message for record in caplog.records if record.message.startswith("int8, ")]
    assert len(lines) == 1 + len(growing(layers // 2)) and all("points of f1 lost" in line for line in lines)


def test_layers_are_ordered_by_what_rounding_them_alone_does(graphs, check):
    """What cannot be rounded comes first."""
    from determined_ner.errors import UserError

    layers = quantizable_layers(graphs[FUSED])
    assert "Attention" in layers[1] and layers[0].startswith("EmbedLayerNorm")

    def quantize(source, target, chosen, reduced):
        (layer,) = chosen
        if layer == layers[0]:
            raise UserError(target, "cannot be rounded")
        graph = onnx.load(str(source))
        bias = next(w for w in graph.graph.initializer if w.name.endswith("classifier.bias"))
        values = onnx.numpy_helper.to_array(bias).copy()
        values[0] += layers.index(layer) * 0.5
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        onnx.save_model(graph, str(target))

    assert by_damage(graphs[FUSED], check, quantize, False) == [layers[0], *layers[:0:-1]]
    assert only(graphs[FUSED].parent) == ["fused.onnx", "plain.onnx"]


def test_divergence_is_that_of_the_definition(graphs, check):
    assert check.divergence(onnx_logits(graphs[PLAIN]), "plain") == pytest.approx(0, abs=1e-9)
    expected, words = 0.0, 0
    for batch in check.sample:
        first = batch["is_first_piece"].numpy()
        model = onnx_logits(graphs[PLAIN])(batch["input_ids"], batch["attention_mask"]).numpy()[first].astype("f8")
        p = np.exp(model) / np.exp(model).sum(1, keepdims=True)
        q = np.full_like(p, 1 / p.shape[1])  # of equal logits
        expected += (p * (np.log(p) - np.log(q))).sum()
        words += len(p)
    equal = lambda ids, mask: np.zeros((*ids.shape, p.shape[1]), "f")  # noqa: E731
    assert check.divergence(equal, "equal") == pytest.approx(expected / words, rel=1e-5)


def test_numbers_of_layers_grow_faster_and_faster():
    assert growing(0) == [] and growing(1) == [1]
    assert growing(20) == [1, 2, 3, 4, 6, 8, 12, 16, 20] and growing(8) == [1, 2, 3, 4, 6, 8]


@pytest.mark.parametrize(
    ("known", "expected"),
    [({"avx2"}, True), ({"avx2", "avx512_vnni"}, False), ({"avx2", "avx_vnni"}, False), (set(), True)],
)
def test_weights_have_seven_bits_where_products_would_overflow(known, expected, monkeypatch):
    monkeypatch.setattr(int8, "flags", lambda: known)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert int8.overflows() is expected
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert int8.overflows() is False
