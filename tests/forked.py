"""Commands in copies of this process, in which all is imported: killed, on a full disk, several as of torchrun."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import tqdm

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate", "os.link", "os.symlink"}
"""What Python's audit hooks tell of beside ``open``; each is told before it is done."""
PATIENCE = 240.0
"""Seconds after which a copy ends itself and says where each of its threads stands: it hangs."""
# Progress bars have a lock that processes share with their copies: one that was killed in a bar would stop the next.
tqdm.tqdm.set_lock(threading.RLock())


def forked(
    action: Callable[[], int],
    operation: int = 0,
    seconds: float = 0.0,
    largest_file: int = 0,
    log: str | os.PathLike[str] = os.devnull,
) -> tuple[int, int]:
    """Do something in a copy of this process.

    Args:
        action: gives an exit status.
        operation: number of the file operation (from 1) before which the copy is killed; 0: of none.
        seconds: after which it is killed; 0: never. What libraries of C and Rust do to files is hit by time alone.
        largest_file: bytes of a file, of which writing more fails as on a full disk, whatever writes; 0: any number.
        log: where its output goes.

    Returns:
        exit status, -9 of a killed one, and how many file operations there were (0 if it was killed).
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        status = 99
        try:
            os.close(reading)
            _write_to(log)
            done = _count_operations(operation)
            if largest_file:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
            status = action()
            os.write(writing, str(done()).encode())
        except BaseException:
            os.write(writing, traceback.format_exc().encode())
        finally:
            _end(status)
    os.close(writing)
    if seconds:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    with open(reading, "rb") as pipe:  # noqa: PTH123
        told = pipe.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status != 99, told
    return status, int(told or 0)


class Copy:
    """A copy of this process that does something beside it."""

    def __init__(self, action: Callable[[], int], log: str | os.PathLike[str] = os.devnull, **environment: str) -> None:
        """
        Args:
            action: gives an exit status.
            log: where its output goes.
        """
        self._status: int | None = None
        self._log = Path(log)
        self._pid = os.fork()
        if not self._pid:
            status = 99
            try:
                _write_to(log)
                os.environ.update(environment)
                status = action()
            except BaseException:
                traceback.print_exc()
            finally:
                _end(status)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Until something is so while it is at work."""
        while self.poll() is None and not condition():
            time.sleep(0.005)
        assert self.poll() is None, f"ended before, with {self._status}\n{self._log.read_text()}"

    def poll(self) -> int | None:
        """Its exit status, -9 of a killed one; None: it is at work."""
        if self._status is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status

    def kill(self) -> None:
        """End it at once, if it is at work."""
        if self.poll() is None:
            os.kill(self._pid, signal.SIGKILL)
            self._status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


def torchrun(processes: int) -> list[str]:
    """How Python begins a script in several processes; in one, nothing is between.

    (``--standalone`` of an older torch finds a port that the first process takes only when it has been begun and has
    imported all, when tests beside may have it; this one torchrun takes itself.)
    """
    if processes == 1:
        return [sys.executable]
    address = ["--master-addr=127.0.0.1", f"--master-port={_free_port()}"]
    return [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", *address]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def together(action: Callable[[], int], processes: int) -> tuple[int, str]:
    """Do something in several copies of this process, which are told of each other as ``torchrun`` tells its own.

    Returns:
        the first exit status that is not 0, and what they wrote.
    """
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port(), "GROUP_RANK": 0, "GROUP_WORLD_SIZE": 1}
    told |= {"WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    with tempfile.NamedTemporaryFile() as log:
        copies = []
        for rank in range(processes):
            environment = {name: str(value) for name, value in {**told, "RANK": rank, "LOCAL_RANK": rank}.items()}
            copies.append(Copy(action, log.name, **environment))
        while any(copy.poll() is None for copy in copies):
            time.sleep(0.02)
        return next((status for copy in copies if (status := copy.poll())), 0), Path(log.name).read_text()


def _write_to(log: str | os.PathLike[str]) -> None:
    """Have all output of this process, which is a copy, go to a file."""
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(written, 1)
    os.dup2(written, 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    faulthandler.dump_traceback_later(PATIENCE, exit=True, file=2)


def _end(status: int) -> NoReturn:
    """End this process, which is a copy, with what it has said, if that can be written."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _count_operations(fatal: int) -> Callable[[], int]:
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event == "open":
            if not arguments[2] or not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif event not in CHANGES:
            return
        if f"{os.sep}code{os.sep}" in str(arguments[0]):
            return  # of a checkpoint: 150 files that differ in nothing
        count += 1
        if count == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return lambda: count


def content(folder: Path) -> dict[str, bytes]:
    """Of every file in a folder, by its path in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def litter(folder: Path) -> list[Path]:
    """What is only there while a command writes."""
    return [path for path in folder.rglob(".*") if "partial" in path.name]


def train(config: Path, folder: Path, *overrides: str, processes: int = 1, resume: bool = False) -> str:
    """Train in so many processes, to the end.

    Returns:
        what was said.
    """
    import ner_trial

    words = [word for override in overrides for word in ("--config", override)]
    arguments = [str(config), "--output-dir", str(folder), *words, *(["--resume"] if resume else [])]
    status, output = together(lambda: ner_trial.main(arguments), processes)
    assert status == 0, output
    return output
