"""Our side of the comparison: a run without a cluster, by the command a user gives.

python3 benchmarks/ours.py SPEC.json        (called by bench.py; prints one JSON object)
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import Measured, Profile, encoder_weights, report

from determined_ner.train import main as train
from determined_ner.training import setup
from determined_ner.training.setup import Training


def train_padded() -> None:
    """Train on padded batches from now on, as models are that take no others."""
    assert hasattr(setup, "find_flat")
    setup.find_flat = lambda *_: None


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if spec.get("padded"):
        train_padded()
    measured, profile = Measured(), Profile() if spec["profile"] else None
    measured.padding_of(lambda batch: batch["attention_mask"])
    training_class: Any = Training
    train_step, score_batch = training_class.train_step, training_class.score_batch
    weights = 0

    def timed_train_step(self: Any, batch: Any, index: int) -> Any:
        nonlocal weights
        if not measured.running:  # the first step of an epoch
            weights = encoder_weights(self.model)
            measured.begin()
        measured.first_step()
        started = time.perf_counter()
        result = train_step(self, batch, index)
        measured.inside(time.perf_counter() - started)
        measured.count(batch, padded=self.flat is None)
        if profile:
            profile.step()
        if (index + 1) % self.epoch_batches == 0:
            measured.end()
        return result

    def timed_score_batch(self: Any, batch: Any, metrics: Any) -> None:
        started = time.perf_counter()
        score_batch(self, batch, metrics)
        measured.evaluated(len(batch["windows"]), time.perf_counter() - started)

    training_class.train_step, training_class.score_batch = timed_train_step, timed_score_batch
    config = {
        "name": "bench",
        "entrypoint": "python3 ner_trial.py",
        "hyperparameters": {
            "pretrained_model_name_or_path": spec["encoder"],
            "config_name": spec["config"],
            "use_pretrained_weights": spec["config"] is None,
            "global_batch_size": spec["batch_size"],
            "num_train_epochs": spec["epochs"],
            "group_by_length": spec.get("grouped"),
            "precision": "bf16" if spec["bf16"] else "fp32",
        },
        "data": {
            "train_file": spec["train"],
            "validation_file": spec["validation"],
            "max_train_samples": spec["train_samples"],
            "max_eval_samples": spec["eval_samples"],
            "cache_dir": spec["cache"],
        },
        "searcher": {"name": "single", "metric": "f1", "smaller_is_better": False},
        "resources": {"slots_per_trial": 1},
        "reproducibility": {"experiment_seed": spec["seed"]},
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bench.yaml"
        file.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
        status = train([str(file), "--output-dir", f"{folder}/run"])
        if status:
            sys.exit(status)
        lines = [json.loads(line) for line in Path(folder, "run", "metrics.jsonl").read_text("utf-8").splitlines()]
    f1 = [line["f1"] for line in lines if line["kind"] == "validation"][-1]
    report(spec, measured, profile, f1, weights)


if __name__ == "__main__":
    main()
