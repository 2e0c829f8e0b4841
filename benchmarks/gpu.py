"""The training step on a GPU: speed, model FLOP utilisation, and the least a step could take; and whole trainings.

    python3 benchmarks/gpu.py [--shapes bert-base bert-large xlm-r-base] [--batch-sizes 8 32]
        [--precisions fp32 bf16 fp16] [--modes eager compile] [--steps 50] [--trainer]

Sentences have lengths as in CoNLL-2003 (invented, grouped by our batch plan); weights are random; nothing is read from
a hub. ``--trainer`` adds a plain ``transformers.Trainer`` in the same precision, with batches in random order.
``--device cpu --tiny`` only shows that the script runs.

    python3 benchmarks/gpu.py --trainings DIR [--backends eager ort] [--random]

measures whole trainings by ner_trial.py instead, PyTorch and ONNX Runtime in turn (see trainings.py).

MFU is 6 x (weights of linear layers) x (real pieces), plus attention, over the peak that matrix products of 8192 reach
here. The floor of a step is the larger of its operations (padding included) over that peak and its bytes (weights read
for forward and backward, gradients, AdamW's reads and writes: 48 bytes a weight) over the measured bandwidth.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import torch
import trainings
import transformers

from determined_ner.data.batches import plan_epoch
from determined_ner.data.padding import Padding
from determined_ner.model.cpu.dropout import fast_dropout
from determined_ner.model.loss import WordLoss
from determined_ner.model.optimizer import build_optimizer
from determined_ner.model.precision import length_multiple
from determined_ner.settings.hyperparameters import Hyperparameters

SHAPES = {  # layers, hidden, heads, inner, vocabulary
    "bert-base": (12, 768, 12, 3072, 30522),
    "bert-large": (24, 1024, 16, 4096, 30522),
    "xlm-r-base": (12, 768, 12, 3072, 250002),
    "tiny": (2, 32, 2, 64, 100),
}
LABELS = 9
BYTES_A_WEIGHT = 48
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def make_config(shape: str) -> transformers.BertConfig:
    layers, hidden, heads, inner, vocabulary = SHAPES[shape]
    return transformers.BertConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        num_labels=LABELS,
    )


def build(shape: str) -> Any:
    torch.manual_seed(0)
    return transformers.BertForTokenClassification(make_config(shape))


def lengths_like_conll(count: int) -> np.ndarray:
    """Pieces of a sentence: log-normal, median 16, mean about 21, at most 128."""
    rng = np.random.default_rng(0)
    return np.clip(np.exp(rng.normal(np.log(16), 0.7, count)).astype(np.int64), 4, 128)


def make_batch(lengths: np.ndarray, padding: Padding, vocabulary: int, device: torch.device) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(int(lengths.sum()))
    shape = (len(lengths), int(padding(lengths.max())))
    mask = np.arange(shape[1]) < lengths[:, None]
    labels = np.where(mask, rng.integers(0, LABELS, shape), -100)
    ids = np.where(mask, rng.integers(5, vocabulary, shape), 0)
    arrays = {"input_ids": ids, "attention_mask": mask.astype(np.int64), "labels": labels}
    return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def timed(action: Any, device: torch.device, repeats: int) -> float:
    """Seconds of the fastest of several."""
    best = float("inf")
    for _ in range(repeats):
        synchronize(device)
        started = time.perf_counter()
        action()
        synchronize(device)
        best = min(best, time.perf_counter() - started)
    return best


def peaks(device: torch.device, precisions: list[str], size: int) -> tuple[dict[str, float], float]:
    """FLOP/s of large matrix products by precision, and bytes/s of an addition in memory."""
    found = {}
    for name in precisions:
        a = torch.randn(size, size, device=device).to(DTYPES[name])
        found[name] = 2 * size**3 / timed(lambda a=a: a @ a, device, 8)
    x = torch.randn(size * size, device=device)
    return found, 3 * 4 * size * size / timed(lambda: torch.add(x, 1.0, out=torch.empty_like(x)), device, 8) * 2 / 3


def measure_step(
    shape: str, batch_size: int, precision: str, mode: str, steps: int, device: torch.device
) -> dict[str, Any]:
    """Our step (``ner_trial``'s, without Determined around it) over the first batches of a plan."""
    vocabulary = SHAPES[shape][4]
    lengths = lengths_like_conll(batch_size * (steps + 10))
    plan = plan_epoch(lengths, lengths, batch_size, 1, 0, 0, True)
    hparams = Hyperparameters.model_validate({"pretrained_model_name_or_path": shape, "precision": precision})
    padding = Padding(length_multiple(hparams, device))
    batches = [make_batch(lengths[list(m.windows)], padding, vocabulary, device) for m in plan]
    model = build(shape).to(device).train()
    optimizer = build_optimizer(model, hparams)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    forward = torch.compile(model, dynamic=True) if mode == "compile" else model

    def step(i: int) -> None:
        batch = batches[i]
        cast = torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32")
        with cast, fast_dropout(i, device, mode):
            logits = forward(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        loss = WordLoss()(logits, batch["labels"]) / len(lengths)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

    started = time.perf_counter()
    for i in range(10):
        step(i)
    synchronize(device)
    compile_seconds = time.perf_counter() - started
    seconds = []
    for first in range(10, 10 + steps, max(1, steps // 5)):
        chosen = range(first, min(first + max(1, steps // 5), 10 + steps))
        started = time.perf_counter()
        for i in chosen:
            step(i)
        synchronize(device)
        seconds.append((time.perf_counter() - started) / len(chosen))
    weights = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear))
    layers, hidden = SHAPES[shape][:2]
    real = [int(batch["attention_mask"].sum()) for batch in batches[10:]]
    padded = [batch["attention_mask"].numel() for batch in batches[10:]]
    longest = [batch["attention_mask"].shape[1] for batch in batches[10:]]
    attention = [12 * layers * hidden * n * size for n, size in zip(padded, longest, strict=True)]
    peak = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else None
    return {
        "seconds": statistics.median(seconds),
        "samples_per_second": batch_size / statistics.median(seconds),
        "compile_seconds": compile_seconds,
        "useful_flop": statistics.mean(6 * weights * n for n in real) + statistics.mean(attention),
        "flop": statistics.mean(6 * weights * n for n in padded) + statistics.mean(attention),
        "bytes": BYTES_A_WEIGHT * sum(p.numel() for p in model.parameters()),
        "padding": 1 - sum(real) / sum(padded),
        "peak_mib": peak,
    }


def measure_trainer(shape: str, batch_size: int, precision: str, steps: int, device: torch.device) -> float:
    """Samples per second of a plain ``transformers.Trainer``, after ten steps."""
    lengths = lengths_like_conll(batch_size * (steps + 10))
    rng = np.random.default_rng(0)
    data = [
        {
            "input_ids": rng.integers(5, SHAPES[shape][4], n).tolist(),
            "attention_mask": [1] * n,
            "labels": rng.integers(0, LABELS, n).tolist(),
        }
        for n in lengths.tolist()
    ]

    def collate(items: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        longest = max(len(item["input_ids"]) for item in items)
        fill = {"input_ids": 0, "attention_mask": 0, "labels": -100}
        return {k: torch.tensor([i[k] + [v] * (longest - len(i[k])) for i in items]) for k, v in fill.items()}

    class Clock(transformers.TrainerCallback):
        began = ended = 0.0

        def on_step_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
            if state.global_step == 10:
                synchronize(device)
                Clock.began = time.perf_counter()

        def on_train_end(self, *_: Any, **__: Any) -> None:
            synchronize(device)
            Clock.ended = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=batch_size,
            max_steps=steps + 10,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=device.type == "cpu",
            bf16=precision == "bf16",
            fp16=precision == "fp16",
        )
        trainer = transformers.Trainer(
            model=build(shape), args=arguments, train_dataset=data, data_collator=collate, callbacks=[Clock()]
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
    return steps * batch_size / (Clock.ended - Clock.began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES)[:3], default=list(SHAPES)[:3])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--precisions", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument("--modes", nargs="+", choices=["eager", "compile"], default=["eager", "compile"])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--trainer", action="store_true", help="measure a plain transformers.Trainer, too")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a toy in place of the shapes")
    parser.add_argument("--output", type=Path, help="write the results as JSON, too")
    trainings.add_arguments(parser)
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.exit(
            2, "error: no CUDA device here; run this where there is one (--device cpu --tiny shows that it runs)\n"
        )
    if arguments.trainings:
        if problem := trainings.check(arguments):
            parser.exit(2, f"error: {problem}\n")
        shapes = ["tiny"] if arguments.tiny else list(trainings.MODELS) if arguments.random else []
        trainings.run(arguments, {shape: make_config(shape) for shape in shapes})
        return
    device = torch.device(arguments.device)
    kind = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    flops, bandwidth = peaks(device, arguments.precisions, 512 if arguments.tiny else 8192)
    speeds = ", ".join(f"{name} {value / 1e12:.1f} TFLOP/s" for name, value in flops.items())
    print(f"{kind}, torch {torch.__version__}: {speeds}, memory {bandwidth / 1e9:.0f} GB/s")
    header = ("samples/s", "step ms", "floor ms", "MFU", "padding", "MiB", "compile s")
    print(f"{'':<38}" + "".join(f"{name:>11}" for name in header), flush=True)
    results = []
    for shape in ["tiny"] if arguments.tiny else arguments.shapes:
        for batch_size in arguments.batch_sizes:
            for precision in arguments.precisions:
                for mode in arguments.modes:
                    if device.type == "cuda":
                        torch.cuda.reset_peak_memory_stats()
                    found = measure_step(shape, batch_size, precision, mode, arguments.steps, device)
                    peak = flops[precision]
                    found["floor_seconds"] = max(found["flop"] / peak, found["bytes"] / bandwidth)
                    found["mfu"] = found["useful_flop"] / found["seconds"] / peak
                    named = {"shape": shape, "batch_size": batch_size, "precision": precision, "mode": mode}
                    results.append({**named, **found})
                    memory = f"{found['peak_mib']:.0f}" if found["peak_mib"] else "-"
                    print(
                        f"{f'{shape}, batch {batch_size}, {precision}, {mode}':<38}"
                        f"{found['samples_per_second']:>11.1f}{1000 * found['seconds']:>11.2f}"
                        f"{1000 * found['floor_seconds']:>11.2f}{found['mfu']:>11.1%}{found['padding']:>11.1%}"
                        f"{memory:>11}{found['compile_seconds']:>11.1f}",
                        flush=True,
                    )
                if arguments.trainer:
                    speed = measure_trainer(shape, batch_size, precision, arguments.steps, device)
                    named = {"shape": shape, "batch_size": batch_size, "precision": precision, "mode": "Trainer"}
                    results.append({**named, "samples_per_second": speed})
                    print(f"{f'{shape}, batch {batch_size}, {precision}, Trainer':<38}{speed:>11.1f}", flush=True)
    if arguments.output:
        written = {"device": kind, "torch": torch.__version__, "peak_flops": flops, "bandwidth": bandwidth}
        arguments.output.write_text(json.dumps({**written, "results": results}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
