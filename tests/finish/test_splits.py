"""The end of a run says how sure its scores are."""

from __future__ import annotations

import json

import pytest

from determined_ner import cli
from determined_ner.report.facts import find_facts
from determined_ner.report.text import read_labelled, tag_text
from determined_ner.training.trained import find_trained
from tests.conftest import make_sentences, write_conll


@pytest.fixture
def folder(train, corpus):
    odd = [[("Oslo", "B-PER"), ("Ada", "B-LOC"), ("Bo", "B-LOC")], [("Rome", "O"), ("Cy", "B-PER")]] * 5
    for split, first in (("validation", 100), ("test", 300)):
        write_conll(corpus[split], make_sentences(30, first) + odd)
    return train("hyperparameters.num_train_epochs=4", "hyperparameters.learning_rate=0.02")


def test_each_score_of_a_run_has_the_interval_that_a_report_gives_it(folder, tmp_path):
    summary = json.loads((folder / "summary.json").read_text())
    assert set(summary["intervals"]) == {"validation", "test"}
    trained = find_trained(str(folder), tmp_path)
    for split, scores, data in (("validation", "best", None), ("test", "test", trained.settings.data.test_file)):
        found = summary["intervals"][split]
        assert found["level"] == 0.95 and found["drawn"] == {"unit": "sentences", "number": 40}
        for name, score in found["scores"].items():
            assert 0 <= score["low"] <= score["value"] <= score["high"] <= 1
            if name in summary[scores]:
                assert score["value"] == summary[scores][name]
        text = read_labelled(trained, data)
        facts = find_facts(tag_text(trained, "it", text, trained.directory.labels)[0])
        expected = {name: score.as_json() for name, score in facts.headline.items() if name != "f1_overlap"}
        for row in facts.per_type:
            if row.gold or row.predicted:
                for score in ("precision", "recall", "f1"):
                    expected[f"{score}_{row.name}"] = getattr(row, score).as_json()
        assert found["scores"] == expected and len(expected) > 6
    assert any(score["low"] < score["high"] for score in summary["intervals"]["validation"]["scores"].values())


def test_card_and_report_show_the_intervals_of_test_data(folder):
    found = json.loads((folder / "summary.json").read_text())["intervals"]
    card = (folder / "model" / "README.md").read_text(encoding="utf-8")
    page = (folder / "report" / "report.html").read_text(encoding="utf-8")
    for split in ("validation", "test"):
        f1 = found[split]["scores"]["f1"]
        assert f"{f1['value']:.4f} ({f1['low']:.3f} to {f1['high']:.3f})" in card
    assert "95 % bootstrap intervals" in card and "test data of the run" in page
    assert f"{found['test']['scores']['f1']['high']:.3f}" in page


def test_a_type_without_an_entity_has_no_interval(train, corpus):
    write_conll(corpus["test"], [[("went", "O")], [("to", "O")]])
    found = json.loads((train() / "summary.json").read_text())["intervals"]["test"]["scores"]
    assert {"accuracy", "f1", "precision", "recall", "f1_strict"} <= set(found)
    assert all(score["value"] == 0 or name == "accuracy" for name, score in found.items())


@pytest.mark.parametrize("damage", [[], {"test": {"scores": {"f1": 3}}}, {"test": {"scores": {"f1": {"low": 1}}}}])
def test_damaged_intervals_are_one_message(train, capsys, damage):
    folder = train()
    file = folder / "summary.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "intervals": damage}))
    capsys.readouterr()
    assert cli.main(["report", str(folder)]) == 2
    assert (
        capsys.readouterr().err.strip()
        == f"error: {file}: not readable (it is no summary of a run); copy the run again"
    )
