"""A run without a cluster ends with the report on its model and the card of it, as a trial of a cluster does."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import ner_trial
from determined_ner import cli
from determined_ner.export.card import CARD_FILE
from determined_ner.finish import folder_end
from determined_ner.finish.documents import Documents
from determined_ner.model.torch_model import TorchModel
from determined_ner.report.command import PAGE
from tests.conftest import final_state, make_sentences, read_metrics
from tests.forked import content, forked, litter

WORDS = {word for sentence in make_sentences(13, 100) for word, _ in sentence if len(word) > 3}
"""Of the validation data."""


def said(page: str) -> str:
    """What stands on a page beside its pictures, less what two reports of the same model differ in: a speed."""
    return re.sub(r"[\d,.]+ words/s", "", re.sub(r'src="data:[^"]*"', "", page))


def test_the_last_line_of_a_run_says_where_its_report_is_which_is_that_of_the_command(train, capsys):
    folder = train()
    page = folder / "report" / PAGE
    assert capsys.readouterr().err.splitlines()[-1] == f"report   {page}"
    ours = page.read_text(encoding="utf-8")
    assert WORDS & set(re.findall(r"\w+", said(ours))) and ours.count("data:image/png") >= 5
    assert cli.main(["report", str(folder)]) == 0
    assert said(page.read_text(encoding="utf-8")) == said(ours)


def test_the_card_of_a_run_has_its_scores_and_no_sentence_of_its_corpus(train):
    card = (train() / "model" / CARD_FILE).read_text(encoding="utf-8")
    assert not WORDS & set(re.findall(r"\w+", card))
    assert card.startswith("---\n") and "train.conll" in card and "trained, test" in card
    assert "Scores of entities" in card  # of the calibration


def test_a_run_whose_gpu_is_too_full_for_a_report_ends_without_one(train, monkeypatch, capsys):
    original = TorchModel.__init__

    def build(self, module, *given):
        def to(_):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

        monkeypatch.setattr(module, "to", to)
        original(self, module, *given)

    monkeypatch.setattr(TorchModel, "__init__", build)
    folder = train()
    assert "no report.html: the GPU's memory is full; determined-ner report" in capsys.readouterr().err
    assert (folder / "model" / CARD_FILE).is_file() and (folder / "summary.json").is_file()


@pytest.mark.parametrize("piece", ["calibrate", "write_model", "write_checksums", "plot_curves", "report"])
def test_a_run_killed_between_two_pieces_of_its_end_has_all_of_them_when_it_goes_on(
    train, config_file, tmp_path: Path, piece: str
) -> None:
    whole = train(output="whole/run")
    arguments = [str(config_file), "--output-dir", str(tmp_path / "run")]

    def killed(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def killed_run() -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Documents if piece == "report" else folder_end, piece, killed)
            return ner_trial.main(arguments)

    assert forked(killed_run)[0] == -9
    assert not (tmp_path / "run" / "report").exists()
    steps = len(read_metrics(tmp_path / "run"))
    assert ner_trial.main([*arguments, "--resume"]) == 0
    assert len(read_metrics(tmp_path / "run")) == steps  # nothing is trained again
    names = {name for name in content(whole) if "tfevents" not in name}
    assert {name for name in content(tmp_path / "run") if "tfevents" not in name} == names
    assert content(tmp_path / "run" / "model") == content(whole / "model") and not litter(tmp_path / "run")
    assert final_state(tmp_path / "run")["lr_schedulers_state_dict"] == final_state(whole)["lr_schedulers_state_dict"]


def test_notes_beside_a_report_are_kept_and_named_before_a_run_goes_on(train, config_file, capsys):
    folder = train()
    (folder / "report" / "notes.txt").write_text("mine")
    before = content(folder)
    capsys.readouterr()
    more = ["--resume", "--config", "hyperparameters.num_train_epochs=3"]
    assert ner_trial.main([str(config_file), "--output-dir", str(folder), *more]) == 2
    expected = f"error: {folder / 'report'}: holds notes.txt beside an earlier report, which would be lost; move it"
    assert expected in capsys.readouterr().err
    assert content(folder) == before
