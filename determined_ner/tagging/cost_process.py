"""The process of one backend that `determined_ner.tagging.cost` measures: it answers questions, a line of JSON each."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from determined_ner.threads import spin_briefly


def main() -> None:
    """Answer until the questions end."""
    spin_briefly()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    from determined_ner.errors import UserError, first_line

    process = _Process()
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = getattr(process, asked.pop("do"))(**asked)
        except UserError as error:
            answer = {"error": [error.where, error.problem, error.remedy]}
        except Exception as error:  # of PyTorch, of ONNX Runtime: out of memory, say
            answer = {"error": ["", f"does not run here: {first_line(error)}", "leave its file out of the directory"]}
        print(json.dumps(answer), file=answers, flush=True)


class _Process:
    """A tagger and the texts that it is measured on."""

    tagger: Any
    texts: list[list[str]]

    def start(self, directory: str, onnx_file: str | None, trust_remote_code: bool, text: list[str]) -> dict[str, Any]:
        from determined_ner.tagging.tagger import Tagger

        chosen: dict[str, Any] = {} if onnx_file is None else {"backend": "onnx", "onnx_file": onnx_file}
        self.tagger = Tagger.from_pretrained(directory, trust_remote_code=trust_remote_code, **chosen)
        self.tagger.tag([text])
        return {"runs_on": self.tagger.runs_on}

    def take(self, texts: list[list[str]]) -> dict[str, Any]:
        self.texts = texts
        self.tagger.tag(texts)  # once before it is timed
        return {}

    def all(self) -> dict[str, Any]:
        began = time.perf_counter()
        self.tagger.tag(self.texts)
        return {"seconds": time.perf_counter() - began}

    def single(self, begin: int, count: int) -> dict[str, Any]:
        seconds = []
        for i in range(begin, begin + count):
            text = self.texts[i % len(self.texts)]
            began = time.perf_counter()
            self.tagger.tag([text])
            seconds.append(time.perf_counter() - began)
        return {"seconds": seconds, "memory": peak_memory()}


def peak_memory() -> float:
    """MiB of this process at most; not of the one that started it, whose peak getrusage hands down on Linux."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    kib = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")), "nan")
    return float(kib) / 1024
