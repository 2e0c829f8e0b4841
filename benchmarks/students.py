"""What do students of few layers lose and gain? Test F1 in int8 and speed, with a teacher's word and on labels alone.

    python3 benchmarks/students.py --corpus wnut17=TRAIN,VALIDATION,TEST [--corpus …] --work DIR
        [--layers 1 2 3 4 5] [--seeds 1 2 3] [--labelled 1000] [--unlabelled 2000] [--temperature 1] [--results FILE]

Of each corpus one teacher is trained, with a CRF, on the first LABELLED sentences. Its students begin as some of its
layers and are trained twice with each seed, for as many steps: on these and on the words of UNLABELLED more, by what
the teacher says; and on the labels alone (``distillation_weight: 0``). Each is exported to int8 as ``export
--quantize`` does it, and what is exported is scored by the Tagger. FILE keeps every score, a picture beside it shows
them, DIR keeps every model: what is there is not made again. An interval is that of the mean over seeds of the
differences between two runs with one seed (95 %, Student's t). Speeds are those of the first seed's files, in turn, on
the test part's first words, with all processors, after the trainings.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

import machine
from bench import ROOT, add_data_arguments, read_data_arguments
from recipes import as_arguments, run_all, run_apart, with_interval

from determined_ner import Tagger
from determined_ner.data.readers.open import read_file
from determined_ner.files.atomic import write_json, write_text
from determined_ner.model.directory import QUANTIZED_FILE
from determined_ner.report.plots import BLACK, BLUE, ORANGE, WIDTH, new_figure, save, style
from determined_ner.report.text import read_labelled, tag_text
from determined_ner.tagging.cost import first_texts
from determined_ner.tags.scores import evaluate
from determined_ner.training.trained import find_trained

SCORES = "scores.json"
ROUNDS = 7
EPOCHS = 6
"""Of the labelled text; a student makes as many steps of 16 windows."""
LABELS, TEACHER = "labels", "teacher"


def make(folder: Path, parts: dict[str, str], arguments: list[str]) -> None:
    """In this process: train into ``folder/run``, export to ``folder/exported``, write F1 to ``folder/scores.json``.

    That is by part of the trained model (``float32``) and of the int8 file (``int8``; None: none loses little enough).

    Args:
        parts: labelled files, by name.
    """
    from determined_ner.cli import main as command

    run, exported = folder / "run", folder / "exported"
    for left in (run, exported):  # of a benchmark that was stopped
        shutil.rmtree(left, ignore_errors=True)
    if status := command(["train", "--output-dir", str(run), *arguments]):
        sys.exit(status)
    fits = command(["export", str(run), "--output", str(exported), "--onnx", "--quantize"]) == 0
    models = {"float32": find_trained(str(run), folder)}
    if fits:
        models["int8"] = find_trained(str(exported), folder)
    scores: dict[str, Any] = {part: {"float32": None, "int8": None} for part in parts}
    for part, file in parts.items():
        text = read_labelled(models["float32"], file)
        for name, trained in models.items():
            model = trained.directory.onnx_model(QUANTIZED_FILE) if name == "int8" else None
            tagged, _ = tag_text(trained, name, text, models["float32"].directory.labels, model)
            scores[part][name] = evaluate(tagged.gold, tagged.decoded, tagged.sentences, tagged.table)["f1"]
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
    write_json(folder / SCORES, scores)


def make_apart(folder: Path, settings: dict[str, Any], threads: int) -> dict[str, Any]:
    """`make` in a process of its own, with ``seconds`` of it all."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {part: str(settings[f"data.{part}_file"]) for part in ("validation", "test")}
    seconds = run_apart(__file__, {"folder": str(folder), "parts": parts, "arguments": as_arguments(settings)}, threads)
    return {**json.loads((folder / SCORES).read_text("utf-8")), "seconds": seconds}


def write_unlabelled(train: Path, folder: Path, arguments: argparse.Namespace) -> Path:
    """The words of the sentences that come after the labelled, with no tag that says anything."""
    first, count = arguments.labelled, arguments.unlabelled
    file = folder / f"unlabelled-{first}-{count}.conll"
    if not file.is_file():
        sentences = itertools.islice(read_file(train), first, first + count)
        write_text(file, "".join("".join(f"{word}\tO\n" for word in each.words) + "\n" for each in sentences))
    return file


