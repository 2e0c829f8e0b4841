"""Labelled text as people really have it, in the folder of shared cases: read right, or refused with a remedy."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from determined_ner.data.corpus import Corpus
from determined_ner.errors import UserError
from determined_ner.tags.entities import TagTable, entity_spans
from determined_ner.tags.schemes import Scheme
from tests.conftest import SHARED_DATA
from tests.data.readers.expected_cases import CASES, Case, Counts

SHARED_CASES = SHARED_DATA.parent / "cases"

here = pytest.mark.skipif(not SHARED_CASES.is_dir(), reason=f"the shared cases are not on this machine: {SHARED_CASES}")


@here
def test_the_table_has_every_folder() -> None:
    folders = {path.name for path in SHARED_CASES.iterdir() if path.is_dir()}
    assert folders == {case.folder for case in CASES}


@here
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in CASES])
def test_case(case: Case, load: Callable[..., Corpus]) -> None:
    settings = {**_files(case), **case.settings}
    if isinstance(case.right, str):
        with pytest.raises(UserError) as caught:
            _refuse_plain(load(**settings))
        assert re.search(case.right, str(caught.value)), caught.value
        assert "\n" not in str(caught.value)
    else:
        corpus = load(**settings)
        assert [_counts(corpus, name) for name in ("train", "validation")] == list(case.right)


def _refuse_plain(corpus: Corpus) -> None:
    """What a training that is scored by F1 refuses."""
    if corpus.labels.scheme is Scheme.PLAIN:
        raise UserError("searcher.metric", *corpus.texts["train"].why_plain())


def _files(case: Case) -> dict[str, str]:
    folder = SHARED_CASES / case.folder
    if (folder / "data").is_dir():
        return {"dataset_name": str(folder / "data")}
    files = {"train_file": case.train, "validation_file": case.validation}
    return {key: str(_only(folder, name)) for key, name in files.items() if name != "-"}


def _only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


def _counts(corpus: Corpus, name: str) -> Counts:
    split, labels = corpus.splits[name], corpus.labels
    tags, sentences = np.asarray(split.tags), np.asarray(split.sentences)
    if labels.scheme is Scheme.PLAIN:
        found = dict(zip(labels.names, np.bincount(tags, minlength=len(labels.names)).tolist(), strict=True))
    else:
        table = TagTable(labels.names)
        kinds = entity_spans(tags, sentences, table).type_id
        found = dict(zip(table.types, np.bincount(kinds, minlength=len(table.types)).tolist(), strict=True))
    return Counts(len(sentences) - 1, len(tags), found)
