"""Training once without each fold: what is held out, what is kept, what a stop changes (nothing)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import ner_trial
from determined_ner.data.sources import find_sources
from determined_ner.errors import UserError
from determined_ner.local.processes import LAUNCHED
from determined_ner.report.out_of_fold import read_predictions
from determined_ner.settings.data import DataSettings
from determined_ner.tags.schemes import to_iob2
from tests.conftest import make_sentences, write_config, write_conll
from tests.stopped import Killed, stop_after

FOLDS = 3


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Nine documents of one to three sentences; one type occurs in a single one of them."""
    lines, sentences = [], iter(make_sentences(30))
    for document in range(9):
        lines.append("-DOCSTART-\tO\n\n")
        for _ in range(1 + document % 3):
            sentence = next(sentences)
            lines.append("".join(f"{word}\t{tag}\n" for word, tag in sentence) + "\n")
    lines.append("Xy\tB-RARE\n")
    path = tmp_path_factory.mktemp("data") / "all.conll"
    path.write_text("".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def config(data, tiny_encoder, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "experiment.yaml"
    return write_config(path, tiny_encoder, {"train": data}, global_batch_size=4)


def train(config, folder, *options):
    return ner_trial.main([str(config), "--output-dir", str(folder), "--folds", str(FOLDS), *options])


@pytest.fixture(scope="module")
def trained(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "out"
    assert train(config, folder) == 0
    return folder


def what_came_out(folder: Path) -> dict[str, str]:
    """Hashes of all that a stop must not change."""
    names = ["summary.json", *(f"predictions/fold-{i}.parquet" for i in range(1, FOLDS + 1))]
    names += [f"fold-{i}/model/model.safetensors" for i in range(1, FOLDS + 1)]
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def test_every_document_is_in_one_fold_and_whole(data):
    held_out = []
    for fold in range(1, FOLDS + 1):
        settings = DataSettings(train_file=str(data), folds=FOLDS, fold=fold)
        parts = {source.split: {s.document for _, s in source.sentences()} for source in find_sources(settings, "ner")}
        assert not parts["train"] & parts["validation"]
        assert parts["train"] | parts["validation"] == parts["whole"]
        held_out += sorted(parts["validation"])
    assert sorted(held_out) == sorted(parts["whole"])


def test_sentences_are_dealt_where_no_documents_are_marked(tmp_path):
    file = write_conll(tmp_path / "all.conll", make_sentences(10))
    sizes = [
        [
            len(list(source.sentences()))
            for source in find_sources(DataSettings(train_file=str(file), folds=4, fold=f), "ner")
        ]
        for f in range(1, 5)
    ]
    assert sizes == [[7, 3, 10], [7, 3, 10], [8, 2, 10], [8, 2, 10]]


def test_every_word_is_predicted_once_by_a_model_that_has_not_seen_it(trained, data):
    pooled = read_predictions(sorted((trained / "predictions").iterdir()))
    source = next(
        s for s in find_sources(DataSettings(train_file=str(data), folds=FOLDS, fold=1), "ner") if s.split == "whole"
    )
    sentences = [sentence for _, sentence in source.sentences()]
    assert pooled.words == [sentence.words for sentence in sentences]
    assert [line for _, line in pooled.lines] == [sentence.line for sentence in sentences]
    tags = [tag for sentence in sentences for tag in to_iob2(sentence.tags, "IOB2")[0]]
    assert [pooled.labels[i] for i in pooled.given] == tags
    assert pooled.fold.tolist() == [sentence.document % FOLDS + 1 for sentence in sentences]
    np.testing.assert_allclose(pooled.probabilities.sum(1), 1)


def test_all_folds_have_the_labels_of_the_whole(trained):
    labels = [json.loads((trained / f"fold-{i}" / "summary.json").read_text())["labels"] for i in range(1, FOLDS + 1)]
    assert labels[0] == labels[1] == labels[2] and "B-RARE" in labels[0]


def test_the_pooled_score_has_an_interval_and_each_fold_its_run_s_score(trained):
    summary = json.loads((trained / "summary.json").read_text())
    pooled = summary["pooled"]["f1"]
    assert pooled["low"] <= pooled["value"] <= pooled["high"] and pooled["low"] < pooled["high"]
    for part in summary["per_fold"]:
        of_run = json.loads((trained / part["run"] / "summary.json").read_text())["best"]
        assert part["scores"]["f1"]["value"] == pytest.approx(of_run["f1"], abs=1e-9)
    assert sum(part["words"] for part in summary["per_fold"]) == len(
        read_predictions([trained / part["predictions"] for part in summary["per_fold"]]).given
    )


def test_a_fold_ends_as_the_same_run_alone_does(trained, config, tmp_path):
    settings = ["--config", f"data.folds={FOLDS}", "--config", "data.fold=2"]
    assert ner_trial.main([str(config), "--output-dir", str(tmp_path / "alone"), *settings]) == 0
    alone, among = (f / "model" / "model.safetensors" for f in (tmp_path / "alone", trained / "fold-2"))
    assert alone.read_bytes() == among.read_bytes()


@pytest.mark.parametrize("where", ["between folds", "inside a fold", "before its predictions"])
def test_folds_that_were_stopped_go_on_to_the_same_end(trained, config, tmp_path, monkeypatch, where):
    from determined_ner.local import folds
    from determined_ner.training.setup import Training

    if where == "between folds":
        stop_after(monkeypatch, folds, "run_locally", 1)
    elif where == "inside a fold":
        stop_after(monkeypatch, Training, "train_step", 9)
    else:
        stop_after(monkeypatch, folds, "write_predictions", 1)
    with pytest.raises(Killed):
        train(config, tmp_path / "out")
    monkeypatch.undo()
    assert not (tmp_path / "out" / "summary.json").exists()
    done = tmp_path / "out" / "predictions" / "fold-1.parquet"
    before = done.stat().st_mtime_ns
    assert train(config, tmp_path / "out", "--resume") == 0
    assert done.stat().st_mtime_ns == before, "a fold that was done was trained again"
    assert what_came_out(tmp_path / "out") == what_came_out(trained)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--folds", "1"], "1 folds leave nothing to train on"),
        (["--folds", "11"], "has 9 documents, which cannot be cut into 11 folds; ask for fewer"),
        (["--folds", "3", "--config", "data.validation_file=x.conll"], "validation_file and folds exclude each other"),
        (["--folds", "3", "--resume"], "no run to go on with"),
        (["--folds", "3", "--config", "data.train_file=https://h.example/a.conll"], "fetch it once, and name the file"),
        (["--config", "data.folds=3"], "folds (3) and fold (None) go together"),
    ],
)
def test_folds_that_cannot_be_are_refused_with_one_message(data, config, tmp_path, capsys, options, message):
    assert ner_trial.main([str(config), "--output-dir", str(tmp_path / "out"), *options]) == 2
    said = capsys.readouterr().err
    assert said.count("error: ") == 1 and message in said and "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_resuming_with_other_settings_is_refused(trained, config, capsys):
    assert train(config, trained, "--resume", "--config", "hyperparameters.learning_rate=0.5") == 2
    assert "learning_rate" in capsys.readouterr().err
    assert train(config, trained, "--resume", "--config", "hyperparameters.num_train_epochs=9") == 2
    assert "num_train_epochs" in capsys.readouterr().err
    assert ner_trial.main([str(config), "--output-dir", str(trained), "--resume"]) == 2
    assert "add --folds K" in capsys.readouterr().err
    assert train(config, trained) == 2
    assert "already" in capsys.readouterr().err


def test_several_processes_are_refused(config, tmp_path, capsys, monkeypatch):
    for name in ("WORLD_SIZE", *LAUNCHED):
        monkeypatch.setenv(name, "0" if "RANK" in name else "2")
    assert train(config, tmp_path / "out") == 2
    assert "by several processes" in capsys.readouterr().err


def test_the_folds_are_no_run(trained, tmp_path):
    from determined_ner.training.trained import find_trained

    with pytest.raises(UserError, match="several folds"):
        find_trained(str(trained), tmp_path)
