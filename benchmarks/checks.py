"""What the checks of a checkpoint, a model and a cache cost, beside the work that they guard.

    python3 benchmarks/checks.py --encoder DIR [--rounds 5]

A model of BERT-base's shape with random weights is saved as a model directory, and with AdamW's two moments as a
checkpoint; its tokenizer is that of the encoder. The entry of a cache is 256 MiB of random bytes. All on one thread,
the files in memory by then, as seconds of wall time, medians of the rounds, which are taken in turn.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import machine
import torch
import transformers

from determined_ner.data.pretrained_tokenizer import load_tokenizer
from determined_ner.files.cache import build_once
from determined_ner.files.checksums import check_files, write_checksums
from determined_ner.hub import Pretrained
from determined_ner.model.directory import ModelDirectory
from determined_ner.model.probe import check_behaviour
from determined_ner.model.stored_weights import check_model_files
from determined_ner.model.torch_model import load_model
from determined_ner.model.weights import check_finite


def digest(path: Path, update: Callable[[bytes], Any]) -> None:
    """Read a file through a hash."""
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            update(block)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="What checks cost.")
    parser.add_argument("--encoder", required=True, help="model directory, for its tokenizer")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    source = Pretrained(arguments.encoder)
    tokenizer = load_tokenizer(source)
    config = transformers.BertConfig(vocab_size=max(30_522, len(tokenizer.pretrained)), num_labels=9)
    model = transformers.AutoModelForTokenClassification.from_config(config).eval()
    weights = model.state_dict()
    state = {"models": weights, "optimizers": [{k: torch.zeros_like(v) for k, v in weights.items()} for _ in range(2)]}
    with tempfile.TemporaryDirectory() as scratch:
        folder, directory, cache = (Path(scratch) / name for name in ("checkpoint", "model", "cache"))
        folder.mkdir()
        file = folder / "state_dict.pth"

        def build(entry: Path) -> None:
            (entry / "bytes").write_bytes(os.urandom(256 << 20))

        work: dict[str, Callable[[], object]] = {
            "torch.save of the state": lambda: torch.save(state, file),
            "torch.load of the state": lambda: torch.load(file, weights_only=True),
            "its checksums, written": lambda: write_checksums(folder),
            "its checksums, compared": lambda: check_files(folder, ""),
            "CRC-32 of it alone": lambda: digest(file, lambda block: zlib.crc32(block)),
            "SHA-256 of it alone": lambda: digest(file, hashlib.sha256().update),
            "BLAKE2b of it alone": lambda: digest(file, hashlib.blake2b().update),
            "model directory, loaded": lambda: load_model(ModelDirectory(directory)),
            "its checksums, compared (model)": lambda: check_model_files(directory),
            "cache entry, opened": lambda: build_once(cache, "entry", build),
            "weights that are not finite": lambda: check_finite(model, "the model"),
            "behaviour, before a training": lambda: check_behaviour(model, tokenizer, 512, source),
            "behaviour, before tagging": lambda: check_behaviour(model, tokenizer, 512, source, lengths=False),
        }
        torch.save(state, file)
        write_checksums(folder)
        model.save_pretrained(directory)
        tokenizer.pretrained.save_pretrained(directory)
        write_checksums(directory)
        build_once(cache, "entry", build)
        seconds: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(arguments.rounds):
            for name, action in work.items():
                started = time.perf_counter()
                action()
                seconds[name].append(time.perf_counter() - started)
        print(f"{file.stat().st_size / 1e6:,.0f} MB, {arguments.rounds} rounds")
    for name, taken in seconds.items():
        print(f"{name:<32} {statistics.median(taken):6.2f} s   {min(taken):.2f} to {max(taken):.2f}")
    print(machine.line())


if __name__ == "__main__":
    main()
