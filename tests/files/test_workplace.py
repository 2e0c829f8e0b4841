"""What lies in a directory while a file or directory beside it is written or removed, and who takes it away."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from determined_ner.errors import UserError
from determined_ner.files import workplace as module
from determined_ner.files.atomic import atomic_directory, atomic_file, replacing, replacing_directory, write_text
from determined_ner.files.workplace import exchange, locked, remove_litter, workplace


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def killed_during(action: Callable[[Path], contextlib.AbstractContextManager], target: Path) -> None:
    """Begin it in another process, which is killed in its midst."""

    def run() -> None:
        with action(target) as partial:
            if isinstance(partial, Path) and partial.is_dir():
                (partial / "half").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(
    "action",
    [
        replacing,
        replacing_directory,
        lambda path: atomic_directory(path, lambda _: None),
        lambda path: atomic_file(path, overwrite=True),
    ],
)
def test_what_a_killed_process_left_is_removed_by_the_next_with_this_output(tmp_path, action):
    target = tmp_path / "target"
    killed_during(action, target)
    assert len(names(tmp_path)) == 1
    write_text(tmp_path / "another", "x")
    assert len(names(tmp_path)) == 2, "that of another output was removed"
    with action(target) as written:
        if isinstance(written, Path) and not written.is_dir():
            written.touch()
    assert names(tmp_path) == {"another", "target"}


def test_what_a_killed_process_left_is_removed_where_the_output_is_complete(tmp_path):
    """It may be killed after the output has its name; the next one with this output is refused, and tidies."""

    def check(path: Path) -> None:
        if path.exists():
            raise UserError(path, "exists")

    for action in (lambda path: atomic_directory(path, check), lambda path: atomic_file(path, overwrite=False)):
        (tmp_path / "target").touch()
        (tmp_path / ".target.partial-abcd1234").mkdir()
        with pytest.raises(UserError, match="exists"):
            action(tmp_path / "target").__enter__()
        assert names(tmp_path) == {"target"}


def test_what_a_live_process_needs_is_left_alone(tmp_path):
    with replacing_directory(tmp_path / "target") as theirs:
        (theirs / "theirs").touch()
        with replacing_directory(tmp_path / "target") as ours:
            (ours / "ours").touch()
        assert remove_litter(tmp_path)
        assert names(theirs) == {"theirs"} and names(tmp_path / "target") == {"ours"}
    assert names(tmp_path / "target") == {"theirs"} and names(tmp_path) == {"target"}
    assert not remove_litter(tmp_path)


def test_a_process_that_was_killed_before_it_held_the_lock_is_tidied_after(tmp_path):
    (tmp_path / ".target.partial-abcd1234").mkdir()
    write_text(tmp_path / "target", "x")
    assert names(tmp_path) == {"target"}


def test_a_workplace_that_is_taken_for_litter_is_made_again(tmp_path, monkeypatch):
    """Another process may look between the making of the directory and that of its lock."""
    make, made = module.tempfile.mkdtemp, []

    def make_and_lose(**options) -> str:
        made.append(make(**options))
        if len(made) == 1:
            remove_litter(tmp_path)
        return made[-1]

    monkeypatch.setattr(module.tempfile, "mkdtemp", make_and_lose)
    write_text(tmp_path / "target", "x")
    assert len(made) == 2 and names(tmp_path) == {"target"}


def test_the_usual_rights_do_not_open_a_workplace_to_others(tmp_path):
    before = os.umask(0)
    try:
        with workplace(tmp_path / "target") as place:
            assert place.stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "directory link"])
def test_what_is_planted_is_neither_followed_nor_waited_for(tmp_path, kind):
    """At every hidden name that earlier versions, or anybody's guess, would write to."""
    (victim := tmp_path / "victim").write_text("precious")
    (precious := tmp_path / "precious").mkdir()
    (precious / "file").write_text("precious")
    (work := tmp_path / "work").mkdir()
    planted = [
        work / name for name in (".out.partial", f".out.{os.getpid()}.partial", ".out.partial-abcd1234", ".lock")
    ]
    for path in planted:
        if kind == "link":
            path.symlink_to(victim)
        elif kind == "hard link":
            path.hardlink_to(victim)
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to(precious)
    write_text(work / "out", "x")
    with atomic_file(work / "out", overwrite=True) as file:
        file.write("y")
    (work / "out").unlink()
    with atomic_directory(work / "out", lambda _: None) as partial:
        (partial / "a").touch()
    with contextlib.suppress(OSError), locked(work / ".lock"):
        pass
    assert victim.read_text() == "precious" and (precious / "file").read_text() == "precious"
    assert names(precious) == {"file"} and names(work) == {"out", *(path.name for path in planted)}


