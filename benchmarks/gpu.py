"""The training step on a GPU: speed, model FLOP utilisation, and the least a step could take; and whole trainings.

    python3 benchmarks/gpu.py [--wheels DIR] [--minutes 9] [--tests] [--trainer] [--output DIR]
        [--shapes bert-base bert-large xlm-r-base] [--batch-sizes 8 32] [--precisions bf16 fp32 fp16]
        [--modes padded compile flat graphs] [--steps 50]

Sentences have lengths as in CoNLL-2003 (invented); weights are random; nothing is read from a hub. A mode is how a step
is computed: ``padded`` (batches of like length, as of models that take no other), ``compile`` (the same by
torch.compile), ``flat`` (random order, packed), ``graphs`` (that, recorded and replayed: what ner_trial.py does on a
GPU). ``--trainer`` adds ``transformers.Trainer`` in the same precision: plain, and of like length with torch.compile.
``--tests`` begins with the tests that need a GPU. It ends after so many minutes, with what it has.

On a machine without network the environment needs PyTorch, transformers, NumPy, matplotlib, tqdm and, for the tests,
pytest and hypothesis; ``--wheels DIR`` takes what else there is from wheels: annotated-types, pydantic, pydantic-core,
ruamel.yaml, typing-inspection (3 MB), and datasets with dill, multiprocess and seqeval for trainings.

``--device cpu --tiny`` only shows that the script runs.

    python3 benchmarks/gpu.py --trainings DIR [--backends eager ort] [--random]

measures whole trainings by ner_trial.py instead, PyTorch and ONNX Runtime in turn (see trainings.py).

MFU is 6 x (weights of linear layers) x (real pieces), plus attention, over the peak that matrix products of 8192 reach
here. The floor of a step is the larger of its operations (padding included) over that peak and its bytes (weights read
for forward and backward, gradients, AdamW's reads and writes: 48 bytes a weight) over the measured bandwidth. Launches
are calls of the CUDA driver that start kernels, copies or graphs.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

if "--wheels" in sys.argv[1:-1]:  # before anything of them is imported
    at = sys.argv.index("--wheels")
    site = tempfile.mkdtemp()
    wheels = map(str, Path(sys.argv[at + 1]).glob("*.whl"))
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--upgrade", "--target", site]
    subprocess.run([*pip, *wheels], check=True)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (site, os.environ.get("PYTHONPATH"))))
    del sys.argv[at : at + 2]
    os.execv(sys.executable, [sys.executable, *sys.argv])

import numpy as np
import torch
import trainings
import transformers
from trainer_flags import GROUPED

from determined_ner.data.batches import plan_epoch
from determined_ner.data.packing import Packing
from determined_ner.data.padding import Padding
from determined_ner.model.engine import Engine
from determined_ner.model.flat import Flat
from determined_ner.model.precision import length_multiple
from determined_ner.settings.hyperparameters import Hyperparameters
from determined_ner.training.loop_context import TorchContext
from determined_ner.training.slots import OneSlot

SHAPES = {  # layers, hidden, heads, inner, vocabulary
    "bert-base": (12, 768, 12, 3072, 30522),
    "bert-large": (24, 1024, 16, 4096, 30522),
    "xlm-r-base": (12, 768, 12, 3072, 250002),
    "tiny": (2, 32, 2, 64, 100),
}
LABELS = 9
LONGEST = 128
"""Pieces."""
MODES = ("padded", "compile", "flat", "graphs")
TESTS = "tests/model/test_cuda_graphs.py"
WARM = 10
"""Steps before those that are timed."""
BYTES_A_WEIGHT = 48
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32, "fp16": torch.float16}


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
    """Pieces of a sentence: log-normal, median 16, mean about 21, at most LONGEST."""
    rng = np.random.default_rng(0)
    return np.clip(np.exp(rng.normal(np.log(16), 0.7, count)).astype(np.int64), 4, LONGEST)


def make_batch(
    lengths: np.ndarray, padding: Padding, packing: Packing | None, vocabulary: int, device: torch.device
) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(int(lengths.sum()))
    shape = (len(lengths), int(padding(lengths.max())))
    mask = np.arange(shape[1]) < lengths[:, None]
    labels = np.where(mask, rng.integers(0, LABELS, shape), -100)
    ids = np.where(mask, rng.integers(5, vocabulary, shape), 0)
    arrays = {"input_ids": ids, "attention_mask": mask.astype(np.int64), "labels": labels}
    batch = {name: torch.from_numpy(array) for name, array in arrays.items()}
    batch["loss_weight"] = torch.tensor(1 / lengths.sum(), dtype=torch.float32)
    return {name: value.to(device) for name, value in (packing.added_to(batch) if packing else batch).items()}


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
    lengths = lengths_like_conll(batch_size * (steps + WARM))
    is_flat = mode in ("flat", "graphs")
    plan = plan_epoch(lengths, lengths, batch_size, 1, 0, 0, not is_flat)
    backend = "compile" if mode == "compile" else "eager"
    given = {"pretrained_model_name_or_path": shape, "precision": precision, "backend": backend}
    hparams = Hyperparameters.model_validate(given)
    padding = Padding(length_multiple(hparams, device))
    packing = Packing(LONGEST, 0) if is_flat and device.type == "cuda" else None
    batches = [make_batch(lengths[list(m.windows)], padding, packing, vocabulary, device) for m in plan]
    context = TorchContext(OneSlot(), 1)
    context.device = device
    context.begin_batch(0)
    model = build(shape).train()
    engine = Engine(context, model, hparams, flat=Flat(0, True, packing) if is_flat else None)
    if mode == "flat":
        engine._replays = None

    def run(chosen: range) -> float:
        """Seconds of a step."""
        started = time.perf_counter()
        for i in chosen:
            engine.train_step(batches[i], i, True)
        synchronize(device)
        return (time.perf_counter() - started) / len(chosen)

    first = run(range(WARM)) * WARM
    if mode in ("compile", "graphs"):
        first += run(range(WARM, WARM + steps)) * steps  # so that every size has been seen
    part = max(1, steps // 5)
    seconds = [run(range(at, min(at + part, WARM + steps))) for at in range(WARM, WARM + steps, part)]
    launches = count_launches(functools.partial(run, range(WARM, WARM + 4))) / 4 if device.type == "cuda" else None
    weights = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear))
    layers, hidden = SHAPES[shape][:2]
    real = [int(batch["attention_mask"].sum()) for batch in batches[WARM:]]
    computed = [computed_pieces(batch, is_flat) for batch in batches[WARM:]]
    padded = [pieces for pieces, _ in computed]
    attention = [12 * layers * hidden * pairs for _, pairs in computed]
    useful = [12 * layers * hidden * int(batch["attention_mask"].sum(1).square().sum()) for batch in batches[WARM:]]
    peak = torch.cuda.max_memory_reserved() / 2**20 if device.type == "cuda" else None
    return {
        "seconds": statistics.median(seconds),
        "samples_per_second": batch_size / statistics.median(seconds),
        "first_seconds": first,
        "launches": launches,
        "useful_flop": statistics.mean(6 * weights * n for n in real) + statistics.mean(useful),
        "flop": statistics.mean(6 * weights * n for n in padded) + statistics.mean(attention),
        "bytes": BYTES_A_WEIGHT * sum(p.numel() for p in model.parameters()),
        "padding": 1 - sum(real) / sum(padded),
        "peak_mib": peak,
    }


def computed_pieces(batch: dict[str, torch.Tensor], is_flat: bool) -> tuple[int, int]:
    """Pieces that a step computes, and pairs of them in its attention; both with padding."""
    mask = batch["attention_mask"]
    rows = batch.get("packed_keys", mask)
    pieces = batch["packed_ids"].numel() if "packed_ids" in batch else int(mask.sum()) if is_flat else mask.numel()
    return pieces, rows.numel() * rows.shape[1]


def count_launches(action: Callable[[], Any]) -> int:
    """Calls of CUDA that start work on the GPU."""
    kinds = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[kinds.CPU, kinds.CUDA]) as seen:
        action()
    return sum(any(part in event.name for part in ("Launch", "cudaMemcpy", "cudaMemset")) for event in seen.events())


def measure_trainer(shape: str, batch_size: int, precision: str, best: bool, steps: int, device: torch.device) -> float:
    """Samples per second of ``transformers.Trainer``, after the first steps.

    Args:
        best: with its flags for speed: batches of like length, torch.compile.
    """
    lengths = lengths_like_conll(batch_size * (steps + WARM))
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
            if state.global_step == WARM:
                synchronize(device)
                Clock.began = time.perf_counter()

        def on_train_end(self, *_: Any, **__: Any) -> None:
            synchronize(device)
            Clock.ended = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=batch_size,
            max_steps=steps + WARM,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=device.type == "cpu",
            bf16=precision == "bf16",
            fp16=precision == "fp16",
            torch_compile=best,
            **(GROUPED if best else {}),
        )
        trainer = transformers.Trainer(
            model=build(shape), args=arguments, train_dataset=data, data_collator=collate, callbacks=[Clock()]
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
    return steps * batch_size / (Clock.ended - Clock.began)


def run_tests() -> str:
    """What pytest says of the tests that need a GPU, in its last line."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(ROOT / TESTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        print(done.stdout[-6000:])
    said = (done.stdout.strip() or done.stderr.strip() or f"exit status {done.returncode}").splitlines()
    return said[-1]


