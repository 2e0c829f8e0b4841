"""How the model is computed in training: backend (PyTorch, torch.compile, ORTModule) and precision, chosen here alone.

What cannot be active here is refused before any data is read; nothing falls back to something else. Weights, their
names and the optimizer's state are the same whatever is chosen, so a checkpoint goes from one to another.

Evaluation is PyTorch's own in every backend (or ONNX Runtime's, see ner_onnx), so that scores do not depend on it.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from packaging.version import Version

import determined_ner.model.build as ner_model
import determined_ner.model.onnx_export as ner_onnx
import determined_ner.model.ort as ner_ort
from determined_ner.model.cpu.dropout import fast_dropout
from determined_ner.errors import UserError
from determined_ner.settings.hyperparameters import HyperparameterError, Hyperparameters
from determined_ner.model.cpu.memory import keep_memory

logger = logging.getLogger("ner")

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
OLD_COMPILER = Version(torch.__version__).release < (2, 4)
"""PyTorch 2.3.1 gives RoBERTa's padded batches other logits, by up to 0.1."""
MAX_GRAPHS = 8
"""Graphs that torch.compile may make of one model: shapes are symbolic, so one or two are usual."""


def check_conditions(hparams: Hyperparameters, device: torch.device, slots: int, micro_steps: int) -> None:
    """Can all that is asked for be active here?

    Args:
        micro_steps: accumulation steps (optimizations.aggregation_frequency).

    Raises:
        HyperparameterError: the settings exclude each other.
        UserError: this machine or environment lacks something; the message says what to do.
    """
    if hparams.use_apex_amp:
        if slots > 1 and micro_steps > 1:
            raise HyperparameterError(
                f"hyperparameters.use_apex_amp: Determined does not accumulate gradients (optimizations."
                f"aggregation_frequency: {micro_steps}) under Apex on {slots} slots; write aggregation_frequency: 1, "
                f"or precision: fp16 in its place"
            )
        _check_apex(device)
    if hparams.precision == "fp16" and device.type != "cuda":
        raise UserError(
            f"hyperparameters.precision: 'fp16' needs a CUDA GPU, and this trains on {device.type}; write bf16 or fp32"
        )
    if hparams.precision == "bf16":
        _check_bf16(device)
    if hparams.evaluate_with_ort:
        for module in ("onnx", "onnxruntime"):
            ner_onnx.needed(module)
    if hparams.backend == "ort":
        if hparams.precision == "bf16" and device.type == "cpu":
            raise UserError(
                "hyperparameters.precision: 'bf16' with backend: ort needs a GPU: ONNX Runtime multiplies no bf16 "
                "matrices on a CPU; write precision: fp32, or backend: eager or compile"
            )
        ner_ort.check_installation(device.type)
    if hparams.backend == "compile":
        _check_compiler(device)


def check_architecture(hparams: Hyperparameters, model_type: str, device: torch.device) -> None:
    """
    Raises:
        UserError: the backend cannot compute this architecture here.
    """
    if hparams.backend == "ort":
        ner_ort.check_architecture(model_type, device.type)
    if hparams.backend == "compile" and "roberta" in model_type and OLD_COMPILER:
        raise UserError(
            f"hyperparameters.backend: 'compile' computes a model of type {model_type!r} wrongly with PyTorch "
            f"{torch.__version__}; write backend: eager, or take a newer PyTorch"
        )


def _check_apex(device: torch.device) -> None:
    asked = "hyperparameters.use_apex_amp: true"
    if device.type != "cuda":
        raise UserError(f"{asked} needs a CUDA GPU, and this trains on {device.type}; write precision: bf16 or fp32")
    try:
        amp = importlib.import_module("apex.amp")
    except Exception as error:  # the unrelated package fails as it likes
        amp, reason = None, f"{type(error).__name__}: {error}"
    if not callable(getattr(amp, "initialize", None)):
        reason = reason if amp is None else "it has no amp.initialize"
        unrelated = "the package apex that is installed is not NVIDIA's" if importlib.util.find_spec("apex") else ""
        raise UserError(
            f"{asked}: {unrelated or 'NVIDIA Apex is not installed'} ({reason}); take an image that has it, such as "
            f"Determined's default (environment.image; never «pip install apex», an unrelated project), "
            f"or write precision: fp16"
        )


