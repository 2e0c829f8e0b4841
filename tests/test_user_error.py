"""A user's mistake: how it is said, sent to other slots, and ends a command."""

from __future__ import annotations

import errno
import pickle

import pytest

from determined_ner.errors import HyperparameterError, UserError, exit_status, first_line


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
            "error: [Errno 28] No space left; make room or rights, then go on\n",
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
    ],
)
def test_the_first_line_of_a_librarys_message(error, said):
    assert first_line(error) == said