def speeds(teacher: Path, exports: dict[str, Path], test: Path) -> dict[str, float]:
    """Words per second of the teacher in PyTorch (``torch``) and in int8 (``teacher``), and of each student in int8.

    Returns:
        by name, the median of rounds in turn; without those that have no int8 file.
    """
    trained = find_trained(str(teacher / "run"), teacher)
    with trained.labelled_text(str(test), "it tags") as (text, _):
        words = first_texts(words for batch in text.batches() for words in batch.column("words").to_pylist())
    taggers = {"torch": Tagger.from_directory(trained.directory)}
    for name, directory in {TEACHER: teacher / "exported", **exports}.items():
        if (directory / QUANTIZED_FILE).is_file():
            taggers[name] = Tagger.from_pretrained(directory, "onnx", onnx_file=QUANTIZED_FILE)
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
    columns = ("layers", "on labels alone", "with the teacher", "gain", "beside the teacher", "by int8", "words/s")
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for layers, (alone, taught) in paired(rows).items():
        cells = [
            str(layers),
            *(f"{statistics.mean(row['int8'] for row in some):.4f}" for some in (alone, taught)),
            with_interval([a["int8"] - b["int8"] for a, b in zip(taught, alone, strict=True)]),
            with_interval([row["int8"] - own["float32"] for row in taught]),
            with_interval([row["int8"] - row["float32"] for row in taught]),
            f"{speed[str(layers)]:,.0f} ({speed[str(layers)] / speed['torch']:.1f} ×)",
        ]
        print(f"| {' | '.join(cells)} |")


