"""A run that learnt some of its corpus, which the tests of reports share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from determined_ner.report.tagged_text import TaggedText
from determined_ner.report.text import LabelledText, read_labelled, tag_text
from determined_ner.training.trained import Trained, find_trained
from tests.conftest import make_sentences
from tests.report.runs import train


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with mistakes of several kinds on its validation data."""
    odd = [[("Oslo", "B-PER"), ("Ada", "B-LOC"), ("Bo", "B-LOC")], [("Rome", "O"), ("Cy", "B-PER")]] * 3
    validation = make_sentences(30, 100) + odd
    folder = tmp_path_factory.mktemp("report")
    return train(folder, make_sentences(60), validation, learning_rate=1e-2, num_train_epochs=4)


@dataclass(frozen=True)
class Tagged:
    """The run's model, its validation data, and what the model makes of them."""

    trained: Trained
    text: LabelledText
    tagged: TaggedText


@pytest.fixture(scope="session")
def tagged(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Tagged:
    trained = find_trained(str(run), tmp_path_factory.mktemp("downloads"))
    text = read_labelled(trained, None)
    return Tagged(trained, text, tag_text(trained, "it", text, trained.directory.labels)[0])
