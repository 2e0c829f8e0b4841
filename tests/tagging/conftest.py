"""A run that has learnt a little, for all tests of the tagger."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import make_sentences, write_config, write_conll


@pytest.fixture(scope="package")
def run(tmp_path_factory, tiny_encoder) -> Path:
    """A run that has learnt a little, with texts longer than a window in its validation data."""
    import ner_trial

    folder = tmp_path_factory.mktemp("run")
    long = [word for sentence in make_sentences(8, 300) for word in sentence]
    corpus = {
        "train": write_conll(folder / "train.conll", make_sentences(60)),
        "validation": write_conll(folder / "validation.conll", [*make_sentences(13, 100), long]),
    }
    config = write_config(folder / "c.json", tiny_encoder, corpus, num_train_epochs=4, learning_rate=0.01)
    assert ner_trial.main([str(config), "--output-dir", str(folder / "run"), "--config", "data.max_seq_length=32"]) == 0
    return folder / "run"


@pytest.fixture(scope="package")
def model_dir(run) -> Path:
    return run / "model"
