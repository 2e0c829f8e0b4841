"""How predict bears a large file: peak memory at two sizes, and a kill half-way.

    python3 benchmarks/predict.py MODEL_DIR [--sentences 10000 100000] [--backend torch|onnx]

Texts are the sentences of the quickstart corpus, drawn at random, as plain text. Each size is tagged by a process of
its own. The last is then killed (SIGKILL) once half of its output is on the disk, and run again: the output must be,
byte for byte, that of the run that was left alone.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine

sys.path.insert(0, str(Path(__file__).parent.parent))

from determined_ner.data.readers.open import read_file

ROOT = Path(__file__).parent.parent


def write_texts(path: Path, count: int) -> None:
    sentences = [" ".join(sentence.words) for sentence in read_file(ROOT / "quickstart" / "train.conll")]
    rng = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            file.write(f"{rng.choice(sentences)} {number}\n")


def start(model_dir: str, backend: str, texts: Path, output: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "determined_ner", "predict", str(Path(model_dir).resolve()), str(texts)]
    words += ["--backend", backend, "--output", str(output)]
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def finish(process: subprocess.Popen[str]) -> tuple[str, int]:
    """The last line that it printed, and its peak memory (resident set) in MiB."""
    assert process.stderr is not None
    printed = process.stderr.read().splitlines()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit("\n".join(printed))
    return printed[-1], usage.ru_maxrss // 1024


def hash_of(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", metavar="MODEL_DIR")
    parser.add_argument("--sentences", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--backend", choices=("torch", "onnx"), default="torch")
    arguments = parser.parse_args()
    how = (arguments.model_dir, arguments.backend)
    with tempfile.TemporaryDirectory() as folder:
        for count in arguments.sentences:
            texts, output = Path(folder) / f"{count}.txt", Path(folder) / f"{count}.jsonl"
            write_texts(texts, count)
            last, peak = finish(start(*how, texts, output))
            print(f"{count:>9,} sentences: {last.split(': ')[0]}, peak {peak} MiB", flush=True)
        size, expected = output.stat().st_size, hash_of(output)
        output.unlink()
        partial = output.with_name(f".{output.name}.partial")
        process = start(*how, texts, output)
        while process.poll() is None and not (partial.exists() and partial.stat().st_size > size / 2):
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        if process.wait() != -signal.SIGKILL:
            sys.exit("it had ended before half of its output was written: give more --sentences")
        written = partial.stat().st_size / size
        print(f"killed with {written:.0%} of its output written; a file of its name is left: {output.exists()}")
        finish(start(*how, texts, output))
        same = "equal" if hash_of(output) == expected else "DIFFERENT"
        with output.open(encoding="utf-8") as file:
            lines = sum(1 for _ in file)
        print(f"run again: {lines:,} lines, {same} byte for byte; partial file left: {partial.exists()}")
    print(machine.line())


if __name__ == "__main__":
    main()
