"""What a training costs: padding, the number of optimizer steps, and a forecast of its time from a few of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from determined_ner.check.facts import Cost, SplitFacts, Timing
from determined_ner.data.batches import EpochPlan, MicroBatch, plan_epoch
from determined_ner.data.padding import evaluation_padding, padded_sizes, padding_share
from determined_ner.training.setup import Training

TIMING_SECONDS = 15.0
"""What timing may take, except for its first step, and for the error of its own forecast."""
TIMED_AT = (0.1, 0.3, 0.5, 0.7, 0.9)
"""The steps that are timed, as quantiles of their size."""


def count_padding(training: Training, splits: dict[str, SplitFacts], slots: int) -> None:
    """Fill in the shares of padding: train's in epoch 0 of the plan of all slots, the others' as they are evaluated."""
    hparams, specials = training.settings.hparams, training.tokenizer.specials
    micro_batches = slots * training.accumulation_steps
    for name, facts in splits.items():
        split = training.train if name == "train" else training.corpus.splits[name]
        lengths = split.lengths(specials)
        if name != "train":
            facts.padding = evaluation_padding(split, specials, training.padding)
            continue
        if training.flat is not None:
            facts.padding = facts.padding_random = 0.0
            continue
        words = split.counted_pieces()
        shares = []
        for grouped in (training.grouped, False):
            plan = plan_epoch(lengths, words, hparams.global_batch_size, micro_batches, training.seed, 0, grouped)
            shares.append(padding_share(lengths[plan.order], plan.borders, training.padding))
        facts.padding, facts.padding_random = shares


def find_cost(
    training: Training, slots: int, load: float, bar: tqdm[Any] | None, begin_batch: Callable[[int], None]
) -> Cost:
    """Look up what the plan costs, and time some of its steps.

    Args:
        slots: that the experiment asks for.
        load: see `Timing`.
        bar: shows how far timing is; None: nothing is timed.
        begin_batch: has to be called with the index of a micro-batch before each.
    """
    hparams = training.settings.hparams
    steps = training.epoch_batches // training.accumulation_steps
    total = training.in_batches(training.loop.length) // training.accumulation_steps
    return Cost(
        model=hparams.pretrained_model_name_or_path,
        parameters=training.parameters,
        precision=hparams.precision,
        steps_per_epoch=steps,
        steps_total=total,
        epochs=total / steps,
        global_batch_size=hparams.global_batch_size,
        slots=slots,
        accumulation_steps=training.accumulation_steps,
        timing=_time(training, total / steps, load, bar, begin_batch) if bar is not None else None,
    )


def _time(training: Training, epochs: float, load: float, bar: tqdm[Any], begin_batch: Callable[[int], None]) -> Timing:
    """Time some optimizer steps of the plan, from small to large, and put a line through them.

    A step costs a constant (the optimizer) and something for each piece. Both are medians, so that one step that
    another program disturbed does no harm. A step that would take longer than what is left of TIMING_SECONDS is timed
    on a part of its windows.
    """
    plan, accumulation_steps = training.train_batches.plan(0), training.accumulation_steps
    lengths = training.train.lengths(training.tokenizer.specials)
    micro_batches = padded_sizes(lengths[plan.order], plan.borders, training.padding)
    sizes = micro_batches.reshape(-1, accumulation_steps).sum(1)  # (steps,) padded pieces
    ranked = np.argsort(sizes, kind="stable")
    chosen = [int(ranked[int(quantile * len(ranked))]) for quantile in TIMED_AT]

    run = _StepRunner(training, plan, begin_batch)
    began = time.perf_counter()
    pieces, seconds = run(chosen[0], share=0.0)  # not counted: it makes the optimizer's state, among other things
    if training.device.type == "cuda":  # which has begun to work, and has recorded the size
        pieces, seconds = run(chosen[0], share=0.0)
    per_piece = seconds / pieces
    points: list[tuple[int, float]] = []
    for i, step in enumerate(dict.fromkeys(chosen)):
        bar.n = i / len(chosen)
        bar.set_description("timing training steps")
        left = TIMING_SECONDS - (time.perf_counter() - began)
        if points and left <= 0:
            break
        share = left / (per_piece * float(sizes[step]))
        if training.device.type == "cuda":  # where a size that is new is recorded
            run(step, share)
        pieces, seconds = run(step, share)
        points.append((pieces, seconds))
        per_piece = seconds / pieces
    per_step, per_piece = fit_line(points)
    epoch = per_step * len(sizes) + per_piece * float(sizes.sum())
    on_gpu = training.device.type == "cuda"
    return Timing(
        device=torch.cuda.get_device_name() if on_gpu else training.device.type,
        threads=None if on_gpu else torch.get_num_threads(),
        load=load,
        steps=len(points),
        seconds_per_epoch=epoch,
        seconds_total=epoch * epochs,
    )


class _StepRunner:
    """Does optimizer steps of a plan as a loop does them."""

    def __init__(self, training: Training, plan: EpochPlan, begin_batch: Callable[[int], None]) -> None:
        self._training, self._plan, self._begin_batch = training, plan, begin_batch
        self._dataset = training.dataset("train")
        if training.distilled:  # a step takes as long whatever its teacher says
            training.taught = np.zeros((len(training.train.tags), len(training.labels.names)), np.float16)
        training.engine.model.train()

    def __call__(self, step: int, share: float) -> tuple[int, float]:
        """Do a step, or a share of its windows (at least one of each micro-batch).

        Returns:
            padded pieces and seconds.
        """
        training, plan = self._training, self._plan
        pieces = 0
        began = time.perf_counter()
        for i in range(training.accumulation_steps):
            begin, end = plan.borders[step * training.accumulation_steps + i :][:2].tolist()
            kept = min(end - begin, max(1, int((end - begin) * share)))
            windows = tuple(plan.order[begin : begin + kept].tolist())
            batch = self._dataset[MicroBatch(windows, float(plan.loss_weights[step]))]
            batch = {name: tensor.to(training.device) for name, tensor in batch.items()}
            pieces += batch["input_ids"].numel()
            self._begin_batch(i)
            training.train_step(batch, i)
        if training.device.type == "cuda":
            torch.cuda.synchronize()
        return pieces, time.perf_counter() - began


def fit_line(points: list[tuple[int, float]]) -> tuple[float, float]:
    """Fit a line to timed steps by the Theil-Sen estimator: the median of the slopes between all pairs of points.

    Args:
        points: pieces and seconds of each step.

    Returns:
        the seconds of a step without pieces and those of a piece, neither below 0.

    Source: P. K. Sen, Estimates of the regression coefficient based on Kendall's tau, JASA 63, 1968.
    """
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
