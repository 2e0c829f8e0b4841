"""A token classification model from a config, weights or a seed; how long its windows can be."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers

from determined_ner.hub import Pretrained
from determined_ner.model.config_file import check_config
from determined_ner.model.head import check_labels, labels_of, take_rows
from determined_ner.model.quiet import quiet_transformers
from determined_ner.model.stored_weights import check_model_files, stored_bytes
from determined_ner.model.weights import check_finite

if TYPE_CHECKING:  # who only tags needs no pydantic
    from determined_ner.settings.hyperparameters import Hyperparameters


def read_config(source: Pretrained) -> Any:
    """Load a model's config.

    Raises:
        UserError: as `check_config`; or (by the library, as anything else) it is not readable.
    """
    location, options = source.location(), source.options()
    of_file = {name: value for name, value in options.items() if name != "trust_remote_code"}
    described, _ = transformers.PretrainedConfig.get_config_dict(location, **of_file)
    check_config(described, source)
    config = transformers.AutoConfig.from_pretrained(location, **options)
    config.return_dict, config.torchscript = True, False  # the model's outputs are taken by their names
    config.output_attentions = config.output_hidden_states = False
    return config


def load_config(source: Pretrained) -> Any:
    """The encoder's config.

    Raises:
        UserError: there is none, or (a hyperparameter error) it is of an architecture that cannot classify tokens.
    """
    remedy = "fix the config.json of the directory, or choose another encoder such as bert-base-cased"
    with source.loading("no model config can be loaded", remedy):
        config = read_config(source)
    own_code = getattr(config, "auto_map", None) or {}
    classifies = type(config) in transformers.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING
    if not classifies and "AutoModelForTokenClassification" not in own_code:
        raise source.refused(
            f"is a model of type {config.model_type!r}, for which transformers {transformers.__version__} has no token "
            f"classification head",
            "choose an encoder that has one, such as bert-base-cased",
        )
    return config


def _building(source: Pretrained) -> contextlib.AbstractContextManager[None]:
    """Around making a model from its config alone: whatever the library raises becomes a message about the config."""
    remedy = "correct the sizes in its config.json, or choose another encoder such as bert-base-cased"
    return source.loading("no model can be built from its config", remedy)


def skeleton(config: Any, source: Pretrained) -> Any:
    """The encoder of a config with its shapes alone.

    Raises:
        UserError: none can be built from it.
    """
    with _building(source), torch.device("meta"):
        return transformers.AutoModel.from_config(config, trust_remote_code=source.trust_remote_code)


def check_size(config: Any, source: Pretrained) -> None:
    """Check that a directory's weights can be those of a model of this size, before it is built.

    A number takes a byte at least. (The head of an encoder is not in its file.)

    Raises:
        UserError: its config describes a model that is larger, or none that can be built.
    """
    stored = stored_bytes(Path(source.location()))
    if not stored:
        return
    numbers = sum(parameter.numel() for parameter in skeleton(config, source).parameters())
    if numbers > max(stored, 1 << 20):
        raise source.refused(
            f"its config.json describes {numbers:,} weights, where its files have {stored:,} bytes",
            "correct its config.json, or copy it again",
        )


def longest_window(config: Any, source: Pretrained, tokenizer_limit: int) -> int:
    """Pieces that the encoder takes at most, special ones included; a million where nothing limits it.

    The size of its position embeddings says it; those with a padding row (RoBERTa's) begin after it.

    Args:
        source: of the config.
        tokenizer_limit: pieces that the tokenizer says the model takes (`WordTokenizer.stated_limit`).

    Raises:
        UserError: no encoder can be built from the config.
    """
    limits = [tokenizer_limit]
    stated = getattr(config, "max_position_embeddings", None)
    shapes = skeleton(config, source)
    for name, module in shapes.named_modules():
        table = getattr(module, "weight", None)  # of torch's embedding, or of a class like it (I-BERT's)
        if name.endswith("position_embeddings") and isinstance(table, torch.Tensor):
            padding: int | None = getattr(module, "padding_idx", None)
            limits.append(len(table) - (padding + 1 if padding is not None else 0))
            stated = None  # the table itself knows better
    # Where positions begin further on (YOSO's at 2), the table has rows that none of them reaches.
    limits.extend(buffer.shape[-1] for name, buffer in shapes.named_buffers() if name.endswith("position_ids"))
    if stated and stated > 0:  # XLNet writes -1 for "no limit"
        limits.append(stated)
    return min(limits)


def set_labels(config: Any, label_names: tuple[str, ...]) -> None:
    """Write the label map into a config."""
    config.num_labels = len(label_names)
    config.id2label = dict(enumerate(label_names))
    config.label2id = {name: i for i, name in enumerate(label_names)}


def build_model(config: Any, hparams: Hyperparameters, label_names: tuple[str, ...], seed: int) -> Any:
    """The encoder with a new token classification head, or with its own, made that of the labels; label map included.

    Args:
        label_names: in the order of the logits.
        seed: of the initialisation of what is new, the same on every slot.

    Raises:
        UserError: no weights.
        HyperparameterError: weights of another architecture, or a head that cannot go on with these labels.
    """
    labels_before = labels_of(config)
    set_labels(config, label_names)
    torch.manual_seed(seed)
    source = Pretrained.of_setting(hparams, "config_name")
    attention = attention_of(hparams)
    if not hparams.use_pretrained_weights:
        return untrained_model(config, source, attention)
    model, info = _load_weights(config, hparams)
    has_head = not any(not key.startswith(model.base_model_prefix + ".") for key in info["missing_keys"])
    if not has_head or labels_before == label_names:
        return model.float()
    if not hparams.ignore_mismatched_sizes:
        of_weights = Pretrained.of_setting(hparams, "pretrained_model_name_or_path")
        check_labels(labels_before, label_names, of_weights, hparams.drop_unused_labels)
    fresh = untrained_model(config, source, attention)
    if hparams.ignore_mismatched_sizes:
        fresh.base_model.load_state_dict(model.base_model.state_dict())
        return fresh
    of_head = copy.deepcopy(config)
    set_labels(of_head, labels_before)
    trained, _ = _load_weights(of_head, hparams)  # again: of another number of labels, the first time left it out
    take_rows(trained.float(), fresh, labels_before, label_names)
    return fresh


def untrained_model(config: Any, source: Pretrained, attention: dict[str, str] | None = None) -> Any:
    """The model of a config that has the label map already, with random weights.

    Args:
        source: of the config.
        attention: the implementation, as ``from_config`` takes it; None: the library's choice.
    """
    with _building(source):
        return transformers.AutoModelForTokenClassification.from_config(
            config, trust_remote_code=source.trust_remote_code, **(attention or {})
        ).float()


def attention_of(hparams: Hyperparameters) -> dict[str, str]:
    """How attention is computed: ORTModule has no gradient of scaled_dot_product_attention, only of its parts."""
    return {"attn_implementation": "eager"} if hparams.backend == "ort" else {}


def _load_weights(config: Any, hparams: Hyperparameters) -> tuple[Any, dict[str, Any]]:
    """The model with the encoder's weights, and the library's account of which weights the files lack."""
    source = Pretrained.of_setting(hparams, "pretrained_model_name_or_path")
    remedy = (
        "fetch its files again if they are damaged, cut short or git-lfs pointers, "
        "or set use_pretrained_weights: false to train from random ones"
    )
    check_model_files(Path(source.location()))
    check_size(config, source)
    with quiet_transformers(), source.loading("no weights can be loaded", remedy):
        model, info = transformers.AutoModelForTokenClassification.from_pretrained(
            source.location(),
            config=config,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **attention_of(hparams),
            **source.options(),
        )
    _check_loaded(model, info, source)
    check_finite(model, source.where)
    return model, info


def _check_loaded(model: Any, info: dict[str, Any], source: Pretrained) -> None:
    """Check that the files lack nothing but a head: without the encoder's weights it would be no fine-tuning.

    Raises:
        HyperparameterError: they lack weights of the encoder.
    """
    # By the head's names, not the encoder's: those lack their prefix where the file's do (transformers 4).
    head = {key for key in model.state_dict() if not key.startswith(model.base_model_prefix + ".")}
    mismatched = {str(item[0]) for item in info["mismatched_keys"]}
    broken = sorted({*info["missing_keys"], *mismatched} - head)
    if broken:
        raise source.refused(
            f"lacks {len(broken)} weights of the encoder {type(model).__name__}, such as {broken[0]}: it is of another "
            f"architecture, or its files are incomplete",
            "correct config_name, fetch the files again, or set use_pretrained_weights: false",
        )
