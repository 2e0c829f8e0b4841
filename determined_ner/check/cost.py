"""What an experiment costs: padding, optimizer steps, and the time that some of them take."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from determined_ner.data.batches import BatchDataset, EpochPlan, EvaluationBatches, MicroBatch, Padding, plan_epoch
from determined_ner.check.facts import Cost, SplitFacts, Timing
from determined_ner.data.encode import Split

TIMING_SECONDS = 15.0
"""That timing may take, but for a warm-up of one sentence and what its own forecast is wrong by."""
TIMED_AT = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Which steps are timed: quantiles of their size."""


def count_padding(trial: Any, splits: dict[str, SplitFacts], slots: int) -> None:
    """Shares of padding: of train in epoch 0 of the plan on all slots, of the others as they are evaluated."""
    hparams, specials = trial.settings.hparams, trial.tokenizer.specials
    for name, facts in splits.items():
        split = trial.corpus.splits[name]
        lengths = split.lengths(specials)
        if name != "train":
            facts.padding = evaluation_padding(split, specials, trial.padding)
            continue
        words = split.trained()
        shares = []
        for grouped in (hparams.group_by_length, False):
            plan = plan_epoch(
                lengths, words, hparams.global_batch_size, slots * trial.micro_steps, trial.seed, 0, grouped
            )
            shares.append(_share(lengths[plan.order], plan.borders, trial.padding))
        facts.padding, facts.padding_random = shares


def evaluation_padding(split: Split, specials: int, padding: Padding) -> float:
    """Share of padding in the batches that a split is evaluated in."""
    batches = [batch.windows for (batch,) in EvaluationBatches(split, specials, 1)]
    order = np.array([window for windows in batches for window in windows])
    borders = np.cumsum([0, *(len(windows) for windows in batches)])
    return _share(split.lengths(specials)[order], borders, padding)


def _share(lengths: NDArray[np.int64], borders: NDArray[np.int64], padding: Padding) -> float:
    """Share of padding in batches.

    Args:
        lengths: (windows,) pieces, in the order of the batches.
        borders: (batches + 1,) where each batch begins.
    """
    return 1 - float(lengths.sum() / _padded_sizes(lengths, borders, padding).sum())


def _padded_sizes(lengths: NDArray[np.int64], borders: NDArray[np.int64], padding: Padding) -> NDArray[np.int64]:
    """(batches,) windows × padded length; 0 for a batch without windows, which slots may have."""
    sizes = np.diff(borders)
    padded = np.zeros(len(sizes), np.int64)
    filled = sizes > 0
    longest = np.maximum.reduceat(lengths, borders[:-1][filled])
    padded[filled] = sizes[filled] * padding(longest)
    return padded


def find_cost(trial: Any, slots: int, load: float, bar: tqdm | None) -> Cost:
    """
    Args:
        load: see `Timing`.
        bar: shows how far timing is; None: nothing is timed.
    """
    hparams = trial.settings.hparams
    steps = trial.epoch_batches // trial.micro_steps
    total = trial.in_batches(trial.plan.length) // trial.micro_steps
    return Cost(
        model=hparams.pretrained_model_name_or_path,
        parameters=trial.parameters,
        precision=hparams.precision,
        steps_per_epoch=steps,
        steps_total=total,
        epochs=total / steps,
        global_batch_size=hparams.global_batch_size,
        slots=slots,
        accumulation_steps=trial.micro_steps,
        timing=_time(trial, total / steps, load, bar) if bar is not None else None,
    )


def _time(trial: Any, epochs: float, load: float, bar: tqdm) -> Timing:
    """Time some optimizer steps of the plan, from small to large, and put a line through them.

    A step costs something for itself (the optimizer) and something for each piece; both are medians, so that one
    step that another program disturbed does no harm. A step that would take longer than what is left of
    TIMING_SECONDS is timed on some of its sentences.
    """
    plan, micro_steps = trial.train_batches.plan(0), trial.micro_steps
    lengths = trial.corpus.splits["train"].lengths(trial.tokenizer.specials)
    micro_batches = _padded_sizes(lengths[plan.order], plan.borders, trial.padding)
    sizes = micro_batches.reshape(-1, micro_steps).sum(1)  # (steps,) padded pieces
    ranked = np.argsort(sizes, kind="stable")
    chosen = [int(ranked[int(quantile * len(ranked))]) for quantile in TIMED_AT]

    run = _StepRunner(trial, plan)
    began = time.perf_counter()
    warm_up_pieces, seconds = run(chosen[0], share=0.0)  # makes the optimizer's state, among other things
    per_piece = seconds / warm_up_pieces
    points: list[tuple[int, float]] = []
    for i, step in enumerate(dict.fromkeys(chosen)):
        bar.n = i / len(chosen)
        bar.set_description("timing training steps")
        left = TIMING_SECONDS - (time.perf_counter() - began)
        if points and left <= 0:
            break
        pieces, seconds = run(step, share=left / (per_piece * float(sizes[step])))
        points.append((pieces, seconds))
        per_piece = seconds / pieces
    per_step, per_piece = _line(points)
    epoch = per_step * len(sizes) + per_piece * float(sizes.sum())
    on_gpu = trial.context.device.type == "cuda"
    return Timing(
        device=torch.cuda.get_device_name() if on_gpu else trial.context.device.type,
        threads=None if on_gpu else torch.get_num_threads(),
        load=load,
        steps=len(points),
        seconds_per_epoch=epoch,
        seconds_total=epoch * epochs,
    )


class _StepRunner:
    """Does optimizer steps of a plan as Determined's loop does them."""

    def __init__(self, trial: Any, plan: EpochPlan) -> None:
        self._trial = trial
        self._plan = plan
        self._dataset = BatchDataset(trial.corpus.splits["train"], trial.tokenizer, trial.padding)
        trial.engine.model.train()

    def __call__(self, step: int, share: float) -> tuple[int, float]:
        """Do a step, or a share of its windows (at least one of each micro-batch).

        Returns:
            padded pieces and seconds.
        """
        trial, plan = self._trial, self._plan
        pieces = 0
        began = time.perf_counter()
        for i in range(trial.micro_steps):
            begin, end = plan.borders[step * trial.micro_steps + i :][:2].tolist()
            kept = min(end - begin, max(1, int((end - begin) * share)))
            windows = tuple(plan.order[begin : begin + kept].tolist())
            batch = trial.context.to_device(self._dataset[MicroBatch(windows, float(plan.loss_weights[step]))])
            pieces += batch["input_ids"].numel()
            trial.context._current_batch_idx = i
            trial.train_batch(batch, 0, i)
        if trial.context.device.type == "cuda":
            torch.cuda.synchronize()
        return pieces, time.perf_counter() - began


def _line(points: list[tuple[int, float]]) -> tuple[float, float]:
    """Seconds of a step and of a piece: the line of Theil and Sen, neither of the two below 0."""
    pieces, seconds = np.array(points).T
    i, j = np.triu_indices(len(points), 1)
    differ = pieces[i] != pieces[j]
    if differ.any():
        slope = float(np.median((seconds[j] - seconds[i])[differ] / (pieces[j] - pieces[i])[differ]))
        start = float(np.median(seconds - slope * pieces))
        if slope >= 0 and start >= 0:
            return start, slope
        if slope < 0:
            return float(np.median(seconds)), 0.0
    return 0.0, float(np.median(seconds / pieces))
