"""``determined-ner thresholds``: what is promised stays beside the model, and tagging obeys it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from determined_ner import cli
from determined_ner.errors import UserError
from determined_ner.model.directory import THRESHOLDS_FILE
from determined_ner.tagging.tagger import Tagger
from tests.conftest import make_encoder, make_sentences, write_config, write_conll

ODD = [[("Oslo", "B-PER"), ("Ada", "B-LOC"), ("went", "B-LOC")], [("Rome", "O"), ("Cy", "B-PER")]] * 4


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    import ner_trial

    folder = tmp_path_factory.mktemp("thresholds")
    corpus = {
        "train": write_conll(folder / "train.conll", make_sentences(60)),
        "validation": write_conll(folder / "validation.conll", make_sentences(250, 100) + ODD),
    }
    (encoder := folder / "encoder").mkdir()
    config = write_config(folder / "experiment.yaml", make_encoder(encoder, dropout=0.0), corpus, learning_rate=2e-2)
    options = ["--config", "hyperparameters.num_train_epochs=1"]
    assert ner_trial.main([str(config), "--output-dir", str(folder / "run"), *options]) == 0
    return folder / "run"


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def thresholds(*arguments: object) -> int:
    return cli.main(["thresholds", *map(str, arguments)])


def kept(folder) -> list[dict]:
    return json.loads((folder / THRESHOLDS_FILE).read_text())["promises"]


def test_what_is_promised_is_kept_beside_the_model_and_told(run, capsys):
    assert thresholds(run, "--precision", 0.9) == 0
    (promise,) = kept(run / "model")
    assert promise["precision"] == promise["confidence"] == 0.9 and promise["unit"] == "sentences"
    assert promise["text"] == "validation.conll"
    assert promise["units"] == 258 and promise["of_type"] == {} and promise["onnx_file"] is None
    overall = promise["overall"]
    assert 0 <= overall["score"] < 1 and overall["found"] >= overall["given"] >= overall["correct"] > 0
    assert overall["correct"] >= 0.9 * overall["given"]
    out, err = capsys.readouterr()
    assert f"score {overall['score']:.3f} or more: {overall['given']:,} of {overall['found']:,} entities" in out
    assert out.splitlines()[-1] == f"thresholds   {run / 'model' / THRESHOLDS_FILE}"
    assert "fitted to the validation data" in err
    first = kept(run / "model")
    assert thresholds(run / "model", "--precision", 0.9) == 0 and kept(run / "model") == first
    assert thresholds(run, "--precision", 0.8, "--confidence", 0.8, "--per-type") == 0
    by_type, again = kept(run / "model")
    assert again == first[0] and by_type["overall"] is None and set(by_type["of_type"]) == {"LOC", "PER"}
    assert by_type["confidence"] == 0.8


def test_a_promise_that_another_command_made_meanwhile_stays(run, monkeypatch):
    from determined_ner.finish import thresholds as command

    original = command.tag_text

    def tag(*given):
        monkeypatch.setattr(command, "tag_text", original)
        assert thresholds(run, "--precision", 0.9) == 0
        return original(*given)

    monkeypatch.setattr(command, "tag_text", tag)
    assert thresholds(run, "--precision", 0.95) == 0
    assert [promise["precision"] for promise in kept(run / "model")] == [0.9, 0.95]


def test_the_tagger_withholds_exactly_the_entities_below_the_threshold(run, capsys):
    assert thresholds(run, "--precision", 0.95) == 0
    least = kept(run / "model")[0]["overall"]["score"]
    texts = [[word for word, _ in sentence] for sentence in make_sentences(40, 400) + ODD]
    every = Tagger.from_pretrained(run / "model").tag(texts)
    some = Tagger.from_pretrained(run / "model", min_precision=0.95).tag(texts)
    assert every.withheld == 0
    expected = [
        [span for span, score in zip(spans, scores, strict=True) if score >= least]
        for spans, scores in zip(every.spans, every.entity_scores, strict=True)
    ]
    assert some.spans == expected
    assert some.withheld == len(every.entities.begin) - len(some.entities.begin) > 0
    assert sorted(some.found_scores) == sorted(every.found_scores)
    none = some.withhold(np.full(len(some.types), 2.0))
    assert len(none.entities.begin) == 0 and none.withheld == len(every.entities.begin)
    low = np.concatenate(some.entity_scores)
    assert low.min() >= least
    raw = Tagger.from_pretrained(run / "model", min_precision=0.95)(["Ada went to Oslo ."])
    assert all(entity.score >= least for entity in raw[0])


def test_predict_counts_what_it_withholds(run, tmp_path, capsys):
    assert thresholds(run, "--precision", 0.95) == 0
    texts = [[word for word, _ in sentence] for sentence in make_sentences(40, 400) + ODD]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"tokens": words}) + "\n" for words in texts))
    capsys.readouterr()
    assert cli.main(["predict", str(run / "model"), str(tmp_path / "in.jsonl"), "--precision", "0.95"]) == 0
    out, err = capsys.readouterr()
    tagged = Tagger.from_pretrained(run / "model", min_precision=0.95).tag(texts)
    assert [json.loads(line)["predicted_tags"] for line in out.splitlines()] == tagged.tags
    given = len(tagged.entities.begin)
    assert f"precision 0.95: {given:,} entities given, {tagged.withheld:,} of lower scores withheld" in err


@pytest.mark.parametrize("options", [[], ["--precision", "0.95"]])
def test_predict_says_where_a_text_is_not_like_the_validation_data(run, tmp_path, capsys, options):
    assert thresholds(run, "--precision", 0.95) == 0
    usual = [[word for word, _ in sentence] for sentence in make_sentences(250, 100)]
    other = [["Xq", "went", "to", f"Zw{i}", "Kv"] for i in range(300)]
    said = {}
    for name, texts in (("alike", usual), ("other", other)):
        (tmp_path / name).write_text("".join(json.dumps({"tokens": words}) + "\n" for words in texts))
        capsys.readouterr()
        assert cli.main(["predict", str(run / "model"), str(tmp_path / name), "--format", "jsonl", *options]) == 0
        said[name] = capsys.readouterr().err
    assert "not like" not in said["alike"]
    (line,) = (line for line in said["other"].splitlines() if "not like" in line)
    tagger = Tagger.from_pretrained(run / "model")
    scores = tagger.tag(other).found_scores
    usual_mean = tagger.usual_scores.mean
    means = f"its {len(scores):,} entities have scores of {scores.mean():.2f} in the mean, {usual_mean:.2f} there"
    assert line.startswith(f"the text is not like the validation data: {means} (distance ")
    assert line.endswith(f"determined-ner report {run / 'model'} --data LABELLED")
    assert "not like" not in tagged_by_themselves(run, tmp_path / "other", capsys)


def tagged_by_themselves(run, file, capsys) -> str:
    assert cli.main(["predict", str(run / "model"), str(file), "--format", "jsonl", "--unconstrained"]) == 0
    return capsys.readouterr().err


def test_scores_of_validation_that_are_damaged_are_refused(run, tmp_path, capsys):
    file = run / "model" / "calibration.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"scores": {"entities": 3}}))
    (run / "model" / "checksums.json").unlink()
    (tmp_path / "in.txt").write_text("Ada went to Oslo.\n")
    assert cli.main(["predict", str(run / "model"), str(tmp_path / "in.txt")]) == 2
    assert "calibration.json: not readable (scores: no number of entities" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("precision", "said"),
    [("1", "precision 1: no text can show that; ask for one above 0 and below 1"), ("-0.5", "precision -0.5: is no")],
)
def test_a_tagger_is_asked_for_a_precision_that_can_be(run, tmp_path, capsys, precision, said):
    (tmp_path / "in.txt").write_text("Ada went to Oslo.\n")
    assert cli.main(["predict", str(run / "model"), str(tmp_path / "in.txt"), f"--precision={precision}"]) == 2
    assert said in capsys.readouterr().err
    with pytest.raises(UserError, match=r"precision .* is no share|no text can show that"):
        Tagger.from_pretrained(run / "model", min_precision=float(precision))


def test_a_model_that_knows_no_type_is_promised_nothing_and_stays_readable(run, capsys):
    only = {
        "config.json": {"id2label": {"0": "O"}, "label2id": {"O": 0}},
        "ner_settings.json": {"labels": ["O"]},
        "calibration.json": {"of_type": {}},
    }
    for name, change in only.items():
        file = run / "model" / name
        file.write_text(json.dumps(json.loads(file.read_text()) | change))
    (run / "model" / "checksums.json").unlink()
    assert thresholds(run / "model", "--precision", 0.9, "--per-type") == 2
    assert "its only label is O: it finds no entity" in capsys.readouterr().err
    assert not (run / "model" / THRESHOLDS_FILE).exists()


def test_of_types_that_cannot_be_promised_nothing_is_given(run, tmp_path, capsys):
    data = write_conll(tmp_path / "some.conll", [[s for s in t if s[1][2:] != "LOC"] for t in make_sentences(250, 100)])
    assert thresholds(run, data, "--precision", 0.5, "--per-type") == 0
    assert "LOC  cannot be promised with" in capsys.readouterr().out
    (promise,) = kept(run / "model")
    assert promise["of_type"]["LOC"]["score"] is None and promise["of_type"]["PER"]["score"] is not None
    tagged = Tagger.from_pretrained(run / "model", min_precision=0.5).tag([["Ada", "went", "to", "Oslo", "."]])
    assert {name for name, _, _ in tagged.spans[0]} <= {"PER"}


def test_what_cannot_be_promised_is_said_with_the_number_of_entities(run, tmp_path, capsys):
    few = write_conll(tmp_path / "few.conll", make_sentences(4, 100))
    none = write_conll(tmp_path / "none.conll", [[("went", "O")]])
    for data, number in ((few, None), (none, 0)):
        assert thresholds(run, data, "--precision", 0.99) == 0
        said = capsys.readouterr().out
        assert "cannot be promised with" in said and (number is None or f"with {number} entities" in said)
        assert kept(run / "model")[0]["overall"]["score"] is None
        assert cli.main(["predict", str(run / "model"), str(few), "--precision", "0.99"]) == 2
        assert "a precision of 0.99 cannot be promised with" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--precision", "1"], "--precision 1: no text can show that; write a number above 0 and below 1"),
        (["--precision", "0"], "--precision 0: is no share"),
        (["--precision", "nan"], "--precision nan: is no share"),
        (["--precision", "0.9", "--confidence", "1"], "--confidence 1: no text can show that"),
        (["--precision", "0.9", "--onnx-file", "no.onnx"], "no.onnx: no such file"),
    ],
)
def test_what_cannot_be_asked_for_is_one_message(run, capsys, arguments, said):
    assert thresholds(run, *arguments) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("error:") == 1 and not (run / "model" / THRESHOLDS_FILE).exists()


def test_the_text_of_the_training_is_refused(trained, run, capsys):
    train = trained.parent / "train.conll"
    assert thresholds(run, train, "--precision", 0.9) == 2
    err = capsys.readouterr().err
    assert (
        f"{train}: is the text that the model was trained on" in err and not (run / "model" / THRESHOLDS_FILE).exists()
    )


def test_an_empty_text_and_a_model_without_calibration_are_one_message(run, tmp_path, capsys):
    (tmp_path / "empty.conll").write_text("")
    assert thresholds(run, tmp_path / "empty.conll", "--precision", 0.9) == 2
    assert capsys.readouterr().err.count("error:") == 1
    (run / "model" / "calibration.json").unlink()
    (run / "model" / "checksums.json").unlink()
    assert thresholds(run, "--precision", 0.9) == 2
    assert "has no calibration.json, so that its scores are not calibrated" in capsys.readouterr().err


def test_a_precision_that_nobody_promised_is_one_message_with_the_command(run, tmp_path, capsys):
    text = tmp_path / "in.txt"
    text.write_text("Ada went to Oslo.\n")
    assert cli.main(["predict", str(run / "model"), str(text), "--precision", "0.9"]) == 2
    command = f"determined-ner thresholds {run / 'model'} --precision 0.9"
    assert f"a precision of 0.9 is not promised: nothing is; {command}" in capsys.readouterr().err
    assert thresholds(run, "--precision", 0.9) == 0
    with pytest.raises(UserError, match=r"a precision of 0.8 is not promised: 0.9 is"):
        Tagger.from_pretrained(run / "model", min_precision=0.8)
    with pytest.raises(ValueError, match="constrained"):
        Tagger.from_pretrained(run / "model", min_precision=0.9, constrained=False)
    assert cli.main(["predict", str(run / "model"), str(text), "--precision", "0.9", "--unconstrained"]) == 2
    assert "--precision 0.9: is promised of tags that are decoded together" in capsys.readouterr().err


def test_damaged_thresholds_and_those_of_another_model_are_one_message(run, capsys):
    assert thresholds(run, "--precision", 0.9) == 0
    file = run / "model" / THRESHOLDS_FILE
    whole = json.loads(file.read_text())
    other = {**whole, "calibration": {**whole["calibration"], "temperature": 9.0}}
    for content, said in (({"promises": 3}, "not readable (promises: no list)"), (other, "files are of two models")):
        file.write_text(json.dumps(content))
        with pytest.raises(UserError) as raised:
            Tagger.from_pretrained(run / "model")
        assert said in str(raised.value) and str(file) in str(raised.value)


def test_a_float32_export_keeps_a_promise_and_an_int8_file_needs_one_of_its_own(run, tmp_path, capsys):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    assert thresholds(run, "--precision", 0.95) == 0
    from determined_ner.export.command import export
    from determined_ner.export.parity import Tolerances

    output = tmp_path / "out"
    loose = Tolerances(points=100.0)
    export(str(run), output, onnx=True, quantize=True, tolerances=loose)
    assert kept(output) == kept(run / "model")
    texts = [[word for word, _ in sentence] for sentence in make_sentences(40, 400) + ODD]
    torch, onnx = (
        Tagger.from_pretrained(output, backend, min_precision=0.95).tag(texts) for backend in ("torch", "onnx")
    )
    assert torch.spans == onnx.spans and torch.withheld == onnx.withheld > 0
    int8 = {"backend": "onnx", "onnx_file": "model_quantized.onnx", "min_precision": 0.95}
    with pytest.raises(UserError, match=r"of model_quantized.onnx is not promised: nothing is"):
        Tagger.from_pretrained(output, **int8)
    assert thresholds(output, "--precision", 0.95, "--onnx-file", "model_quantized.onnx") == 0
    assert [promise["onnx_file"] for promise in kept(output)] == [None, "model_quantized.onnx"]
    least = kept(output)[1]["overall"]["score"]
    assert min(s for part in Tagger.from_pretrained(output, **int8).tag(texts).entity_scores for s in part) >= least


def test_a_report_shows_what_is_promised_and_how_precision_rises(run, tmp_path):
    assert thresholds(run, "--precision", 0.95) == 0
    assert cli.main(["report", str(run), "--output", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "What is promised of new text" in page and f"{kept(run / 'model')[0]['overall']['score']:.3f}" in page
    assert (tmp_path / "report" / "figures" / "coverage.png").is_file()
