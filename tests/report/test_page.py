"""The page: one file that says what the facts say, in which nothing of the text becomes HTML."""

from __future__ import annotations

import json
import shutil

import pytest

from determined_ner.report.page import is_page
from tests.conftest import make_sentences, write_conll
from tests.report.pages import read_page
from tests.report.runs import best_of, names, report, train

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}{% raw %}",
    "שלום\u202eעולם",
    "a\x01b",
    "&lt;",
    "w" * 5000,
]


def test_the_page_of_a_run(run, tmp_path):
    output = tmp_path / "out"
    assert report(run, "--output", output) == 0
    pictures = [
        "calibration",
        "confusion",
        "coverage",
        "f1",
        "lengths",
        "loss",
        "mistakes",
        "scores",
        "summary",
        "types",
    ]
    assert names(output / "figures") == [f"{name}.png" for name in pictures]
    page = read_page(output)
    best = best_of(run)
    assert f"The run reported the same F1, {best['f1']:.6f} (summary.json)." in page.text
    assert f"{best['f1']:.3f}" in page.text and f"{best['f1_strict']:.3f}" in page.text
    words = sum(bool(line) for line in (run.parent / "validation.conll").read_text().splitlines())
    assert f"validation.conll: {words} words in 36 sentences, 2 entity types." in page.text
    assert ("meta", {"name": "generator", "content": "determined-ner report"}) in page.elements
    assert sum(tag == "img" for tag, _ in page.elements) == len(pictures) - 1  # the summary is for other places
    assert any(tag == "mark" for tag, _ in page.elements)
    errors = json.loads((run / "summary.json").read_text())["calibration"]["errors"]["validation"]
    figures = f"{errors['entities']}{errors['before']:.3f}{errors['after']:.3f}{errors['by_chance']:.3f}"
    assert "halves of validation" in page.text and "fitted to this text" in page.text
    assert f"halvesofvalidation{figures}" in "".join(page.text.split())
    assert "Wrong type and boundary" in page.text and "Spurious" in page.text
    assert "has not ended" not in page.text and "not the text that" not in page.text
    assert str(run.parent) not in (output / "report.html").read_text()


def test_another_score_than_the_reported_one_is_said(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    summary = json.loads((copy / "summary.json").read_text())
    summary["best"]["f1"] = 0.25
    (copy / "summary.json").write_text(json.dumps(summary))
    assert report(copy) == 0
    page = read_page(copy / "report")
    assert f"reported F1 0.250000 (summary.json); here it is {best_of(run)['f1']:.6f}" in page.text


def test_plain_tags(tmp_path):
    def plain(sentences):
        return [[(word, "PROPN" if word[0].isupper() else "X") for word, _ in sentence] for sentence in sentences]

    run = train(tmp_path, plain(make_sentences(40)), plain(make_sentences(13, 100)), "searcher.metric=accuracy")
    assert report(run, "--output", tmp_path / "out", "--compare", run) == 0
    page = read_page(tmp_path / "out")
    assert f"The run reported the same accuracy, {best_of(run)['accuracy']:.6f}" in page.text
    assert "decoded together" not in page.text and "PROPN" in page.text and "2 tags" in page.text
    assert "mistakes.png" not in names(tmp_path / "out" / "figures")


def test_a_page_of_a_crf_says_how_its_tags_are_chosen(run, tmp_path):
    own = train(tmp_path, make_sentences(40), make_sentences(13, 100), "hyperparameters.head=crf")
    assert report(own) == 0 and report(run, "--output", tmp_path / "linear") == 0
    page = read_page(own / "report").text
    column = 'The column "decoded together"'
    assert column not in page and "most probable sequence by the model's CRF" in page
    other = read_page(tmp_path / "linear").text
    assert column in other and "by the model's CRF" not in other


def test_text_without_an_entity_has_a_page_too(run, tmp_path):
    data = write_conll(tmp_path / "none.conll", [[("went", "O")]])
    assert report(run, "--data", data, "--output", tmp_path / "out") == 0
    page = read_page(tmp_path / "out")
    assert "1 word in 1 sentence," in page.text
    assert "This is not the text that the training validated on." in page.text


def test_hostile_text_stays_text(tmp_path, monkeypatch):
    sentences = [[(word, "B-<b>$x"), ("Ada", "I-<b>$x"), ("in", "O"), (HOSTILE[0], "B-שלום")] for word in HOSTILE]
    sentences += [[("Ada", "O"), ("in", "O")]] * 3
    run = train(tmp_path, sentences, sentences, max_steps=1)
    run.rename(hostile := tmp_path / "<i>\u202erun")
    monkeypatch.chdir(tmp_path)
    assert report(hostile, "--output", "out", "--compare", hostile / "model") == 0
    page = read_page(tmp_path / "out")
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in html and "<b>$" not in html and "<i>" not in html and "onerror=alert(1)&gt;" in html
    assert "\x01" not in html and "\u202e" not in html
    for word in (*HOSTILE[:3], "שלום\ufffdעולם", "a\ufffdb", "&lt;", "<b>$x", "<i>\ufffdrun"):
        assert word in page.text, word
    assert "w" * 81 not in html and "w" * 79 + "…" in html
    foreign = [(text, around) for text, around in page.texts if any(f in text for f in ("שלום", "$x", "<i>", "alert"))]
    assert len(foreign) > 20
    for text, around in foreign:  # each in its own writing direction
        assert "bdi" in around or "title" in around, text


@pytest.mark.parametrize("generator", ["determined-ner report", "ner_report.py"])
def test_a_page_is_known_by_its_generator(tmp_path, generator):
    file = tmp_path / "report.html"
    file.write_text(f'<!DOCTYPE html><html><head><meta name="generator" content="{generator}">')
    assert is_page(file)
    file.write_text(f"<!DOCTYPE html><p>{generator}")
    assert not is_page(file)
    assert not is_page(tmp_path / "none.html")
