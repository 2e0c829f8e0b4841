"""Reports: what they tell is what the run and seqeval say; nothing of the text becomes HTML; refusals leave nothing."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from determined_ner.report.subject import find_subject, read_labelled, tag_text
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2

from determined_ner.report.changes import find_changes
from determined_ner.report.command import main
from determined_ner.report.facts import find_facts
from determined_ner.report.page import GENERATOR
from determined_ner.tagging.tagger import Tagger
from tests.conftest import ROOT, make_encoder, make_sentences, write_config, write_conll

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "שלום\u202eעולם",
    "a\x01b",
    "&lt;",
    "w" * 5000,
]


def trained(folder: Path, sentences, validation, *overrides, **hyperparameters) -> Path:
    import ner_trial

    corpus = {
        "train": write_conll(folder / "train.conll", sentences),
        "validation": write_conll(folder / "validation.conll", validation),
    }
    (encoder := folder / "encoder").mkdir()
    config = write_config(folder / "experiment.yaml", make_encoder(encoder), corpus, **hyperparameters)
    options = [part for override in overrides for part in ("--config", override)]
    assert ner_trial.main([str(config), "--output-dir", str(folder / "run"), *options]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that learnt some of its corpus."""
    folder = tmp_path_factory.mktemp("report")
    odd = [[("Oslo", "B-PER"), ("Ada", "B-LOC"), ("Bo", "B-LOC")], [("Rome", "O"), ("Cy", "B-PER")]] * 3
    validation = make_sentences(30, 100) + odd
    return trained(folder, make_sentences(60), validation, learning_rate=1e-2, num_train_epochs=4)


@pytest.fixture
def text_run(run):
    subject = find_subject(str(run))
    return subject, read_labelled(subject, None)


def only(folder):
    return sorted(path.name for path in folder.iterdir())


def refused(capsys, *arguments):
    """The message of a report that is refused, with exit status 2."""
    assert main(list(map(str, arguments))) == 2
    captured = capsys.readouterr()
    message = captured.err.strip().splitlines()[-1]
    assert message.startswith("error: ") and "Traceback" not in captured.err and not captured.out
    return message


