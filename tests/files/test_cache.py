"""Directories that are built once, however many ask for them at once."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from determined_ner.errors import UserError
from determined_ner.files.cache import build_once, hash_file


def test_overwriting_leaves_what_others_have_mapped_and_what_stands_if_it_fails(tmp_path):
    def build(text: str):
        return lambda directory: (directory / "a").write_text(text)

    def fail(directory: Path) -> None:
        raise UserError("broken")

    folder = build_once(tmp_path, "x", build("one"))
    mapped = np.memmap(folder / "a", mode="r")
    assert (build_once(tmp_path, "x", build("two")) / "a").read_text() == "one"
    assert (build_once(tmp_path, "x", build("two"), overwrite=True) / "a").read_text() == "two"
    assert bytes(mapped) == b"one"
    with pytest.raises(UserError, match="broken"):
        build_once(tmp_path, "x", fail, overwrite=True)
    assert (folder / "a").read_text() == "two"
    assert {path.name for path in tmp_path.iterdir()} == {"x", ".x.lock"}


def test_a_file_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=r"a\.conll: cannot be read \(Permission denied\).*rights"):
        hash_file(tmp_path / "a.conll")


def _build(root: Path, start: object, counter: Path) -> None:
    def build(directory: Path) -> None:
        with counter.open("a") as file:
            file.write("built\n")
        (directory / "a").write_text("done")

    start.wait()  # type: ignore[attr-defined]
    assert (build_once(root, "x", build) / "a").read_text() == "done"


def test_processes_that_start_at_once_build_once(tmp_path):
    context = multiprocessing.get_context("fork")
    start = context.Barrier(4)
    processes = [context.Process(target=_build, args=(tmp_path / "cache", start, tmp_path / "count")) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [p.exitcode for p in processes] == [0] * 4
    assert (tmp_path / "count").read_text() == "built\n"