def test_a_file_of_another_user_is_not_taken_for_litter(tmp_path, monkeypatch):
    (left := tmp_path / ".target.partial-abcd1234").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: left.stat().st_uid + 1)
    remove_litter(tmp_path)
    assert left.exists()


# -- Exchange --------------------------------------------------------------------------------------------------


def test_two_directories_exchange_their_names_at_one_stroke(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not exchange(tmp_path / "one", tmp_path / "two"):
        pytest.skip("the file system of the temporary directory cannot do it")
    assert names(tmp_path / "one") == {"two"} and names(tmp_path / "two") == {"one"}
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "one", tmp_path / "three")


def test_a_process_that_was_killed_between_two_renames_loses_nothing(tmp_path, monkeypatch):
    """Where the file system cannot exchange names, the next command puts the old directory back."""
    monkeypatch.setattr("determined_ner.files.atomic.exchange", lambda *_: False)
    target = tmp_path / "target"
    with replacing_directory(target) as partial:
        (partial / "old").touch()
    rename = Path.rename

    def kill_after(path: Path, to: Path) -> Path:
        rename(path, to)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    def replace() -> None:
        monkeypatch.setattr(Path, "rename", kill_after)
        with replacing_directory(target) as partial:
            (partial / "new").touch()

    process = multiprocessing.get_context("fork").Process(target=replace)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL and not target.exists()
    checked = []
    with pytest.raises(UserError), atomic_directory(target, lambda path: checked.append(names(path))):
        raise UserError("no new one today")
    assert checked == [{"old"}] and names(target) == {"old"} and names(tmp_path) == {"target"}


# -- Locks -----------------------------------------------------------------------------------------------------


def test_a_lock_is_held_by_one_at_a_time(tmp_path):
    order: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        waiting.set()
        with locked(tmp_path / "lock"):
            order.append("second")

    with locked(tmp_path / "lock"):
        with pytest.raises(BlockingIOError):
            locked(tmp_path / "lock", wait=False).__enter__()
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(10)
        thread.join(0.2)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_a_lock_file_that_its_holder_removes_is_made_again(tmp_path):
    """Who waited would else hold a file that nobody else will ever find."""
    lock, held = tmp_path / "lock", threading.Event()

    def second() -> None:
        with locked(lock):
            assert lock.exists()
            held.set()

    with locked(lock):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        lock.unlink()
    assert held.wait(10)
    thread.join(10)


def test_a_lock_file_keeps_its_content(tmp_path):
    """It may be a hard link to a file of the user's."""
    (tmp_path / "lock").write_text("precious")
    with locked(tmp_path / "lock"):
        pass
    assert (tmp_path / "lock").read_text() == "precious"


def test_a_file_system_without_locks_is_used_with_a_warning(tmp_path, monkeypatch, caplog):
    def refuse(*_) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(module.fcntl, "flock", refuse)
    write_text(tmp_path / "target", "x")
    (tmp_path / ".target.partial-abcd1234").mkdir()
    write_text(tmp_path / "target", "y")
    assert (tmp_path / "target").read_text() == "y"
    assert names(tmp_path) == {"target", ".target.partial-abcd1234"}, "whose it is cannot be told"
    with locked(tmp_path / "lock"):
        assert "has no locks" in caplog.text
