"""What a run leaves at its end, without Determined."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

from determined_ner import cli
from determined_ner.export.card import CARD_FILE
from determined_ner.files.checksums import CHECKSUMS_FILE
from determined_ner.finish.folder_end import FolderEnd
from tests.conftest import ROOT, assert_equal_states, make_sentences


def test_the_model_directory_is_the_best_checkpoint_and_carries_its_labels(train, corpus):
    folder = train("hyperparameters.num_train_epochs=3")
    model = AutoModelForTokenClassification.from_pretrained(folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    written = {path.name for path in (folder / "model").iterdir()} - {CHECKSUMS_FILE, CARD_FILE}
    assert set(json.loads((folder / "model" / CHECKSUMS_FILE).read_text())) == written
    labels = ["B-LOC", "B-PER", "I-PER", "O"]
    assert [model.config.id2label[i] for i in range(4)] == labels
    summary = json.loads((folder / "summary.json").read_text())
    state = torch.load(folder / summary["checkpoint"] / "state_dict.pth", weights_only=True)["models_state_dict"][0]
    assert_equal_states(dict(model.state_dict()), dict(state))
    # Read as a stranger would: plain transformers, no padding, one sentence at a time.
    hits = words = 0
    for sentence in make_sentences(7, 200):
        inputs = tokenizer([w for w, _ in sentence], is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            tags = model(**inputs).logits[0].argmax(-1)
        first = [inputs.word_ids().index(i) for i in range(len(sentence))]
        hits += sum(labels[tags[p]] == gold for p, (_, gold) in zip(first, sentence, strict=True))
        words += len(sentence)
    assert summary["test"]["accuracy"] == pytest.approx(hits / words)


def test_the_end_of_a_run_holds_no_more_of_the_training_than_the_weights(train, monkeypatch):
    at_the_end, keeps = [], FolderEnd.keep

    def keep(self, chosen, test):
        engine = self._training.engine
        at_the_end.append((dict(engine.optimizer.state), [p.grad for p in engine.model.parameters()]))
        keeps(self, chosen, test)

    monkeypatch.setattr(FolderEnd, "keep", keep)
    train()
    [(moments, gradients)] = at_the_end
    assert not moments and gradients and all(gradient is None for gradient in gradients)


def test_the_end_of_a_run_needs_no_determined():
    script = (
        "import sys, determined_ner.finish.run_end; print([m for m in sys.modules if m.split('.')[0] == 'determined'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_a_run_in_which_nothing_was_found_says_so(train, corpus, capsys):
    found = train()
    assert "is 0 in every validation" not in capsys.readouterr().err
    assert json.loads((found / "summary.json").read_text())["best"]["f1"] > 0
    lines = corpus["validation"].read_text().splitlines(keepends=True)
    corpus["validation"].write_text("".join(line for line in lines if "\tO" in line or line == "\n"))
    folder = train(output="nothing")  # in a text without entities
    assert json.loads((folder / "summary.json").read_text())["best"]["f1"] == 0
    message = capsys.readouterr().err
    assert message.count("f1 is 0 in every validation, so model/ is that of the first, batch 6") == 1
    kept = json.loads((folder / "model" / "calibration.json").read_text())
    assert 0.1 < kept["temperature"] < 10 and kept["errors"]["validation"]["share_correct"] == 0
    assert cli.main(["thresholds", str(folder), "--precision", "0.9"]) == 0
    assert "cannot be promised with" in capsys.readouterr().out
