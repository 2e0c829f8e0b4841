"""A teacher, and what its students are trained with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from determined_ner.data.pretrained_tokenizer import load_tokenizer
from determined_ner.hub import Pretrained
from determined_ner.model.directory import ModelDirectory
from determined_ner.model.torch_model import load_model
from determined_ner.training.setup import Training
from tests.conftest import (
    make_encoder,
    make_sentences,
    write_config,
    write_conll,
)
from tests.forked import train
from tests.no_pictures import no_pictures

__all__ = ["no_pictures"]

SPLITS = {"train": (44, 0), "validation": (13, 100), "test": (7, 200)}
"""Those of the fixture ``corpus``."""


def run(config: Path, folder: Path, *overrides: str, processes: int = 1, resume: bool = False) -> str:
    return train(config, folder, "scheduling_unit=2", *overrides, processes=processes, resume=resume)


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of three layers, without dropout."""
    return make_encoder(tmp_path_factory.mktemp("encoder"), dropout=0.0, layers=3)


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> Path:
    """A run's folder."""
    folder = tmp_path_factory.mktemp("teacher")
    corpus = {name: write_conll(folder / f"{name}.conll", make_sentences(*split)) for name, split in SPLITS.items()}
    run(write_config(folder / "c.yaml", encoder, corpus, learning_rate=1e-2), folder / "run")
    return folder / "run"


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory, teacher: Path) -> Path:
    """The same model as another trainer leaves one: its labels the other way round, and nothing but what it needs."""
    folder = tmp_path_factory.mktemp("other")
    directory = ModelDirectory(teacher / "model")
    model = load_model(directory)
    for parameter in model.classifier.parameters():
        parameter.data = parameter.data.flip(0)
    model.config.id2label = dict(enumerate(reversed(directory.labels)))
    model.config.label2id = {name: i for i, name in model.config.id2label.items()}
    model.save_pretrained(folder)
    load_tokenizer(Pretrained(str(directory.path), None)).pretrained.save_pretrained(folder)
    return folder


@pytest.fixture
def config(tmp_path: Path, encoder: Path, corpus: dict[str, Path]) -> Path:
    return write_config(tmp_path / "c.yaml", encoder, corpus)


def asked(**settings: Any) -> list[str]:
    return [f"hyperparameters.{name}={value}" for name, value in settings.items()]


def taught(training: Training) -> Any:
    training.ask_teachers()
    return training.taught


def words_of(file: Path) -> list[list[str]]:
    return [[line.split("\t")[0] for line in part.splitlines()] for part in file.read_text().strip().split("\n\n")]


def log_probabilities(logits: Any) -> Any:
    return torch.from_numpy(logits).log_softmax(-1).numpy()


@pytest.fixture
def more(tmp_path: Path) -> Path:
    """A text without labels."""
    lines = [" ".join(word for word, _ in row) for row in make_sentences(21, 300)]
    (tmp_path / "more.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "more.txt"
