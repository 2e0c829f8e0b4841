"""How the model is computed in training: backend (PyTorch, torch.compile, ORTModule) and precision, chosen here alone.

What cannot be active here is refused before any data is read (`conditions`); nothing falls back to something else.
Weights, their names and the optimizer's state are the same whatever is chosen, so a training can go on from a
checkpoint of any of them.

Evaluation is PyTorch's own in every backend (or ONNX Runtime's, see `onnx_session`), so that scores do not depend
on the backend.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.nn.parallel import DistributedDataParallel

from determined_ner.errors import UserError
from determined_ner.model import gradient_checkpointing, ort
from determined_ner.model.calls import Functions, replaced
from determined_ner.model.cpu.dropout import FastDropout, fast_dropout
from determined_ner.model.cpu.memory import give_back_memory, keep_memory
from determined_ner.model.cpu.products import fast_products
from determined_ner.model.cuda_graphs import ModelGraphs, can_be_recorded
from determined_ner.model.flat import Flat
from determined_ner.model.loss import WordLoss
from determined_ner.model.onnx_export import export_onnx
from determined_ner.model.onnx_session import INPUTS, OnnxSession, open_session, without_cuda_warning
from determined_ner.model.optimizer import build_optimizer, clipping_divisor
from determined_ner.model.precision import autocast, make_scaler
from determined_ner.settings.hyperparameters import Hyperparameters

logger = logging.getLogger("determined_ner")

Loss = Callable[..., torch.Tensor]
"""Of logits (B, L, K), labels (B, L) and what else a batch says of its words, the sum over words or windows."""
MAX_GRAPHS = 8
"""Graphs that torch.compile may make of one model: shapes are symbolic, so one or two are usual."""


class LoopContext(Protocol):
    """What wraps a model for a training loop and does its steps; Determined's ``PyTorchTrialContext`` is one.

    A loop without fp16 and Apex may leave `wrap_scaler`, `configure_apex_amp` and `models` unimplemented.
    """

    device: torch.device
    """On which the model is trained."""
    models: list[Any]
    """As wrapped, those that Apex has wrapped again included."""

    def wrap_model(self, model: Any) -> Any:
        """The model on the device, made ready for several slots where there are several."""

    def wrap_optimizer(self, optimizer: Any) -> Any:
        """The optimizer as `step_optimizer` takes it."""

    def wrap_scaler(self, scaler: Any) -> Any:
        """The loss scaler of fp16 as `step_optimizer` takes it."""

    def configure_apex_amp(self, models: Any, optimizers: Any, *, opt_level: str, verbosity: int) -> Any:
        """Model and optimizer under NVIDIA Apex."""

    def backward(self, loss: torch.Tensor) -> Any:
        """Add the gradients of a micro-batch to those of its step."""

    def step_optimizer(self, optimizer: Any, clip_grads: Any = None, *, scaler: Any = None) -> Any:
        """End an optimizer step; called after every micro-batch, and does nothing where another of its step follows.

        Gradients are averaged over the step's micro-batches (those of all slots), clipped by
        ``clip_grads(parameters)``, applied, and set to zero.
        """


class Engine:
    """A model under training, wrapped for its loop in the order that each choice needs.

    Attributes:
        model: what is trained; call ``logits`` for evaluation.
        optimizer: what a learning rate schedule has to be built on.
        compile_seconds: that the last call of ``train_step`` compiled, or recorded; else 0.
    """

    def __init__(
        self,
        context: LoopContext,
        bare: Any,
        hparams: Hyperparameters,
        fused: bool | None = None,
        scaler: Any = None,
        loss: Loss | None = None,
        flat: Flat | None = None,
        accumulates: bool = False,
    ) -> None:
        """
        Args:
            context: of the loop.
            bare: the Transformers model, in fp32.
            fused: whether the optimizer's update is one kernel; None: where there is one.
            scaler: of the loss under fp16; None: `make_scaler`.
            loss: what is trained on; None: the cross entropy.
            flat: how it is trained without padding; None: it is trained on padded batches.
            accumulates: whether an optimizer step has several micro-batches.
        """
        self._context, self._bare, self._hparams, self._flat = context, bare, hparams, flat
        self._loss: Loss = loss or WordLoss()
        self._device: torch.device = context.device
        if self._device.type == "cpu":
            keep_memory()
        elif hasattr(torch.backends.cuda, "enable_cudnn_sdp"):  # torch 2.4
            # Attention by cuDNN rounds the probability of dropout (torch 2.11), and may give NaN beside a mask (2.13).
            torch.backends.cuda.enable_cudnn_sdp(False)
        # Determined wants its scaler before, Apex its model and optimizer after they are wrapped.
        self._scaler = context.wrap_scaler(scaler or make_scaler()) if hparams.precision == "fp16" else None
        self._dropout: FastDropout | None = None
        self._products = fast_products(self._device, hparams.backend)
        if hparams.gradient_checkpointing:
            gradient_checkpointing.enable(bare, self._again)
        with without_cuda_warning():  # torch.compile and torch's optimizers import the compiler
            if hparams.backend == "compile":
                compile_model(bare)
            self.model = context.wrap_model(ort.wrap(bare) if hparams.backend == "ort" else bare)
            self.optimizer = context.wrap_optimizer(build_optimizer(bare, hparams, fused))
        if hparams.use_apex_amp:
            _, self.optimizer = context.configure_apex_amp(
                self.model, self.optimizer, opt_level=hparams.apex_opt_level, verbosity=0
            )
            self.model = context.models[0]  # on several slots wrapped again, and not what is returned
        self._replays: ModelGraphs | None = None
        if flat and flat.packing and self._device.type == "cuda" and self.model is bare and can_be_recorded():
            uncached = functools.partial(autocast, hparams, self._device, cached=False)
            self._replays = ModelGraphs(bare, uncached, accumulates)
        self._session: OnnxSession | None = None
        self._provider = ""
        self._begun = False
        self.compile_seconds = 0.0
        self._graphs = graph_count() if hparams.backend == "compile" else 0  # importing the compiler takes seconds

    @property
    def description(self) -> str:
        """Backend and precision in words."""
        precision = f"Apex {self._hparams.apex_opt_level}" if self._hparams.use_apex_amp else self._hparams.precision
        checkpointed = ", gradient checkpointing" if self._hparams.gradient_checkpointing else ""
        recorded = ", CUDA graphs" if self._replays else ""
        return f"{self._hparams.backend}, {precision}{checkpointed}{recorded}"

    def train_step(self, batch: Any, seed: int, ends_step: bool) -> torch.Tensor:
        """One micro-batch: forward, backward and, where it ends an optimizer step, the step.

        Args:
            batch: of `BatchDataset`, on the device.
            seed: of its dropout.
            ends_step: whether it is the last micro-batch of an optimizer step.

        Returns:
            () the loss summed over its words, detached.

        Raises:
            UserError: the backend cannot compute this model.
        """
        self._session = None  # it holds memory of the device
        torch.manual_seed(seed)
        self._dropout = fast_dropout(seed, self._device, self._hparams.backend)
        with self._refusing(), self._unexchanged(not ends_step):
            with autocast(self._hparams, self._device):
                logits = self._training_logits(batch)
            further = {
                name: batch[name] for name in ("window_weights", "possible", "teacher", "words") if name in batch
            }
            loss = self._loss(logits, batch["labels"], **further)
            weighted = loss * batch["loss_weight"]
            self._context.backward(self._scaler.scale(weighted) if self._scaler else weighted)
        self._context.step_optimizer(self.optimizer, clip_grads=self._clip, scaler=self._scaler)
        if self._scaler and ends_step:
            self._scaler.update()  # Determined does so for its own experimental AMP only
        return loss.detach()

    def _training_logits(self, batch: Any) -> torch.Tensor:
        """(B, L, K)."""
        if self._flat and self._replays:
            inputs, layout = self._flat.inputs(batch)
            return layout.padded(self._replays.logits(inputs, layout))
        if self._flat:
            return self._flat.logits(self.model, batch, self._products, self._dropout)
        with replaced(self._functions(self._dropout)):
            logits: torch.Tensor = self.model(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
            ).logits
            return logits

    def _functions(self, dropout: FastDropout | None) -> Functions:
        """That the model calls in training on padded batches in the place of PyTorch's."""
        return {**self._products, **(dropout.functions if dropout else {})}

    def begin_evaluation(self) -> None:
        """Have ONNX Runtime evaluate the weights as they are now, in fp32, where it is to evaluate.

        It does so on the slot's device, or on the CPU where it cannot use that; the log says which.

        Raises:
            UserError: the model cannot be written as ONNX.
        """
        if self._hparams.evaluate_with_ort:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.onnx"
                export_onnx(self._bare, path, tuple(self._bare.config.id2label.values()))
                remedy = "write evaluate_with_ort: false"
                threads = torch.get_num_threads()
                session = open_session(path, str(self._device), threads=threads, remedy=remedy)
            if session.provider != self._provider:  # told once
                logger.info(f"validation by ONNX Runtime: {session.provider} on {session.device}")
            self._session, self._provider = session, session.provider

    def logits(self, batch: Any) -> torch.Tensor:
        """Logits for evaluation, computed by PyTorch from the model itself, or by ONNX Runtime from its graph.

        Not by what wraps it: slots have different numbers of validation batches, and DDP would synchronize at each;
        torch.compile would compile anew.

        Returns:
            (B, L, K).
        """
        if self._session is not None:
            ids, mask = (batch[name].cpu().numpy() for name in INPUTS)
            return torch.from_numpy(self._session.logits(ids, mask)).to(self._device)
        with autocast(self._hparams, self._device), replaced(fast_products(self._device)):
            output = self._bare.forward(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
            logits: torch.Tensor = output.logits
            return logits

    def end_training(self) -> None:
        """Free what only a further step would need: gradients and the optimizer's moments, three times the weights."""
        held = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]  # Apex has its own
        for parameter in (*held, *self._bare.parameters()):
            parameter.grad = None
        self.optimizer.state.clear()
        self._replays = None
        give_back_memory()

    def _again(self) -> contextlib.AbstractContextManager[Any]:
        """The context of a forward pass that computes, and drops, what the present one is about to."""
        return replaced(self._functions(self._dropout and self._dropout.repeated()))

    def _clip(self, parameters: Any) -> None:
        """Have the gradients of a step no longer than ``max_grad_norm``."""
        if norm := self._hparams.max_grad_norm:
            if self._scaler:
                self._scaler.unscale_(self.optimizer)
            # (Of the groups: they came with a checkpoint, perhaps from a torch that has no fused kernel.)
            if self._device.type == "cpu" and all(group.get("fused") for group in self.optimizer.param_groups):
                # The fused kernel scales the gradients as it reads them, by what a scaler would set here.
                self.optimizer.grad_scale = clipping_divisor([p.grad for p in parameters if p.grad is not None], norm)
            else:
                torch.nn.utils.clip_grad_norm_(parameters, norm)

    def _unexchanged(self, wanted: bool) -> contextlib.AbstractContextManager[Any]:
        """Around a forward and backward pass: slots keep their gradients, if wanted, until those of the step are whole.

        (It is in the forward pass that DistributedDataParallel decides. Apex puts away what a step has summed up before
        each backward pass, so that it would not be exchanged.)
        """
        if wanted and isinstance(self.model, DistributedDataParallel) and not self._hparams.use_apex_amp:
            kept: contextlib.AbstractContextManager[Any] = self.model.no_sync()
            return kept
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        """Around a backend's work: what it cannot compute is refused, and the time that it compiles is measured.

        Raises:
            UserError: in place of the backend's own error, at its first batch or whenever it compiles.
        """
        started = time.perf_counter()
        try:
            yield
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:
            failed = not self._begun if self._hparams.backend == "ort" else _is_of_compiler(error)
            if self._hparams.backend == "eager" or not failed:
                raise
            reason = " ".join(str(error).split())
            raise UserError(
                "hyperparameters.backend",
                f"{self._hparams.backend!r} cannot compute {type(self._bare).__name__}: {reason[:400]}",
                "write backend: eager",
            ) from error
        compiled = None
        if self._hparams.backend == "compile" and (graphs := graph_count()) != self._graphs:
            self._graphs, compiled = graphs, f"torch.compile: graph {graphs}"
        if self._hparams.backend == "ort" and not self._begun:
            compiled = "ONNX Runtime: graph of forward and backward"
        self._begun = True
        recorded = self._replays is not None and self._replays.seconds > 0
        self.compile_seconds = time.perf_counter() - started if compiled or recorded else 0.0
        if compiled:
            logger.info(f"{compiled}, {self.compile_seconds:.1f} s")


def compile_model(model: Any) -> None:
    """Have a model computed by torch.compile, in place: a wrapper would put _orig_mod. before each name of a weight.

    Raises:
        UserError: torch.compile does not know this Python.
    """
    torch._dynamo.reset()  # graphs of another model of this process would count
    torch._dynamo.config.cache_size_limit = MAX_GRAPHS
    with contextlib.suppress(ImportError):  # by it torch before 2.5 knows the models' outputs, if it is imported
        importlib.import_module("transformers.file_utils")
    try:
        model.compile(fullgraph=True, dynamic=True)
    except RuntimeError as error:
        raise UserError("hyperparameters.backend", f"'compile': {error}", "write backend: eager") from error


def graph_count() -> int:
    """Graphs that torch.compile has made in this process since the last model was compiled."""
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def _is_of_compiler(error: Exception) -> bool:
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))
