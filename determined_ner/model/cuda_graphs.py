"""A model's forward and backward pass on a GPU, recorded once for each size of a batch and replayed (CUDA graphs).

A step of an encoder is some thousands of kernels, of which each takes the CPU longer to launch than the GPU to compute
while sentences are short: a replay launches all of them at once. It computes the same bits; each recording is compared
with a pass that is none.

Not where DistributedDataParallel wraps the model: it holds on to nodes of autograd that belong to the stream in which
it was made, and what synchronizes with another stream cannot be recorded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import transformers
from packaging.version import Version
from torch.autograd.function import once_differentiable
from torch.nn import functional

from determined_ner.errors import first_line
from determined_ner.model.calls import replaced
from determined_ner.model.flat_attention import FlatAttention
from determined_ner.model.layout import Layout

logger = logging.getLogger("determined_ner")

Inputs = dict[str, torch.Tensor]

TOLERANCE = 1e-2
"""Of the norm of the logits and of each gradient: bf16 in another order differs by less, other dropout by more."""


def can_be_recorded() -> bool:
    """Whether this transformers computes without the CPU waiting for the GPU: before 5 it looked into masks."""
    return Version(transformers.__version__).major >= 5


class ModelGraphs:
    """The graphs of a model in training mode. All share the memory of one step and one set of gradients.

    Attributes:
        seconds: that the last call of `logits` took to record its size; 0: it was there.
    """

    def __init__(
        self, model: Any, autocast: Callable[[], contextlib.AbstractContextManager[Any]], keeps_gradients: bool
    ) -> None:
        """
        Args:
            model: of Transformers, on the GPU, where its weights stay.
            autocast: the context of its forward pass, without a cache of weights.
            keeps_gradients: whether a step has several backward passes.
        """
        self._model, self._autocast, self._keeps_gradients = model, autocast, keeps_gradients
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._gradients = [torch.zeros_like(p) for p in self._parameters]
        self._pool, self._stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()
        self._recordings: dict[tuple[int, ...], _Recording] = {}
        self._broken = False
        self.seconds = 0.0

    def logits(self, inputs: Inputs, layout: Layout) -> torch.Tensor:
        """(1, T, K) of a packed batch.

        Args:
            inputs: of the model, by its names.
            layout: of the batch, in one group.
        """
        self.seconds = 0.0
        size = (len(layout.grouped), *layout.groups[0])
        if self._broken or (size not in self._recordings and not self._record(size, inputs, layout)):
            return self._call(inputs, layout)
        recording = self._recordings[size]
        recording.take(inputs, layout)
        # A gradient that the step holds on to would change under it with the next replay.
        assert self._keeps_gradients or all(p.grad is None for p in self._parameters)
        logits: torch.Tensor = _Replay.apply(self, recording, *self._parameters)
        return logits

    def _record(self, size: tuple[int, ...], inputs: Inputs, layout: Layout) -> bool:
        """Record one more size.

        Returns:
            whether that worked; the log says why not, and no other size is tried.
        """
        device, began = layout.grouped.device, time.perf_counter()
        stream = torch.cuda.current_stream(device)
        dropout = torch.cuda.get_rng_state(device)  # this step draws from it, after recording has
        try:
            self._recordings[size] = _Recording(self, inputs, layout, dropout)
        except RuntimeError as error:  # whatever the reason
            torch.cuda.set_stream(stream)  # a recording that fails leaves its own behind
            self._broken, self._recordings, self._gradients = True, {}, []
            reason = first_line(error.__context__ or error)
            logger.warning(f"training goes on without CUDA graphs, more slowly: {reason}")
            if hasattr(torch.Generator, "graphsafe_set_state"):  # torch 2.4: this one would refuse to draw
                fresh = torch.Generator(device).graphsafe_get_state()
                torch.cuda.default_generators[device.index].graphsafe_set_state(fresh)
        torch.cuda.set_rng_state(dropout, device)
        self.seconds = time.perf_counter() - began
        return not self._broken

    def _recorded(self, graph: torch.cuda.CUDAGraph) -> contextlib.AbstractContextManager[Any]:
        """A context whose work is recorded; other threads, such as one that pins batches, go on beside it."""
        return torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local")

    def _call(self, inputs: Inputs, layout: Layout) -> torch.Tensor:
        with self._autocast(), replaced({functional.scaled_dot_product_attention: FlatAttention(layout)}):
            logits: torch.Tensor = self._model(**inputs).logits
            return logits


class _Recording:
    """The two graphs of one size."""

    def __init__(self, owner: ModelGraphs, inputs: Inputs, layout: Layout, dropout: torch.Tensor) -> None:
        """Record, after a pass that is not: it loads kernels and makes the workspaces of libraries.

        Args:
            dropout: state of the generator, as it is.

        Raises:
            RuntimeError: the model cannot be recorded, or a replay is not what was recorded.
        """
        self._inputs = {name: value.clone() for name, value in inputs.items()}
        (keys,) = layout.masks
        assert keys is not None
        self._grouped, self._keys = layout.grouped.clone(), keys.clone()
        self._layout = dataclasses.replace(layout, grouped=self._grouped, masks=(self._keys,))
        self.forward, self.backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        here, stream = torch.cuda.current_stream(), owner._stream
        stream.wait_stream(here)
        try:
            with torch.cuda.stream(stream), torch.enable_grad(), _without_waiting():
                logits = self._logits(owner)
                # (Small: the sums of half precision end at 65,504.)
                gradient = torch.full_like(logits, 1 / logits.shape[1])
                found = torch.autograd.grad(logits, owner._parameters, gradient, allow_unused=True)
                expected = [logits.detach(), *_given(found)]
                del logits
        finally:
            here.wait_stream(stream)
        with owner._recorded(self.forward), torch.enable_grad():
            self.logits = self._logits(owner)
        self.gradient = gradient.clone()
        with owner._recorded(self.backward):
            found = torch.autograd.grad(self.logits, owner._parameters, self.gradient, allow_unused=True)
            self.used = [one is not None for one in found]
            shared = [mine for mine, used in zip(owner._gradients, self.used, strict=True) if used]
            torch._foreach_copy_(shared, _given(found))
        del found
        self.logits = self.logits.detach()
        torch.cuda.set_rng_state(dropout, self._grouped.device)
        self.forward.replay()
        self.backward.replay()
        if not _agree([self.logits, *shared], expected):
            raise RuntimeError("a recorded step computes something else")

    def _logits(self, owner: ModelGraphs) -> torch.Tensor:
        # (A layout keeps what it has computed, which has to be computed anew with each replay.)
        return owner._call(self._inputs, dataclasses.replace(self._layout))

    def take(self, inputs: Inputs, layout: Layout) -> None:
        """What is replayed next: a batch of this size."""
        for name, value in inputs.items():
            self._inputs[name].copy_(value)
        (keys,) = layout.masks
        assert keys is not None
        self._grouped.copy_(layout.grouped)
        self._keys.copy_(keys)


def _agree(found: list[torch.Tensor], expected: list[torch.Tensor]) -> bool:
    """Whether logits and gradients of two passes are the same but for rounding."""
    scales = torch.stack([one.float().norm() for one in expected])
    scales[1:] = scales[1:].clamp(min=float(scales[1:].max()) * TOLERANCE)  # a key's bias has none but of rounding
    pairs = zip(found, expected, strict=True)
    differences = torch.stack([(one.float() - other.float()).norm() for one, other in pairs])
    return bool((differences <= TOLERANCE * scales).all())  # nor do they where one is not finite


def _given(gradients: Sequence[torch.Tensor | None]) -> list[torch.Tensor]:
    """Those that there are."""
    return [gradient for gradient in gradients if gradient is not None]


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


class _Replay(torch.autograd.Function):
    """The logits (1, T, K) of the batch that a recording has taken."""

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
