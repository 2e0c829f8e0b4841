"""The optimizer and its learning rate, as ``run_ner.py`` of Transformers' examples sets them up."""

from __future__ import annotations

import math
from typing import Any

import torch
import transformers
from packaging.version import Version

from determined_ner.errors import HyperparameterError
from determined_ner.model.crf import CRF, LEARNING_RATE, crf_of
from determined_ner.model.fused_adam import build_fused_adam
from determined_ner.settings.hyperparameters import Hyperparameters


def build_optimizer(
    model: torch.nn.Module, hparams: Hyperparameters, fused: bool | None = None
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter, "Decoupled Weight Decay Regularization") without decay of biases and norms.

    Args:
        fused: of PyTorch's, compute the whole update in one kernel; None: where the device and this torch have one.
    """
    decayed: list[torch.nn.Parameter] = []
    plain: list[torch.nn.Parameter] = []
    layers = [m for m in model.modules() if type(m).__name__.endswith("Norm")]  # LayerNorm, RMSNorm, T5LayerNorm …
    norms = {id(p) for layer in layers for p in layer.parameters()}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not name.startswith(f"{CRF}."):
            (plain if id(parameter) in norms or name.endswith("bias") else decayed).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": hparams.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    if (crf := crf_of(model)) is not None:
        rate = hparams.crf_learning_rate or LEARNING_RATE
        groups.append({"params": list(crf.parameters()), "weight_decay": 0.0, "lr": rate})
    betas, eps = (hparams.adam_beta1, hparams.adam_beta2), hparams.adam_epsilon
    if fused is None:
        fused = has_fused_kernel(decayed[0].device)
    if hparams.optim == "adamw_ort_fused":
        return build_fused_adam(groups, fused, lr=hparams.learning_rate, betas=betas, eps=eps)
    return torch.optim.AdamW(groups, lr=hparams.learning_rate, betas=betas, eps=eps, fused=fused, foreach=not fused)


def has_fused_kernel(device: torch.device) -> bool:
    """Whether AdamW's update is one kernel there: on CUDA, and on the CPU since torch 2.4."""
    return device.type == "cuda" or Version(torch.__version__).release >= (2, 4)


def build_schedule(optimizer: torch.optim.Optimizer, hparams: Hyperparameters, optimizer_steps: int) -> Any:
    """The learning rate over ``optimizer_steps`` steps.

    Raises:
        HyperparameterError: warm-up longer than the training.
    """
    warmup = hparams.num_warmup_steps or math.ceil(hparams.warmup_ratio * optimizer_steps)
    if warmup > optimizer_steps:
        raise HyperparameterError(
            "hyperparameters.num_warmup_steps",
            f"{warmup} is more than the {optimizer_steps} steps of the training",
            f"write at most {optimizer_steps}, or train longer",
        )
    return transformers.get_scheduler(
        hparams.lr_scheduler_type, optimizer, num_warmup_steps=warmup, num_training_steps=optimizer_steps
    )


def clipping_divisor(gradients: list[torch.Tensor], max_norm: float) -> torch.Tensor:
    """What gradients are divided by so that their norm is at most ``max_norm``, as in ``clip_grad_norm_``.

    A dot product runs at the speed of memory on a CPU, where PyTorch's norm takes twice as long and loses two digits.

    Returns:
        () at least 1.
    """
    squares = [torch.dot(flat, flat) for flat in (gradient.reshape(-1) for gradient in gradients)]
    return ((torch.stack(squares).sum().sqrt() + 1e-6) / max_norm).clamp_(min=1)
