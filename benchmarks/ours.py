"""Our side of the comparison: the trial in Determined's loop, by the command a user gives.

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

import ner_trial


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    measured, profile = Measured(), Profile() if spec["profile"] else None
    measured.padding_of(lambda batch: batch["attention_mask"])
    trial_class: Any = ner_trial.NERTrial
    train_batch, evaluate_batch = trial_class.train_batch, trial_class.evaluate_batch
    weights = 0

    def timed_train_batch(self: Any, batch: Any, epoch_idx: int, batch_idx: int) -> Any:
        nonlocal weights
        if not measured.running:  # the first step of an epoch
            weights = encoder_weights(self.training.model)
            measured.begin()
        measured.first_step()
        started = time.perf_counter()
        result = train_batch(self, batch, epoch_idx, batch_idx)
        measured.inside(time.perf_counter() - started)
        measured.count(batch)
        if profile:
            profile.step()
        if (batch_idx + 1) % self.training.epoch_batches == 0:
            measured.end()
        return result

    def timed_evaluate_batch(self: Any, batch: Any, batch_idx: int) -> Any:
        started = time.perf_counter()
        result = evaluate_batch(self, batch, batch_idx)
        measured.evaluated(len(batch["windows"]), time.perf_counter() - started)
        return result

    trial_class.train_batch, trial_class.evaluate_batch = timed_train_batch, timed_evaluate_batch
    config = {
        "name": "bench",
        "entrypoint": "python3 ner_trial.py",
        "hyperparameters": {
            "pretrained_model_name_or_path": spec["encoder"],
            "config_name": spec["config"],
            "use_pretrained_weights": spec["config"] is None,
            "global_batch_size": spec["batch_size"],
            "num_train_epochs": spec["epochs"],
            "group_by_length": spec["grouped"],
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
        status = ner_trial.main([str(file), "--output-dir", f"{folder}/run"])
        if status:
            sys.exit(status)
        lines = [json.loads(line) for line in Path(folder, "run", "metrics.jsonl").read_text("utf-8").splitlines()]
    f1 = [line["f1"] for line in lines if line["kind"] == "validation"][-1]
    report(spec, measured, profile, f1, weights)


if __name__ == "__main__":
    main()
