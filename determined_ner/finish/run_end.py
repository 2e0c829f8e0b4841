"""The end of a run: the best checkpoint becomes a model directory, is scored on the test data, and is summed up."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import determined as det
import torch

import determined_ner.report.curves as ner_curves
import determined_ner.model.build as ner_model
from determined_ner.training.trained import load_weights
from determined_ner.settings.experiment import Plan
from determined_ner.training.run_folder import RunFolder, checkpoint_name
from determined_ner.data.remote import for_publication
from ner_trial import NERTrial

logger = logging.getLogger("ner")


def finish(folder: RunFolder, trial: NERTrial, plan: Plan, seconds: float) -> None:
    """The best checkpoint becomes model/ and is scored on the test data; summary and figures are written."""
    best = folder.best(plan.metric, plan.smaller_is_better)
    chosen = folder.best_saved(plan.metric, plan.smaller_is_better)
    if best and best["batches"] != chosen:
        logger.warning(
            f"the best validation, after batch {best['batches']:,}, has no checkpoint (checkpoint_policy: "
            f"{plan.checkpoint_policy}); model/ is that of batch {chosen:,}"
        )
    checkpoint = folder.checkpoints / checkpoint_name(chosen)
    load_weights(trial.bare, checkpoint)

    model_dir = folder.path / "model"
    partial = folder.path / ".model.partial"
    shutil.rmtree(partial, ignore_errors=True)
    with ner_model.quiet():
        trial.bare.save_pretrained(partial)
    trial.describe(partial)
    shutil.rmtree(model_dir, ignore_errors=True)
    partial.rename(model_dir)

    test = _score(trial, "test") if "test" in trial.corpus.splits else None
    validations = folder.validations()
    summary = {
        "metric": plan.metric,
        "best": best,
        "last": validations[-1] if validations else None,
        "test": test,
        "samples_per_second": _samples_per_second(folder.lines()),
        "seconds": round(seconds, 2),
        "model": "model",
        "checkpoint": f"checkpoints/{checkpoint.name}",
        "model_batches": chosen,
        "labels": list(trial.labels.names),
        "scheme": trial.labels.scheme.value,
        "slots": trial.context.distributed.size,
        "seed": trial.seed,
        "settings": {
            "hyperparameters": trial.settings.hparams.model_dump(),
            "data": for_publication(trial.settings.data),
        },
        "versions": {"determined": det.__version__, "torch": torch.__version__},
    }
    partial_file = folder.path / ".summary.partial"
    partial_file.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial_file.replace(folder.path / "summary.json")
    figures = ner_curves.plot_curves(folder.metrics_file, folder.path / "figures")
    _show(folder, summary, figures)


@torch.no_grad()
def _score(trial: NERTrial, split: str) -> dict[str, float]:
    metrics = trial.make_metrics(split)
    trial.bare.eval()
    trial.engine.begin_evaluation()
    for batch in trial.evaluation_loader(split, slots=1):
        trial.score(trial.context.to_device(batch), metrics)
    return metrics.cross_slot_reduce([metrics.per_slot_reduce()])


def _samples_per_second(lines: list[dict[str, Any]]) -> float | None:
    """Of the whole training, validation and checkpoints left out: the reports' mean, weighted by their batches."""
    batches, seconds, before = 0, 0.0, 0
    for line in lines:
        if line["kind"] == "training":
            if line["samples_per_second"] > 0:  # else a backend compiled all the while
                batches += line["batches"] - before
                seconds += (line["batches"] - before) / line["samples_per_second"]
            before = line["batches"]
    return round(batches / seconds, 2) if seconds else None


def _show(folder: RunFolder, summary: dict[str, Any], figures: list[Path]) -> None:
    rows = [(split, summary[split]) for split in ("best", "test") if summary[split]]
    names = [n for n in rows[0][1] if n not in ("kind", "batches", "epochs", "loss")] if rows else []
    lines = ["", f"{'':<20}" + "".join(f"{'validation' if split == 'best' else split:>12}" for split, _ in rows)]
    lines += [f"{name:<20}" + "".join(f"{scores[name]:>12.4f}" for _, scores in rows) for name in names]
    speed = summary["samples_per_second"]
    lines += [
        "",
        f"{summary['seconds']:.0f} s" + (f", {speed} samples/s in training" if speed else ""),
        f"model    {folder.path / 'model'}",
        f"scores   {folder.path / 'summary.json'}, {folder.metrics_file.name}",
        f"curves   {', '.join(str(figure) for figure in figures)}",
    ]
    for line in lines:
        logger.info(line)
