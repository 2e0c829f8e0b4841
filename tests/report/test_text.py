"""The labelled text is read as in training, whatever kind of source the model comes from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from determined_ner.report.facts import find_facts
from determined_ner.report.text import read_labelled, tag_text
from determined_ner.training.trained import find_trained
from tests.conftest import make_sentences, write_conll
from tests.damage import own_copy
from tests.report.runs import best_checkpoint, best_of, train, unfinished


def facts_of(source: Path, downloads: Path):
    trained = find_trained(str(source), downloads)
    text = read_labelled(trained, None)
    return text, find_facts(tag_text(trained, "it", text, trained.directory.labels)[0])


def test_documents_are_read_as_in_training(tmp_path):
    def with_documents(sentences):
        return [s for i, some in enumerate(sentences) for s in ([[("-DOCSTART-", "O")]] if i % 2 == 0 else []) + [some]]

    run = train(
        tmp_path,
        with_documents(make_sentences(40)),
        with_documents(make_sentences(60, 100)),
        "data.context=document",
        "data.max_seq_length=24",
        learning_rate=1e-2,
    )
    text, facts = facts_of(run, tmp_path)
    assert text.as_trained is True
    assert facts.headline["f1"].value == best_of(run)["f1"]
    assert (facts.documents, facts.unit, facts.units) == (30, "documents", 30)


def test_a_checkpoint_and_a_run_that_has_not_ended_are_the_same_model(run, tmp_path):
    for source in (unfinished(run, tmp_path / "stopped"), best_checkpoint(run)):
        text, facts = facts_of(source, tmp_path)
        assert text.as_trained is True
        assert facts.headline["f1"].value == best_of(run)["f1"]


def test_another_text_is_known_to_be_another(run, tagged, tmp_path):
    data = write_conll(tmp_path / "some.conll", make_sentences(9, 300))
    text = read_labelled(tagged.trained, str(data))
    assert text.as_trained is False and text.place(1) == "some.conll:7"
    assert [len(words) for words in text.words] == np.diff(text.sentences).tolist()
    own_copy(run / "model", tmp_path / "model")
    (tmp_path / "model" / "ner_settings.json").unlink()
    assert read_labelled(find_trained(str(tmp_path / "model"), tmp_path), str(data)).as_trained is None


def test_tags_that_the_scheme_does_not_allow_are_counted(tagged, tmp_path):
    data = write_conll(tmp_path / "broken.conll", [[("in", "O"), ("Oslo", "I-LOC")], [("Ada", "B-PER")]])
    assert read_labelled(tagged.trained, str(data)).repaired == 1


def test_labels_in_another_order_change_nothing_but_ids(run, tagged, tmp_path):
    reordered = tmp_path / "reordered"
    own_copy(run / "model", reordered)
    reverse_labels(reordered)
    other = find_trained(str(reordered), tmp_path)
    assert other.directory.labels == tagged.trained.directory.labels[::-1]
    found, _ = tag_text(other, "other", tagged.text, tagged.trained.directory.labels)
    np.testing.assert_array_equal(found.tags, tagged.tagged.tags)
    np.testing.assert_array_equal(found.decoded, tagged.tagged.decoded)
    assert found.confidence == pytest.approx(tagged.tagged.confidence, abs=1e-6)


def reverse_labels(model_dir: Path) -> None:
    """Reverse the labels of a model, weights and all."""
    from safetensors.torch import load_file, save_file

    weights = load_file(model_dir / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        weights[name] = weights[name].flip(0).contiguous()
    save_file(weights, model_dir / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((model_dir / "config.json").read_text())
    labels = [config["id2label"][str(i)] for i in range(len(config["id2label"]))][::-1]
    config |= {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    (model_dir / "config.json").write_text(json.dumps(config))
    settings = json.loads((model_dir / "ner_settings.json").read_text())
    (model_dir / "ner_settings.json").write_text(json.dumps({**settings, "labels": labels}))
