"""The check of an export: what is the same passes, what differs too much or is no number does not."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from determined_ner.data.batches import MicroBatch
from determined_ner.errors import UserError
from determined_ner.export import parity
from determined_ner.export.parity import Check, Tolerances, torch_logits
from determined_ner.model.torch_model import TorchModel, load_model
from determined_ner.report.text import read_labelled, tag_text
from determined_ner.training.trained import find_trained


@pytest.fixture(scope="module")
def model_and_check(run, tmp_path_factory):
    trained = find_trained(str(run), tmp_path_factory.mktemp("downloads"))
    model = load_model(trained.directory)
    return model, Check(trained, model, None)


def test_the_model_itself_is_the_same(model_and_check):
    model, check = model_and_check
    compared = check.compare(torch_logits(model), "itself")
    assert (compared.difference, compared.changed, compared.points_lost) == (0.0, 0, 0.0)
    assert compared.words == len(check.split.tags) and compared.metric == "f1"
    assert Tolerances().is_same(compared) and Tolerances().loses_little(compared)


@pytest.mark.parametrize(("change", "same"), [(5e-5, True), (3e-4, False), (float("nan"), False)])
def test_a_shifted_logit_passes_within_the_tolerance(model_and_check, change, same):
    model, check = model_and_check
    shift = torch.zeros(model.config.num_labels)
    shift[0] = change
    compared = check.compare(lambda ids, mask: torch_logits(model)(ids, mask) + shift, "shifted")
    assert Tolerances().is_same(compared) is same
    assert compared.difference == pytest.approx(change, rel=0.1, nan_ok=True)


def test_a_number_that_is_none_is_not_forgotten_in_later_batches(model_and_check, monkeypatch):
    model, check = model_and_check
    windows = len(check.split.windows) - 1
    monkeypatch.setattr(parity, "EvaluationBatches", lambda *_, **__: [(MicroBatch((i,)),) for i in range(windows)])
    calls = []

    def second_is_nan(ids, mask):
        calls.append(len(ids))
        return torch_logits(model)(ids, mask) * (float("nan") if len(calls) == 2 else 1.0)

    compared = check.compare(second_is_nan, "nan")
    assert len(calls) > windows > 2 and math.isnan(compared.difference) and compared.length is None
    everything = Tolerances(half_points=100, points=100)
    assert not everything.is_nearly_same(compared) and not everything.loses_little(compared)


def test_other_tags_are_counted_and_cost_points(model_and_check):
    model, check = model_and_check
    compared = check.compare(lambda ids, mask: torch_logits(model)(ids, mask).flip(-1), "flipped")
    assert 0 < compared.changed <= compared.words and compared.points_lost > 0.5
    assert not Tolerances(logit=1e9).is_same(compared) and not Tolerances().loses_little(compared)


def test_of_a_crf_the_tags_of_the_best_sequences_are_compared(run, tmp_path):
    import ner_trial

    options = ["hyperparameters.head=crf", "hyperparameters.num_train_epochs=3"]
    command = [str(run.parent / "experiment.yaml"), "--output-dir", str(tmp_path / "run")]
    assert ner_trial.main([*command, *(part for option in options for part in ("--config", option))]) == 0
    trained = find_trained(str(tmp_path / "run"), tmp_path)
    model, text = load_model(trained.directory), read_labelled(trained, None)
    for label in range(3):
        other = copy.deepcopy(model)
        other.classifier.bias.data[label] += 1.5
        models = [TorchModel(each, tmp_path, torch.device("cpu"), True, 64) for each in (model, other)]
        ours, theirs = (tag_text(trained, "x", text, trained.directory.labels, each)[0].tags for each in models)
        compared = Check(trained, model, None).compare(torch_logits(other), "other")
        assert (compared.changed, compared.words) == ((ours != theirs).sum(), len(ours))


def test_an_export_that_is_another_model_at_some_length_alone_is_found(model_and_check):
    model, check = model_and_check

    def spoilt(ids, mask):
        return torch_logits(model)(ids, mask) + float(ids.shape == (1, 33))

    compared = check.compare(spoilt, "spoilt")
    assert compared.length == 33 and compared.difference == pytest.approx(1.0) and not Tolerances().is_same(compared)
    assert "(of a text of 33 pieces alone)" in compared.describe()


def test_an_export_that_fails_at_some_length_is_refused_by_name(model_and_check):
    model, check = model_and_check

    def fails(ids, mask):
        if ids.shape[1] == 64:
            raise RuntimeError("a reshape is not possible")
        return torch_logits(model)(ids, mask)

    with pytest.raises(UserError) as caught:
        check.compare(fails, "model.onnx")
    assert str(caught.value).startswith(
        "model.onnx: fails at 1 × 64 pieces: a reshape is not possible; leave this file"
    )
