"""The end of a run calibrates its model, keeps that beside the weights, and says how far scores are off."""

from __future__ import annotations

import json

import numpy as np
import pytest

from determined_ner.model.directory import CALIBRATION_FILE
from determined_ner.tagging.tagger import Tagger
from determined_ner.tags.calibration import ERRORS, Calibration
from determined_ner.tags.fitting import Labelled, fit
from determined_ner.tags.shift import SeenScores
from tests.conftest import make_sentences, write_conll


def test_the_calibration_of_a_run_is_that_of_its_tagger_on_the_validation_data(train, corpus):
    sentences = make_sentences(60, 100)
    for split in ("validation", "test"):
        write_conll(corpus[split], sentences)
    folder = train("hyperparameters.num_train_epochs=4", "hyperparameters.learning_rate=0.02")
    kept = json.loads((folder / "model" / CALIBRATION_FILE).read_text())
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["calibration"] == kept
    assert set(kept["errors"]) == {"validation", "test"}
    assert all(set(ERRORS) <= set(errors) for errors in kept["errors"].values())

    tagger = Tagger.from_pretrained(folder / "model")
    assert tagger.calibration == Calibration.of_json(kept)
    tagged = tagger.tag([[word for word, _ in sentence] for sentence in sentences])
    gold = np.array([tagger.labels.index(tag) for sentence in sentences for _, tag in sentence])
    own = fit(Labelled(tagged.logits, gold, tagged.starts, tagged.starts, tagger.labels, plain=False))
    assert own.temperature == pytest.approx(tagger.calibration.temperature, rel=1e-4)
    assert (own.curve is None) == (tagger.calibration.curve is None)
    assert kept["errors"]["test"]["entities"] == len(tagged.entities.begin) > 20
    mean = np.mean(np.concatenate(tagged.entity_scores))
    assert kept["errors"]["test"]["mean_score"] == pytest.approx(mean, abs=1e-4)
    usual = tagger.usual_scores
    assert usual is not None and (usual.entities, usual.mean) == (
        len(tagged.entities.begin),
        pytest.approx(mean, abs=1e-4),
    )
    (seen := SeenScores(usual)).add(tagged.found_scores)
    assert seen.shift.distance < 0.05


def test_a_run_without_test_data_is_calibrated_too(train):
    folder = train("data.test_file=null")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["test"] is None and set(summary["calibration"]["errors"]) == {"validation"}
