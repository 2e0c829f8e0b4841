"""A run without a cluster: Determined's own loop, with a folder where its master would be.

    runs/NAME/  metrics.jsonl   every report, one JSON object a line
                summary.json    last, best and test scores, speed, settings
                checkpoints/    the best and the newest, complete or not there
                model/          the best one as a Hugging Face directory
                figures/        curves
                tensorboard/    events
                cache/          tokenized data
                config.json     the experiment config, for --resume

Determined's training controller takes its core context as an argument; here it gets one whose train and checkpoint
parts write to the folder. All else (loop, periods, policies, resume) is Determined's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import determined as det
import torch
from determined import core, pytorch
from determined.common import storage
from tqdm import tqdm

import ner_model
from ner_errors import UserError
from ner_experiment import DEFAULT_CONFIG, REPORTING_BATCHES, make_plan, read_config
from ner_hparams import parse_settings
from ner_trial import NERTrial, check_batch_size

logger = logging.getLogger("ner")

RESUMABLE = {"precision", "cache_dir", "overwrite_cache", "preprocessing_num_workers"}
"""Settings that may differ between a run and its continuation."""


def run_locally(arguments: argparse.Namespace) -> None:
    """Train as the config says; under ``torchrun``, with all its processes.

    Raises:
        UserError: whatever the user can mend; a fresh run folder is removed again if nothing was trained.
    """
    chief = int(os.environ.get("RANK", "0")) == 0
    _log_readably(chief)
    with _distributed() as distributed:
        folder, config, fresh = _on_chief(distributed, lambda: _open_folder(arguments))
        try:
            _train(RunFolder(folder), config, arguments.resume, distributed)
        except UserError:
            if fresh and distributed.rank == 0 and not (folder / "metrics.jsonl").exists():
                shutil.rmtree(folder, ignore_errors=True)
            raise


def _train(folder: RunFolder, config: dict[str, Any], resume: bool, distributed: core.DistributedContext) -> None:
    started = time.perf_counter()
    settings = parse_settings(config.get("hyperparameters"), config.get("data"))
    check_batch_size(settings.hparams.global_batch_size, distributed.size)
    plan = make_plan(config, settings)
    checkpoint = _on_chief(distributed, lambda: folder.begin(resume))
    steps = checkpoint[1] if checkpoint else 0

    NERTrial.cache_dir = folder.path / "cache"
    # As written, but for the one that Determined computes with.
    hparams = {**config["hyperparameters"], "global_batch_size": settings.hparams.global_batch_size}
    with _core_context(folder, plan, distributed, config) as core_context:
        context = pytorch.PyTorchTrialContext(
            core_context=core_context,
            trial_seed=plan.seed,
            hparams=hparams,
            slots_per_trial=distributed.size,
            num_gpus=torch.cuda.device_count(),
            exp_conf={**config, "hyperparameters": hparams},
            aggregation_frequency=plan.aggregation_frequency,
            steps_completed=steps,
            managed_training=True,
            debug_enabled=False,
        )
        try:
            trial = NERTrial(context)
        except det.InvalidHP as error:
            raise UserError(str(error)) from error  # without a searcher it is a mistake like any other
        total = trial.in_batches(plan.length)
        core_context.train.progress = _Progress(total, steps, trial.epoch_batches, distributed.rank == 0)
        controller = _Controller(
            trial_inst=trial,
            context=context,
            checkpoint_period=trial.in_determined_units(plan.checkpoint_period),
            validation_period=trial.in_determined_units(plan.validation_period),
            reporting_period=pytorch.Batch(plan.reporting_batches or max(1, min(REPORTING_BATCHES, total // 50))),
            smaller_is_better=plan.smaller_is_better,
            steps_completed=steps,
            latest_checkpoint=checkpoint[0] if checkpoint else None,
            local_training=True,
            test_mode=False,
            searcher_metric_name=plan.metric,
            checkpoint_policy=plan.checkpoint_policy,
            step_zero_validation=plan.perform_initial_validation,
            max_length=trial.in_determined_units(plan.length),
            global_batch_size=settings.hparams.global_batch_size,
            profiling_enabled=False,
        )
        try:
            controller.run()
        finally:
            core_context.train.progress.close()
        if distributed.rank == 0:
            _finish(folder, trial, plan, time.perf_counter() - started)


# ----- the folder


class RunFolder:
    """What a run has written, and how it goes on after a stop."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.metrics_file = path / "metrics.jsonl"

    def begin(self, resume: bool) -> tuple[str, int] | None:
        """Make ready to train: name and batches of the checkpoint to go on from, if any.

        Reports that were made after that checkpoint are dropped; they will be made again.

        Raises:
            UserError: nothing to resume.
        """
        self.checkpoints.mkdir(exist_ok=True)
        if not resume:
            return None
        found = self.saved_steps()
        if not found:
            raise UserError(f"--resume: {self.checkpoints} holds no complete checkpoint; start without --resume")
        kept = [line for line in self.lines() if line["batches"] <= found[-1]]
        partial = self.metrics_file.with_suffix(".partial")
        partial.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        partial.replace(self.metrics_file)
        logger.info(f"resuming {self.path} from batch {found[-1]:,}")
        return checkpoint_name(found[-1]), found[-1]

    def saved_steps(self) -> list[int]:
        """Batches at which there is a complete checkpoint, ascending."""
        names = (re.fullmatch(r"step-(\d+)", p.name) for p in self.checkpoints.glob("step-*"))
        return sorted(int(match[1]) for match in names if match)

    def lines(self) -> list[dict[str, Any]]:
        """All reports; a last line that a stop cut short is none."""
        if not self.metrics_file.exists():
            return []
        text = self.metrics_file.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.split("\n")[:-1] if line]

    def append(self, line: dict[str, Any]) -> None:
        with self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def validations(self) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["kind"] == "validation"]

    def best(self, metric: str, smaller_is_better: bool) -> dict[str, Any] | None:
        """The best validation, the earliest of equals."""
        sign = 1 if smaller_is_better else -1
        return min(self.validations(), key=lambda line: sign * line[metric], default=None)


