"""Files and directories that are complete or not there, whatever ends their writing."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from determined_ner.errors import UserError
from determined_ner.files.atomic import (
    atomic_directory,
    atomic_file,
    check_name,
    made_directories,
    read_json,
    remove_directory,
    replacing,
    replacing_directory,
    write_json,
    write_text,
)


class Stop(BaseException):
    """Ends what is going on, as Ctrl-C does."""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# -- Files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [None, "old"])
def test_a_file_takes_its_name_when_it_is_complete(tmp_path, before):
    file = tmp_path / "a.txt"
    if before:
        file.write_text(before)
    with replacing(file) as partial:
        partial.write_text("new")
        assert file.exists() == bool(before)
    assert file.read_text() == "new" and names(tmp_path) == {"a.txt"}


@pytest.mark.parametrize("error", [Stop, OSError])
def test_a_file_stays_where_its_writing_ends_early(tmp_path, error):
    file = tmp_path / "a.txt"
    write_text(file, "old")
    with pytest.raises(error), replacing(file) as partial:
        partial.write_text("ne")
        raise error
    assert file.read_text() == "old" and names(tmp_path) == {"a.txt"}


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
        if to == target and path.name == "new":
            raise OSError(errno.EIO, "the disk is lost")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", fails)
    monkeypatch.setattr("determined_ner.files.atomic.exchange", lambda *_: False)
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


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_directory_takes_the_place_of_another_on_any_file_system(tmp_path, monkeypatch, can_exchange):
    if not can_exchange:
        monkeypatch.setattr("determined_ner.files.atomic.exchange", lambda *_: False)
    target = tmp_path / "target"
    for name in ("one", "two"):
        with replacing_directory(target) as partial:
            (partial / name).touch()
    assert names(target) == {"two"} and names(tmp_path) == {"target"}


def test_a_directory_is_removed_by_its_name_first(tmp_path, monkeypatch):
    """A reader, or who goes on after a kill, never finds half of it."""
    (target := tmp_path / "target").mkdir()
    (target / "a").touch()
    removed: list[bool] = []
    unlink = os.unlink
    monkeypatch.setattr(
        os, "unlink", lambda *args, **kwargs: (removed.append(target.exists()), unlink(*args, **kwargs))
    )
    remove_directory(target)
    assert removed and not any(removed) and names(tmp_path) == set()


def test_directories_that_were_made_for_nothing_go_again(tmp_path):
    with pytest.raises(Stop), made_directories(tmp_path / "a" / "b"):
        raise Stop
    assert names(tmp_path) == set()
    with made_directories(tmp_path / "a" / "b"):
        pass
    with pytest.raises(Stop), made_directories(tmp_path / "a" / "b" / "c"):
        (tmp_path / "a" / "b" / "c" / "theirs").touch()
        raise Stop
    assert names(tmp_path / "a" / "b" / "c") == {"theirs"}
    with pytest.raises(FileExistsError):
        made_directories(tmp_path / "a" / "b", exclusive=True).__enter__()


# -- Names and rights ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("x" * 256, "has 256 bytes, more than 255"),
        ("ö" * 128, "has 256 bytes, more than 255"),
        ("/".join(["x" * 200] * 21), "bytes, more than 4095"),
        ("a\0b", r"the name 'a\x00b' contains a NUL character"),
        (os.fsdecode(b"bad\xff"), r"the name 'bad\udcff' is not UTF-8"),
        ("\ud800", r"the name '\ud800' is not UTF-8"),
    ],
)
def test_a_name_that_no_file_can_have_is_refused(name, problem):
    with pytest.raises(UserError) as caught:
        check_name(Path(name), "--output")
    assert problem in str(caught.value) and str(caught.value).startswith("--output: ")
    str(caught.value).encode()


@pytest.mark.parametrize("length", [1, 237, 238, 255])
def test_a_name_of_any_length_can_be_written(tmp_path, length):
    target = tmp_path / ("x" * length)
    for _ in range(2):
        with replacing_directory(target) as partial:
            (partial / "a").touch()
    assert names(target) == {"a"} and names(tmp_path) == {target.name}


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
@pytest.mark.parametrize("make", [replacing_directory, lambda target: atomic_directory(target, lambda _: None)])
def test_what_is_shipped_can_be_read_by_whom_the_umask_lets(tmp_path, make, umask):
    """safetensors writes files that only their owner may read."""
    before = os.umask(umask)
    try:
        with make(tmp_path / "out") as partial:
            (partial / "code").mkdir(mode=0o755)
            for file in (partial / "weights", partial / "code" / "a.py"):
                file.write_text("x")
                file.chmod(0o600)
        write_text(tmp_path / "file", "x")
    finally:
        os.umask(before)
    rights = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    directory, file = 0o777 & ~umask, 0o666 & ~umask
    assert rights == {"out": directory, "code": directory, "weights": file, "a.py": file, "file": file}
