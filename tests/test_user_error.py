"""A user's mistake: how it is said, sent to other slots, and ends a command."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import socket
import subprocess
import sys

import pytest
import requests

from determined_ner.errors import (
    HyperparameterError,
    TemporaryError,
    UserError,
    exit_status,
    first_line,
    kind_of,
    may_pass,
    why_unwritable,
    write_errors_explained,
)
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (("data.stride", "9 is too much", "write 8"), "data.stride: 9 is too much; write 8"),
        (("data.stride", "9 is too much", ""), "data.stride: 9 is too much"),
        (("", "a slot is gone", "resume"), "a slot is gone; resume"),
        (("--config x", "write KEY=VALUE", ""), "--config x: write KEY=VALUE"),
    ],
)
def test_a_message_has_place_problem_and_remedy(parts, said):
    assert str(UserError(*parts)) == said


def test_several_mistakes_are_one_error_of_the_same_kind():
    errors = [HyperparameterError("a", "1"), HyperparameterError("b", "2", "c")]
    together = HyperparameterError.several(errors)
    assert type(together) is HyperparameterError and together.errors == tuple(errors)
    assert str(together) == "a: 1\nb: 2; c"
    assert UserError.several([errors[0]]).errors == (errors[0],)  # of another kind: not itself
    assert HyperparameterError.several([errors[0]]) is errors[0]


def test_an_error_reaches_other_slots_as_it_is():
    error = HyperparameterError.several([HyperparameterError("a", "1"), HyperparameterError("b", "2", "c")])
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is HyperparameterError and str(again) == str(error)
    assert [e.where for e in again.errors] == ["a", "b"]


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (None, 0, ""),
        (UserError("a", "b", "c"), 2, "error: a: b; c\n"),
        (
            OSError(errno.ENOSPC, "No space left"),
            2,
            "temporary error: [Errno 28] No space left; make room or rights, then go on\n",
        ),
        (
            Exception("No space left on device (os error 28)"),  # of tokenizers
            2,
            "temporary error: [Errno 28] No space left on device; make room or rights, then go on\n",
        ),
        (TemporaryError("a", "b", "c"), 2, "temporary error: a: b; c\n"),
        (
            OSError(errno.EROFS, "Read-only file system"),
            2,
            "error: [Errno 30] Read-only file system; make room or rights, then go on\n",
        ),
        (
            OSError(errno.EMFILE, "Too many open files"),
            2,
            "error: [Errno 24] Too many open files; allow more, as by ulimit -n 1024, then go on\n",
        ),
        (KeyboardInterrupt(), 130, "interrupted; nothing is left\n"),
    ],
)
def test_a_command_ends_with_a_status_and_one_message(raised, status, said, capsys):
    def command() -> None:
        if raised is not None:
            raise raised

    assert exit_status(command, interrupted="nothing is left", unwritable="go on") == status
    assert capsys.readouterr().err == said


def test_what_is_no_mistake_of_the_user_is_not_hidden():
    def command() -> None:
        raise OSError(errno.EIO, "broken")

    with pytest.raises(OSError, match="broken"):
        exit_status(command, interrupted="", unwritable="")


def test_one_message_a_machine(monkeypatch, capsys):
    def command() -> None:
        raise UserError("a", "b", "c")

    monkeypatch.setenv("LOCAL_RANK", "1")
    assert exit_status(command, interrupted="", unwritable="") == 2
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("one.\ntwo"), "one"),
        (ValueError("one:\n  two\nthree"), "one: two"),
        (KeyError("x"), "KeyError: 'x'"),
        (ValueError(), "ValueError"),
        (ValueError("x" * 301), "x" * 300 + "…"),
        (pickle.UnpicklingError("invalid load key, 'v'."), "it is no file of plain tensors"),
        (OSError("Weights only load failed. Set `weights_only` to `False`"), "it is no file of plain tensors"),
    ],
)
def test_the_first_line_of_a_librarys_message(error, said):
    assert first_line(error) == said


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "[Errno 28] No space left on device"),
        (OSError(errno.EFBIG, "File too large"), "[Errno 27] File too large"),
        (OSError(errno.ENOENT, "No such file"), None),
        (shutil.Error([("a", "b", "[Errno 28] No space left on device")]), "[Errno 28] No space left on device"),
        (RuntimeError("[enforce fail at inline_container.cc:603] . "), "the disk is full, or lost ([enforce fail at"),
        (RuntimeError("shapes differ"), None),
        (Exception("No space left on device (os error 28)"), "[Errno 28] No space left on device"),  # of tokenizers
        (ValueError("I/O error: File too large (os error 27)"), "[Errno 27] File too large"),  # of safetensors
        (ValueError("I/O error: Is a directory (os error 21)"), None),
        (UserError("a", "No space left on device"), None),  # it has its message already
    ],
)
def test_what_keeps_a_file_from_being_written(error, reason):
    found = why_unwritable(error)
    assert found is None if reason is None else found is not None and found.startswith(reason)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOENT, "No such file"), "[Errno 2] No such file"),
        (Exception("File too large (os error 27)"), "[Errno 27] File too large"),
    ],
)
def test_what_cannot_be_written_is_named(error, reason):
    with pytest.raises(UserError) as caught, write_errors_explained("out", "make room"):
        raise error
    assert str(caught.value) == f"out: cannot be written: {reason}; make room"


def test_a_mistake_and_a_fault_are_not_taken_for_a_full_disk():
    for error in (UserError("a", "b", "c"), KeyError("x"), OSError(errno.EMFILE, "Too many open files")):
        with pytest.raises(type(error)) as caught, write_errors_explained("out", "make room"):
            raise error
        assert caught.value is error


# -- What the next try may find otherwise ------------------------------------------------------------------------


def answered(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(f"status {status}", response=response)


class OfflineModeIsEnabled(ConnectionError):  # noqa: N818
    """As the hub's library calls it."""


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        *((answered(status), True) for status in (408, 429, 500, 502, 503, 504)),
        *((answered(status), False) for status in (400, 401, 403, 404, 410)),
        (requests.ConnectionError("refused"), True),
        (requests.ReadTimeout("slow"), True),
        (socket.gaierror(-3, "Temporary failure in name resolution"), True),
        (ConnectionResetError(errno.ECONNRESET, "reset"), True),
        (TimeoutError("too slow"), True),
        (OfflineModeIsEnabled("HF_HUB_OFFLINE"), False),
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (RuntimeError("[enforce fail at inline_container.cc:603] . "), True),
        (Exception("No space left on device (os error 28)"), True),
        (Exception("Permission denied (os error 13)"), False),
        *((OSError(number, "no"), False) for number in (errno.EACCES, errno.EROFS, errno.EFBIG, errno.ENOENT)),
        (KeyError("x"), False),
    ],
)
def test_a_full_disk_and_a_silent_network_may_pass_and_nothing_else(error, passes):
    assert may_pass(error) is passes
    try:
        try:
            raise error
        except Exception:
            raise OSError("it could not be loaded") from None  # as libraries wrap what they have caught
    except OSError as wrapped:
        assert may_pass(wrapped) is passes
        assert kind_of(wrapped) is (TemporaryError if passes else UserError)


