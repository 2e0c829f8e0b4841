"""Does speed cost score? F1 of every way to compute the same training, over several seeds.

    python3 benchmarks/quality.py --encoder DIR --corpus NAME=TRAIN,VALIDATION [--corpus …] [--batch-sizes 8 32]
        [--seeds 42 43 44] [--epochs 3] [--ways default random …] [--output FILE]

Runs take turns; each is a process of its own. Validation F1 after the last epoch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
WAYS: dict[str, tuple[bool, dict[str, Any]]] = {
    "default": (True, {}),
    "random": (True, {"group_by_length": False}),
    "plain": (False, {}),
    "random, plain": (False, {"group_by_length": False}),
    "bf16": (True, {"precision": "bf16"}),
    "compile": (True, {"backend": "compile"}),
    "ort": (True, {"backend": "ort"}),
}
"""Name: (with the fast step, or with PyTorch's dropout and all embedding rows; hyperparameters that differ)."""


def train(arguments: list[str], fast: bool) -> int:
    """In a process of its own: the command, without the fast step if so asked."""
    sys.path.insert(0, str(ROOT))
    import contextlib

    import ner_trial

    if not fast:
        from determined_ner.model import engine
        from determined_ner.training import setup

        assert hasattr(engine, "fast_dropout") and hasattr(setup, "train_only_rows")
        engine.fast_dropout = lambda *_: contextlib.nullcontext()
        setup.train_only_rows = lambda *_: None
    return ner_trial.main(arguments)


def run(encoder: str, files: list[str], batch_size: int, seed: int, way: str, given: argparse.Namespace) -> float:
    fast, differing = WAYS[way]
    with tempfile.TemporaryDirectory() as folder:
        overrides = {
            "hyperparameters.pretrained_model_name_or_path": encoder,
            "hyperparameters.global_batch_size": batch_size,
            "hyperparameters.num_train_epochs": given.epochs,
            **{f"hyperparameters.{name}": json.dumps(value) for name, value in differing.items()},
            "data.train_file": files[0],
            "data.validation_file": files[1],
            "reproducibility.experiment_seed": seed,
        }
        command = [sys.executable, __file__, "--train", "fast" if fast else "plain", "--output-dir", f"{folder}/run"]
        for name, value in overrides.items():
            command += ["--config", f"{name}={value}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        if done.returncode:
            print(f"error: {way} failed:\n{done.stderr[-3000:]}", file=sys.stderr)
            sys.exit(2)
        return float(json.loads(Path(folder, "run", "summary.json").read_text("utf-8"))["last"]["f1"])


def main() -> None:
    if sys.argv[1:2] == ["--train"]:
        sys.exit(train(sys.argv[3:], sys.argv[2] == "fast"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--corpus", action="append", required=True, metavar="NAME=TRAIN,VALIDATION")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=["default", "random", "plain"], metavar="WAY")
    parser.add_argument("--output", type=Path, help="write every score as JSON, too")
    arguments = parser.parse_args()
    scores: dict[str, list[float]] = {}
    for item in arguments.corpus:
        name, _, files = item.partition("=")
        parts = files.split(",")
        if len(parts) != 2 or not all(Path(part).is_file() for part in parts):
            parser.error(f"--corpus: {item!r} is not NAME=TRAIN,VALIDATION with two files that are there")
        paths = [str(Path(part).resolve()) for part in parts]
        encoder = str(Path(arguments.encoder).resolve())
        for batch_size in arguments.batch_sizes:
            for seed in arguments.seeds:
                for way in arguments.ways:
                    f1 = run(encoder, paths, batch_size, seed, way, arguments)
                    scores.setdefault(f"{name}, batch {batch_size}, {way}", []).append(f1)
                    print(f"{name}, batch {batch_size}, seed {seed}, {way}: {f1:.4f}", file=sys.stderr, flush=True)
    for setting, values in scores.items():
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        listed = " / ".join(f"{value:.3f}" for value in values)
        print(f"{setting:<40} {listed}   mean {statistics.mean(values):.3f}, standard deviation {spread:.3f}")
    if arguments.output:
        arguments.output.write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
