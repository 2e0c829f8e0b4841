"""What a tagger's scores are: probabilities of entities, calibrated by the file of the model directory, tags apart."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from determined_ner.errors import UserError
from determined_ner.model.directory import CALIBRATION_FILE
from determined_ner.tagging.tagged import Tagged
from determined_ner.tagging.tagger import Tagger
from determined_ner.tags.calibration import Calibration, Curve
from determined_ner.tags.schemes import Scheme
from tests.conftest import NAMES, PLACES
from tests.damage import own_copy

TEXTS = [[NAMES[0], NAMES[1], "went", "to", PLACES[0], "."], [], ["Oslo", NAMES[2]] * 7]
CALIBRATION = Calibration(2.0, Curve(0.5, 1.0), {"LOC": Curve(1.0, -3.0)})


def calibrated(model_dir, tmp_path, kept: object):
    folder = own_copy(model_dir, tmp_path / "copy")
    (folder / CALIBRATION_FILE).unlink(missing_ok=True)
    if kept is not None:
        (folder / CALIBRATION_FILE).write_text(json.dumps(kept))
    return folder


def test_calibration_changes_scores_and_no_tag(model_dir, tmp_path):
    plain = Tagger.from_pretrained(calibrated(model_dir, tmp_path, None))
    shutil.rmtree(tmp_path / "copy")
    tagger = Tagger.from_pretrained(calibrated(model_dir, tmp_path, CALIBRATION.as_json()))
    before, after = plain.tag(TEXTS), tagger.tag(TEXTS)
    assert tagger.calibration == CALIBRATION and plain.calibration == Calibration()
    np.testing.assert_array_equal(before.logits, after.logits)
    assert before.tags == after.tags and before.spans == after.spans
    assert [len(scores) for scores in after.entity_scores] == [len(spans) for spans in after.spans] and after.spans[0]
    for (name, _, _), own, score in zip(
        after.spans[0],
        replace(before, calibration=Calibration(2.0)).entity_scores[0],
        after.entity_scores[0],
        strict=True,
    ):
        curve = CALIBRATION.of_type.get(name, CALIBRATION.curve)
        assert score == pytest.approx(curve(np.array([own]))[0])
    entities = tagger([" ".join(TEXTS[0])])[0]
    assert [entity.score for entity in entities] == pytest.approx(after.entity_scores[0])


def test_without_a_calibration_a_score_is_the_model_s_own_probability(model_dir, tmp_path):
    tagged = Tagger.from_pretrained(calibrated(model_dir, tmp_path, None)).tag(TEXTS)
    scores = [score for text in tagged.entity_scores for score in text]
    np.testing.assert_array_equal(scores, tagged.entity_probabilities)


def test_a_score_is_the_probability_of_the_entity_not_a_mean_over_its_words():
    """Two words, each B-A or I-A or O: what counts is how probable the very sequence B-A I-A is, and that it ends."""
    logits = np.log(np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1]], np.float32))
    tagged = Tagged(("B-A", "I-A", "O"), Scheme.IOB2, Scheme.IOB2, logits, np.array([0, 1]), np.array([0, 2]))
    allowed = {"BB": 0.8 * 0.3, "BI": 0.8 * 0.6, "BO": 0.8 * 0.1, "OB": 0.1 * 0.3, "OO": 0.1 * 0.1}
    assert tagged.entity_scores == [[pytest.approx(allowed["BI"] / sum(allowed.values()))]]
    assert tagged.scores.mean() == pytest.approx(0.7)


def test_a_word_with_a_plain_tag_has_its_own_probability():
    logits = np.log(np.array([[0.75, 0.25], [0.4, 0.6]], np.float32))
    tagged = Tagged(("N", "V"), Scheme.PLAIN, Scheme.PLAIN, logits, np.array([0, 1]), np.array([0, 2]))
    assert tagged.entity_scores[0] == pytest.approx([0.75, 0.6])


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ({**CALIBRATION.as_json(), "temperature": -1}, "temperature: -1 is no number from 0.01 to 100"),
        ({**CALIBRATION.as_json(), "of_type": {"FISH": {"slope": 1, "offset": 0}}}, "has scores of 'FISH'"),
        ([], "not a JSON object"),
    ],
)
def test_a_calibration_that_is_damaged_or_of_another_model_is_refused(model_dir, tmp_path, kept, said):
    with pytest.raises(UserError, match=said) as refused:
        Tagger.from_pretrained(calibrated(model_dir, tmp_path, kept))
    assert CALIBRATION_FILE in str(refused.value)