# -- Standard streams ------------------------------------------------------------------------------------------

COMMAND = """
import sys
from determined_ner.errors import exit_status, standard_output

def command():
    out = standard_output()
    for _ in range({lines}):
        print("line", file=out)

sys.exit(exit_status(command, interrupted="", unwritable="run it again"))
"""


def shell(line: str, script: str) -> subprocess.CompletedProcess[str]:
    """Run a line of the shell in which COMMAND is a Python script."""
    line = line.replace("COMMAND", f"{sys.executable} -c '{script}'")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60, env=environment
    )


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_command_ends_quietly_when_its_reader_has_had_enough(lines):
    done = shell("COMMAND | true; exit ${PIPESTATUS[0]}", COMMAND.format(lines=lines))
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("lines", [1, 100_000])
@pytest.mark.parametrize("unbuffered", ["", "PYTHONUNBUFFERED=1 "])
def test_a_full_standard_output_is_told_in_one_message(lines, unbuffered):
    done = shell(f"{unbuffered}COMMAND > /dev/full", COMMAND.format(lines=lines))
    assert done.returncode == 2 and done.stderr.startswith("temporary error: ") and done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr and "make room" in done.stderr


def test_a_closed_standard_output_is_told_in_one_message():
    done = shell("COMMAND >&-", COMMAND.format(lines=1))
    expected = "error: standard output: is closed; leave it open, or send it elsewhere\n"
    assert (done.returncode, done.stderr) == (2, expected)


def test_a_file_does_not_take_the_number_of_a_closed_stream():
    """What a library prints would be written into it."""
    opened = "os.write(2, str(os.open(os.devnull, os.O_RDONLY)).encode())"
    script = f"import os; from determined_ner.errors import exit_status; exit_status(lambda: {opened}, str(), str())"
    assert int(shell("COMMAND <&- >&-", script).stderr) > 2


def test_a_current_directory_that_is_gone_is_told(tmp_path, capsys, monkeypatch):
    (gone := tmp_path / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert exit_status(lambda: None, interrupted="", unwritable="") == 2
    assert capsys.readouterr().err == "error: the current directory: no longer exists; change to one that does\n"