class Page(HTMLParser):
    """Elements, attributes and text; asserts that what is opened is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.marks: list[list[str]] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag == "mark":
            self.marks.append(list(self.open))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def read_page(folder: Path) -> Page:
    """Of a report: one file, which asks for nothing and runs nothing."""
    html = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    names = {tag for tag, _ in page.elements}
    assert not names & {"script", "link", "iframe", "object", "embed", "form", "base", "svg"}
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        if tag == "img":
            assert attributes["src"].startswith("data:image/png;base64,iVBOR") and attributes["alt"]
        if tag == "a":
            assert attributes["href"][1:] in {a.get("id") for _, a in page.elements}
    return page


# -- What it tells ---------------------------------------------------------------------------------------------


def test_the_headline_is_what_the_run_and_seqeval_say(run, text_run):
    subject, text = text_run
    tagged, _ = tag_text(subject, "it", text, subject.directory.labels)
    facts = find_facts(tagged)
    best = json.loads((run / "summary.json").read_text())["best"]
    assert 0.3 < best["f1"] < 1
    for name in ("f1", "precision", "recall", "f1_strict", "accuracy"):
        assert facts.headline[name].value == best[name] == facts.trained[name]
    for row in facts.per_type:
        assert row.f1.value == best[f"f1_{row.name}"]

    def spelled(ids):
        names = [subject.directory.labels[i] for i in ids]
        borders = text.sentences.tolist()
        return [names[begin:end] for begin, end in itertools.pairwise(borders)]

    gold, own = spelled(text.gold), spelled(tagged.tags)
    assert facts.headline["f1"].value == pytest.approx(f1_score(gold, own), abs=1e-12)
    strict = f1_score(gold, own, mode="strict", scheme=IOB2)
    assert facts.headline["f1_strict"].value == pytest.approx(strict, abs=1e-12)
    together = Tagger.from_pretrained(run / "model").tag(text.words).tags
    assert facts.headline_decoded["f1"].value == pytest.approx(f1_score(gold, together), abs=1e-12)
    for score in (*facts.headline.values(), *facts.headline_decoded.values()):
        assert 0 <= score.interval.low <= score.value <= score.interval.high <= 1

    assert text.as_trained is True
    assert sum(facts.kinds.values()) - facts.kinds["invented"] == sum(row.gold for row in facts.per_type)
    assert facts.calibration.count.sum() == facts.words == len(text.gold)
    assert facts.kinds["missed"] + facts.kinds["boundary"] + facts.kinds["type"] + facts.kinds["both"] > 0


def test_the_page_tells_it(run, capsys):
    assert main([str(run)]) == 0
    output = run / "report"
    assert capsys.readouterr().out == f"report   {output / 'report.html'}\n"
    assert only(output) == ["figures", "report.html"] and output.stat().st_mode & 0o777 == 0o755
    pictures = ["calibration", "confusion", "f1", "lengths", "loss", "mistakes", "summary", "types"]
    assert only(output / "figures") == [f"{name}.png" for name in pictures]
    page = read_page(output)
    best = json.loads((run / "summary.json").read_text())["best"]
    assert f"The run reported the same F1, {best['f1']:.6f}" in page.text
    assert f"{best['f1']:.3f}" in page.text and f"{best['f1_strict']:.3f}" in page.text
    assert sum(tag == "img" for tag, _ in page.elements) == len(pictures) - 1
    assert any(tag == "mark" for tag, _ in page.elements)
    assert str(run.parent) not in (output / "report.html").read_text()
    shutil.rmtree(output)


def test_documents_are_read_as_in_training(tmp_path):
    def with_documents(sentences):
        return [s for i, some in enumerate(sentences) for s in ([[("-DOCSTART-", "O")]] if i % 2 == 0 else []) + [some]]

    folder = trained(
        tmp_path,
        with_documents(make_sentences(40)),
        with_documents(make_sentences(60, 100)),
        "data.context=document",
        "data.max_seq_length=24",
        learning_rate=1e-2,
    )
    subject = find_subject(str(folder))
    text = read_labelled(subject, None)
    tagged, _ = tag_text(subject, "it", text, subject.directory.labels)
    facts = find_facts(tagged)
    assert facts.headline["f1"].value == json.loads((folder / "summary.json").read_text())["best"]["f1"]
    assert (facts.documents, facts.unit, facts.units) == (30, "documents", 30)


def test_mistakes_are_shown_in_their_sentences(text_run):
    subject, text = text_run
    tagged, _ = tag_text(subject, "it", text, subject.directory.labels)
    facts = find_facts(tagged)
    shown = [marked for examples in facts.examples.values() for marked in examples]
    assert len(shown) == sum(facts.kinds.values()) - facts.kinds["right"]
    for kind, examples in facts.examples.items():
        for marked in examples:
            file, line = marked.place.split(":")
            assert file == "validation.conll"
            lines = Path(text.files[0]).read_text().splitlines()[int(line) - 1 :]
            assert [row.split("\t")[0] for row in lines[: len(marked.words)]] == marked.words
            gold, model = (dict(marked.rows)[name] for name in ("gold", "model"))
            if kind == "type":
                assert {(b, e) for b, e, _ in gold} & {(b, e) for b, e, _ in model}
            assert gold != model


def test_plain_tags(tmp_path, capsys):
    def plain(sentences):
        return [[(word, "PROPN" if word[0].isupper() else "X") for word, _ in sentence] for sentence in sentences]

    folder = trained(tmp_path, plain(make_sentences(40)), plain(make_sentences(13, 100)), "searcher.metric=accuracy")
    assert main([str(folder), "--output", str(tmp_path / "out")]) == 0
    page = read_page(tmp_path / "out")
    best = json.loads((folder / "summary.json").read_text())["best"]
    assert f"The run reported the same accuracy, {best['accuracy']:.6f}" in page.text
    assert "decoded together" not in page.text and "PROPN" in page.text
    assert "mistakes.png" not in only(tmp_path / "out" / "figures")


def test_a_model_of_others_with_labelled_text(run, tmp_path):
    """No settings lie beside it, so it is read as any Hugging Face directory."""
    shutil.copytree(run / "model", tmp_path / "model")
    (tmp_path / "model" / "ner_settings.json").unlink()
    data = write_conll(tmp_path / "some.conll", make_sentences(9, 300))
    assert main([str(tmp_path / "model"), "--data", str(data)]) == 0
    assert only(tmp_path) == ["model", "model-report", "some.conll"]
    page = read_page(tmp_path / "model-report")
    assert "some.conll" in page.text and "The run reported" not in page.text
    assert "f1.png" not in only(tmp_path / "model-report" / "figures")  # there was no run


def test_text_without_an_entity_has_a_report_too(run, tmp_path):
    data = write_conll(tmp_path / "none.conll", [[("went", "O")]])
    assert main([str(run), "--data", str(data), "--output", str(tmp_path / "out")]) == 0
    assert "1 word in 1 sentence," in read_page(tmp_path / "out").text


def test_hostile_text_stays_text(tmp_path, monkeypatch):
    sentences = [[(word, "B-<b>$x"), ("Ada", "I-<b>$x"), ("in", "O"), (HOSTILE[0], "B-LOC")] for word in HOSTILE]
    sentences += [[("Ada", "O"), ("in", "O")]] * 3
    folder = trained(tmp_path, sentences, sentences, max_steps=1)
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--output", "out", "--compare", "run/model"]) == 0
    page = read_page(tmp_path / "out")
    html = (folder.parent / "out" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in html and "<b>$" not in html and "onerror=alert(1)&gt;" in html and "\x01" not in html
    assert "\u202e" not in html
    for word in (*HOSTILE[:2], "שלום\ufffdעולם", "a\ufffdb", "&lt;", "<b>$x"):
        assert word in page.text, word
    assert "w" * 81 not in html and "w" * 79 + "…" in html
    assert page.marks and all("bdi" in above for above in page.marks)  # each sentence has its own writing direction


# -- Two models ------------------------------------------------------------------------------------------------


def test_a_model_beside_itself_and_beside_another(run, text_run, tmp_path):
    subject, text = text_run
    labels = subject.directory.labels
    tagged, _ = tag_text(subject, "it", text, labels)
    same = find_changes(tagged, tagged)
    assert same.changed_words == same.fixed_count == same.broken_count == 0
    assert all(
        d.value == 0 and d.p_value == 1 and d.interval.low == d.interval.high == 0 for d in same.headline.values()
    )

    # the same weights under labels in another order: nothing changes but the ids
    other = tmp_path / "other"
    shutil.copytree(run / "model", other)
    reordered(other)
    moved, _ = tag_text(find_subject(str(other)), "other", text, labels)
    np.testing.assert_array_equal(moved.tags, tagged.tags)
    np.testing.assert_array_equal(moved.decoded, tagged.decoded)


def reordered(model_dir: Path) -> None:
    """Turn the labels of a model round, weights and all."""
    from safetensors.torch import load_file, save_file

    weights = load_file(model_dir / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        weights[name] = weights[name].flip(0).contiguous()
    save_file(weights, model_dir / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((model_dir / "config.json").read_text())
    names = [config["id2label"][str(i)] for i in range(len(config["id2label"]))][::-1]
    config |= {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    (model_dir / "config.json").write_text(json.dumps(config))
    settings = json.loads((model_dir / "ner_settings.json").read_text())
    (model_dir / "ner_settings.json").write_text(json.dumps({**settings, "labels": names}))


def test_what_changed_between_two_models(run, text_run, tmp_path):
    subject, text = text_run
    labels = subject.directory.labels
    tagged, _ = tag_text(subject, "it", text, labels)
    outside = np.full_like(tagged.tags, labels.index("O"))
    silent = type(tagged)(**{**vars(tagged), "name": "silent", "tags": outside, "decoded": outside})
    changes = find_changes(tagged, silent)
    facts = find_facts(tagged)
    assert changes.fixed_count == facts.kinds["right"] and changes.broken_count == 0
    assert changes.headline["f1"].this == facts.headline["f1"].value and changes.headline["f1"].other == 0
    assert changes.headline["f1"].p_value < 0.01 and changes.headline["f1"].interval.low > 0
    assert changes.changed_words == np.count_nonzero(tagged.tags != outside)
    assert sum(changes.sentences.values()) == len(text.words)
    borders = zip(text.sentences[:-1], text.sentences[1:], strict=True)
    right = sum((tagged.tags[a:b] == text.gold[a:b]).all() for a, b in borders)
    assert changes.sentences["both"] + changes.sentences["this"] == right

    shutil.copytree(run, tmp_path / "b" / "run")
    out = tmp_path / "out"
    assert main([str(run), "--compare", str(tmp_path / "b" / "run"), "--output", str(out)]) == 0
    page = read_page(out)
    assert "comparison.png" in only(out / "figures")
    assert str(tmp_path / "b" / "run") in page.text  # two runs of one name are told apart


# -- Refusals --------------------------------------------------------------------------------------------------


def test_what_is_no_subject_is_refused(run, tmp_path, capsys):
    out = ["--output", tmp_path / "out"]
    assert "no such directory" in refused(capsys, tmp_path / "nothing", *out)
    assert "is a file" in refused(capsys, run / "summary.json", *out)
    assert "no model directory" in refused(capsys, tmp_path, *out)
    assert "no token classifier" in refused(capsys, run.parent / "encoder", *out)
    (tmp_path / "stopped" / "checkpoints").mkdir(parents=True)
    assert "--resume" in refused(capsys, tmp_path / "stopped", *out)
    shutil.copytree(run / "model", tmp_path / "bare")
    (tmp_path / "bare" / "ner_settings.json").unlink()
    assert "--data FILE" in refused(capsys, tmp_path / "bare", *out)
    (tmp_path / "bare" / "ner_settings.json").write_text('{"labels": 1')
    assert "ner_settings.json: not readable" in refused(capsys, tmp_path / "bare", *out)
    assert only(tmp_path) == ["bare", "stopped"]


def test_text_that_cannot_be_scored_is_refused(run, tmp_path, capsys):
    out = ["--output", tmp_path / "out"]
    unlabelled = tmp_path / "text.jsonl"
    unlabelled.write_text('{"tokens": ["Ada", "went"]}\n')
    assert "text.jsonl" in refused(capsys, run, "--data", unlabelled, *out)
    other = write_conll(tmp_path / "other.conll", [[("Ada", "B-ORG")]])
    assert "other.conll:1" in (message := refused(capsys, run, "--data", other, *out)) and "'B-ORG'" in message
    assert "gone.conll" in refused(capsys, run, "--data", tmp_path / "gone.conll", *out)
    (tmp_path / "empty.conll").write_text("")
    assert "empty.conll" in refused(capsys, run, "--data", tmp_path / "empty.conll", *out)
    moved = tmp_path / "moved"
    shutil.copytree(run / "model", moved)
    settings = json.loads((moved / "ner_settings.json").read_text())
    settings["data"]["train_file"] = settings["data"]["validation_file"] = "gone.conll"
    (moved / "ner_settings.json").write_text(json.dumps(settings))
    message = refused(capsys, moved, *out)
    assert "gone.conll" in message and "--data FILE" in message
    assert only(tmp_path) == ["empty.conll", "moved", "other.conll", "text.jsonl"]


def test_a_comparison_with_other_labels_is_refused(run, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(run / "model", other)
    for name in ("config.json", "ner_settings.json"):
        (other / name).write_text((other / name).read_text().replace('"B-PER"', '"B-ORG"'))
    message = refused(capsys, run, "--compare", other, "--output", tmp_path / "out")
    assert str(other) in message and "B-ORG" in message and "same labels" in message
    assert only(tmp_path) == ["other"]


def an_earlier_report(output: Path) -> bytes:
    (output / "figures").mkdir(parents=True)
    (output / "report.html").write_text(f"<!DOCTYPE html>{GENERATOR}<p>earlier")
    return (output / "report.html").read_bytes()


def test_an_output_that_is_no_report_is_kept(run, tmp_path, capsys):
    output = tmp_path / "out"
    output.mkdir()
    (output / "thesis.txt").write_text("years of work")
    assert "exists already and is no earlier report" in refused(capsys, run, "--output", output)
    assert only(output) == ["thesis.txt"]
    (tmp_path / "file").write_text("")
    assert "exists already" in refused(capsys, run, "--output", tmp_path / "file")

    (output / "thesis.txt").unlink()
    output.rmdir()
    an_earlier_report(output)
    (output / "figures" / "old.png").write_bytes(b"")
    assert main([str(run), "--output", str(output)]) == 0  # an earlier report is replaced whole
    assert "old.png" not in only(output / "figures")
    capsys.readouterr()
    (output / "notes.txt").write_text("mine")
    assert "holds notes.txt" in refused(capsys, run, "--output", output)
    assert only(output) == ["figures", "notes.txt", "report.html"] and only(tmp_path) == ["file", "out"]


def test_a_full_disk_leaves_the_earlier_report(run, tmp_path, capsys, monkeypatch):

    output = tmp_path / "out"
    before = an_earlier_report(output)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("determined_ner.report.figures.save", full)
    message = refused(capsys, run, "--output", output)
    assert "No space left on device" in message and "make room" in message
    assert only(tmp_path) == ["out"] and (output / "report.html").read_bytes() == before


def test_help_imports_nothing_heavy():
    script = "import sys, ner_report\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    script += "print({'torch', 'numpy', 'matplotlib', 'transformers'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.stdout.rstrip().endswith("set()") and "--compare OTHER" in done.stdout