def draw(results: list[dict[str, Any]], title: str, path: Path) -> None:
    """Samples per second of each mode, one group of bars for each shape, batch size and precision."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    cases = list(dict.fromkeys((r["shape"], r["precision"], r["batch_size"]) for r in results))
    modes = list(dict.fromkeys(r["mode"] for r in results))
    speeds = {(r["shape"], r["precision"], r["batch_size"], r["mode"]): r["samples_per_second"] for r in results}
    figure, axes = plt.subplots(figsize=(2 + 0.9 * len(cases), 4), layout="constrained")
    for i, mode in enumerate(modes):
        at = [case + (i - (len(modes) - 1) / 2) * 0.8 / len(modes) for case in range(len(cases))]
        axes.bar(at, [speeds.get((*case, mode), 0) for case in cases], 0.8 / len(modes), label=mode)
    axes.set_xticks(range(len(cases)), [f"{shape}\n{precision}, {size}" for shape, precision, size in cases])
    axes.set_ylabel("samples/s")
    axes.set_title(title, fontsize="medium")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES)[:3], default=list(SHAPES)[:3])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--precisions", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument("--modes", nargs="+", choices=MODES, help="default: all; without a GPU, all but graphs")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=9, help="after which no further measurement begins")
    parser.add_argument("--tests", action="store_true", help="first run the tests that need a GPU")
    parser.add_argument("--trainer", action="store_true", help="measure transformers.Trainer, too")
    parser.add_argument("--wheels", metavar="DIR", help="of packages that are not installed here (not --wheels=DIR)")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a toy in place of the shapes")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write gpu.json and gpu.png there, too")
    trainings.add_arguments(parser)
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.exit(
            2, "error: no CUDA device here; run this where there is one (--device cpu --tiny shows that it runs)\n"
        )
    if arguments.device == "cpu" and "graphs" in (arguments.modes or ()):
        parser.exit(2, "error: --modes graphs: CUDA graphs need a GPU\n")
    if arguments.trainings:
        if problem := trainings.check(arguments):
            parser.exit(2, f"error: {problem}\n")
        shapes = ["tiny"] if arguments.tiny else list(trainings.MODELS) if arguments.random else []
        trainings.run(arguments, {shape: make_config(shape) for shape in shapes})
        return
    started = time.perf_counter()
    device = torch.device(arguments.device)
    kind = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    written: dict[str, Any] = {"device": kind, "date": datetime.date.today().isoformat()}
    written |= {"torch": torch.__version__, "transformers": transformers.__version__}
    if arguments.tests:
        written["tests"] = run_tests()
        print(f"{TESTS}: {written['tests']}", flush=True)
    flops, bandwidth = peaks(device, arguments.precisions, 512 if arguments.tiny else 8192)
    written |= {"peak_flops": flops, "bandwidth": bandwidth}
    speeds = ", ".join(f"{name} {value / 1e12:.1f} TFLOP/s" for name, value in flops.items())
    title = f"{kind}, torch {torch.__version__}, transformers {transformers.__version__}, {written['date']}"
    print(f"{title}: {speeds}, memory {bandwidth / 1e9:.0f} GB/s")
    header = ("samples/s", "step ms", "floor ms", "MFU", "padding", "launches", "MiB", "first s")
    print(f"{'':<40}" + "".join(f"{name:>11}" for name in header), flush=True)
    results: list[dict[str, Any]] = []
    modes = [*(arguments.modes or (MODES if device.type == "cuda" else MODES[:-1]))]
    modes += ["Trainer", "Trainer, best flags"] if arguments.trainer else []
    shapes = ["tiny"] if arguments.tiny else arguments.shapes
    for precision, shape, batch_size, mode in itertools.product(
        arguments.precisions, shapes, arguments.batch_sizes, modes
    ):
        if time.perf_counter() - started > 60 * arguments.minutes:
            print(f"{arguments.minutes:g} minutes are over")
            break
        torch._dynamo.reset()
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        if mode in MODES:
            found = measure_step(shape, batch_size, precision, mode, arguments.steps, device)
            found["floor_seconds"] = max(found["flop"] / flops[precision], found["bytes"] / bandwidth)
            found["mfu"] = found["useful_flop"] / found["seconds"] / flops[precision]
        else:
            speed = measure_trainer(shape, batch_size, precision, mode != "Trainer", arguments.steps, device)
            found = {"samples_per_second": speed}
        results.append({"shape": shape, "batch_size": batch_size, "precision": precision, "mode": mode, **found})
        print(f"{f'{shape}, batch {batch_size}, {precision}, {mode}':<40}{in_columns(found)}", flush=True)
        if arguments.output:
            arguments.output.mkdir(parents=True, exist_ok=True)
            text = json.dumps({**written, "results": results}, indent=1)
            (arguments.output / "gpu.json").write_text(text + "\n", encoding="utf-8")
    if arguments.output and results:
        draw(results, title, arguments.output / "gpu.png")


def in_columns(found: dict[str, Any]) -> str:
    """What was found of a mode, under the header."""
    cells = [f"{found['samples_per_second']:.1f}"]
    if "seconds" in found:
        cells += [f"{1000 * found[name]:.2f}" for name in ("seconds", "floor_seconds")]
        cells += [f"{found['mfu']:.1%}", f"{found['padding']:.1%}"]
        cells += ["-" if found[name] is None else f"{found[name]:.0f}" for name in ("launches", "peak_mib")]
        cells.append(f"{found['first_seconds']:.1f}")
    return "".join(f"{cell:>11}" for cell in cells)


if __name__ == "__main__":
    main()