def checkpoint_name(batches: int) -> str:
    return f"step-{batches:08d}"


def _open_folder(arguments: argparse.Namespace) -> tuple[Path, dict[str, Any], bool]:
    """The run's folder, the config, and whether the folder is new."""
    folder: Path | None = arguments.output_dir
    config = None
    if arguments.config_file or not (arguments.resume and folder):
        config = read_config(arguments.config_file or DEFAULT_CONFIG, arguments.overrides)
    if folder is None:
        assert config is not None
        folder = _named_folder(str(config.get("name") or "ner"), arguments.resume)
    saved_file = folder / "config.json"
    if arguments.resume:
        if not saved_file.is_file():
            raise UserError(f"--resume: {folder} holds no run to go on with; start it without --resume")
        saved = json.loads(saved_file.read_text(encoding="utf-8"))
        config = config or _override(saved, arguments.overrides)
        _check_same(saved, config, folder)
        return folder, config, False
    assert config is not None
    parse_settings(config.get("hyperparameters"), config.get("data"))  # no folder for what cannot start
    if saved_file.exists() or (folder / "metrics.jsonl").exists():
        raise UserError(f"--output-dir {folder}: holds a run already; add --resume to go on with it, or name another")
    try:
        fresh = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        saved_file.write_text(json.dumps(config, indent=1, default=str), encoding="utf-8")
    except OSError as error:
        raise UserError(f"--output-dir {folder}: cannot be written: {error.strerror}; name another folder") from None
    return folder, config, fresh


def _named_folder(name: str, resume: bool) -> Path:
    """runs/NAME, runs/NAME-2, …: the next free one, or the newest there is."""
    slug = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "ner"
    number = 1
    folder = newest = Path("runs") / slug
    while folder.exists():
        newest = folder
        number += 1
        folder = Path("runs") / f"{slug}-{number}"
    return newest if resume else folder


