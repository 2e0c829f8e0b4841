"""What does a way of training win? F1 over corpora and paired seeds, beside the first way's.

    python3 benchmarks/recipes.py --corpus wnut17=TRAIN,VALIDATION [--corpus NAME=TRAIN,VALIDATION[,TEST] …]
        --ways plain lr=1e-4 "lr=1e-4 + crf" [--seeds 1 2 3 4 5] [--epochs 3] [--runs 2] [--results FILE]

A way is a list of KNOBS with " + " between them; all else is as in ner_config.yaml. (Two are no settings: "pytorch's
dropout" computes without the faster dropout and gradient of embeddings that a CPU has here, and "padded" on padded
batches, as of models that take no others.) Where a corpus has a test
part, the model of the best validation is scored on it. All ways are scored by one decoder, the Tagger's: the most
probable tags that the scheme allows together. FILE keeps every score, and what it has is not trained again, so that a
benchmark of hours can be stopped and go on. An interval is that of the mean over seeds of the differences between two
runs with one seed, on one corpus or in the mean over the corpora (95 %, Student's t).
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
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import machine
from bench import ROOT, add_data_arguments, read_data_arguments
from scipy import stats

from determined_ner.files.atomic import write_json

PLAIN_STEP, PADDED = "pytorch's dropout", "padded"
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
    PADDED: {},
}


def settings_of(way: str) -> dict[str, Any]:
    """
    Raises:
        KeyError: a part of it is no knob.
    """
    return {name: value for knob in way.split(" + ") for name, value in KNOBS[knob].items()}


def train_and_score(folder: Path, knobs: list[str], files: dict[str, str], arguments: list[str]) -> None:
    """In this process: train into ``folder/run``; write its tagger's F1 on each file to ``folder/scores.json``.

    Args:
        knobs: of which those that are no settings say how steps are computed.
        files: labelled text, by its name.
        arguments: of the training.
    """
    from determined_ner.model import engine
    from determined_ner.report.text import read_labelled, tag_text
    from determined_ner.tags.scores import evaluate
    from determined_ner.train import main as train_by_command
    from determined_ner.training import setup
    from determined_ner.training.trained import find_trained

    if PADDED in knobs:
        from ours import train_padded

        train_padded()
    if PLAIN_STEP in knobs:
        assert hasattr(engine, "fast_dropout") and hasattr(setup, "train_only_rows")
        engine.fast_dropout = lambda *_: None
        setup.train_only_rows = lambda *_: None
    if status := train_by_command(["--output-dir", str(folder / "run"), *arguments]):
        sys.exit(status)
    trained, scores = find_trained(str(folder / "run"), folder), {}
    for part, file in files.items():
        tagged, _ = tag_text(trained, part, read_labelled(trained, file), trained.directory.labels)
        found = evaluate(tagged.gold, tagged.decoded, tagged.sentences, tagged.table)
        scores[part] = found["f1"]
    write_json(folder / "scores.json", scores)


def train(settings: dict[str, Any], knobs: list[str], threads: int) -> dict[str, Any]:
    """Train in a process of its own.

    Args:
        knobs: as of `train_and_score`.
        threads: of the process.

    Returns:
        ``validation`` F1 of the best model and ``test`` F1 (None without a test part), ``seconds`` of it all.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = {
            part: str(settings[f"data.{part}_file"])
            for part in ("validation", "test")
            if f"data.{part}_file" in settings
        }
        task = {"folder": folder, "knobs": knobs, "files": files, "arguments": as_arguments(settings)}
        seconds = run_apart(__file__, task, threads)
        scores = json.loads(Path(folder, "scores.json").read_text("utf-8"))
    return {"validation": scores["validation"], "test": scores.get("test"), "seconds": seconds}


def as_arguments(settings: dict[str, Any]) -> list[str]:
    """Of the command that trains."""
    return [part for name, value in settings.items() for part in ("--config", f"{name}={value}")]


