"""A model's forward and backward pass on a GPU, recorded once for each size of a batch and replayed (CUDA graphs).

A step of an encoder is some thousands of kernels, of which each takes the CPU longer to launch than the GPU to compute
while sentences are short: a replay launches all of them at once. It computes the same bits.

Not where DistributedDataParallel wraps the model: it holds on to nodes of autograd that belong to the stream in which
it was made, and what synchronizes with another stream cannot be recorded.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from determined_ner.errors import first_line

logger = logging.getLogger("determined_ner")

Inputs = dict[str, torch.Tensor]


class ModelGraphs:
    """The graphs of a model in training mode. All share the memory of one step and one set of gradients."""

    def __init__(
        self,
        model: Any,
        autocast: Callable[[], contextlib.AbstractContextManager[Any]],
        attention: Callable[[torch.Tensor], contextlib.AbstractContextManager[Any]],
        keeps_gradients: bool,
    ) -> None:
        """
        Args:
            model: of Transformers, on the GPU, where its weights stay.
            autocast: the context of its forward pass, without a cache of weights.
            attention: the context of its call, for the borders of a batch's windows.
            keeps_gradients: whether a step has several backward passes.
        """
        self._model, self._autocast, self._attention = model, autocast, attention
        self._keeps_gradients = keeps_gradients
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._gradients = [torch.zeros_like(p) for p in self._parameters]
        self._pool = torch.cuda.graph_pool_handle()
        self._recordings: dict[tuple[int, ...], _Recording] = {}
        self._broken = False

    def logits(self, inputs: Inputs, borders: torch.Tensor) -> torch.Tensor:
        """(1, R, K) of a packed batch.

        Args:
            inputs: of the model, by its names.
            borders: (W + 1,) int32, of the windows of the batch.
        """
        taken = {**inputs, "borders": borders}
        size = tuple(n for value in taken.values() for n in value.shape)
        if self._broken or (size not in self._recordings and not self._record(size, taken)):
            return self._call(**taken)
        recording = self._recordings[size]
        recording.take(taken)
        # A gradient that the step holds on to would change under it with the next replay.
        assert self._keeps_gradients or all(p.grad is None for p in self._parameters)
        logits: torch.Tensor = _Replay.apply(self, recording, *self._parameters)
        return logits

    def _record(self, size: tuple[int, ...], inputs: Inputs) -> bool:
        """Record one more size.

        Returns:
            whether that worked; the log says what did not, and no other size is tried.
        """
        device = inputs["borders"].device
        dropout = torch.cuda.get_rng_state(device)  # is that of the step
        try:
            self._recordings[size] = _Recording(self, inputs)
        except RuntimeError as error:  # of as many kinds as reasons
            self._broken, self._recordings, self._gradients = True, {}, []
            logger.warning(f"steps are not recorded as CUDA graphs, and slower: {first_line(error)}")
            if hasattr(torch.Generator, "graphsafe_set_state"):  # torch 2.4; else it stays as if being recorded
                fresh = torch.Generator(device).graphsafe_get_state()
                torch.cuda.default_generators[device.index].graphsafe_set_state(fresh)
        torch.cuda.set_rng_state(dropout, device)
        return not self._broken

    def _call(self, borders: torch.Tensor, **inputs: torch.Tensor) -> torch.Tensor:
        with self._autocast(), self._attention(borders):
            logits: torch.Tensor = self._model(**inputs).logits
            return logits


class _Recording:
    """The two graphs of one size."""

    def __init__(self, owner: ModelGraphs, inputs: Inputs) -> None:
        """Record, after a pass that is not: it loads kernels and makes the workspaces of libraries."""
        self._inputs = {name: value.clone() for name, value in inputs.items()}
        self.forward, self.backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), torch.enable_grad(), _without_waiting():
            logits = owner._call(**self._inputs)
            torch.autograd.grad(logits, owner._parameters, torch.zeros_like(logits), allow_unused=True)
            del logits
        torch.cuda.current_stream().wait_stream(stream)
        with _recorded(self.forward, owner._pool), torch.enable_grad():
            self.logits = owner._call(**self._inputs)
        self.gradient = torch.zeros_like(self.logits)
        with _recorded(self.backward, owner._pool):
            found = torch.autograd.grad(self.logits, owner._parameters, self.gradient, allow_unused=True)
            self.used = [gradient is not None for gradient in found]
            shared = [mine for mine, gradient in zip(owner._gradients, found, strict=True) if gradient is not None]
            torch._foreach_copy_(shared, [gradient for gradient in found if gradient is not None])
        del found
        self.logits = self.logits.detach()

    def take(self, inputs: Inputs) -> None:
        for name, value in inputs.items():
            self._inputs[name].copy_(value)


@contextlib.contextmanager
def _without_waiting() -> Iterator[None]:
    """A context in which the CPU may not wait for the GPU, for that cannot be recorded.

    Raises:
        RuntimeError: it does.
    """
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():  # that this is a prototype
        warnings.simplefilter("ignore", UserWarning)
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _recorded(graph: torch.cuda.CUDAGraph, pool: Any) -> contextlib.AbstractContextManager[Any]:
    """A context whose work is recorded; other threads, such as one that pins batches, go on beside it."""
    return torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local")


class _Replay(torch.autograd.Function):
    """() to the logits (1, R, K) of what a recording has taken."""

    @staticmethod
    def forward(ctx: Any, owner: ModelGraphs, recording: _Recording, *parameters: torch.Tensor) -> torch.Tensor:
        ctx.owner, ctx.recording = owner, recording
        recording.forward.replay()
        logits: torch.Tensor = recording.logits.detach()
        return logits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        owner, recording = ctx.owner, ctx.recording
        recording.gradient.copy_(gradient)
        recording.backward.replay()
        # Autograd keeps what nothing else holds as the parameter's gradient, and copies the rest.
        found = [
            None if not used else mine if owner._keeps_gradients else mine.detach()
            for mine, used in zip(owner._gradients, recording.used, strict=True)
        ]
        return (None, None, *found)
