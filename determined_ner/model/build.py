"""The model, its optimizer and its learning rate."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator
from typing import Any

import torch
import transformers
from packaging.version import Version

from determined_ner.settings.hyperparameters import HyperparameterError, Hyperparameters
from determined_ner.data.tokenizer import hub_options, loading, local_or_hub

logger = logging.getLogger("ner")


def load_config(hparams: Hyperparameters) -> Any:
    """The encoder's config.

    Raises:
        UserError: there is none.
        HyperparameterError: it is of an architecture that cannot classify tokens.
    """
    setting, name = _config_source(hparams)
    remedy = "mend the config.json of the directory, or choose another encoder such as bert-base-cased"
    with loading("no model config can be loaded", setting, name, remedy):
        config = transformers.AutoConfig.from_pretrained(local_or_hub(name, setting), **hub_options(hparams))
    own_code = getattr(config, "auto_map", None) or {}
    classifies = type(config) in transformers.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING
    if not classifies and "AutoModelForTokenClassification" not in own_code:
        raise HyperparameterError(
            f"hyperparameters.{setting}: {name!r} is a model of type {config.model_type!r}, for which "
            f"transformers {transformers.__version__} has no token classification head; "
            f"choose an encoder that has one, such as bert-base-cased"
        )
    return config


def _config_source(hparams: Hyperparameters) -> tuple[str, str]:
    """The hyperparameter that names the config, and its value."""
    setting = "config_name" if hparams.config_name else "pretrained_model_name_or_path"
    return setting, getattr(hparams, setting)


def _building(hparams: Hyperparameters) -> contextlib.AbstractContextManager[None]:
    """Around making a model from its config alone."""
    remedy = "correct the sizes in its config.json, or choose another encoder such as bert-base-cased"
    return loading("no model can be built from its config", *_config_source(hparams), remedy)


def longest_window(config: Any, hparams: Hyperparameters, tokenizer_limit: int) -> int:
    """Pieces that the encoder takes at most, special ones included; at most a million where nothing limits it.

    Position embeddings tell: those with a padding row (RoBERTa's) begin after it.

    Raises:
        UserError: no encoder can be built from the config.
    """
    limits = [min(tokenizer_limit, 1_000_000)]
    stated = getattr(config, "max_position_embeddings", None)
    with _building(hparams), torch.device("meta"):  # shapes only
        skeleton = transformers.AutoModel.from_config(config, trust_remote_code=hparams.trust_remote_code)
    for name, module in skeleton.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            reserved = module.padding_idx + 1 if module.padding_idx is not None else 0
            limits.append(module.num_embeddings - reserved)
            stated = None  # the table itself knows better
    if stated and stated > 0:  # XLNet writes -1 for «no limit»
        limits.append(stated)
    return min(limits)


def check_vocabulary(config: Any, hparams: Hyperparameters, largest_id: int) -> None:
    """
    Args:
        largest_id: of the pieces in the data.

    Raises:
        HyperparameterError: the tokenizer is another model's.
    """
    size = getattr(config, "vocab_size", None)
    if size is not None and largest_id >= size:
        name = hparams.tokenizer_name or hparams.pretrained_model_name_or_path
        raise HyperparameterError(
            f"hyperparameters.tokenizer_name: the tokenizer of {name!r} gives piece {largest_id}, but the encoder "
            f"{hparams.pretrained_model_name_or_path!r} knows {size}; take the tokenizer that belongs to it"
        )


def window_size(asked: int | None, limit: int) -> int:
    """``max_seq_length`` in pieces: as asked, else what the model takes, at most 512.

    Raises:
        HyperparameterError: asked for more than the model takes.
    """
    if asked is None:
        return min(limit, 512)
    if asked > limit:
        raise HyperparameterError(
            f"data.max_seq_length: {asked} is more than the {limit} pieces that this model takes; "
            f"write at most {limit} (longer texts are read through overlapping windows, nothing is lost)"
        )
    return asked


def build_model(config: Any, hparams: Hyperparameters, label_names: tuple[str, ...], seed: int | None) -> Any:
    """The encoder with a new token classification head, label map included.

    Args:
        seed: of the initialisation of what is new, the same on every slot; None where weights are loaded afterwards.

    Raises:
        UserError: no weights.
        HyperparameterError: weights of another architecture, or a head of another task.
    """
    labels_before = tuple(str(name) for _, name in sorted((config.id2label or {}).items()))
    config.num_labels = len(label_names)
    config.id2label = dict(enumerate(label_names))
    config.label2id = {name: i for i, name in enumerate(label_names)}
    if seed is not None:
        torch.manual_seed(seed)
    if not hparams.use_pretrained_weights or seed is None:
        return _untrained(config, hparams)
    model, info = _load_weights(config, hparams)
    has_head = not any(not key.startswith(model.base_model_prefix + ".") for key in info["missing_keys"])
    if has_head and labels_before != label_names:
        if not hparams.ignore_mismatched_sizes:
            raise HyperparameterError(
                f"hyperparameters.pretrained_model_name_or_path: {hparams.pretrained_model_name_or_path!r} has a head "
                f"for the labels {' '.join(labels_before)}, the data has {' '.join(label_names)}; "
                f"set ignore_mismatched_sizes: true to replace it by a new one"
            )
        fresh = _untrained(config, hparams)
        fresh.base_model.load_state_dict(model.base_model.state_dict())
        return fresh
    return model.float()


def _untrained(config: Any, hparams: Hyperparameters) -> Any:
    with _building(hparams):
        return transformers.AutoModelForTokenClassification.from_config(
            config, trust_remote_code=hparams.trust_remote_code, **_attention(hparams)
        ).float()


def _attention(hparams: Hyperparameters) -> dict[str, str]:
    """ORTModule knows no gradient of scaled_dot_product_attention: it gets the same attention in plain operations."""
    return {"attn_implementation": "eager"} if hparams.backend == "ort" else {}


def _load_weights(config: Any, hparams: Hyperparameters) -> tuple[Any, dict[str, Any]]:
    """The model, and which of its weights the encoder's files lack."""
    setting, name = "pretrained_model_name_or_path", hparams.pretrained_model_name_or_path
    remedy = (
        "fetch its files again if they are damaged, cut short or git-lfs pointers, "
        "or set use_pretrained_weights: false to train from random ones"
    )
    with quiet(), loading("no weights can be loaded", setting, name, remedy):
        model, info = transformers.AutoModelForTokenClassification.from_pretrained(
            local_or_hub(name, setting),
            config=config,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **_attention(hparams),
            **hub_options(hparams),
        )
    _check_loaded(model, info, name)
    return model, info


def _check_loaded(model: Any, info: dict[str, Any], name: str) -> None:
    """Only the head may be new: an encoder that was not found is no fine-tuning."""
    # By what is left of the head's names: the encoder's lack their prefix where the file's do (transformers 4).
    head = {key for key in model.state_dict() if not key.startswith(model.base_model_prefix + ".")}
    mismatched = {str(item[0]) for item in info["mismatched_keys"]}
    broken = sorted({*info["missing_keys"], *mismatched} - head)
    if broken:
        raise HyperparameterError(
            f"hyperparameters.pretrained_model_name_or_path: {name!r} lacks {len(broken)} weights of the encoder "
            f"{type(model).__name__}, such as {broken[0]}: it is of another architecture, or its files are incomplete; "
            f"correct config_name, fetch the files again, or set use_pretrained_weights: false"
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the library's table of new weights (that the head is new is the point) and its bar (a second long)."""
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)
        transformers.logging.enable_progress_bar()


def build_optimizer(model: torch.nn.Module, hparams: Hyperparameters) -> torch.optim.AdamW:
    """AdamW as ``run_ner.py`` sets it up: no decay of biases and layer norms."""
    decayed: list[torch.nn.Parameter] = []
    plain: list[torch.nn.Parameter] = []
    layers = [m for m in model.modules() if type(m).__name__.endswith("Norm")]  # LayerNorm, RMSNorm, T5LayerNorm …
    norms = {id(p) for layer in layers for p in layer.parameters()}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (plain if id(parameter) in norms or name.endswith("bias") else decayed).append(parameter)
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": hparams.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=hparams.learning_rate,
        betas=(hparams.adam_beta1, hparams.adam_beta2),
        eps=hparams.adam_epsilon,
        fused=(fused := _fused(decayed)),
        foreach=not fused,
    )


def _fused(parameters: list[torch.nn.Parameter]) -> bool:
    """One kernel for the whole update: on CUDA, and on the CPU since torch 2.4."""
    return parameters[0].is_cuda or Version(torch.__version__).release >= (2, 4)


def build_schedule(optimizer: torch.optim.Optimizer, hparams: Hyperparameters, optimizer_steps: int) -> Any:
    """The learning rate over ``optimizer_steps`` steps.

    Raises:
        HyperparameterError: warm-up longer than the training.
    """
    warmup = hparams.num_warmup_steps or math.ceil(hparams.warmup_ratio * optimizer_steps)
    if warmup > optimizer_steps:
        raise HyperparameterError(
            f"hyperparameters.num_warmup_steps: {warmup} is more than the {optimizer_steps} steps of the training"
        )
    return transformers.get_scheduler(
        hparams.lr_scheduler_type, optimizer, num_warmup_steps=warmup, num_training_steps=optimizer_steps
    )


def word_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross entropy summed over labelled pieces.

    Args:
        logits: (B, L, K) of any float type.
        labels: (B, L) int64, -100 where nothing is learnt.
    """
    return torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum"
    )
