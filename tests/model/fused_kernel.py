"""The kernel of ONNX Runtime's fused Adam on the CPU, where its extension (CUDA's) is not: in PyTorch.

Its formula is that of multi_tensor_adam.cu; of the modes, the one of PyTorch's AdamW.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

import torch

PACKAGE = "onnxruntime.training.ortmodule.torch_cpp_extensions"


def multi_tensor_adam(
    chunk_size: int,
    overflow: Any,
    tensors: list[list[torch.Tensor]],
    lr: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    step: int,
    mode: int,
    bias_correction: int,
    decay: float,
) -> None:
    assert (mode, bias_correction) == (2, 1), "not the formula of PyTorch's AdamW"
    corrections = 1 - beta1**step, 1 - beta2**step
    for g, p, m, v in zip(*tensors, strict=True):
        p -= p * lr * decay
        m.copy_(beta1 * m + (1 - beta1) * g)
        v.copy_(beta2 * v + (1 - beta2) * g * g)
        p -= lr * m / (corrections[0] * (v.sqrt() / corrections[1] ** 0.5 + epsilon))


def install(put: Any = setattr) -> None:
    """Have ONNX Runtime find it.

    Args:
        put: as ``setattr``.
    """
    module: Any = types.ModuleType("fused_ops")
    module.multi_tensor_adam, module.TorchTensorVector = multi_tensor_adam, list
    importlib.import_module(PACKAGE)
    put(sys.modules[PACKAGE], "fused_ops", module)
    put(torch.cuda, "IntTensor", torch.IntTensor)
