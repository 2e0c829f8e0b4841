"""What a tagger costs to run: speed, latency, memory, start-up and size of every backend that a directory has.

Each backend is a process of its own (`determined_ner.tagging.cost_process`), so that memory and start-up are its own.
They take turns, so that what else the machine does hits all alike; while one works, the others wait for their input.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from determined_ner.errors import UserError

WORDS = 10_000
"""Of the text, at most."""
STARTS = 3
"""Of each process, one after the other; the last one stays."""
ROUNDS = 5
"""Turns of each backend."""
SINGLES = 100
"""Sentences of a turn that are tagged one by one."""


@dataclass(frozen=True)
class Cost:
    """Of one backend. Speeds and latencies are of words that are there already, as `Tagger.tag` takes them."""

    backend: str
    """``torch``, or the name of an ONNX file."""
    words_per_second: float
    """Many sentences together; the median of the turns."""
    sentences_per_second: float
    latency: dict[str, float]
    """Milliseconds of one sentence by itself: ``p50``, ``p95`` and ``p99``."""
    memory: float
    """MiB: the most that its process had in memory at a time, interpreter and libraries included."""
    start_up: float
    """Seconds from the start of its process until one sentence is tagged; the median of the starts."""
    size: float
    """MB of its weights on the disk."""
    runs_on: str
    """What computes, and on which device, in words."""


@dataclass(frozen=True)
class Backend:
    """One way to run a model directory."""

    name: str
    """``torch``, or the name of an ONNX file."""
    files: tuple[Path, ...]
    """Its weights."""


def find_backends(directory: Path) -> tuple[list[Backend], list[str]]:
    """What a model directory can be run by here.

    Returns:
        the backends; and, in words, which it has files for that nothing here can run.

    Raises:
        UserError: there is none.
    """
    patterns = ("*.safetensors", "pytorch_model*.bin", "state_dict.pth")  # in the order in which they are read
    weights = next((some for pattern in patterns if (some := sorted(directory.glob(pattern)))), [])
    graphs = sorted(directory.glob("*.onnx"))
    needs: list[tuple[Backend, str, tuple[str, ...]]]
    needs = [(Backend("torch", tuple(weights)), "torch", ("torch", "transformers"))] if weights else []
    needs += [
        (Backend(file.name, tuple(sorted(directory.glob(f"{file.name}*")))), "onnx", ("onnxruntime",))
        for file in graphs
    ]
    found, missing = [], []
    for backend, extra, modules in needs:
        absent = [module for module in modules if importlib.util.find_spec(module) is None]
        if absent:
            install = f"pip install 'determined-ner[{extra}]'"
            missing.append(f"{backend.files[0].name} is left out: {' and '.join(absent)} not installed ({install})")
        else:
            found.append(backend)
    if not found:
        if missing:
            raise UserError(directory, "nothing here can run it", "; ".join(missing))
        problem = "has neither weights nor an ONNX file"
        raise UserError(directory, problem, "name the directory of a model: runs/NAME/model, or an export of it")
    return found, missing


def first_texts(texts: Iterable[Sequence[str]]) -> list[list[str]]:
    """The first texts, as many as have about `WORDS` words; those without words are left out."""
    chosen: list[list[str]] = []
    words = 0
    for text in texts:
        if words >= WORDS:
            break
        if text:
            chosen.append(list(text))
            words += len(text)
    return chosen


def measure(
    directory: Path,
    backends: Sequence[Backend],
    texts: Sequence[Sequence[str]],
    progress: Callable[[str], object] = lambda _: None,
    trust_remote_code: bool = False,
) -> list[Cost]:
    """Measure each backend of a model directory on a text.

    Args:
        texts: words of each; not empty.
        progress: called before each step with what is done in it.

    Raises:
        UserError: a backend does not run.
    """
    assert texts and all(texts)
    words = sum(map(len, texts))
    seconds: dict[str, list[float]] = {backend.name: [] for backend in backends}
    singles: dict[str, list[float]] = {backend.name: [] for backend in backends}
    starts: dict[str, list[float]] = {backend.name: [] for backend in backends}
    memory: dict[str, float] = {}
    devices: dict[str, str] = {}
    with contextlib.ExitStack() as running:
        processes = {}
        for turn in range(STARTS):
            for backend in backends:
                progress(f"starting {backend.name}")
                onnx_file = None if backend.name == "torch" else backend.name
                began = time.perf_counter()
                with contextlib.ExitStack() as started:
                    process = started.enter_context(_started(backend))
                    told: dict[str, Any] = {"directory": str(directory), "onnx_file": onnx_file}
                    told |= {"text": texts[0], "trust_remote_code": trust_remote_code}
                    devices[backend.name] = process.ask("start", **told)["runs_on"]
                    starts[backend.name].append(time.perf_counter() - began)
                    if turn == STARTS - 1:
                        process.ask("take", texts=texts)
                        processes[backend.name] = process
                        running.push(started.pop_all())
        for turn in range(ROUNDS):
            for name, process in processes.items():
                progress(f"tagging with {name}")
                seconds[name].append(process.ask("all")["seconds"])
                done = process.ask("single", begin=turn * SINGLES, count=SINGLES)
                singles[name] += done["seconds"]
                memory[name] = done["memory"]
    return [
        Cost(
            backend.name,
            words / statistics.median(seconds[backend.name]),
            len(texts) / statistics.median(seconds[backend.name]),
            _percentiles(singles[backend.name]),
            memory[backend.name],
            statistics.median(starts[backend.name]),
            sum(file.stat().st_size for file in backend.files) / 1e6,
            devices[backend.name],
        )
        for backend in backends
    ]


def measure_with_bar(
    directory: Path, backends: Sequence[Backend], texts: Sequence[Sequence[str]], trust_remote_code: bool
) -> list[Cost]:
    """`measure`, with a bar on a terminal."""
    with tqdm(total=len(backends) * (STARTS + ROUNDS), leave=False, disable=None) as bar:

        def progress(step: str) -> None:
            bar.set_description(step)
            bar.update()

        return measure(directory, backends, texts, progress, trust_remote_code)


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {f"p{percent}": 1000 * cuts[percent - 1] for percent in (50, 95, 99)}


class _Process:
    """The process of one backend, which answers each question by a line of JSON."""

    def __init__(self, process: subprocess.Popen[str], name: str) -> None:
        self._process, self._name = process, name

    def ask(self, what: str, **arguments: Any) -> dict[str, Any]:
        """
        Raises:
            UserError: what it says is wrong; or it has ended.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # what it says before its end follows
            print(json.dumps({"do": what, **arguments}), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            problem = f"its process ended with exit status {status}"
            raise UserError(self._name, problem, "see what it said above")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise UserError(*answer["error"])
        return answer


CHILD = """import json, sys
sys.path[:] = json.loads(sys.argv[1])
from determined_ner.tagging.cost_process import main
main()"""
"""Isolated (-I), so that no file of the directory that it is called in is taken for a module."""


@contextlib.contextmanager
def _started(backend: Backend) -> Iterator[_Process]:
    """The process of a backend; Ctrl-C ends it by ending this."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", CHILD, json.dumps(sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )
    try:
        yield _Process(process, backend.name)
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()
