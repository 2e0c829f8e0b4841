"""Model, optimizer and step as PyTorch does them, without Determined: DistributedDataParallel, loss scaler, Apex.

Operation for operation what Determined's ``PyTorchTrialContext`` does, so that either trains the same bits.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from determined_ner.training.slots import Slots


class TorchContext:
    """What an engine asks of its loop (`determined_ner.model.engine.LoopContext`), for one model and one optimizer.

    Attributes:
        device: what this process computes on.
        models: the model as wrapped.
        optimizers: its optimizer.
        scaler: of the loss under fp16; else None.
        amp: NVIDIA's ``apex.amp`` where it is used; else None.
    """

    def __init__(self, slots: Slots, accumulation_steps: int) -> None:
        """
        Args:
            slots: the processes that train; of several, torch's process group has been made.
            accumulation_steps: micro-batches of an optimizer step on each of them.
        """
        self.device = find_device(slots)
        self.models: list[Any] = []
        self.optimizers: list[Any] = []
        self.scaler: Any = None
        self.amp: Any = None
        self._bare: Any = None
        self._several = slots.size > 1
        self._accumulation_steps = accumulation_steps
        self._ends_step = False

    def begin_batch(self, index: int) -> None:
        """Say which micro-batch comes (from 0): it decides whether an optimizer step ends there."""
        self._ends_step = (index + 1) % self._accumulation_steps == 0

    def wrap_model(self, model: Any) -> Any:
        self._bare = model.to(self.device)
        self.models = [self._shared(self._bare)]
        return self.models[0]

    def wrap_optimizer(self, optimizer: Any) -> Any:
        self.optimizers = [optimizer]
        return optimizer

    def wrap_scaler(self, scaler: Any) -> Any:
        self.scaler = scaler
        return scaler

    def configure_apex_amp(self, models: Any, optimizers: Any, *, opt_level: str, verbosity: int) -> Any:
        """Apex takes the model before it is shared among slots."""
        self.amp = importlib.import_module("apex.amp")
        self._bare, optimizer = self.amp.initialize(self._bare, optimizers, opt_level=opt_level, verbosity=verbosity)
        self.models, self.optimizers = [self._shared(self._bare)], [optimizer]
        return self._bare, optimizer

    def backward(self, loss: torch.Tensor) -> None:
        if self.amp:
            with self.amp.scale_loss(loss, self.optimizers, loss_id=0) as scaled:
                scaled.backward()
        else:
            loss.backward()

    def step_optimizer(self, optimizer: Any, clip_grads: Any = None, *, scaler: Any = None) -> None:
        if not self._ends_step:
            return
        if self.amp:
            parameters = self.amp.master_params(optimizer)
        else:
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        if self._accumulation_steps > 1:
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad.data.div_(float(self._accumulation_steps))
        if clip_grads is not None:
            clip_grads(parameters)
        if scaler:
            scaler.step(optimizer)
        else:
            optimizer.step()
        optimizer.zero_grad()

    def _shared(self, model: Any) -> Any:
        return DistributedDataParallel(model) if self._several else model


def find_device(slots: Slots) -> torch.device:
    """What this process computes on: the GPU of its number on its machine, the first where it is alone, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", slots.local_rank if slots.size > 1 else 0)
    torch.cuda.set_device(device)
    return device
