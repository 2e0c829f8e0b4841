"""The batch plan: which windows train together, in which order, and what each of them weighs.

The plan of an epoch is a pure function of (lengths, global batch size, micro-batches, seed, epoch): no state, so a
resumed run, another rank or another number of slots works out the same one. A *global batch* is what one optimizer
step learns from; it is cut into as many *micro-batches* as there are slots × accumulation steps.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from determined_ner.data.split import Split

Ints = NDArray[np.int64]
EVALUATION_PIECES = 4096
"""Padded pieces of an evaluation batch at most, before its length is rounded: enough to fill the machine, few enough to
stay in its caches."""
LEAST_EVALUATION_PIECES = 512
"""From this size on, a batch ends where windows get shorter than nine tenths of its longest: more padding would cost
more than another call."""


@dataclass(frozen=True)
class MicroBatch:
    """Windows that go through the model together, as one index of a PyTorch dataset."""

    windows: tuple[int, ...]
    """Empty where a step has fewer windows than micro-batches."""
    loss_weight: float = 1.0
    """Factor of the summed loss of its words."""


@dataclass(frozen=True)
class EpochPlan:
    """The E windows of an epoch, cut into S × M micro-batches: step by step, and M to each."""

    order: Ints
    """(E,) every window once."""
    borders: Ints
    """(S · M + 1,) where each micro-batch begins in order."""
    loss_weights: NDArray[np.float64]
    """(S,) factor of the summed loss in each step: M / W."""
    micro_batches: int
    """M, the micro-batches of a step."""

    def __iter__(self) -> Iterator[MicroBatch]:
        for i in range(len(self.borders) - 1):
            windows = tuple(self.order[self.borders[i] : self.borders[i + 1]].tolist())
            yield MicroBatch(windows, float(self.loss_weights[i // self.micro_batches]))


def steps_per_epoch(windows: int, global_batch_size: int) -> int:
    """Optimizer steps of an epoch; the last one may be smaller."""
    return -(-windows // global_batch_size)


def plan_epoch(
    lengths: Ints,
    words: Ints,
    global_batch_size: int,
    micro_batches: int,
    seed: int,
    epoch: int,
    group_by_length: bool,
    padded: bool = True,
) -> EpochPlan:
    """Plan one epoch.

    Slots average their gradients and so do accumulation steps, hence the factor M: with W words behind a step, the
    sum over a micro-batch's words × M / W makes the gradient that of the mean over words, whatever M is.
    In random order W is the number of words of the global batch, so that the loss is that of ``run_ner.py``. Grouped
    by length it is the mean of that over the epoch, or a word would weigh more where sentences are short.

    Args:
        lengths: (E,) pieces of each window, special ones included.
        words: (E,) words (labelled pieces) of each window.
        global_batch_size: windows of a step.
        micro_batches: M, slots × aggregation_frequency.
        seed: with the epoch, decides the order.
        epoch: from 0.
        group_by_length: put windows of like length into one step, to save padding.
        padded: whether a micro-batch costs its padded size, or its pieces alone (`determined_ner.model.flat`).
    """
    count = len(lengths)
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
    order = rng.permutation(count)
    if group_by_length:
        # Sorting what was shuffled leaves windows of one length in random order, so that batches differ by epoch.
        order = order[np.argsort(lengths[order], kind="stable")]
    steps = steps_per_epoch(count, global_batch_size)
    begins = np.arange(steps) * global_batch_size
    if group_by_length:
        batches = rng.permutation(steps)
        sizes = np.minimum(begins + global_batch_size, count)[batches] - begins[batches]
        ends = np.cumsum(sizes)
        order = order[np.arange(count) - np.repeat(ends - sizes, sizes) + np.repeat(begins[batches], sizes)]
        begins = ends - sizes
    borders = np.append(begins, count)
    if group_by_length:
        behind = np.full(steps, words.sum() / steps)
    else:
        behind = np.add.reduceat(words[order], begins).astype(np.float64)
    if micro_batches > 1:
        order, borders = _cut(order, borders, lengths, micro_batches, padded)
    return EpochPlan(order, borders, micro_batches / behind, micro_batches)


def _cut(order: Ints, borders: Ints, lengths: Ints, parts: int, padded: bool) -> tuple[Ints, Ints]:
    """Cut every global batch into ``parts`` micro-batches of nearly equal size, longest windows first."""
    new_order, new_borders = [], [0]
    for begin, end in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True):
        batch = order[begin:end]
        batch = batch[np.argsort(-lengths[batch], kind="stable")]
        new_order.append(batch)
        new_borders.extend(begin + size for size in _balanced(lengths[batch], parts, padded))
    return np.concatenate(new_order), np.array(new_borders, np.int64)


def _balanced(lengths: Ints, parts: int, padded: bool) -> list[int]:
    """Cut descending lengths into ``parts`` runs so that the largest size (padded: count × first length) is least.

    Every run gets a window as long as there are enough; where there are fewer windows than parts, the last runs are
    empty.

    Returns:
        where each run ends.
    """
    count = len(lengths)
    if count <= parts:
        return [min(i + 1, count) for i in range(parts)]
    sizes = lengths.tolist()
    totals = [0, *np.cumsum(lengths).tolist()]

    def runs(limit: int) -> list[int]:
        ends: list[int] = []
        at = 0
        while at < count and len(ends) <= parts:
            fit = limit // sizes[at] if padded else bisect.bisect_right(totals, totals[at] + limit) - 1 - at
            at += max(1, fit)
            ends.append(min(at, count))
        return ends

    low, high = max(sizes[0], -(-sum(sizes) // parts)), sizes[0] * -(-count // parts)
    while low < high:
        middle = (low + high) // 2
        if len(runs(middle)) <= parts:
            high = middle
        else:
            low = middle + 1
    ends = runs(low)
    while len(ends) < parts:  # fewer runs suffice: halve the largest, so that no slot idles
        begins = [0, *ends[:-1]]
        widest = max((e - b, -i) for i, (b, e) in enumerate(zip(begins, ends, strict=True)))
        i = -widest[1]
        ends.insert(i, begins[i] + (ends[i] - begins[i]) // 2)
    return ends


class TrainingBatches:
    """A batch sampler of PyTorch: micro-batches of one epoch after another.

    Each ``iter()`` is the next epoch, as Determined repeats samplers.
    """

    def __init__(
        self,
        split: Split,
        specials: int,
        global_batch_size: int,
        micro_batches: int,
        seed: int,
        group_by_length: bool,
        padded: bool = True,
    ) -> None:
        self._lengths = split.lengths(specials)
        self._words = split.counted_pieces()
        self._settings = (global_batch_size, micro_batches, seed)
        self._order = (group_by_length, padded)
        self._epoch = 0

    def __len__(self) -> int:
        global_batch_size, micro_batches, _ = self._settings
        return steps_per_epoch(len(self._lengths), global_batch_size) * micro_batches

    def __iter__(self) -> Iterator[list[MicroBatch]]:
        plan = self.plan(self._epoch)
        self._epoch += 1
        for micro_batch in plan:
            yield [micro_batch]

    def plan(self, epoch: int) -> EpochPlan:
        """The plan of any epoch, from 0."""
        return plan_epoch(self._lengths, self._words, *self._settings, epoch, *self._order)


def evaluation_batches(windows: Ints, lengths: Ints) -> list[MicroBatch]:
    """Windows in batches for evaluation, longest first.

    Args:
        windows: (W,) any windows of a split.
        lengths: (W,) their pieces, special ones included.
    """
    order = np.argsort(-lengths, kind="stable")
    batches, at = [], 0
    while at < len(order):
        size = _evaluation_size(lengths[order[at : at + EVALUATION_PIECES]])
        batches.append(MicroBatch(tuple(windows[order[at : at + size]].tolist())))
        at += size
    return batches


class EvaluationBatches:
    """A batch sampler of PyTorch: all windows once, longest first, in batches that do not depend on the slots."""

    def __init__(self, split: Split, specials: int, slots: int) -> None:
        lengths = split.lengths(specials)
        self._batches = evaluation_batches(np.arange(len(lengths)), lengths)
        # Determined needs a batch on every slot, even an empty one.
        self._batches.extend(MicroBatch(()) for _ in range(slots - len(self._batches)))

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[MicroBatch]]:
        for batch in self._batches:
            yield [batch]


def _evaluation_size(lengths: Ints) -> int:
    """How many of the windows make the next batch.

    Args:
        lengths: (windows,) descending.
    """
    longest = int(lengths[0])
    most, least = max(1, EVALUATION_PIECES // longest), -(-LEAST_EVALUATION_PIECES // longest)
    alike = int(np.searchsorted(-lengths, -0.9 * longest, side="right"))
    return min(most, max(least, alike))
