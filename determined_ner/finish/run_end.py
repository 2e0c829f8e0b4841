"""The end of a run: the best checkpoint becomes a model directory, is scored on the test data, and is summed up."""

from __future__ import annotations

import logging
from importlib import metadata
from pathlib import Path
from typing import Any

from determined_ner.errors import write_errors_explained
from determined_ner.files.atomic import replacing_directory, write_json
from determined_ner.files.checksums import write_checksums
from determined_ner.hub import quiet_transformers
from determined_ner.model.weights import load_weights
from determined_ner.report.curves import plot_curves
from determined_ner.training.run_folder import SUMMARY_FILE, RunFolder
from determined_ner.training.setup import Training

logger = logging.getLogger("determined_ner")


def finish(folder: RunFolder, training: Training, seconds: float) -> None:
    """The best checkpoint becomes model/ and is scored on the test data; summary and figures are written.

    Args:
        seconds: that the training took.
    """
    loop = training.loop
    reports = folder.metrics.reports()
    ranking = folder.rank(loop, reports)
    folder.prune(ranking)  # a run that was killed before it could, resumed, ends as one that was not
    best, chosen = ranking.best, ranking.best_kept
    if best and best["batches"] != chosen:
        logger.warning(
            f"the best validation, after batch {best['batches']:,}, has no checkpoint (checkpoint_policy: "
            f"{loop.checkpoint_policy}); model/ is that of batch {chosen:,}"
        )
    if best and best[loop.metric] == 0 and not loop.smaller_is_better:
        logger.warning(
            f"{loop.metric} is 0 in every validation, so model/ is that of the first, batch {chosen:,}: train longer "
            f"or with another learning_rate, and look at the tags with determined-ner check"
        )
    checkpoint = folder.checkpoint(chosen)
    load_weights(training.model, checkpoint)
    remedy = "make room or rights, then go on with --resume"
    with write_errors_explained(folder.model, remedy), replacing_directory(folder.model) as partial:
        with quiet_transformers():
            training.model.save_pretrained(partial)
        training.write_description(partial)
        write_checksums(partial)

    test = training.score("test") if "test" in training.corpus.splits else None
    validations = [report for report in reports if report["kind"] == "validation"]
    described = training.describe()
    summary = {
        "metric": loop.metric,
        "best": best,
        "last": validations[-1] if validations else None,
        "test": test,
        "samples_per_second": _samples_per_second(reports),
        "seconds": round(seconds, 2),
        "model": "model",
        "checkpoint": f"checkpoints/{checkpoint.name}",
        "model_batches": chosen,
        "labels": described["labels"],
        "scheme": described["scheme"],
        "slots": training.slots.size,
        "seed": training.seed,
        "settings": {"hyperparameters": described["hyperparameters"], "data": described["data"]},
        "versions": {name: metadata.version(name) for name in ("torch", "transformers")},
    }
    write_json(folder.path / SUMMARY_FILE, summary)
    figures = plot_curves(reports, folder.path / "figures")
    _log_results(folder, summary, figures)


def _samples_per_second(lines: list[dict[str, Any]]) -> float | None:
    """Of the whole training, validation and checkpoints left out: the reports' mean, weighted by their batches."""
    batches, seconds, before = 0, 0.0, 0
    for line in lines:
        if line["kind"] == "training":
            if speed := line.get("samples_per_second"):  # else a backend compiled all the while
                batches += line["batches"] - before
                seconds += (line["batches"] - before) / speed
            before = line["batches"]
    return round(batches / seconds, 2) if seconds else None


def _log_results(folder: RunFolder, summary: dict[str, Any], figures: list[Path]) -> None:
    rows = [(split, summary[split]) for split in ("best", "test") if summary[split]]
    names = [n for n in rows[0][1] if n not in ("kind", "batches", "epochs", "loss")] if rows else []
    names = [n for n in names if all(scores.get(n) is not None for _, scores in rows)]
    lines = ["", f"{'':<20}" + "".join(f"{'validation' if split == 'best' else split:>12}" for split, _ in rows)]
    lines += [f"{name:<20}" + "".join(f"{scores[name]:>12.4f}" for _, scores in rows) for name in names]
    speed = summary["samples_per_second"]
    lines += [
        "",
        f"{summary['seconds']:.0f} s" + (f", {speed} samples/s in training" if speed else ""),
        f"model    {folder.model}",
        f"scores   {folder.path / SUMMARY_FILE}, {folder.metrics.path.name}",
        f"curves   {', '.join(str(figure) for figure in figures)}",
    ]
    for line in lines:
        logger.info(line)
