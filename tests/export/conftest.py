"""A run that has learnt its corpus, for all tests of the room."""

from __future__ import annotations

import pytest

from tests.conftest import make_encoder, make_sentences, write_config, write_conll


@pytest.fixture(scope="package")
def run(tmp_path_factory):
    """A run that has learnt its corpus."""
    import ner_trial

    folder = tmp_path_factory.mktemp("export")
    corpus = {
        "train": write_conll(folder / "train.conll", make_sentences(60)),
        "validation": write_conll(folder / "validation.conll", make_sentences(30, 100)),
        "test": write_conll(folder / "test.conll", make_sentences(7, 200)),
    }
    (encoder := folder / "encoder").mkdir()
    config = write_config(folder / "experiment.yaml", make_encoder(encoder), corpus, learning_rate=2e-2)
    options = ["--config", "hyperparameters.num_train_epochs=6"]
    assert ner_trial.main([str(config), "--output-dir", str(folder / "run"), *options]) == 0
    return folder / "run"
