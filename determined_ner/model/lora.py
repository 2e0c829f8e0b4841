"""LoRA (Hu et al., "Low-Rank Adaptation of Large Language Models") by the library PEFT: adapters train, and the head.

The adapters are put into the model itself, whose class and parts stay what they are. A checkpoint has them beside the
weights that they are of; a model directory is merged, and of the plain architecture.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from determined_ner.errors import HyperparameterError, UserError
from determined_ner.hub import Pretrained
from determined_ner.model.build import skeleton
from determined_ner.model.parameter_groups import Parts, find_layers

SETTING = "hyperparameters.peft"
ADAPTER = "default"
"""What PEFT calls an adapter that has no name."""


def check_lora(config: Any, source: Pretrained, lora: Mapping[str, Any]) -> None:
    """Check that PEFT is installed, and that an encoder has the modules that adapters are asked for.

    Args:
        source: of the config.
        lora: the fields of `determined_ner.settings.hyperparameters.Lora`.

    Raises:
        UserError: PEFT is missing.
        HyperparameterError: there is no such module.
    """
    _require_peft()
    _targets(skeleton(config, source), lora["target_modules"])


def add_adapters(model: Any, lora: Mapping[str, Any], seed: int) -> None:
    """Put adapters into a model, which compute nothing yet; they are trained, and the head, and nothing else.

    Args:
        lora: as of `check_lora`.
        seed: of their initialisation, the same on every slot.

    Raises:
        UserError: PEFT is missing, or there is no such module.
    """
    _require_peft()
    peft: Any = importlib.import_module("peft")
    head = Parts.of(model).head
    prefix = "" if model.base_model is model else f"{model.base_model_prefix}."
    names = [prefix + name for name in _targets(model.base_model, lora["target_modules"])]
    config = peft.LoraConfig(
        r=lora["r"], lora_alpha=lora["alpha"], lora_dropout=lora["dropout"], target_modules=names, bias="none"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(config, model, adapter_name=ADAPTER)
    for parameter in head:
        parameter.requires_grad_(True)


def merge_adapters(model: Any) -> None:
    """Add the adapters to the weights that they are of; the model is of the plain architecture afterwards."""
    layers: Any = importlib.import_module("peft.tuners.tuners_utils")
    for name, module in list(model.named_modules()):
        if isinstance(module, layers.BaseTunerLayer):
            module.merge(adapter_names=[ADAPTER])
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, module.get_base_layer())


def _require_peft() -> None:
    if importlib.util.find_spec("peft") is None:
        raise UserError(SETTING, "needs PEFT, which is not installed", "pip install 'determined-ner[peft]'")


def _targets(encoder: nn.Module, asked: list[str] | None) -> list[str]:
    """The matrices of an encoder that get an adapter: those of its layers, or of these those that are asked for."""
    of_layers = {id(m) for modules in find_layers(encoder) for module in modules for m in module.modules()}
    found = [n for n, m in encoder.named_modules() if id(m) in of_layers and isinstance(m, nn.Linear | Conv1D)]
    names = sorted({name.rpartition(".")[2] for name in found})
    if not found:
        raise HyperparameterError(SETTING, f"a {type(encoder).__name__} has no layers of matrices", "leave it out")
    if asked is None:
        return found
    for one in asked:
        if not any(name == one or name.endswith(f".{one}") for name in found):
            raise HyperparameterError(
                f"{SETTING}.target_modules",
                f"{one!r} is no matrix of this encoder's layers",
                f"it has {', '.join(names)}",
            )
    return [name for name in found if any(name == one or name.endswith(f".{one}") for one in asked)]


def save_adapters(model: Any, lora: Mapping[str, Any], base: str, folder: Path) -> None:
    """Write the adapters and the head as PEFT does, for its ``PeftModel.from_pretrained``.

    Args:
        model: with adapters.
        base: name of the encoder.
        folder: to make.
    """
    peft: Any = importlib.import_module("peft")
    of_head = {id(p) for p in Parts.of(model).head}
    head = [name for name, p in model.named_parameters() if id(p) in of_head]
    kept = {n: p for n, p in model.state_dict().items() if ".lora_" in n or n in head}
    targets = sorted(n.partition(".lora_A.")[0] for n in kept if ".lora_A." in n)
    config = peft.LoraConfig(
        r=lora["r"],
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        target_modules=targets,
        modules_to_save=sorted({name.partition(".")[0] for name in head}),
        task_type="TOKEN_CLS",
        base_model_name_or_path=base,
        inference_mode=True,
    )
    config.save_pretrained(folder)
    named = {f"base_model.model.{name.replace(f'.{ADAPTER}.', '.')}": p.contiguous() for name, p in kept.items()}
    save_file(named, folder / "adapter_model.safetensors", metadata={"format": "pt"})
