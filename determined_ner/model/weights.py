"""Weights from files: those of a Hugging Face directory, or of one of Determined's checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from determined_ner.errors import UserError, first_line
from determined_ner.hub import Pretrained
from determined_ner.model.checkpoint import STATE_FILE
from determined_ner.model.crf import crf_of, without_crf
from determined_ner.model.quiet import quiet_transformers


def find_infinite_weight(model: torch.nn.Module) -> str | None:
    """The name of the first parameter with a value that is not finite; None: there is none.

    One read of the weights (their minimum and maximum), and one synchronization with the device.
    """
    named = [(name, weights.detach()) for name, weights in model.named_parameters() if weights.numel()]
    extremes = [torch.stack(torch.aminmax(weights)).float() for _, weights in named]
    finite = torch.stack(extremes).isfinite().all(dim=1)
    return None if finite.all() else named[int(finite.int().argmin())][0]


def check_finite(model: torch.nn.Module, where: object) -> None:
    """Check that each weight is a number.

    Raises:
        UserError: one is not.
    """
    if (name := find_infinite_weight(model)) is None:
        return
    weights = model.get_parameter(name)
    bad = int((~torch.isfinite(weights)).sum())
    raise UserError(
        where,
        f"{bad:,} of the {weights.numel():,} weights of {name} are not finite (NaN or infinite), so the "
        f"training that made them went wrong",
        "take an earlier checkpoint, or train again (a lower hyperparameters.learning_rate, precision: fp32)",
    )


def load_token_classifier(source: Pretrained, config: Any, remedy: str) -> Any:
    """The model whose weights are in a Hugging Face directory.

    Args:
        remedy: what to do where there are none.

    Raises:
        UserError: no weights, damaged ones, or those of another task.
    """
    try:
        with quiet_transformers():
            model, info = transformers.AutoModelForTokenClassification.from_pretrained(
                source.location(), config=config, output_loading_info=True, **source.options()
            )
    except Exception as error:  # of safetensors, of the library, of sizes that do not fit
        raise UserError(
            source.where, f"its weights cannot be loaded: {first_line(error)}", f"copy it again, or {remedy}"
        ) from error
    missing = sorted({*info["missing_keys"], *(str(item[0]) for item in info["mismatched_keys"])})
    if missing:
        raise UserError(source.where, f"its weights lack {missing[0]}, so it is no trained token classifier", remedy)
    return model


def load_weights(model: torch.nn.Module, checkpoint: Path) -> None:
    """Load a checkpoint's weights, whatever backend or number of slots wrote them.

    Raises:
        UserError: the file is damaged, or of another model.
    """
    file = checkpoint / STATE_FILE
    try:
        # Of it the weights alone are read: the optimizer has twice their size.
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        weights = state["models_state_dict"][0]
        torch.nn.modules.utils.consume_prefix_in_state_dict_if_present(weights, "module.")
        if crf_of(model) is None:  # whoever only reads has the transitions from ner_settings.json
            weights = without_crf(weights)
        model.load_state_dict(weights)
    except Exception as error:  # of zip files, of pickles, of tensors that do not fit
        raise unloadable(file, error) from error


def unloadable(file: Path, error: Exception) -> UserError:
    """What is said of a file of a checkpoint that cannot be loaded."""
    return UserError(file, f"is damaged, or of another model: {first_line(error)}", "copy the checkpoint again")
