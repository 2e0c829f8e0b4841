"""Cross-validation without a cluster: an ordinary run for each fold of the training documents, one after the other.

OUT/  fold-1/ …       the run that leaves fold 1 out
      predictions/    fold-1.parquet …: what it gives to each word of fold 1
      folds.json      what was asked for, for --resume
      summary.json    scores of each fold and of all, with intervals
"""

from __future__ import annotations

import argparse
import gc
import logging
from pathlib import Path
from typing import Any

from determined_ner.data.sources import check_files, content_of
from determined_ner.errors import UserError, write_errors_explained
from determined_ner.files.atomic import remove_directory, write_json
from determined_ner.local.folder import fold_name
from determined_ner.local.processes import process_count
from determined_ner.local.run import run_locally
from determined_ner.local.series import Series, open_series
from determined_ner.logs import set_up_logging
from determined_ner.masks import shown, without_secrets
from determined_ner.report.intervals import headline
from determined_ner.report.out_of_fold import OutOfFold, read_predictions, write_predictions
from determined_ner.report.tagged_text import TaggedText
from determined_ner.settings.experiment import read_config
from determined_ner.settings.loop import parse_loop
from determined_ner.settings.parsing import parse_settings
from determined_ner.settings.urls import is_remote
from determined_ner.training.run_config import CONFIG_FILE
from determined_ner.training.run_folder import FOLDS_FILE, SUMMARY_FILE
from determined_ner.training.teacher import teachers_in_record
from determined_ner.training.trained import find_trained

logger = logging.getLogger("determined_ner")

PREDICTIONS = "predictions"


def train_folds(arguments: argparse.Namespace, folds: int, on_cluster: bool = False) -> Path:
    """Train once without each fold, and score what each model gives to the fold that it has not seen.

    Args:
        arguments: of `add_train_arguments`. With ``resume``, folds that are done stay, and the one that was stopped
            goes on as any run does.
        folds: how many there are.

    Returns:
        the folder of all.

    Raises:
        UserError: whatever the user can fix.
    """
    check_folds(folds, on_cluster)
    set_up_logging(chief=True)
    record = record_of(arguments, folds)  # before anything is made
    if "teachers" in record:
        logger.warning("hyperparameters.teacher: where it has been trained on this text, scores of folds are too high")
    with open_series(arguments.output_dir, record, arguments.resume, series_of_folds(SUMMARY_FILE)) as folder:
        out_of_fold = run_folds(arguments, folds, folder)
        summary = summarize(out_of_fold, folds)
        with write_errors_explained(folder, "make room or rights, then go on with --resume"):
            write_json(folder / SUMMARY_FILE, summary)
        _log_results(folder, summary)
    return folder


def check_folds(folds: int, on_cluster: bool = False) -> None:
    """
    Raises:
        UserError: too few folds, or they would not be trained one after the other by this process.
    """
    if on_cluster or process_count() > 1:
        where = "on a cluster" if on_cluster else "by several processes"
        remedy = "set data.folds and data.fold (1 to K) in K experiments or runs"
        raise UserError("--folds", f"folds are not trained {where}", remedy)
    if folds < 2:
        raise UserError("--folds", f"{folds} folds leave nothing to train on", "ask for 2 or more")


def run_folds(arguments: argparse.Namespace, folds: int, folder: Path, keep_runs: bool = True) -> OutOfFold:
    """Train and predict fold after fold; what was done before is taken as it is.

    Args:
        folder: of all folds.
        keep_runs: leave the folder of each run.

    Returns:
        the predictions of all.
    """
    files = prediction_files(folder, folds)
    for fold, file in enumerate(files, 1):
        run = folder / fold_name(fold)
        if not file.exists():
            kept = "" if keep_runs else ", whose folder is removed once it has predicted"
            logger.info(f"fold {fold} of {folds}{kept}")
            overrides = [*arguments.overrides, *fold_settings(folds, fold)]
            again = (run / CONFIG_FILE).exists()
            one = argparse.Namespace(
                config_file=arguments.config_file, overrides=overrides, output_dir=run, resume=again
            )
            run_locally(one)
            gc.collect()  # the next run needs the memory
            config = read_config(one.config_file, overrides)
            settings = parse_settings(config.get("hyperparameters"), config.get("data"))
            trained = find_trained(str(run), run, settings.hparams.trust_remote_code)
            with write_errors_explained(file, "make room or rights, then go on with --resume"):
                file.parent.mkdir(exist_ok=True)
                write_predictions(trained, file)
        if not keep_runs and run.exists():
            remove_directory(run)
    return read_predictions(files)


