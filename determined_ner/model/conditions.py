"""What backend, precision and evaluation need of machine and environment, checked before any data is read."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import shutil

import torch
from packaging.version import Version

from determined_ner.errors import HyperparameterError, UserError
from determined_ner.model import ort
from determined_ner.model.onnx_session import require
from determined_ner.settings.hyperparameters import Hyperparameters

logger = logging.getLogger("determined_ner")

OLD_COMPILER = Version(torch.__version__).release < (2, 4)
"""PyTorch 2.3.1 gives RoBERTa's padded batches other logits, by up to 0.1."""


def check_conditions(hparams: Hyperparameters, device: torch.device, slots: int, accumulation_steps: int) -> None:
    """Check that all that the settings ask for can be active here.

    Args:
        slots: processes that train the model.
        accumulation_steps: micro-batches of an optimizer step on each slot (optimizations.aggregation_frequency).

    Raises:
        HyperparameterError: the settings exclude each other.
        UserError: this machine or environment lacks something; the message says what to do.
    """
    if hparams.use_apex_amp:
        if slots > 1 and accumulation_steps > 1:
            raise HyperparameterError(
                "hyperparameters.use_apex_amp",
                f"Determined does not accumulate gradients (optimizations.aggregation_frequency: {accumulation_steps}) "
                f"under Apex on {slots} slots",
                "write aggregation_frequency: 1, or precision: fp16 in its place",
            )
        _check_apex(device)
    if hparams.precision == "fp16" and device.type != "cuda":
        raise UserError(
            "hyperparameters.precision",
            f"'fp16' needs a CUDA GPU, and this trains on {device.type}",
            "write bf16 or fp32",
        )
    if hparams.precision == "bf16":
        _check_bf16(device)
    if hparams.evaluate_with_ort:
        for module in ("onnx", "onnxruntime"):
            require(module)
    if hparams.backend == "ort":
        if hparams.precision == "bf16" and device.type == "cpu":
            raise UserError(
                "hyperparameters.precision",
                "'bf16' with backend: ort needs a GPU: ONNX Runtime multiplies no bf16 matrices on a CPU",
                "write precision: fp32, or backend: eager or compile",
            )
        if hparams.optim == "adamw_ort_fused" and device.type != "cuda":
            raise UserError(
                "hyperparameters.optim",
                f"'adamw_ort_fused' needs a CUDA GPU, and this trains on {device.type}",
                "write adamw_torch",
            )
        ort.check_installation(device.type)
        if hparams.optim == "adamw_ort_fused":
            ort.check_fused_adam()
    if hparams.backend == "compile":
        _check_compiler(device)


def check_architecture(
    hparams: Hyperparameters, model_type: str, device: torch.device, old_compiler: bool = OLD_COMPILER
) -> None:
    """Check that the backend can compute an architecture here.

    Args:
        model_type: of the model's config.
        old_compiler: whether torch.compile is one that computes RoBERTa wrongly.

    Raises:
        UserError: it cannot.
    """
    if hparams.backend == "ort":
        ort.check_architecture(model_type, device.type)
    if hparams.backend == "compile" and "roberta" in model_type and old_compiler:
        raise UserError(
            "hyperparameters.backend",
            f"'compile' computes a model of type {model_type!r} wrongly with PyTorch {torch.__version__}",
            "write backend: eager, or take a newer PyTorch",
        )


def _check_apex(device: torch.device) -> None:
    setting = "hyperparameters.use_apex_amp"
    if device.type != "cuda":
        raise UserError(
            setting, f"true needs a CUDA GPU, and this trains on {device.type}", "write precision: bf16 or fp32"
        )
    try:
        amp = importlib.import_module("apex.amp")
    except Exception as error:  # the unrelated package fails as it likes
        amp, reason = None, f"{type(error).__name__}: {error}"
    if not callable(getattr(amp, "initialize", None)):
        reason = reason if amp is None else "it has no amp.initialize"
        unrelated = "the package apex that is installed is not NVIDIA's" if importlib.util.find_spec("apex") else ""
        raise UserError(
            setting,
            f"true cannot work: {unrelated or 'NVIDIA Apex is not installed'} ({reason})",
            "take an image that has it, such as Determined's default (environment.image; never pip install apex, an "
            "unrelated project), or write precision: fp16",
        )


def _check_bf16(device: torch.device) -> None:
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        major, minor = torch.cuda.get_device_capability(device)
        raise UserError(
            "hyperparameters.precision",
            f"'bf16' needs a GPU of compute capability 8.0 (Ampere) or newer; {torch.cuda.get_device_name(device)} has "
            f"{major}.{minor}",
            "write fp16",
        )
    if device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        logger.warning("precision: bf16 is slower than fp32 on this processor, which has no bf16 instructions")


def _check_compiler(device: torch.device) -> None:
    setting = "hyperparameters.backend"
    compiler = os.environ.get("CXX") or "g++"
    if not shutil.which(compiler):
        raise UserError(
            setting,
            f"'compile' needs a C++ compiler, and {compiler} is not on the PATH",
            "install one, e.g. apt-get install g++, or name one in CXX, or write backend: eager",
        )
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise UserError(setting, "'compile' needs triton on a GPU", "pip install triton, or write backend: eager")
