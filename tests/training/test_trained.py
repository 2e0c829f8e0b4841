"""What a training left is found under each of its names, and what is none of them is refused."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path

import pytest

from determined_ner.errors import UserError
from determined_ner.files.checksums import CHECKSUMS_FILE
from determined_ner.model.torch_model import load_model
from determined_ner.training.trained import find_trained, is_uuid
from tests.conftest import assert_equal_states, newest_checkpoint


def find(source: Path | str, tmp_path: Path):
    return find_trained(str(source), tmp_path / "downloads")


def test_a_run_its_model_and_its_checkpoint_are_one_model(train, tmp_path):
    run = train("hyperparameters.num_train_epochs=1")
    found = [find(source, tmp_path) for source in (run, run / "model", newest_checkpoint(run))]
    assert [trained.run is not None for trained in found] == [True, False, False]
    assert [trained.name for trained in found] == ["run", "run", newest_checkpoint(run).name]
    assert found[0].summary["model_batches"] == 6 and found[1].summary is None
    for trained in found:
        assert trained.settings is not None and trained.settings.hparams.learning_rate == 1e-3
        assert trained.fingerprint("validation") == found[0].fingerprint("validation") is not None
        expected, model = load_model(found[0].directory), load_model(trained.directory)
        assert_equal_states(dict(model.state_dict()), dict(expected.state_dict()))


def test_of_a_run_that_has_not_ended_the_best_checkpoint_is_taken(train, tmp_path):
    run = train("hyperparameters.num_train_epochs=6")
    shutil.rmtree(run / "model")
    (run / "summary.json").unlink()
    trained = find(run, tmp_path)
    assert trained.summary is None
    validations = [report for report in trained.run.metrics.reports() if report["kind"] == "validation"]
    best = max(validations, key=lambda line: (line["f1"], -line["batches"]))
    assert trained.directory.path == trained.run.checkpoint(best["batches"])


def test_what_is_no_training_is_refused(train, tmp_path, monkeypatch):
    monkeypatch.delenv("DET_MASTER", raising=False)
    run = train("hyperparameters.num_train_epochs=1")
    shutil.rmtree(run / "model")
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").mkdir()
    named = str(uuid.uuid4())
    for source, problem in (
        (tmp_path / "none", "no such directory"),
        (run / "config.json", "is a file"),
        (run, "a run without a checkpoint"),
        (named, "DET_MASTER is not set"),
    ):
        with pytest.raises(UserError) as raised:
            find(source, tmp_path)
        assert raised.value.where == str(source) and problem in raised.value.problem and raised.value.remedy


def test_settings_that_are_not_readable_are_refused(train, tmp_path):
    run = train("hyperparameters.num_train_epochs=1")
    (run / "model" / "ner_settings.json").write_text("{}")
    (run / "model" / CHECKSUMS_FILE).unlink()
    with pytest.raises(UserError, match="not readable"):
        find(run, tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0b0b8f5c-6b2f-4a59-8c0e-5c8a1f0f8f11", True),
        ("0B0B8F5C-6B2F-4A59-8C0E-5C8A1F0F8F11", True),
        ("0b0b8f5c6b2f4a598c0e5c8a1f0f8f11", False),
        ("runs/mine", False),
    ],
)
def test_a_uuid_is_told_from_a_path(text, expected):
    assert is_uuid(text) is expected


def test_labelled_text_is_that_of_the_training_or_what_is_named(train, tmp_path, corpus):
    run = train("hyperparameters.num_train_epochs=1")
    with find(run, tmp_path).labelled_text(None, "this looks at") as (_, split):
        assert split.fingerprint == find(run, tmp_path).fingerprint("validation")
    with find(run, tmp_path).labelled_text(str(corpus["test"]), "this looks at") as (_, split):
        assert len(split.sentences) - 1 == 7
    corpus["validation"].unlink()
    with pytest.raises(UserError) as raised, find(run, tmp_path).labelled_text(None, "this looks at"):
        pass
    assert "this looks at the run's validation data, which is not at hand" in raised.value.problem
    assert raised.value.remedy == "name a labelled file with --data FILE"


def test_a_damaged_summary_is_named(train, tmp_path):
    run = train("hyperparameters.num_train_epochs=1")
    summary = json.loads((run / "summary.json").read_text())
    for changes in (
        *({"best": value} for value in ([], 5, {}, {"kind": "validation", "batches": "6"})),
        *({"test": value} for value in ([], "x", {"f1": "0.5"}, {"f1": [1]})),
        *({"model_batches": value} for value in (None, "6")),
    ):
        (run / "summary.json").write_text(json.dumps(summary | changes))
        with pytest.raises(UserError, match="no summary of a run"):
            find(run, tmp_path)