def _override(config: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    from determined.cli import ntsc

    return dict(ntsc.parse_config_overrides(config, overrides))


def _check_same(saved: dict[str, Any], config: dict[str, Any], folder: Path) -> None:
    """A continuation that trains otherwise would be neither the old run nor a new one.

    Raises:
        UserError: naming every setting that differs.
    """
    differences = []
    old, new = (parse_settings(c.get("hyperparameters"), c.get("data")) for c in (saved, config))
    for section, before, after in (
        ("hyperparameters", old.hparams.model_dump(), new.hparams.model_dump()),
        ("data", old.data.model_dump(), new.data.model_dump()),
    ):
        differences += [
            f"{section}.{name}: {before[name]!r} → {after[name]!r}"
            for name in before
            if before[name] != after[name] and name not in RESUMABLE
        ]
    plans = [make_plan(c, s) for c, s in ((saved, old), (config, new))]
    differences += [
        f"{name}: {getattr(plans[0], name)} → {getattr(plans[1], name)}"
        for name in ("length", "aggregation_frequency", "seed")
        if getattr(plans[0], name) != getattr(plans[1], name)
    ]
    if differences:
        raise UserError(
            f"--resume: the run in {folder} was started with other settings: {'; '.join(differences)}; "
            f"drop these changes, or start a new run"
        )


# ----- what stands in for the master


@contextlib.contextmanager
def _core_context(
    folder: RunFolder, plan: Any, distributed: core.DistributedContext, config: dict[str, Any]
) -> Iterator[core.Context]:
    kept = config.get("checkpoint_storage") or {}
    keep = (int(kept.get("save_trial_best", 1)), int(kept.get("save_trial_latest", 1)))
    # Determined copies the whole current directory into every checkpoint; ours are rebuilt from our modules alone.
    det.util.write_user_code = _write_own_code
    with core.Context(
        distributed=distributed,
        checkpoint=_CheckpointContext(distributed, folder, plan, keep),
        preempt=core.DummyPreemptContext(distributed, core.PreemptMode.WorkersAskChief),
        train=_TrainContext(folder, plan),
        searcher=core.DummySearcherContext(distributed),
        profiler=core.DummyProfilerContext(),
    ) as context:
        yield context


def _write_own_code(path: Path, on_cluster: bool) -> None:
    code = path / "code"
    code.mkdir()
    for module in Path(__file__).parent.glob("ner_*.py"):
        shutil.copyfile(module, code / module.name)


class _TrainContext(core.DummyTrainContext):
    """Reports go to metrics.jsonl and to the terminal."""

    progress: _Progress

    def __init__(self, folder: RunFolder, plan: Any) -> None:
        super().__init__(folder.path / "tensorboard")
        self._folder = folder
        self._plan = plan

    def set_status(self, status: str) -> None:
        self.progress.show_status(status)

    def report_training_metrics(self, steps_completed: int, metrics: dict[str, Any], batch_metrics: Any = None) -> None:
        self._folder.append({"kind": "training", **_plain_numbers(metrics)})
        self.progress.show_training(metrics)

    def report_validation_metrics(self, steps_completed: int, metrics: dict[str, Any]) -> None:
        before = self.get_experiment_best_validation()
        self._folder.append({"kind": "validation", **_plain_numbers(metrics)})
        self.progress.show_validation(metrics, self.get_experiment_best_validation() != before)

    def get_experiment_best_validation(self) -> float | None:
        best = self._folder.best(self._plan.metric, self._plan.smaller_is_better)
        return best[self._plan.metric] if best else None

    def _get_last_validation(self) -> int | None:
        return max((line["batches"] for line in self._folder.validations()), default=None)

    def report_progress(self, progress: float) -> None:
        pass  # the bar shows it

    def upload_tensorboard_files(self, *_: Any, **__: Any) -> None:
        pass  # they are where they belong


class _CheckpointContext(core.DummyCheckpointContext):
    """Checkpoints get their names when they are complete; of those, the best and the newest are kept."""

    def __init__(
        self, distributed: core.DistributedContext, folder: RunFolder, plan: Any, keep: tuple[int, int]
    ) -> None:
        super().__init__(distributed, storage.SharedFSStorageManager(str(folder.checkpoints)))
        self._folder = folder
        self._plan = plan
        self._keep_best, self._keep_latest = keep[0], max(1, keep[1])

    @contextlib.contextmanager
    def store_path(self, metadata: dict[str, Any] | None = None, *, shard: bool = False) -> Iterator[tuple[Path, str]]:
        assert metadata is not None and not shard
        name = checkpoint_name(metadata["steps_completed"])
        partial, final = self._folder.checkpoints / f".{name}.partial", self._folder.checkpoints / name
        try:
            for left in self._folder.checkpoints.glob(".*.partial"):  # by a run that was killed
                shutil.rmtree(left)
            partial.mkdir()
            yield partial, name
            self._write_metadata_file(os.fspath(partial), metadata)
            if final.exists():
                shutil.rmtree(final)
            partial.rename(final)
        except (OSError, RuntimeError) as error:  # torch's writer reports a full disk as a RuntimeError
            shutil.rmtree(partial, ignore_errors=True)
            raise UserError(
                f"{final}: the checkpoint cannot be written: {error}; make room or rights, then go on with --resume"
            ) from error
        self._prune()

    def _prune(self) -> None:
        steps = self._folder.saved_steps()
        sign = 1 if self._plan.smaller_is_better else -1
        values = {line["batches"]: sign * line[self._plan.metric] for line in self._folder.validations()}
        ranked = sorted((step for step in steps if step in values), key=lambda step: (values[step], step))
        kept = {*steps[-self._keep_latest :], *ranked[: self._keep_best]}
        for step in set(steps) - kept:
            shutil.rmtree(self._folder.checkpoints / checkpoint_name(step))


class _Controller(pytorch._PyTorchTrialController):
    """Determined's loop, with a progress bar."""

    def _train_batch(self, batch: Any, epoch_idx: int, batch_idx: int) -> dict[str, Any]:
        metrics = super()._train_batch(batch, epoch_idx, batch_idx)
        self.context._core.train.progress.advance()
        return metrics


class _Progress:
    """A bar on a terminal, a line a report elsewhere, nothing on other slots than the first."""

    def __init__(self, total: int, done: int, epoch_batches: int, chief: bool) -> None:
        self._bar = tqdm(
            total=total,
            initial=done,
            unit="batch",
            disable=None if chief else True,
            dynamic_ncols=True,
            file=sys.stderr,
        )
        self._chief = chief
        self._total = total
        self._epoch_batches = epoch_batches
        self._shown: dict[str, str] = {}

    def advance(self) -> None:
        self._bar.update()

    def show_status(self, status: str) -> None:
        self._bar.set_description(status)

    def show_training(self, metrics: dict[str, Any]) -> None:
        self._shown |= {"loss": f"{metrics['loss']:.4f}", "samples/s": f"{metrics['samples_per_second']:.1f}"}
        self._bar.set_postfix(self._shown)
        if self._chief and self._bar.disable:
            epoch = metrics["batches"] / self._epoch_batches
            logger.info(
                f"batch {metrics['batches']:,} of {self._total:,}  epoch {epoch:.2f}  loss {self._shown['loss']}  "
                f"{self._shown['samples/s']} samples/s"
            )

    def show_validation(self, metrics: dict[str, Any], best: bool) -> None:
        main = "f1" if "f1" in metrics else "accuracy"
        self._shown[main] = f"{metrics[main]:.4f}"
        self._bar.set_postfix(self._shown)
        names = [n for n in ("loss", "accuracy", "precision", "recall", "f1", "f1_strict") if n in metrics]
        scores = "  ".join(f"{name} {metrics[name]:.4f}" for name in names)
        with self._bar.external_write_mode():
            logger.info(
                f"validation after epoch {metrics['batches'] / self._epoch_batches:.2f}  {scores}"
                + ("  (best so far)" if best else "")
            )

    def close(self) -> None:
        self._bar.close()


def _plain_numbers(metrics: dict[str, Any]) -> dict[str, Any]:
    """Metrics as JSON takes them, counters first."""
    plain = {name: value.item() if hasattr(value, "item") else value for name, value in metrics.items()}
    return {**{name: plain.pop(name) for name in ("batches", "epochs") if name in plain}, **plain}


# ----- the end


def _finish(folder: RunFolder, trial: NERTrial, plan: Any, seconds: float) -> None:
    """The best checkpoint becomes model/ and is scored on the test data; summary and figures are written."""
    import ner_report

    best = folder.best(plan.metric, plan.smaller_is_better)
    steps = folder.saved_steps()
    chosen = best["batches"] if best and best["batches"] in steps else steps[-1]
    checkpoint = folder.checkpoints / checkpoint_name(chosen)
    state = torch.load(checkpoint / "state_dict.pth", map_location="cpu", weights_only=True)
    weights = state["models_state_dict"][0]
    torch.nn.modules.utils.consume_prefix_in_state_dict_if_present(weights, "module.")
    trial.bare.load_state_dict(weights)

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
        "labels": list(trial.labels.names),
        "scheme": trial.labels.scheme.value,
        "slots": trial.context.distributed.size,
        "seed": trial.seed,
        "settings": {"hyperparameters": trial.settings.hparams.model_dump(), "data": trial.settings.data.model_dump()},
        "versions": {"determined": det.__version__, "torch": torch.__version__},
    }
    partial_file = folder.path / ".summary.partial"
    partial_file.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial_file.replace(folder.path / "summary.json")
    figures = ner_report.plot_curves(folder.metrics_file, folder.path / "figures")
    _show(folder, summary, figures)