def run_apart(script: str, task: dict[str, Any], threads: int) -> float:
    """Run ``SCRIPT --task JSON`` in a process of its own.

    Returns:
        the seconds that it took.
    """
    command = [sys.executable, script, "--task", json.dumps(task)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    return round(time.perf_counter() - started, 1)


def run_all(function: Callable[..., None], planned: Iterable[tuple[Any, ...]], runs: int) -> None:
    """Call a function with each of the arguments, some calls at a time; the first error ends what has not begun."""
    with concurrent.futures.ThreadPoolExecutor(runs) as pool:
        waiting = [pool.submit(function, *one) for one in planned]
        try:
            for one in waiting:
                one.result()
        finally:
            pool.shutdown(cancel_futures=True)


def show(rows: list[dict[str, Any]], ways: list[str], part: str) -> None:
    """Two tables in Markdown: F1 of each way on each corpus, and the differences to the first way over paired seeds."""
    scores = {(row["way"], row["corpus"], row["seed"]): row[part] for row in rows if row[part] is not None}
    corpora = list(dict.fromkeys(corpus for _, corpus, _ in scores))
    if not corpora:
        return
    first, *others = ways
    seeds = {way: {s for w, _, s in scores if w == way and all((way, c, s) in scores for c in corpora)} for way in ways}
    head = f"{' | '.join(corpora)} | mean |"
    print(f"\n{part} F1\n\n| way | {head} seconds |\n|{' --- |' * (len(corpora) + 3)}")
    for way in ways:
        if not seeds[way]:
            continue
        means = [statistics.mean(scores[way, corpus, seed] for seed in seeds[way]) for corpus in corpora]
        seconds = statistics.mean(row["seconds"] for row in rows if row["way"] == way)
        cells = [way, *(f"{mean:.4f}" for mean in [*means, statistics.mean(means)]), f"{seconds:.0f}"]
        print(f"| {' | '.join(cells)} |")
    print(f"\n{part} F1 beside {first}\n\n| way | {head} seeds |\n|{' --- |' * (len(corpora) + 3)}")
    for way in others:
        if not (paired := sorted(seeds[way] & seeds[first])):
            continue
        gains = [[scores[way, corpus, s] - scores[first, corpus, s] for corpus in corpora] for s in paired]
        columns = [*zip(*gains, strict=True), [statistics.mean(gain) for gain in gains]]
        print(f"| {' | '.join([way, *map(with_interval, columns), str(len(paired))])} |")


def with_interval(gains: Sequence[float]) -> str:
    """Their mean, and half of its 95 % interval (Student's t)."""
    mean = f"{statistics.mean(gains):+.4f}"
    if len(gains) < 2:
        return mean
    half = stats.t.ppf(0.975, len(gains) - 1) * statistics.stdev(gains) / math.sqrt(len(gains))
    return f"{mean} ± {half:.4f}"


def main() -> None:
    if sys.argv[1:2] == ["--task"]:
        task = json.loads(sys.argv[2])
        train_and_score(Path(task["folder"]), task["knobs"], task["files"], task["arguments"])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser, "NAME=TRAIN,VALIDATION[,TEST]")
    parser.add_argument("--ways", nargs="+", required=True, metavar="WAY", help=f"of {', '.join(KNOBS)}")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--train-samples", type=int, help="the first sentences only")
    parser.add_argument("--runs", type=int, default=2, help="at a time, each with its share of the processors")
    parser.add_argument("--results", type=Path, default=ROOT / "figures" / "recipes.json")
    arguments = parser.parse_args()
    files = read_data_arguments(parser, arguments, "NAME=TRAIN,VALIDATION[,TEST]", 2, 3)
    for way in arguments.ways:
        if unknown := [knob for knob in way.split(" + ") if knob not in KNOBS]:
            parser.error(f"--ways: {unknown[0]!r} is none of {', '.join(KNOBS)}")
    corpora = {name: dict(zip(("train", "validation", "test"), parts, strict=False)) for name, parts in files.items()}

    saved = json.loads(arguments.results.read_text("utf-8")) if arguments.results.is_file() else []
    common = {
        "epochs": arguments.epochs,
        "train_samples": arguments.train_samples,
        "encoder": Path(arguments.encoder).name,
        "decoder": "tagger",
    }
    lock, threads = threading.Lock(), max(1, machine.processors() // arguments.runs)

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
        row = {**key, "machine": machine.name(), **train(settings, way.split(" + "), threads)}
        with lock:
            saved.append(row)
            write_json(arguments.results, saved)
        print(f"{name}, seed {seed}, {way}: {row['validation']:.4f}", file=sys.stderr, flush=True)

    run_all(measure, itertools.product(arguments.seeds, corpora, arguments.ways), arguments.runs)
    rows = [row for row in saved if common.items() <= row.items() and row["corpus"] in corpora]
    for part in ("validation", "test"):
        show(rows, arguments.ways, part)
    print(machine.line())


if __name__ == "__main__":
    main()