def _check_bf16(device: torch.device) -> None:
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        major, minor = torch.cuda.get_device_capability(device)
        raise UserError(
            f"hyperparameters.precision: 'bf16' needs a GPU of compute capability 8.0 (Ampere) or newer; "
            f"{torch.cuda.get_device_name(device)} has {major}.{minor}; write fp16"
        )
    if device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        logger.warning("precision: bf16 is slower than fp32 on this processor, which has no bf16 instructions")


def _check_compiler(device: torch.device) -> None:
    asked = "hyperparameters.backend: 'compile'"
    compiler = os.environ.get("CXX") or "g++"
    if not shutil.which(compiler):
        raise UserError(
            f"{asked} needs a C++ compiler, and {compiler} is not on the PATH; install one, e.g. apt-get install g++, "
            f"or name one in CXX, or write backend: eager"
        )
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise UserError(f"{asked} needs triton on a GPU; pip install triton, or write backend: eager")


def make_scaler() -> Any:
    """Keeps fp16's small gradients from vanishing."""
    return torch.amp.GradScaler("cuda")


def autocast(hparams: Hyperparameters, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Around every forward pass."""
    if hparams.precision in DTYPES:
        return torch.autocast(device.type, DTYPES[hparams.precision])
    return contextlib.nullcontext()


def length_multiple(hparams: Hyperparameters, device: torch.device) -> int:
    """What the length of a batch is best a multiple of.

    GPUs multiply half-precision matrices fastest by eights. A CPU's library makes a kernel for each shape of bf16
    matrices: a quarter of the shapes save a tenth of a first epoch and a quarter of the memory.
    """
    if device.type == "cuda":
        half = hparams.precision in DTYPES or (hparams.use_apex_amp and hparams.apex_opt_level != "O0")
        return 8 if half else 1
    return 4 if hparams.precision == "bf16" else 1


def clipping_divisor(gradients: list[torch.Tensor], max_norm: float) -> torch.Tensor:
    """What gradients are divided by so that their norm is at most ``max_norm``, as ``clip_grad_norm_`` has it.

    A dot product runs at the speed of memory on a CPU, where PyTorch's norm takes twice as long and loses two digits.

    Returns:
        () at least 1.
    """
    squares = [torch.dot(flat, flat) for flat in (gradient.reshape(-1) for gradient in gradients)]
    return ((torch.stack(squares).sum().sqrt() + 1e-6) / max_norm).clamp_(min=1)


class Engine:
    """A model under training, wrapped for Determined in the order that each choice needs.

    Attributes:
        model: what is trained; call ``logits`` for evaluation.
        optimizer: what a learning rate schedule has to be built on.
        warm_up: seconds of the last call of ``learn`` if it compiled, else 0.
    """

    def __init__(self, context: Any, bare: Any, hparams: Hyperparameters) -> None:
        """
        Args:
            context: of a PyTorchTrial under managed training.
            bare: the Transformers model, in fp32.
        """
        self._context, self._bare, self._hparams = context, bare, hparams
        self._device: torch.device = context.device
        if self._device.type == "cpu":
            keep_memory()
        # Determined wants its scaler before, Apex its model and optimizer after they are wrapped.
        self._scaler = context.wrap_scaler(make_scaler()) if hparams.precision == "fp16" else None
        if hparams.backend == "compile":
            _compile(bare)
        self.model = context.wrap_model(ner_ort.wrap(bare) if hparams.backend == "ort" else bare)
        self.optimizer = context.wrap_optimizer(ner_model.build_optimizer(bare, hparams))
        if hparams.use_apex_amp:
            _, self.optimizer = context.configure_apex_amp(
                self.model, self.optimizer, opt_level=hparams.apex_opt_level, verbosity=0
            )
            self.model = context.models[0]  # on several slots wrapped again, and not what is returned
        self._session: Any = None
        self._begun = False
        self.warm_up = 0.0
        self._graphs = _graph_count() if hparams.backend == "compile" else 0  # importing the compiler takes seconds

    @property
    def described(self) -> str:
        precision = f"Apex {self._hparams.apex_opt_level}" if self._hparams.use_apex_amp else self._hparams.precision
        return f"{self._hparams.backend}, {precision}"

    def learn(self, batch: Any, seed: int, ends_step: bool) -> torch.Tensor:
        """One micro-batch: forward, backward and, where it ends an optimizer step, the step.

        Args:
            batch: of BatchDataset, on the device.
            seed: of its dropout.

        Returns:
            () the loss summed over its words, detached.

        Raises:
            UserError: the backend cannot compute this model.
        """
        torch.manual_seed(seed)
        with self._told():
            with autocast(self._hparams, self._device), fast_dropout(seed, self._device, self._hparams.backend):
                logits = self.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            loss = ner_model.word_loss(logits, batch["labels"])
            weighted = loss * batch["loss_weight"]
            self._context.backward(self._scaler.scale(weighted) if self._scaler else weighted)
        self._context.step_optimizer(self.optimizer, clip_grads=self._clip, scaler=self._scaler)
        if self._scaler and ends_step:
            self._scaler.update()  # Determined does so for its own experimental AMP only
        return loss.detach()

    def begin_evaluation(self) -> None:
        """Where ONNX Runtime evaluates, it gets the weights as they are now: in fp32, on the CPU.

        Raises:
            UserError: the model cannot be written as ONNX.
        """
        if self._hparams.evaluate_with_ort:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.onnx"
                ner_onnx.export_onnx(self._bare, path, tuple(self._bare.config.id2label.values()))
                self._session = ner_onnx.open_session(path, torch.get_num_threads())

    def logits(self, batch: Any) -> torch.Tensor:
        """For evaluation: (B, L, K), computed by PyTorch from the model itself, or by ONNX Runtime from its graph.

        Not by what wraps it: slots have different numbers of validation batches, and DDP would synchronize at each;
        torch.compile would compile anew.
        """
        if self._session is not None:
            ids, mask = batch["input_ids"].cpu(), batch["attention_mask"].cpu()
            return torch.from_numpy(ner_onnx.run_session(self._session, ids, mask)).to(self._device)
        with autocast(self._hparams, self._device):
            return self._bare.forward(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits

    def _clip(self, parameters: Any) -> None:
        if norm := self._hparams.max_grad_norm:
            if self._scaler:
                self._scaler.unscale_(self.optimizer)
            # (Of the groups: they came with a checkpoint, perhaps from a torch that has no fused kernel.)
            if self._device.type == "cpu" and all(group["fused"] for group in self.optimizer.param_groups):
                # The fused kernel scales the gradients as it reads them, by what a scaler would set here.
                self.optimizer.grad_scale = clipping_divisor([p.grad for p in parameters if p.grad is not None], norm)
            else:
                torch.nn.utils.clip_grad_norm_(parameters, norm)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """A backend that cannot compute the model says so at its first batch, or whenever it compiles."""
        started = time.perf_counter()
        try:
            yield
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:
            failed = not self._begun if self._hparams.backend == "ort" else _is_of_compiler(error)
            if self._hparams.backend == "eager" or not failed:
                raise
            told = " ".join(str(error).split())
            raise UserError(
                f"hyperparameters.backend: {self._hparams.backend!r} cannot compute {type(self._bare).__name__}: "
                f"{told[:400]}; write backend: eager"
            ) from error
        compiled = None
        if self._hparams.backend == "compile" and (graphs := _graph_count()) != self._graphs:
            self._graphs, compiled = graphs, f"torch.compile: graph {graphs}"
        if self._hparams.backend == "ort" and not self._begun:
            compiled = "ONNX Runtime: graph of forward and backward"
        self._begun = True
        self.warm_up = time.perf_counter() - started if compiled else 0.0
        if compiled:
            logger.info(f"{compiled}, {self.warm_up:.1f} s")


def _compile(model: Any) -> None:
    """In place: a wrapper would put _orig_mod. before each name in a checkpoint.

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
        raise UserError(f"hyperparameters.backend: 'compile': {error}; write backend: eager") from error


def _graph_count() -> int:
    """Graphs compiled in this process."""
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def _is_of_compiler(error: Exception) -> bool:
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))
