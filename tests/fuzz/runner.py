"""Runs cases, each in a copy of this process, and looks at what each leaves."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from random import Random

from determined_ner import cli
from tests.fuzz.cases import Case, make_case
from tests.fuzz.damage import CANARY

SECONDS = 30
"""That a case may take; more is a hang."""
MEMORY, FILE = 6 << 30, 1 << 28
"""Bytes that a case may have more than this process, and that a file of its may have."""
STDIN = "Ada went to Oslo .\n" * 10 + "y\n" * 10
"""Texts to tag, and an answer for whoever asks whether code may be run."""
LITTER = re.compile(r"\.(partial|old|tmp|replaced)\b|\.tmp$|\.partial-")
_ERROR = re.compile(r"^(?:temporary )?error: ", re.MULTILINE)


@dataclass
class Running:
    """A case at work."""

    name: str
    """Seed and number, by which it can be drawn again."""
    case: Case
    folder: Path
    before: set[str]
    """Paths in its folder before the command."""
    deadline: float

    def text(self, name: str) -> str:
        """What the command wrote to ``stdout`` or ``stderr``."""
        return (self.folder.parent / name).read_bytes().decode("utf-8", "replace")


def start(name: str, base: Path, place: Path) -> tuple[int, Running]:
    """Draw a case and begin it, in a copy of this process.

    Args:
        name: seed and number of the case.
        place: an empty directory for it.
    """
    folder = place / "work"
    folder.mkdir(parents=True)
    case = make_case(base, folder, Random(name))
    (place / "stdin").write_text(STDIN, encoding="utf-8")
    before = set(_paths(folder))
    child = os.fork()
    if not child:
        _run(case, folder)
    return child, Running(name, case, folder, before, time.monotonic() + SECONDS)


def _run(case: Case, folder: Path) -> None:
    """In the copy: what ``python -m determined_ner`` does. Never returns."""
    status = 1
    try:
        os.setsid()
        os.chdir(folder)
        os.environ["HOME"] = str(folder)
        for number, (name, mode) in enumerate((("stdin", "rb"), ("stdout", "wb"), ("stderr", "wb"))):
            os.dup2(os.open(folder.parent / name, os.O_RDONLY if mode == "rb" else os.O_WRONLY | os.O_CREAT), number)
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", errors="backslashreplace")  # noqa: SIM115
        sys.argv = ["determined-ner", *case.arguments]
        status = cli.main(case.arguments)
    except SystemExit as exit_:
        status = exit_.code if isinstance(exit_.code, int) else 1 if exit_.code else 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def wait(child: int, running: Running) -> int:
    """The exit status of a case, at the latest when its time is over; negative: the signal that ended it."""
    while (status := ended(child, running)) is None:
        time.sleep(0.005)
    return status


def ended(child: int, running: Running) -> int | None:
    """The exit status of a case that has ended; None: it is at work. One whose time is over is killed."""
    if time.monotonic() > running.deadline:
        os.kill(child, signal.SIGKILL)
    done, code = os.waitpid(child, os.WNOHANG)
    if not done:
        return None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what it may have started
    return os.waitstatus_to_exitcode(code)


def failure(running: Running, status: int) -> str | None:
    """What is wrong with how a case ended; None: nothing.

    Args:
        status: exit status; negative: the signal that ended it.
    """
    case, folder = running.case, running.folder
    errors = running.text("stderr")
    after = set(_paths(folder))
    if status == -signal.SIGKILL:
        return f"not done after {SECONDS} seconds"
    if any(Path(path).name == CANARY for path in after):
        return "code was run"
    if "Traceback" in errors:
        return "traceback: " + errors.strip().splitlines()[-1]
    if status not in (0, 2, 130):
        return f"exit status {status}"
    if status == 2 and len(_ERROR.findall(errors)) != 1:
        return f"{len(_ERROR.findall(errors))} messages"
    new = after - running.before
    if litter := sorted(path for path in new if LITTER.search(Path(path).name)):
        return f"left behind: {litter}"
    if status == 2 and (half := [path for path in case.outputs if path in new and not _is_run(folder / path)]):
        return f"exit status 2, and yet there is {half}"
    if status == 0:
        try:
            case.holds(folder, running.text("stdout"))
        except Exception as error:
            return f"exit status 0, but {type(error).__name__}: {str(error)[:300]}"
    return None


def _is_run(path: Path) -> bool:
    """Whether it is the folder of a run that had begun to train, which stays."""
    return (path / "metrics.jsonl").is_file()


def _paths(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*")]


def run_cases(names: list[str], base: Path, scratch: Path, processes: int) -> int:
    """Run cases side by side, and print each that fails, with how to repeat it.

    Args:
        names: seed and number of each.
        processes: how many at a time.

    Returns:
        how many failed.
    """
    waiting, failed = list(reversed(names)), 0
    at_work: dict[int, Running] = {}
    while waiting or at_work:
        while waiting and len(at_work) < processes:
            name = waiting.pop()
            child, running = start(name, base, scratch / name.replace(":", "-"))
            at_work[child] = running
        for child, running in list(at_work.items()):
            if (status := ended(child, running)) is None:
                continue
            del at_work[child]
            if problem := failure(running, status):
                failed += 1
                print(f"case {running.name}: {problem}")
                print(f"  determined-ner {running.case.arguments!a}")
                print(f"  again: python -m tests.fuzz --case {running.name}", flush=True)
            shutil.rmtree(running.folder.parent, ignore_errors=True)
        time.sleep(0.005)
    return failed