def paired(rows: list[dict[str, Any]]) -> dict[int, tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    """Test scores by number of layers, of the seeds that have both, in int8: on labels alone, with the teacher."""
    found = {(row["layers"], row["way"], row["seed"]): row["test"] for row in rows if row["test"]["int8"] is not None}
    pairs: dict[int, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {}
    for layers, way, seed in sorted(found):
        if way == LABELS and (layers, TEACHER, seed) in found:
            alone, taught = pairs.setdefault(layers, ([], []))
            alone.append(found[layers, LABELS, seed])
            taught.append(found[layers, TEACHER, seed])
    return pairs


def draw(
    corpora: dict[str, tuple[dict[str, Any], list[dict[str, Any]], dict[str, float]]], file: Path
) -> None:  # as `show` takes them
    """Test F1 over speed, a panel a corpus; a dot is the mean over seeds, a line through it their range."""
    figure = new_figure(4.2, width=2 * WIDTH / 1.3)
    for axes, (corpus, (teacher, rows, speed)) in zip(
        figure.subplots(1, len(corpora), squeeze=False)[0], corpora.items(), strict=True
    ):
        pairs = paired(rows)
        for way, colour, name in ((1, BLUE, "student of the teacher"), (0, ORANGE, "the same on labels alone")):
            times = [speed[str(layers)] / speed["torch"] for layers in pairs]
            scores = [[row["int8"] for row in pair[way]] for pair in pairs.values()]
            axes.vlines(times, [min(some) for some in scores], [max(some) for some in scores], color=colour, lw=1.5)
            axes.plot(times, [statistics.mean(some) for some in scores], "o-", color=colour, label=name)
        for layers, (_, taught) in pairs.items():
            at = (speed[str(layers)] / speed["torch"], max(row["int8"] for row in taught))
            axes.annotate(str(layers), at, xytext=(0, 6), textcoords="offset points", ha="center", fontsize=10.5)
        axes.plot(1, teacher["test"]["float32"], "s", color=BLACK, label="teacher, PyTorch in float32")
        if teacher["test"]["int8"] is not None:
            at = (speed[TEACHER] / speed["torch"], teacher["test"]["int8"])
            axes.plot(*at, "D", color=BLACK, label="teacher in int8")
        axes.set_xscale("log")
        ticks = [1, 2, 5, 10, 20]
        axes.set_xticks(ticks, [f"{tick} ×" for tick in ticks])
        axes.minorticks_off()
        axes.margins(y=0.1)
        style(axes, corpus, "words per second, beside the teacher in PyTorch", "test F1, students in int8", grid="both")
    axes.legend(fontsize=10, loc="lower left")
    save(figure, file)


def main() -> None:
    if sys.argv[1:2] == ["--task"]:
        task = json.loads(sys.argv[2])
        make(Path(task["folder"]), task["parts"], task["arguments"])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser, "NAME=TRAIN,VALIDATION,TEST")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR")
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--labelled", type=int, default=1000, help="sentences")
    parser.add_argument(
        "--unlabelled", type=int, default=2000, help="sentences; 0: what the teacher says of the labelled"
    )
    parser.add_argument("--temperature", type=float, default=1, help="of the distillation")
    parser.add_argument("--runs", type=int, default=2, help="at a time, each with its share of the processors")
    parser.add_argument("--results", type=Path, default=ROOT / "figures" / "students.json")
    arguments = parser.parse_args()
    corpora = read_data_arguments(parser, arguments, "NAME=TRAIN,VALIDATION,TEST", 3)

    saved = json.loads(arguments.results.read_text("utf-8")) if arguments.results.is_file() else []
    lock, threads = threading.Lock(), max(1, machine.processors() // arguments.runs)
    work: Path = arguments.work.resolve()

    how = {name: getattr(arguments, name) for name in ("labelled", "unlabelled", "temperature")}

    def measure(key: dict[str, Any], folder: Path, settings: dict[str, Any]) -> None:
        if any(key.items() <= row.items() for row in saved) and folder.is_dir():
            return
        parts = ("data.train_file", "data.validation_file", "data.test_file")
        common: dict[str, Any] = dict(zip(parts, corpora[key["corpus"]], strict=True))
        common |= {"data.cache_dir": work / "cache", "data.max_train_samples": arguments.labelled}
        common |= {"hyperparameters.precision": "bf16", "reproducibility.experiment_seed": key["seed"]}
        row = {**key, "machine": machine.name(), **make_apart(folder, {**common, **settings}, threads)}
        with lock:
            saved.append(row)
            write_json(arguments.results, saved)
        print(row, file=sys.stderr, flush=True)

    def teach(corpus: str) -> None:
        settings = {
            "hyperparameters.pretrained_model_name_or_path": Path(arguments.encoder).resolve(),
            "hyperparameters.learning_rate": "1e-4",
            "hyperparameters.head": "crf",
            "hyperparameters.num_train_epochs": EPOCHS,
        }
        key = {"corpus": corpus, "layers": None, "seed": 1, "labelled": arguments.labelled}
        measure(key, folder_of_teacher(corpus), settings)

    steps = EPOCHS * arguments.labelled // 16

    def learn(seed: int, corpus: str, layers: int, way: str) -> None:
        settings = {
            "hyperparameters.teacher": folder_of_teacher(corpus) / "run",
            "hyperparameters.student_layers": layers,
            "hyperparameters.learning_rate": "2e-4",
            "hyperparameters.global_batch_size": 16,
            "hyperparameters.max_steps": steps,
            "min_validation_period.batches": -(-steps // 3),
        }
        if way == LABELS:
            settings["hyperparameters.distillation_weight"] = 0
        else:
            settings["hyperparameters.distillation_temperature"] = arguments.temperature
            if arguments.unlabelled:
                settings["data.unlabelled_file"] = write_unlabelled(corpora[corpus][0], work / corpus, arguments)
        key = {"corpus": corpus, "layers": layers, "seed": seed, "way": way, **how}
        measure(key, folder_of(corpus, layers, way, seed), settings)

    def folder_of_teacher(corpus: str) -> Path:
        return work / corpus / f"teacher-{arguments.labelled}"

    def folder_of(corpus: str, layers: int, way: str, seed: int) -> Path:
        return work / corpus / "-".join(map(str, [layers, way, seed, *how.values()]))

    run_all(teach, ((corpus,) for corpus in corpora), arguments.runs)
    run_all(learn, itertools.product(arguments.seeds, corpora, arguments.layers, (TEACHER, LABELS)), arguments.runs)
    found = {}
    for corpus, (_, _, test) in corpora.items():
        rows = [row for row in saved if row["corpus"] == corpus and row["labelled"] == arguments.labelled]
        teacher = next(row for row in rows if row["layers"] is None)
        students = [row for row in rows if how.items() <= row.items() and row["layers"] in arguments.layers]
        exports = {
            str(n): folder / "exported"
            for n in arguments.layers
            for seed in reversed(arguments.seeds)
            if ((folder := folder_of(corpus, n, TEACHER, seed)) / "exported").is_dir()
        }
        found[corpus] = (teacher, students, speeds(folder_of_teacher(corpus), exports, test))
        show(corpus, *found[corpus])
    draw(found, arguments.results.with_suffix(".png"))
    print(machine.line())


if __name__ == "__main__":
    main()
