"""Ctrl-C from the first moment on: one line, exit status 130, no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from determined_ner import interrupts
from determined_ner.errors import exit_status
from tests.conftest import ROOT

PRESS = "os.kill(os.getpid(), signal.SIGINT)"
AT_IMPORT = """
import os, runpy, signal, sys

_, pressed_at, *sys.argv = sys.argv

class Press:
    def find_spec(self, name, path, target=None):
        if name == pressed_at:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Press())
sys.path.insert(0, os.getcwd())
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=120,
        env={**os.environ, **environment},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job is started deaf to it
    )


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("determined_ner.settings.arguments", ["ner_trial.py", "none.yaml"]),
        ("argparse", ["ner_trial.py", "none.yaml"]),
        ("torch", ["ner_trial.py", "none.yaml"]),
        ("numpy.linalg", ["ner_trial.py", "none.yaml"]),
        ("determined_ner.cli", ["determined_ner/__main__.py", "check", "none.yaml"]),
        ("determined_ner.check.command", ["determined_ner/__main__.py", "check", "none.yaml"]),
        ("numpy", ["determined_ner/__main__.py", "check", "none.yaml"]),
        ("determined_ner.train", ["determined_ner/__main__.py", "train", "none.yaml"]),
    ],
)
def test_while_libraries_are_imported(module, command):
    done = run(AT_IMPORT, module, *command)
    assert (done.returncode, done.stderr, done.stdout) == (130, "interrupted\n", "")


def test_of_the_processes_of_a_machine_one_says_so():
    done = run(AT_IMPORT, "torch", "ner_trial.py", "none.yaml", LOCAL_RANK="1")
    assert (done.returncode, done.stderr) == (130, "")


COMMAND = """
import os, signal, sys, time
from determined_ner.errors import exit_status
from determined_ner.interrupts import end_at_interrupt, raise_at_interrupt
end_at_interrupt()

def command():
    raise_at_interrupt()
    {command}

sys.exit(exit_status(command, interrupted="nothing is left", unwritable=""))
"""


def test_once_it_works_what_was_begun_is_put_away():
    done = run(COMMAND.format(command=f"try: {PRESS}; time.sleep(9)\n    finally: print('put away')"))
    assert (done.returncode, done.stderr, done.stdout) == (130, "interrupted; nothing is left\n", "put away\n")


def test_a_second_one_ends_it_at_once():
    again = f"try: {PRESS}; time.sleep(9)\n    finally: {PRESS}; time.sleep(9)"
    done = run(COMMAND.format(command=again))
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_what_a_library_makes_of_it_is_an_interrupt_too():
    wrapped = (
        f"try: {PRESS}; time.sleep(9)\n    except KeyboardInterrupt: raise ImportError('numpy is broken') from None"
    )
    done = run(COMMAND.format(command=wrapped))
    assert (done.returncode, done.stderr) == (130, "interrupted; nothing is left\n")


def test_a_program_that_calls_us_keeps_its_own_handling(monkeypatch):
    def own(*_: object) -> None: ...

    before = signal.signal(signal.SIGINT, own)
    try:
        for change in (interrupts.end_at_interrupt, interrupts.raise_at_interrupt, interrupts.die_of_interrupt):
            change()
            assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_mistake_is_none_of_these():
    done = run(COMMAND.format(command="from determined_ner.errors import UserError; raise UserError('a', 'b')"))
    assert (done.returncode, done.stderr) == (2, "error: a: b\n")
    assert exit_status(lambda: None, interrupted="", unwritable="") == 0
