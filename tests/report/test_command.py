"""``determined-ner report``: its sources, its output, and refusals, which leave nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.conftest import ROOT, make_sentences, write_conll
from tests.damage import own_copy
from tests.report.pages import read_page
from tests.report.runs import best_checkpoint, best_of, names, refused, report, train, unfinished


def test_a_run_has_its_report_in_its_folder(run, tmp_path, capsys):
    shutil.copytree(run, copy := tmp_path / "run")
    assert report(copy) == 0
    output = copy / "report"
    assert capsys.readouterr().out == f"report   {output / 'report.html'}\n"
    assert names(output) == ["figures", "report.html"] and output.stat().st_mode & 0o777 == 0o755
    assert names(tmp_path) == ["run"] and set(names(copy)) == {*names(run), "report"}


# -- Sources ---------------------------------------------------------------------------------------------------


def test_a_model_of_others_with_labelled_text(run, tmp_path):
    """No settings lie beside it, so it is read as any Hugging Face directory."""
    own_copy(run / "model", tmp_path / "model")
    (tmp_path / "model" / "ner_settings.json").unlink()
    data = write_conll(tmp_path / "some.conll", make_sentences(9, 300))
    assert report(tmp_path / "model", "--data", data) == 0
    assert names(tmp_path) == ["model", "model-report", "some.conll"]
    page = read_page(tmp_path / "model-report")
    assert "some.conll" in page.text and "The run reported" not in page.text
    assert "f1.png" not in names(tmp_path / "model-report" / "figures")  # there was no run


def test_a_directory_of_a_checkpoint(run, tmp_path):
    shutil.copytree(best_checkpoint(run), tmp_path / "copy")
    assert report(tmp_path / "copy") == 0
    assert names(tmp_path) == ["copy", "copy-report"]
    page = read_page(tmp_path / "copy-report")
    assert f"{best_of(run)['f1']:.3f}" in page.text and "validation.conll" in page.text
    assert "The run has not ended" not in page.text  # nothing is known of its run
    assert "f1.png" not in names(tmp_path / "copy-report" / "figures")


def test_the_best_checkpoint_of_a_run_that_has_not_ended(run, tmp_path):
    stopped = unfinished(run, tmp_path / "stopped")
    assert best_checkpoint(run).name != max(names(stopped / "checkpoints"))  # the newest is another
    assert report(stopped) == 0
    assert names(stopped / "report") == ["figures", "report.html"]
    page = read_page(stopped / "report")
    assert f"best checkpoint so far, {best_checkpoint(run).name}." in page.text
    assert f"{best_of(run)['f1']:.3f}" in page.text and "The run reported" not in page.text
    assert "f1.png" in names(stopped / "report" / "figures")


def test_a_checkpoint_of_a_cluster(run, tmp_path, monkeypatch, capsys):
    name = str(uuid.uuid4())
    monkeypatch.delenv("DET_MASTER", raising=False)
    assert "DET_MASTER" in refused(capsys, name, "--output", tmp_path / "out")

    def download(checkpoint: str, folder: Path) -> None:
        assert checkpoint == name
        shutil.copytree(best_checkpoint(run), folder, dirs_exist_ok=True)

    monkeypatch.setattr("determined_ner.training.trained.download_checkpoint", download)
    monkeypatch.chdir(tmp_path)
    assert report(name) == 0
    assert names(tmp_path) == [f"{name}-report"]
    assert f"{best_of(run)['f1']:.3f}" in (page := read_page(tmp_path / f"{name}-report").text) and name in page


def test_two_runs_of_one_name_are_told_apart(run, tmp_path):
    shutil.copytree(run, other := tmp_path / "b" / "run")
    assert report(run, "--compare", other, "--output", tmp_path / "out") == 0
    assert "comparison.png" in names(tmp_path / "out" / "figures")
    page = read_page(tmp_path / "out")
    assert f"{run} beside {other}" in page.text and "The two tag 0 words in 0 sentences differently." in page.text


def test_what_is_no_model_is_refused(run, tmp_path, capsys):
    out = ["--output", tmp_path / "out"]
    assert "no such directory" in refused(capsys, tmp_path / "nothing", *out)
    assert "is a file" in refused(capsys, run / "summary.json", *out)
    assert "no model directory" in refused(capsys, tmp_path, *out)
    assert "no token classifier" in refused(capsys, run.parent / "encoder", *out)
    (tmp_path / "stopped" / "checkpoints").mkdir(parents=True)
    assert "--resume" in refused(capsys, tmp_path / "stopped", *out)
    own_copy(run / "model", tmp_path / "bare")
    (tmp_path / "bare" / "ner_settings.json").unlink()
    assert "--data FILE" in refused(capsys, tmp_path / "bare", *out)
    (tmp_path / "bare" / "ner_settings.json").write_text('{"labels": 1')
    assert "ner_settings.json: not readable" in refused(capsys, tmp_path / "bare", *out)
    assert names(tmp_path) == ["bare", "stopped"]


def test_labels_of_another_scheme_are_refused(run, tmp_path, capsys):
    model = own_copy(run / "model", tmp_path / "model")
    (model / "ner_settings.json").unlink()
    config = (model / "config.json").read_text()
    (model / "config.json").write_text(config.replace("B-PER", "L-PER").replace("B-LOC", "U-LOC"))
    message = refused(capsys, model, "--data", run.parent / "validation.conll", "--output", tmp_path / "out")
    assert f"{model}: its labels are in BILOU" in message and "IOB2 or plain" in message
    assert names(tmp_path) == ["model"]


# -- Text ------------------------------------------------------------------------------------------------------


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
    assert names(tmp_path) == ["empty.conll", "other.conll", "text.jsonl"]


def test_validation_data_that_moved_is_asked_for(run, tmp_path, capsys):
    moved = own_copy(run / "model", tmp_path / "moved")
    settings = json.loads((moved / "ner_settings.json").read_text())
    settings["data"]["train_file"] = settings["data"]["validation_file"] = "gone.conll"
    (moved / "ner_settings.json").write_text(json.dumps(settings))
    message = refused(capsys, moved, "--output", tmp_path / "out")
    assert "the report is about the run's validation data" in message
    assert "gone.conll" in message and "--data FILE" in message
    assert names(tmp_path) == ["moved"]


def test_a_comparison_with_other_labels_is_refused(run, tmp_path, capsys):
    other = own_copy(run / "model", tmp_path / "other")
    for name in ("config.json", "ner_settings.json"):
        (other / name).write_text((other / name).read_text().replace('"B-PER"', '"B-ORG"'))
    message = refused(capsys, run, "--compare", other, "--output", tmp_path / "out")
    assert str(other) in message and "B-ORG" in message and "same labels" in message
    assert names(tmp_path) == ["other"]


# -- Output ----------------------------------------------------------------------------------------------------


def an_earlier_report(output: Path, generator: str = "determined-ner report") -> bytes:
    (output / "figures").mkdir(parents=True)
    page = f'<!DOCTYPE html><meta name="generator" content="{generator}"><p>earlier'
    (output / "report.html").write_text(page)
    return page.encode()


def test_an_output_that_is_no_report_is_kept(run, tmp_path, capsys):
    output = tmp_path / "out"
    output.mkdir()
    (output / "thesis.txt").write_text("years of work")
    assert "exists already and is no earlier report" in refused(capsys, run, "--output", output)
    assert names(output) == ["thesis.txt"]
    (output / "report.html").write_text("<h1>My own report")
    assert "exists already and is no earlier report" in refused(capsys, run, "--output", output)
    (tmp_path / "file").write_text("")
    assert "exists already" in refused(capsys, run, "--output", tmp_path / "file")
    assert names(tmp_path) == ["file", "out"]


def test_what_was_put_beside_an_earlier_report_is_kept(run, tmp_path, capsys):
    output = tmp_path / "out"
    an_earlier_report(output)
    (output / "notes.txt").write_text("mine")
    assert "holds notes.txt" in refused(capsys, run, "--output", output)
    (output / "notes.txt").rename(output / "figures" / "notes.txt")
    assert "holds figures/notes.txt" in refused(capsys, run, "--output", output)
    assert names(output) == ["figures", "report.html"] and names(output / "figures") == ["notes.txt"]


@pytest.mark.parametrize("generator", ["determined-ner report", "ner_report.py"])
def test_an_earlier_report_is_replaced_as_a_whole(run, tmp_path, generator):
    output = tmp_path / "out"
    before = an_earlier_report(output, generator)
    (output / "figures" / "old.png").write_bytes(b"")
    assert report(run, "--output", output) == 0
    assert "old.png" not in names(output / "figures") and (output / "report.html").read_bytes() != before
    assert names(tmp_path) == ["out"]


def test_a_full_disk_leaves_the_earlier_report(run, tmp_path, capsys, monkeypatch):
    output = tmp_path / "out"
    before = an_earlier_report(output)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("determined_ner.report.figures.save", full)
    message = refused(capsys, run, "--output", output)
    assert "No space left on device" in message and "make room" in message
    assert names(tmp_path) == ["out"] and (output / "report.html").read_bytes() == before


def test_help_imports_nothing_heavy():
    script = "import sys, determined_ner.cli\ntry: determined_ner.cli.main(['report', '--help'])\n"
    script += "except SystemExit: pass\nprint({'torch', 'numpy', 'matplotlib', 'jinja2'} & set(sys.modules))"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )
    assert done.stdout.rstrip().endswith("set()") and "--compare OTHER" in done.stdout


# -- Whether two models differ ---------------------------------------------------------------------------------


def test_a_verdict_on_the_text_that_both_validated_on_or_one_that_is_named(run, tmp_path, capsys):
    shutil.copytree(run, other := tmp_path / "other")
    assert report(run, "--compare", other, "--output", tmp_path / "one") == 0
    said = "{0:.4f} and {0:.4f}: +0.0 points (+0.0 to +0.0), not beyond noise".format(best_of(run)["f1"])
    assert said in capsys.readouterr().err and said in read_page(tmp_path / "one").text
    data = write_conll(tmp_path / "some.conll", make_sentences(9, 300))
    assert report(run, "--compare", other, "--data", data, "--output", tmp_path / "two") == 0
    assert "not beyond noise" in capsys.readouterr().err


def test_no_verdict_where_the_other_model_was_validated_on_another_text_or_nobody_knows(run, tmp_path, capsys):
    other = train(tmp_path, make_sentences(40), make_sentences(13, 100), max_steps=1).rename(tmp_path / "other")
    assert report(run, "--compare", other, "--output", tmp_path / "one") == 0
    why = "no verdict: the second model was validated on another text, and may have been trained on this one; compare"
    assert why in capsys.readouterr().err and why in read_page(tmp_path / "one").text
    own_copy(run / "model", tmp_path / "model")
    (tmp_path / "model" / "ner_settings.json").unlink()
    assert report(run, "--compare", tmp_path / "model", "--output", tmp_path / "two") == 0
    assert "what the second model was validated on is not at hand" in capsys.readouterr().err
