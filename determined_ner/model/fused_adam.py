"""AdamW in ONNX Runtime's fused CUDA kernel, whose state is in checkpoints as that of PyTorch's AdamW is."""

from __future__ import annotations

from typing import Any

import torch


def build_fused_adam(groups: list[dict[str, Any]], fused: bool, **options: Any) -> torch.optim.Optimizer:
    """``onnxruntime.training.optim.FusedAdam`` as PyTorch's AdamW: its formula, and its state.

    Its default formula is that of transformers' former AdamW, which decays weights after the step and adds epsilon
    before the correction of bias. PyTorch's is a mode of the same kernel.

    Args:
        groups: of parameters, each with its ``weight_decay``.
        fused: whether PyTorch's AdamW, which may go on with its state, would be one kernel here.
        options: ``lr``, ``betas``, ``eps``.
    """
    from onnxruntime.training.optim import AdamWMode, FusedAdam

    optimizer: torch.optim.Optimizer = FusedAdam(
        groups, bias_correction=True, adam_w_mode=AdamWMode.ADAMW_TORCH, **options
    )
    optimizer.register_state_dict_post_hook(lambda _, state: as_torch(state, fused))
    optimizer.register_load_state_dict_pre_hook(lambda _, state: from_torch(state))
    return optimizer


def as_torch(state: dict[str, Any], fused: bool) -> dict[str, Any]:
    """The state of FusedAdam, which counts a group's steps, as that of AdamW, which counts each parameter's."""
    of_torch = {**torch.optim.AdamW([torch.zeros(1)]).defaults, "fused": fused, "foreach": not fused}
    groups, parameters = [], {}
    for group in state["param_groups"]:
        for index in group["params"]:
            if index in state["state"]:
                step = torch.tensor(float(group["step"]))
                parameters[index] = {"step": step, **state["state"][index]}
        kept = {name: value for name, value in group.items() if name not in ("step", "bias_correction")}
        groups.append({**of_torch, **kept})
    return {**state, "state": parameters, "param_groups": groups}


def from_torch(state: dict[str, Any]) -> dict[str, Any]:
    """The state of AdamW as that of FusedAdam: `as_torch` turned round."""
    groups, parameters = [], {}
    for group in state["param_groups"]:
        kept = {
            name: group[name]
            for name in ("params", "lr", "betas", "eps", "weight_decay", "initial_lr")
            if name in group
        }
        steps = set()
        for index in group["params"]:
            if index in state["state"]:
                of_torch = state["state"][index]
                steps.add(int(of_torch["step"]))
                parameters[index] = {name: of_torch[name] for name in ("exp_avg", "exp_avg_sq")}
        assert len(steps) <= 1, f"parameters of one group are of {len(steps)} steps"
        groups.append({**kept, "bias_correction": True, **({"step": steps.pop()} if steps else {})})
    return {**state, "state": parameters, "param_groups": groups}
