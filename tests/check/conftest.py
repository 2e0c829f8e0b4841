"""The report on corpora with planted faults, for all tests of the room."""

from __future__ import annotations

import pytest

from determined_ner.check.command import check
from tests.check.planted import PLANTED_IN_TRAIN, PLANTED_IN_VALIDATION, line_of, ordinary
from tests.conftest import write_config, write_conll


@pytest.fixture(scope="package")
def planted(tmp_path_factory, tiny_encoder):
    """A config of the planted corpora; a function that gives the place of a planted sentence; the report."""
    folder = tmp_path_factory.mktemp("planted")
    parts = {
        "train": ordinary(20) + PLANTED_IN_TRAIN,
        "validation": [[("Eli", "B-PER"), (f"m{i}", "O"), ("Lima", "B-LOC")] for i in range(9)] + PLANTED_IN_VALIDATION,
    }
    files = {name: write_conll(folder / f"{name}.conll", sentences) for name, sentences in parts.items()}
    config = write_config(folder / "experiment.yaml", tiny_encoder, files)

    def place(split: str, index: int) -> str:
        before = len(parts[split]) - len(PLANTED_IN_TRAIN if split == "train" else PLANTED_IN_VALIDATION)
        return f"{files[split]}:{line_of(parts[split], before + index)}"

    return config, place, check(config, [], timing=False)
