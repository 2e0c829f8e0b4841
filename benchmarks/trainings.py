"""Whole trainings beside each other, PyTorch and ONNX Runtime: the table of Optimum's example for ORTTrainer.

Called by gpu.py. The example published 138.1 samples/s by PyTorch and 154.3 by ONNX Runtime (+ 11.67 %) for
bert-large-cased on CoNLL-2003 in fp16, batches of 8, 7 epochs, on one A100.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import backends
import numpy as np
import tokenizers
import torch
import transformers

from determined_ner.errors import UserError
from determined_ner.model import ort

MODELS = {"bert-base": "bert-base-cased", "bert-large": "bert-large-cased"}
"""By shape."""
CHOICES = ("eager", "compile", "ort", "ort/adamw_ort_fused")
PUBLISHED = {"model": "bert-large-cased", "device": "A100", "PyTorch": 138.1, "ONNX Runtime": 154.3}
SENTENCES = {"train": 14041, "validation": 3250}
"""As in CoNLL-2003."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("whole trainings, in place of steps")
    group.add_argument(
        "--trainings",
        type=Path,
        metavar="DIR",
        help="train whole models, and write table.json, table.md, table.png there",
    )
    models = "names or directories (default: bert-base-cased bert-large-cased)"
    group.add_argument("--models", nargs="+", default=list(MODELS.values()), metavar="MODEL", help=models)
    group.add_argument(
        "--random",
        action="store_true",
        help="random weights in the shapes of these two, and an invented corpus: offline",
    )
    group.add_argument("--train", type=Path, metavar="FILE", help="labelled text (default: CoNLL-2003 of the hub)")
    group.add_argument("--validation", type=Path, metavar="FILE")
    group.add_argument(
        "--backends", nargs="+", choices=CHOICES, default=["eager", "ort"], help="the first is compared with"
    )
    group.add_argument("--epochs", type=int, default=7)
    group.add_argument("--repeats", type=int, default=3)


def check(arguments: argparse.Namespace) -> str | None:
    """Why it cannot run, in one line."""
    if (arguments.train is None) != (arguments.validation is None):
        return "--train and --validation belong together"
    for choice in arguments.backends:
        if choice.startswith("ort"):
            try:
                ort.check_installation(arguments.device)
                if "fused" in choice:
                    ort.check_fused_adam()
            except UserError as error:
                return f"--backends {choice}: {error.problem}; {error.remedy}"
    return None


def run(arguments: argparse.Namespace, shapes: dict[str, transformers.BertConfig]) -> None:
    """Train each model with each backend, in turn, and write the table.

    Args:
        shapes: with ``--random`` or ``--tiny``, of the models; by name.
    """
    if arguments.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    arguments.trainings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        common, models = _settings(arguments), {name: str(name) for name in arguments.models}
        if shapes:
            if arguments.train is None:
                files = _invent(Path(scratch), {n: 40 if arguments.tiny else count for n, count in SENTENCES.items()})
                common |= {f"data.{split}_file": file for split, file in files.items()}
            models = {n: _make(config, Path(scratch, n), common["data.train_file"]) for n, config in shapes.items()}
            common["hyperparameters.use_pretrained_weights"] = "false"
        found: dict[tuple[str, str], list[backends.Run]] = {}
        for number in range(arguments.repeats):
            for name, model in models.items():
                for choice in arguments.backends:
                    backend, _, optim = choice.partition("/")
                    settings = {
                        **common,
                        "hyperparameters.pretrained_model_name_or_path": model,
                        "hyperparameters.backend": backend,
                        **({"hyperparameters.optim": optim} if optim else {}),
                    }
                    with tempfile.TemporaryDirectory() as folder:
                        measured = backends.train(settings, Path(folder, "run"))
                    found.setdefault((name, choice), []).append(measured)
                    told = f"{measured.samples_per_second:.1f} samples/s, F1 {measured.f1:.4f}"
                    print(f"round {number + 1}  {name}, {choice}: {told}", file=sys.stderr, flush=True)
                    _write(arguments, common, found)  # a try that is stopped leaves what it measured
    print((arguments.trainings / "table.md").read_text(encoding="utf-8"))


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The example's own settings."""
    files = {"data.train_file": arguments.train, "data.validation_file": arguments.validation}
    hub = {"data.dataset_name": "conll2003", "data.dataset_revision": "refs/convert/parquet"}
    return {
        **(hub if arguments.train is None and not (arguments.random or arguments.tiny) else files),
        "hyperparameters.precision": "fp32" if arguments.device == "cpu" else "fp16",
        "hyperparameters.global_batch_size": 8,
        "hyperparameters.num_train_epochs": arguments.epochs,
        "hyperparameters.group_by_length": "false",
        "min_checkpoint_period.epochs": arguments.epochs,
        "reproducibility.experiment_seed": 42,
        "scheduling_unit": 1 if arguments.tiny else 100,
    }


