"""A model that has learnt its corpus, and the command in this process, for all tests of the room."""

from __future__ import annotations

from pathlib import Path

import pytest

from determined_ner import cli
from tests.conftest import make_sentences, write_config, write_conll


@pytest.fixture(scope="package")
def model_dir(tmp_path_factory, tiny_encoder) -> Path:
    import ner_trial

    folder = tmp_path_factory.mktemp("run")
    corpus = {
        "train": write_conll(folder / "train.conll", make_sentences(60)),
        "validation": write_conll(folder / "validation.conll", make_sentences(13, 100)),
    }
    config = write_config(folder / "c.json", tiny_encoder, corpus, num_train_epochs=8, learning_rate=0.02)
    assert ner_trial.main([str(config), "--output-dir", str(folder / "run")]) == 0
    return folder / "run" / "model"


@pytest.fixture
def tag(model_dir, tmp_path, capsys):
    """Write the input to a file, run the command in this process; exit status, output and messages."""

    def run(content: str | bytes, *options: object, name: str = "input.txt") -> tuple[int, str, str]:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        status = cli.main(["predict", str(model_dir), str(path), *map(str, options)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run
