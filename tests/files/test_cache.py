"""Directories that are built once, however many ask for them at once."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from determined_ner.errors import UserError
from determined_ner.files import cache
from determined_ner.files.cache import ENTRY_FILE, build_once, hash_file
from tests.damage import flip_a_bit, in_its_place


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


def test_what_a_killed_process_left_is_removed_where_the_entry_is_complete(tmp_path):
    """It may be killed after the entry has its name."""
    build_once(tmp_path, "x", lambda directory: (directory / "a").touch())
    (tmp_path / ".x.partial-abcd1234").mkdir()
    build_once(tmp_path, "x", lambda directory: (directory / "b").touch())
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


# -- Damaged entries -------------------------------------------------------------------------------------------

CONTENT = bytes(range(256)) * 40


def _fill(directory: Path) -> None:
    (directory / "code").mkdir()
    for name in ("ids.bin", "code/a.py"):
        (directory / name).write_bytes(CONTENT)
    (directory / "empty").touch()


def _link_to_the_same(file: Path) -> None:
    other = file.parents[3] / "planted"
    file.rename(other)
    file.symlink_to(other)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "one bit": flip_a_bit,
    "cut": lambda file: os.truncate(file, file.stat().st_size - 8),
    "longer": lambda file: file.write_bytes(file.read_bytes() + bytes(8)),
    "empty": lambda file: os.truncate(file, 0),
    "huge": lambda file: os.truncate(file, 1 << 40),
    "no JSON": lambda file: file.write_bytes(b"[" * 100_000),
    "null": lambda file: file.write_bytes(b'{"ids.bin": null}'),
    "missing": Path.unlink,
    "directory": in_its_place(Path.mkdir),
    "pipe": in_its_place(os.mkfifo),
    "link to nothing": in_its_place(lambda file: file.symlink_to("nowhere")),
    "link to the same": _link_to_the_same,
    "one more file": lambda file: file.with_name("more").touch(),
    "one more link": lambda file: file.with_name("more").symlink_to("/"),
}


@pytest.mark.parametrize("name", ["ids.bin", "code/a.py", ENTRY_FILE])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_entry_is_built_again_and_one_line_says_so(tmp_path, caplog, damage, name):
    root = tmp_path / "caches" / "cache"
    folder = build_once(root, "x", _fill)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    damage(folder / name)
    with caplog.at_level(logging.WARNING):
        assert build_once(root, "x", _fill) == folder
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    (record,) = caplog.records
    assert str(folder) in record.getMessage() and "built again" in record.getMessage()
    caplog.clear()
    build_once(root, "x", lambda _: pytest.fail("built a third time"))
    assert not caplog.records


@pytest.mark.parametrize("planted", ["link", "dangling link", "file", "pipe"])
def test_what_is_planted_in_the_place_of_an_entry_is_neither_followed_nor_used(tmp_path, planted):
    elsewhere = build_once(tmp_path / "elsewhere", "x", _fill)
    target = tmp_path / "cache" / "x"
    target.parent.mkdir()
    if planted == "pipe":
        os.mkfifo(target)
    elif planted == "file":
        target.touch()
    else:
        target.symlink_to(elsewhere if planted == "link" else "nowhere")
    assert build_once(tmp_path / "cache", "x", _fill) == target
    assert target.is_dir() and not target.is_symlink()
    assert {path.name for path in elsewhere.iterdir()} == {"ids.bin", "code", "empty", ENTRY_FILE}
    assert {path.name for path in target.parent.iterdir()} == {"x", ".x.lock"}


def test_a_complete_entry_is_used_without_a_right_to_write(tmp_path, monkeypatch):
    folder = build_once(tmp_path, "x", _fill)
    (tmp_path / ".x.lock").unlink(missing_ok=True)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cache, "locked", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    assert build_once(tmp_path, "x", refuse) == folder
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    flip_a_bit(folder / "ids.bin")
    with pytest.raises(UserError, match=r"cannot be written: .*Permission denied.*data\.cache_dir"):
        build_once(tmp_path, "x", refuse)