@torch.no_grad()
def _score(trial: NERTrial, split: str) -> dict[str, float]:
    metrics = trial.make_metrics(split)
    trial.bare.eval()
    for batch in trial.evaluation_loader(split, slots=1):
        trial.score(trial.context.to_device(batch), metrics)
    return metrics.cross_slot_reduce([metrics.per_slot_reduce()])


def _samples_per_second(lines: list[dict[str, Any]]) -> float | None:
    """Of the whole training, validation and checkpoints left out: the reports' mean, weighted by their batches."""
    batches, seconds, before = 0, 0.0, 0
    for line in lines:
        if line["kind"] == "training" and line["samples_per_second"] > 0:
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


# ----- processes


@contextlib.contextmanager
def _distributed() -> Iterator[core.DistributedContext]:
    """One process, or those of ``torchrun``, which sets the environment."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield core.DummyDistributedContext()
        return
    os.environ["USE_TORCH_DISTRIBUTED"] = "True"  # what Determined's launcher sets
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    ports: list[Any] = [_free_port(), _free_port()]  # Determined's own are fixed: a second run here would clash
    torch.distributed.broadcast_object_list(ports)
    environment = os.environ
    try:
        yield core.DistributedContext(
            rank=int(environment["RANK"]),
            size=int(environment["WORLD_SIZE"]),
            local_rank=int(environment["LOCAL_RANK"]),
            local_size=int(environment["LOCAL_WORLD_SIZE"]),
            cross_rank=int(environment["GROUP_RANK"]),
            cross_size=int(environment["GROUP_WORLD_SIZE"]),
            chief_ip=environment["MASTER_ADDR"],
            pub_port=ports[0],
            pull_port=ports[1],
        )
    finally:
        torch.distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _on_chief(distributed: core.DistributedContext, action: Any) -> Any:
    """Run ``action`` on the first slot; all get its result, or its error."""
    result, error = None, None
    if distributed.rank == 0:
        try:
            result = action()
        except UserError as mistake:
            error = mistake
    result, error = distributed.broadcast((result, error))
    if error is not None:
        raise error
    return result


def _log_readably(chief: bool) -> None:
    """Our lines as they are, others' from warnings on, and nothing twice from other slots."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", force=True)
    logger.setLevel(logging.INFO if chief else logging.ERROR)
    logger.propagate = False
    logger.handlers = [handler := logging.StreamHandler(sys.stderr)]
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("ner.invalid").setLevel(logging.CRITICAL)  # main() tells it
    logging.getLogger("determined").setLevel(logging.WARNING if chief else logging.ERROR)
