"""A tiny tokenizer, and a corpus read with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from determined_ner.data.corpus import Corpus, load_corpus
from determined_ner.data.pretrained_tokenizer import load_tokenizer
from determined_ner.data.tokenizer import WordTokenizer
from determined_ner.hub import Pretrained
from determined_ner.settings.data import DataSettings


@pytest.fixture(scope="session")
def tokenizer(tiny_encoder: Path) -> WordTokenizer:
    return load_tokenizer(Pretrained(str(tiny_encoder)))


@pytest.fixture
def load(tokenizer: WordTokenizer, tmp_path: Path) -> Callable[..., Corpus]:
    """Load the corpus that settings name, with a cache of this test's own."""

    def run(
        max_seq_length: int = 64, cache: str = "cache", task: str = "ner", overwrite: bool = False, **settings: Any
    ) -> Corpus:
        return load_corpus(DataSettings(**settings), task, tokenizer, max_seq_length, tmp_path / cache, overwrite)

    return run
