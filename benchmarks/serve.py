"""Speed of a tagger: torch in float32, ONNX Runtime in float32 (as exported, and fused) and in int8.

    python3 benchmarks/serve.py [--shape minilm|base] [--length 32] [--rounds 15]

Random weights, as speed does not depend on them. The backends take turns, so that a change in the machine's speed hits
all alike; the figure is the median of a backend, and its ratio to torch's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import machine
import torch
from transformers import BertConfig, BertForTokenClassification

from determined_ner.export.parity import onnx_logits, torch_logits
from determined_ner.model.onnx_export import export_onnx, fuse, quantize_onnx

SHAPES = {
    "minilm": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
}
LABELS = tuple(f"L{i}" for i in range(9))
SECONDS = 0.15
"""Least length of a measurement."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="minilm")
    parser.add_argument("--length", type=int, default=32, help="words of a sentence, each of one piece")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    config = BertConfig(vocab_size=30522, num_labels=len(LABELS), **SHAPES[arguments.shape])
    model = BertForTokenClassification._from_config(config, attn_implementation="eager").eval()
    with tempfile.TemporaryDirectory() as directory:
        plain, fused, int8 = (Path(directory) / f"{name}.onnx" for name in ("plain", "fused", "int8"))
        export_onnx(model, plain, LABELS)
        fuse(plain, fused, config)
        quantize_onnx(fused, int8)
        backends = {"torch float32": torch_logits(model), "onnx float32, not fused": onnx_logits(plain)}
        backends |= {"onnx float32": onnx_logits(fused), "onnx int8": onnx_logits(int8)}
        print(f"{arguments.shape}, {arguments.length} words a sentence")
        for batch in (1, 32):
            ids = torch.randint(1000, 20000, (batch, arguments.length))
            mask = torch.ones_like(ids)
            repeats: dict[str, int] = {}
            times: dict[str, list[float]] = {name: [] for name in backends}
            with torch.inference_mode():
                for name, run in backends.items():
                    run(ids, mask)
                    begin = time.perf_counter()
                    run(ids, mask)
                    repeats[name] = max(1, round(SECONDS / (time.perf_counter() - begin)))
                for _ in range(arguments.rounds):
                    for name, run in backends.items():
                        begin = time.perf_counter()
                        for _ in range(repeats[name]):
                            run(ids, mask)
                        times[name].append((time.perf_counter() - begin) / repeats[name])
            medians = {name: statistics.median(values) for name, values in times.items()}
            for name, seconds in medians.items():
                words = batch * arguments.length / seconds
                print(
                    f"batch {batch:>2}  {name:<24}{words:>10,.0f} words/s{medians['torch float32'] / seconds:>7.2f} ×"
                )
    print(machine.line())


if __name__ == "__main__":
    main()
