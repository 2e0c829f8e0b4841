"""Files and directories that are complete or not there, whatever ends their writing."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path

import pytest

from determined_ner.errors import UserError
from determined_ner.files.atomic import (
    atomic_directory,
    atomic_file,
    locked,
    read_json,
    replacing,
    replacing_directory,
    why_unwritable,
    write_json,
    write_text,
)


class Stop(BaseException):
    """Ends what is going on, as Ctrl-C does."""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# -- Files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("before", [None, "old"])
def test_a_file_takes_its_name_when_it_is_complete(tmp_path, before, alone):
    file = tmp_path / "a.txt"
    if before:
        file.write_text(before)
    with replacing(file, alone) as partial:
        partial.write_text("new")
        assert file.exists() == bool(before) and partial.parent == tmp_path
    assert file.read_text() == "new" and names(tmp_path) == {"a.txt"}


@pytest.mark.parametrize("error", [Stop, OSError])
def test_a_file_stays_where_its_writing_ends_early(tmp_path, error):
    file = tmp_path / "a.txt"
    write_text(file, "old")
    with pytest.raises(error), replacing(file) as partial:
        partial.write_text("ne")
        raise error
    assert file.read_text() == "old" and names(tmp_path) == {"a.txt"}


def test_what_a_killed_process_left_is_overwritten_by_one_that_is_alone(tmp_path):
    (tmp_path / ".a.txt.partial").write_text("half")
    with replacing(tmp_path / "a.txt", alone=True) as partial, partial.open("w") as file:
        file.write("new")
    assert (tmp_path / "a.txt").read_text() == "new" and names(tmp_path) == {"a.txt"}


def test_json_is_read_as_it_was_written(tmp_path):
    file = tmp_path / "a.json"
    write_json(file, {"b": "São", "a": Path("x")}, default=str)
    assert file.read_text(encoding="utf-8") == '{\n "b": "São",\n "a": "x"\n}\n'
    assert read_json(file) == {"b": "São", "a": "x"}
    with pytest.raises(TypeError):
        write_json(file, {"a": Path("x")})
    assert read_json(file) == {"b": "São", "a": "x"}
    assert read_json(tmp_path / "none.json") is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"{", "not readable (Expecting"), (b"[]", "not a JSON object"), (b"\xff", "not readable ('utf-8' codec")],
)
def test_damaged_json_is_refused(tmp_path, content, problem):
    file = tmp_path / "a.json"
    file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_json(file, "the checkpoint")
    assert caught.value.where == str(file) and caught.value.problem.startswith(problem)
    assert caught.value.remedy == "copy the checkpoint again"


# -- The output file of a command ------------------------------------------------------------------------------


def test_an_output_file_takes_its_name_when_it_is_complete(tmp_path):
    output = tmp_path / "out.jsonl"
    with atomic_file(output, overwrite=False) as file:
        file.write("a\n")
        assert not output.exists()
    assert output.read_bytes() == b"a\n"
    with pytest.raises(UserError, match="exists; name another file, or replace it with --overwrite"):
        atomic_file(output, overwrite=False).__enter__()
    with atomic_file(output, overwrite=True) as file:
        file.write("b\n")
    assert output.read_bytes() == b"b\n" and names(tmp_path) == {"out.jsonl"}


def test_an_output_file_stays_where_its_writing_ends_early(tmp_path):
    output = tmp_path / "out.jsonl"
    output.write_text("old")
    with pytest.raises(Stop), atomic_file(output, overwrite=True) as file:
        file.write("ne")
        raise Stop
    assert output.read_text() == "old" and names(tmp_path) == {"out.jsonl"}


def test_an_output_file_has_one_writer_at_a_time(tmp_path):
    output = tmp_path / "out.jsonl"
    with atomic_file(output, overwrite=False) as file:
        file.write("first")
        with pytest.raises(UserError, match="another process is writing it"):
            atomic_file(output, overwrite=False).__enter__()
    assert output.read_text() == "first"


def test_an_output_file_that_appears_meanwhile_is_kept(tmp_path):
    output = tmp_path / "out.jsonl"
    with pytest.raises(UserError, match="exists"), atomic_file(output, overwrite=False) as file:
        file.write("ours")
        output.write_text("theirs")
    assert output.read_text() == "theirs" and names(tmp_path) == {"out.jsonl"}


def test_where_no_output_file_can_be_is_said(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, problem in [
        (tmp_path, "is a directory; name a file in it"),
        (tmp_path / "pipe", "is a pipe or a device"),
        (tmp_path / "none" / "out.jsonl", f"there is no directory {tmp_path / 'none'}"),
    ]:
        with pytest.raises(UserError) as caught:
            atomic_file(path, overwrite=True).__enter__()
        assert str(caught.value).startswith(f"{path}: {problem}")


# -- Directories -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [None, "old"])
def test_a_directory_takes_its_name_when_it_is_complete(tmp_path, before):
    target = tmp_path / "target"
    if before:
        target.mkdir()
        (target / before).touch()
    for left in (".target.partial", ".target.replaced"):  # by a process that was killed
        (tmp_path / left).mkdir()
        (tmp_path / left / "half").touch()
    with replacing_directory(target) as partial:
        assert names(partial) == set() and target.exists() == bool(before)
        (partial / "new").touch()
    assert names(target) == {"new"} and names(tmp_path) == {"target"}


def test_a_directory_stays_where_its_filling_ends_early(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(Stop), replacing_directory(target) as partial:
        (partial / "new").touch()
        raise Stop
    assert names(target) == {"old"} and names(tmp_path) == {"target"}


@pytest.mark.parametrize("replacing_one", [replacing_directory, lambda path: atomic_directory(path, lambda _: None)])
def test_a_directory_stays_where_the_new_one_cannot_take_its_name(tmp_path, monkeypatch, replacing_one):
    target = tmp_path / "target"
    target.mkdir()
    (target / "old").touch()
    rename = Path.rename

    def fails(path: Path, to: Path) -> Path:
        if to == target and "partial" in path.name:
            raise OSError(errno.EIO, "the disk is lost")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises((OSError, UserError), match="the disk is lost"), replacing_one(target) as partial:
        (partial / "new").touch()
    assert names(target) == {"old"} and names(tmp_path) == {"target"}


def test_an_output_directory_takes_its_name_when_it_is_complete(tmp_path):
    output = tmp_path / "deep" / "out"
    checked: list[bool] = []
    for name in ("one", "two"):
        with atomic_directory(output, lambda path: checked.append(path.exists())) as partial:
            (partial / name).touch()
    assert names(output) == {"two"} and names(tmp_path / "deep") == {"out"}
    assert output.stat().st_mode & 0o777 == 0o755
    assert checked == [False, False, True, True]  # before and after each


def test_an_output_directory_that_must_stay_stays(tmp_path):
    output = tmp_path / "out"

    def check(path: Path) -> None:
        if path.exists():
            raise UserError(path, "exists", "name another")

    with pytest.raises(UserError, match="exists; name another"), atomic_directory(output, check) as partial:
        (partial / "ours").touch()
        output.mkdir()  # by another process
        (output / "theirs").touch()
    assert names(output) == {"theirs"} and names(tmp_path) == {"out"}


def test_an_error_of_the_system_names_the_output_directory(tmp_path):
    output = tmp_path / "out"
    with pytest.raises(UserError) as caught, atomic_directory(output, lambda _: None):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(caught.value) == (
        f"--output {output}: cannot be written: [Errno 28] No space left on device; make room or rights"
    )
    with pytest.raises(KeyError), atomic_directory(output, lambda _: None):
        raise KeyError
    assert names(tmp_path) == set()


# -- Locks and errors ------------------------------------------------------------------------------------------


def test_a_lock_is_held_by_one_at_a_time(tmp_path):
    order: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        waiting.set()
        with locked(tmp_path / "lock"):
            order.append("second")

    with locked(tmp_path / "lock"):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(10)
        thread.join(0.2)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "[Errno 28] No space left on device"),
        (OSError(errno.ENOENT, "No such file"), None),
        (shutil.Error([("a", "b", "[Errno 28] No space left on device")]), "[Errno 28] No space left on device"),
        (RuntimeError("[enforce fail at inline_container.cc:603] . "), "the disk is full, or lost ([enforce fail at"),
        (RuntimeError("shapes differ"), None),
    ],
)
def test_what_keeps_a_file_from_being_written(error, reason):
    found = why_unwritable(error)
    assert found is None if reason is None else found is not None and found.startswith(reason)


@pytest.mark.parametrize("make", [replacing_directory, lambda target: atomic_directory(target, lambda _: None)])
def test_what_is_shipped_can_be_read_by_others(tmp_path, make):
    """safetensors writes files that only their owner may read."""
    before = os.umask(0o022)
    try:
        with make(tmp_path / "out") as partial:
            (partial / "weights").write_text("x")
            (partial / "weights").chmod(0o600)
    finally:
        os.umask(before)
    assert (tmp_path / "out" / "weights").stat().st_mode & 0o777 == 0o644
