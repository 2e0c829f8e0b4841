"""Words of training are words of tagging: raw text scores what validation scored, whatever the words were."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from determined_ner.errors import UserError
from determined_ner.model.directory import SETTINGS_FILE
from determined_ner.tagging.tagger import Tagger
from tests.conftest import NAMES, make_sentences, write_config, write_conll
from tests.damage import own_copy

HOSTS = ["mail.org", "x-y.net", "post.io"]


def mail_sentences(count: int, offset: int = 0) -> list[list[tuple[str, str]]]:
    sentences = []
    for i in range(offset, offset + count):
        address = f"{NAMES[i % 6].lower()}.bo{i % 10}@{HOSTS[i % 3]}"
        sentences.append([("write", "O"), ("to", "O"), (address, "B-EMAIL"), ("today", "O"), (".", "O")][: 3 + i % 3])
    return sentences


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_encoder):
    """Train on sentences whose e-mail addresses are one word each; returns the run's folder."""
    import ner_trial

    def run(*overrides: str, train: list[list[tuple[str, str]]] | None = None) -> Path:
        folder = tmp_path_factory.mktemp("mail")
        corpus = {
            "train": write_conll(folder / "train.conll", train or mail_sentences(60)),
            "validation": write_conll(folder / "validation.conll", train or mail_sentences(40, 100)),
        }
        config = write_config(folder / "c.json", tiny_encoder, corpus, num_train_epochs=8, learning_rate=0.02)
        options = [option for override in overrides for option in ("--config", override)]
        assert ner_trial.main([str(config), "--output-dir", str(folder / "run"), *options]) == 0
        return folder / "run"

    return run


@pytest.fixture(scope="module")
def mail_run(trained) -> Path:
    return trained()


def entities_found(model_dir: Path, sentences: list[list[tuple[str, str]]]) -> tuple[int, int, int]:
    """Of raw text: right, found, wanted."""
    texts = [" ".join(word for word, _ in sentence) for sentence in sentences]
    found = [{e.text for e in entities} for entities in Tagger.from_pretrained(model_dir, constrained=False)(texts)]
    wanted = [{word for word, tag in sentence if tag != "O"} for sentence in sentences]
    right = sum(len(f & w) for f, w in zip(found, wanted, strict=True))
    return right, sum(map(len, found)), sum(map(len, wanted))


def test_a_training_says_where_many_words_will_be_cut_otherwise_all_the_same(trained, capsys):
    """By the splitting that parts fewest of them; without a word where few are."""
    mixed = [[("to", "O"), ("a@x.org", "B-EMAIL"), (",", "O"), ("Ada", "B-PER"), (".", "O")]] * 30
    trained("hyperparameters.max_steps=1", train=mixed)
    lines = [line for line in capsys.readouterr().err.splitlines() if "words: raw text will be cut" in line]
    (line,) = lines
    assert "will be cut by rules; of 60 tagged words that parts 30 otherwise" in line
    assert "(at white space alone: 60)" in line and "determined-ner check" in line
    trained("hyperparameters.max_steps=1", train=make_sentences(60))
    assert "raw text will be cut" not in capsys.readouterr().err


def test_raw_text_scores_what_validation_scored(mail_run):
    best = json.loads((mail_run / "summary.json").read_text())["best"]
    right, found, wanted = entities_found(mail_run / "model", mail_sentences(40, 100))
    assert 2 * right / (found + wanted) == pytest.approx(best["f1"]) and best["f1"] > 0.9


def test_the_splitting_is_recorded_in_model_and_checkpoint_and_a_setting_overrules_it(trained, mail_run):
    checkpoint = next((mail_run / "checkpoints").iterdir())
    for folder in (mail_run / "model", checkpoint):
        assert json.loads((folder / SETTINGS_FILE).read_text())["word_splitting"] == "whitespace"
    model_dir = trained("data.word_splitting=rules", "hyperparameters.num_train_epochs=1") / "model"
    assert json.loads((model_dir / SETTINGS_FILE).read_text())["word_splitting"] == "rules"
    assert Tagger.from_pretrained(model_dir).word_splitting == "rules"


def test_words_that_the_rules_cut_leave_the_rules_alone(run):
    assert all(word.isalnum() or word == "." for s in make_sentences(60) for word, _ in s)
    assert json.loads((run / "model" / SETTINGS_FILE).read_text())["word_splitting"] == "rules"


def test_a_model_that_does_not_say_it_keeps_the_rules(mail_run, tmp_path):
    folder = own_copy(mail_run / "model", tmp_path / "copy")
    described = json.loads((folder / SETTINGS_FILE).read_text())
    del described["word_splitting"], described["data"]["word_splitting"]
    (folder / SETTINGS_FILE).write_text(json.dumps(described))
    assert Tagger.from_pretrained(folder).cut("to a@b.org").words == ["to", "a", "@", "b.org"]
    (folder / SETTINGS_FILE).write_text(json.dumps({**described, "word_splitting": "guess"}))
    with pytest.raises(UserError, match=r"ner_settings\.json: .*word_splitting: 'guess' is neither rules"):
        Tagger.from_pretrained(folder)


def test_hidden_characters_do_not_change_what_is_found(run):
    """Neither inside a word nor beside it; the places are those of the text as it is."""
    tagger = Tagger.from_pretrained(run / "model")
    plain = tagger(["Ada Bo went to Oslo ."])[0]
    text = "\u200eAda\u00ad \u200bB\u2060o went\ufeff to \u202eOs\u00adlo\u200f ."
    hidden = tagger([text])[0]
    assert [(e.type, e.score) for e in hidden] == [(e.type, e.score) for e in plain] and len(plain) == 2
    assert [e.text for e in hidden] == ["Ada\u00ad \u200bB\u2060o", "Os\u00adlo"]
    assert all(text[e.start : e.end] == e.text for e in hidden)
    words = [["Ada", "Bo", "went"], ["A\u00adda\ufe0f", "\u200bBo", "we\u200dnt\u200e"]]
    tagged = tagger.tag(words)
    assert tagged.tags[0] == tagged.tags[1] and (tagged.logits[:3] == tagged.logits[3:]).all()
