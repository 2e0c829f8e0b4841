"""Runs that end without the pictures of their report, which take longer than they do: tests/finish looks at them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from determined_ner.report.page import GENERATORS

PAGE = f'<!doctype html>\n<meta name="generator" content="{next(iter(GENERATORS))}">\n'


@pytest.fixture(scope="package", autouse=True)
def no_pictures() -> Iterator[None]:
    """For the tests of a folder whose conftest imports it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("determined_ner.finish.documents.write_page", lambda *facts, **options: PAGE)
        yield
