"""``python -m tests.fuzz``: see the package."""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

if not __debug__:
    sys.exit("run it without -O: its checks are asserts")

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
os.environ |= {"CUDA_VISIBLE_DEVICES": "", "MPLBACKEND": "agg"}

from tests.fuzz import material
from tests.fuzz.runner import failure, run_cases, start, wait


def main() -> int:
    """The command; 1 where a case failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--cases", type=int, default=2000, help="how many (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, help="that they are drawn from (default: 0)")
    parser.add_argument("--processes", type=int, default=2, help="how many at a time (default: 2)")
    parser.add_argument("--case", metavar="SEED:NUMBER", help="run this one alone, and leave its folder")
    arguments = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="fuzz-"))
    _make(base / "made")
    if arguments.case:
        return _one(arguments.case, base)
    started = time.monotonic()
    names = [f"{arguments.seed}:{number}" for number in range(arguments.cases)]
    failed = run_cases(names, base / "made", base / "cases", arguments.processes)
    seconds = time.monotonic() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = f"{failed} of {arguments.cases:,} cases of seed {arguments.seed} failed, in {seconds:.0f} s"
    print(f"{told} ({used.ru_utime + used.ru_stime:.0f} s of processors)")
    shutil.rmtree(base)
    return int(failed > 0)


def _make(folder: Path) -> None:
    """Make the material, and with it all imports, in silence."""
    folder.mkdir()
    os.chdir(folder)
    sys.stdout.flush()
    kept = [os.dup(1), os.dup(2)]
    log = os.open(folder.with_name("made.log"), os.O_WRONLY | os.O_CREAT)
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        material.make(folder)
    finally:
        sys.stdout.flush()
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)


def _one(name: str, base: Path) -> int:
    place = base / "case"
    child, running = start(name, base / "made", place)
    print(f"in {running.folder}: determined-ner {running.case.arguments!a}", flush=True)
    status = wait(child, running)
    for stream in ("stdout", "stderr"):
        print(f"-- {stream}\n{running.text(stream)}")
    print(f"-- exit status {status}: {failure(running, status) or 'as it should be'}")
    return int(failure(running, status) is not None)


if __name__ == "__main__":
    sys.exit(main())