def _invent(folder: Path, counts: dict[str, int]) -> dict[str, Path]:
    """Files of sentences whose lengths are as in CoNLL-2003, one word in nine a name."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), rng.integers(3, 9))) for _ in range(3000)]
    files = {}
    for split, count in counts.items():
        lengths = np.clip(np.exp(rng.normal(np.log(12), 0.7, count)), 2, 100).astype(int)
        sentences = [rng.integers(0, len(words), length) for length in lengths]
        lines = ["".join(f"{words[i]}\t{'O' if i % 9 else 'B-PER'}\n" for i in sentence) for sentence in sentences]
        files[split] = folder / f"{split}.conll"
        files[split].write_text("\n".join(lines), encoding="utf-8")
    return files


def _make(config: transformers.BertConfig, folder: Path, text: Path) -> str:
    """A model directory without weights, its word pieces those of a text."""
    folder.mkdir()
    pieces = tokenizers.BertWordPieceTokenizer(lowercase=False)
    pieces.train([str(text)], vocab_size=config.vocab_size, show_progress=False)
    pieces.save_model(str(folder))
    transformers.BertTokenizerFast.from_pretrained(folder, do_lower_case=False).save_pretrained(folder)
    config.save_pretrained(folder)
    return str(folder)


def _write(
    arguments: argparse.Namespace, common: dict[str, Any], found: dict[tuple[str, str], list[backends.Run]]
) -> None:
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else "CPU"
    versions = {d.metadata["Name"]: d.version for d in metadata.distributions()}
    kept = {n: versions[n] for n in ("torch", "transformers", "onnxruntime-training") if n in versions}
    rows = []
    for (model, choice), runs in found.items():
        speed = statistics.median(r.samples_per_second for r in runs)
        first = found.get((model, arguments.backends[0]), runs)
        row = {
            "model": model,
            "backend": choice,
            "samples_per_second": speed,
            "gain": speed / statistics.median(r.samples_per_second for r in first) - 1,
            "compile_seconds": statistics.median(r.compile_seconds for r in runs),
            "f1": statistics.median(r.f1 for r in runs),
            "runs": [r._asdict() for r in runs],
        }
        rows.append(row)
    written = {
        "device": device,
        "date": datetime.date.today().isoformat(),
        "versions": kept,
        "settings": {name: str(value) for name, value in common.items()},
        "random": bool(arguments.random or arguments.tiny),
        "published": PUBLISHED,
        "rows": rows,
    }
    folder: Path = arguments.trainings
    (folder / "table.json").write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    said = ", ".join(f"{name} {version}" for name, version in kept.items())
    lines = [
        f"{device}, {written['date']}, {said}; {common['hyperparameters.precision']}, batches of 8, {arguments.epochs} "
        f"epochs, medians of {arguments.repeats}{'; random weights: F1 says nothing' if written['random'] else ''}",
        "",
        "| model | backend | samples/s | gain | compiling | F1 |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {r['model']} | {r['backend']} | {r['samples_per_second']:.1f} | {r['gain']:+.2%} | "
            f"{r['compile_seconds']:.1f} s | {r['f1']:.4f} |"
            for r in rows
        ),
        "",
        f"Published by Optimum's example, of {PUBLISHED['model']}, fp16, batches of 8, 7 epochs on one "
        f"{PUBLISHED['device']}: {PUBLISHED['PyTorch']} samples/s by PyTorch, {PUBLISHED['ONNX Runtime']} by ONNX "
        "Runtime (+11.67%).",
    ]
    (folder / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _draw(rows, device, folder / "table.png")


def _draw(rows: list[dict[str, Any]], device: str, file: Path) -> None:
    """A bar for each row, each run a point on it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    colors = {choice: f"C{i}" for i, choice in enumerate(CHOICES)}
    figure, axes = pyplot.subplots(figsize=(7, 1 + 0.45 * len(rows)), layout="constrained")
    for i, row in enumerate(rows):
        axes.barh(i, row["samples_per_second"], color=colors[row["backend"]], alpha=0.7)
        speeds = [one["samples_per_second"] for one in row["runs"]]
        axes.plot(speeds, [i] * len(speeds), "k|", markersize=8)
        axes.text(max(speeds), i, f"  {row['samples_per_second']:.1f} ({row['gain']:+.1%})", va="center")
    axes.set_yticks(range(len(rows)), [f"{row['model']}, {row['backend']}" for row in rows])
    axes.invert_yaxis()
    axes.margins(x=0.3)
    axes.set_xlabel(f"samples per second of training on {device}")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)
    pyplot.close(figure)
