"""A tokenizer of the hub or of another trainer's directory, by transformers: its prefix space, its offsets."""

from __future__ import annotations

import json
from typing import Any

from tokenizers import normalizers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.models.auto.tokenization_auto import get_tokenizer_config, tokenizer_class_from_name

from determined_ner.data.tokenizer import WordTokenizer, check_unknown, remove_limits, word_tokenizer, words_alike
from determined_ner.errors import UserError
from determined_ner.hub import Pretrained


def load_tokenizer(source: Pretrained) -> WordTokenizer:
    """Load a tokenizer and probe it.

    Raises:
        UserError: there is none, it is a slow one, it has no vocabulary, it fails at a text, or it does not tell words
            apart (of a hyperparameter, all but the first are a HyperparameterError).
    """
    try:
        tokenizer = _from_pretrained(source)
    except UserError:
        if _is_slow(source):  # which asks for packages of its own, in vain
            raise _slow_error(source, "tokenizer") from None
        raise
    if not tokenizer.is_fast:
        raise _slow_error(source, type(tokenizer).__name__)
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        # So the library loads a model directory without tokenizer files.
        raise source.refused(
            f"its tokenizer has no vocabulary beside {len(tokenizer)} special pieces",
            "add the encoder's tokenizer.json to the directory, or set hyperparameters.tokenizer_name",
        )
    remove_limits(tokenizer.backend_tokenizer)
    check_unknown(tokenizer.backend_tokenizer, source)
    if not words_alike(tokenizer.backend_tokenizer):
        tokenizer = _with_blanks(tokenizer, source)
    _align_offsets(tokenizer)
    return from_fast_tokenizer(tokenizer)


def _slow_error(source: Pretrained, kind: str) -> UserError:
    return source.refused(
        f"its {kind} is a slow one, which does not tell which piece belongs to which word",
        "choose an encoder with a fast tokenizer (a tokenizer.json), or convert this one",
    )


def _with_blanks(tokenizer: Any, source: Pretrained) -> Any:
    """A tokenizer that gives the first word of a text the blank that its other words have before them.

    What it does is part of the tokenizer.json that is saved with the model.

    Args:
        tokenizer: as loaded from ``source``.

    Raises:
        UserError: words are not alike all the same.
    """
    spaced = _from_pretrained(source, add_prefix_space=True)
    remove_limits(spaced.backend_tokenizer)
    pre_tokenizer = spaced.backend_tokenizer.pre_tokenizer
    if isinstance(pre_tokenizer, ByteLevel):
        pre_tokenizer.add_prefix_space = True  # transformers 5 does not pass it on where a class is a generic one
    if words_alike(spaced.backend_tokenizer):
        return spaced
    # A ByteLevel that comes after other steps would put a blank before each of their parts.
    backend = tokenizer.backend_tokenizer
    own = [] if backend.normalizer is None else [backend.normalizer]
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(" "), *own])
    if not words_alike(backend):
        raise source.refused(
            f"its {type(tokenizer).__name__} gives a word other pieces by where it stands, blanks or not",
            "choose an encoder whose tokenizer tells words apart",
        )
    return tokenizer


def _is_slow(source: Pretrained) -> bool:
    """Whether a tokenizer that cannot be loaded is of a class that has no fast form."""
    try:
        name = get_tokenizer_config(source.location(), **source.options()).get("tokenizer_class")
    except Exception:  # whatever ails it has been told
        return False
    if not isinstance(name, str):
        return False
    kinds = [tokenizer_class_from_name(kind) for kind in (name, f"{name.removesuffix('Fast')}Fast")]
    found = [kind for kind in kinds if isinstance(kind, type)]
    return bool(found) and not any(issubclass(kind, PreTrainedTokenizerFast) for kind in found)


def from_fast_tokenizer(tokenizer: Any) -> WordTokenizer:
    """Find a loaded fast tokenizer's special pieces, and remove its length limits."""
    backend = tokenizer.backend_tokenizer
    remove_limits(backend)
    ids = {role: getattr(tokenizer, f"{role}_token_id") for role in ("unk", "mask", "pad", "eos")}
    return word_tokenizer(backend, ids, tokenizer.model_max_length, tokenizer)


def _from_pretrained(source: Pretrained, **options: Any) -> Any:
    remedy = "fix its tokenizer.json and tokenizer_config.json, or set hyperparameters.tokenizer_name to another one"
    if source.setting is None:
        remedy = "put the tokenizer's files (tokenizer.json …) there"
    with source.loading("no tokenizer can be loaded", remedy):
        return AutoTokenizer.from_pretrained(source.location(), **source.options(), **options)


def _align_offsets(tokenizer: Any) -> None:
    """Have the offsets of a text's first word begin at its first letter, for readers of the saved tokenizer.

    With a space put before the text, they do where the last step of a byte-level tokenizer knows of it; only some of
    the library's classes tell it.
    """
    backend = tokenizer.backend_tokenizer
    pre_tokenizer, last = backend.pre_tokenizer, backend.post_processor
    spaced = isinstance(pre_tokenizer, ByteLevel) and pre_tokenizer.add_prefix_space
    if last is None or not (spaced or _prepends(backend)):
        return
    steps = json.loads(last.__getstate__())
    for step in (steps, *steps.get("processors", ())):
        if "add_prefix_space" in step:
            step["add_prefix_space"] = True
    last.__setstate__(json.dumps(steps).encode())
    backend.post_processor = last


def _prepends(backend: Any) -> bool:
    """Whether it puts a blank before a text as `_with_blanks` has it done."""
    steps = json.loads(backend.to_str())["normalizer"] or {}
    return any(step == {"type": "Prepend", "prepend": " "} for step in steps.get("normalizers", ()))