def prediction_files(folder: Path, folds: int) -> list[Path]:
    """Where the predictions of each fold are, or will be."""
    return [folder / PREDICTIONS / f"{fold_name(fold)}.parquet" for fold in range(1, folds + 1)]


def summarize(out_of_fold: OutOfFold, folds: int) -> dict[str, Any]:
    """Scores with 95 % bootstrap intervals: of all words at once, and of each fold by itself."""
    whole = out_of_fold.tagged("all folds")
    unit, starts = whole.units()
    return {
        "folds": folds,
        "pooled": _scores(whole),
        "per_fold": [
            {
                "fold": fold,
                "run": fold_name(fold),
                "predictions": f"{PREDICTIONS}/{fold_name(fold)}.parquet",
                "sentences": len(part.words),
                "words": len(part.given),
                "scores": _scores(part.tagged(fold_name(fold))),
            }
            for fold, part in ((fold, out_of_fold.of_fold(fold)) for fold in range(1, folds + 1))
        ],
        "drawn": {"unit": unit, "number": len(starts) - 1},
        "labels": list(out_of_fold.labels),
    }


def _scores(tagged: TaggedText) -> dict[str, dict[str, float]]:
    return {name: score.as_json() for name, score in headline(tagged, tagged.tags).items()}


def record_of(arguments: argparse.Namespace, folds: int) -> dict[str, Any]:
    """What all folds have in common, and a continuation with them.

    Raises:
        UserError: the config, or the data that it names, does not allow folds.
    """
    config = read_config(arguments.config_file, [*arguments.overrides, *fold_settings(folds, 1)])
    settings = parse_settings(config.get("hyperparameters"), config.get("data"))
    parse_loop(config, settings)
    if settings.data.push_to_hub:
        problem = "the models of the folds would replace one another on the hub"
        raise UserError("data.push_to_hub", problem, "set data.push_to_hub=false")
    remote = next((corpus.file for corpus in settings.data.corpora.values() if is_remote(corpus.file)), None)
    if remote is not None:
        problem = f"{shown(remote)} is a URL, and the text of each fold is read again where its model has been trained"
        raise UserError("data.train_file", problem, "fetch it once, and name the file")
    check_files(settings.data)
    config["data"] = {name: value for name, value in config["data"].items() if name not in ("folds", "fold")}
    return {
        "folds": folds,
        "content": content_of(settings.data, settings.data.unlabelled_file),
        **teachers_in_record(settings.hparams, [settings.hparams.teacher]),
        **without_secrets(config),
    }


def series_of_folds(*results: str) -> Series:
    """
    Args:
        results: names of what is written in the end.
    """
    return Series("folds", FOLDS_FILE, (fold_name(1), PREDICTIONS, *results))


def fold_settings(folds: int, fold: int) -> list[str]:
    """What is set for the run of a fold, as on the command line."""
    return [f"data.folds={folds}", f"data.fold={fold}"]


def _log_results(folder: Path, summary: dict[str, Any]) -> None:
    def row(name: str, scores: dict[str, dict[str, float]]) -> str:
        cells = (f"{score['value']:.4f} ({score['low']:.3f} to {score['high']:.3f})" for score in scores.values())
        return f"{name:<10}" + "".join(f"{cell:>26}" for cell in cells)

    kept = {"f1", "precision", "recall"} if "f1" in summary["pooled"] else {"accuracy"}

    def chosen(scores: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        return {name: score for name, score in scores.items() if name in kept}

    lines = ["", f"{'':<10}" + "".join(f"{name:>26}" for name in chosen(summary["pooled"]))]
    lines += [row(part["run"], chosen(part["scores"])) for part in summary["per_fold"]]
    lines += [row("all", chosen(summary["pooled"])), ""]
    lines += [f"scores   {folder / SUMMARY_FILE}", f"runs     {folder / fold_name(1)} …"]
    for line in lines:
        logger.info(line)
