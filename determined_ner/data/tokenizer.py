"""A fast tokenizer, probed rather than believed: its special pieces, its prefix space, a piece for every word."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers.pre_tokenizers import ByteLevel

from determined_ner.errors import UserError, first_line
from determined_ner.settings.hyperparameters import HyperparameterError, Hyperparameters


@dataclass(frozen=True)
class WordTokenizer:
    """Turns lists of words into pieces, at least one a word."""

    tokenizer: Any
    """The Hugging Face tokenizer, saved with the model."""
    prefix: tuple[int, ...]
    """Special pieces before a text, e.g. [CLS]."""
    suffix: tuple[int, ...]
    """Special pieces after it, e.g. [SEP]."""
    pad_id: int
    unknown_id: int
    """Stands for a word that has no piece of its own (zero-width or control characters)."""

    @property
    def specials(self) -> int:
        """Special pieces of a window."""
        return len(self.prefix) + len(self.suffix)

    @property
    def unknown(self) -> str:
        """``unknown_id`` as text, e.g. [UNK]."""
        return str(self.tokenizer.convert_ids_to_tokens(self.unknown_id))

    def fingerprint(self) -> str:
        """Equal for tokenizers that give the same pieces."""
        return hashlib.sha256(self.tokenizer.backend_tokenizer.to_str().encode()).hexdigest()

    def pieces(self, texts: Sequence[Sequence[str]]) -> tuple[NDArray[np.int32], NDArray[np.int64], int]:
        """Tokenize texts given as words, without special pieces and without a length limit.

        Returns:
            ids (P,) of all pieces; how many of them each word has, (words,), never 0; and how many words had none
            of their own and got ``unknown_id``.
        """
        encodings = self.tokenizer.backend_tokenizer.encode_batch(
            [list(text) for text in texts], is_pretokenized=True, add_special_tokens=False
        )
        counts = []
        for encoding, text in zip(encodings, texts, strict=True):
            word_ids = np.array([-1 if w is None else w for w in encoding.word_ids], np.int64)
            assert len(word_ids) == 0 or word_ids.min() >= 0, "a piece without a word"
            counts.append(np.bincount(word_ids, minlength=len(text)))
        ids = np.array([piece for encoding in encodings for piece in encoding.ids], np.int32)
        per_word = np.concatenate(counts) if counts else np.zeros(0, np.int64)
        empty = np.flatnonzero(per_word == 0)
        if len(empty):
            ids = np.insert(ids, np.cumsum(per_word)[empty], self.unknown_id)
            per_word[empty] = 1
        return ids, per_word, len(empty)


def load_tokenizer(hparams: Hyperparameters) -> WordTokenizer:
    """Load the encoder's tokenizer and probe it.

    Raises:
        UserError: there is none.
        HyperparameterError: it is a slow one, or it does not tell words apart.
    """
    setting = "tokenizer_name" if hparams.tokenizer_name else "pretrained_model_name_or_path"
    name = getattr(hparams, setting)
    tokenizer = _from_pretrained(hparams, setting, name)
    if not tokenizer.is_fast:
        raise HyperparameterError(
            f"hyperparameters.{setting}: {name!r}: its {type(tokenizer).__name__} is a slow one, which does not tell "
            f"which piece belongs to which word; choose an encoder with a fast tokenizer (a tokenizer.json), "
            f"or convert this one"
        )
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        # What the library makes of a model directory without tokenizer files.
        raise HyperparameterError(
            f"hyperparameters.{setting}: {name!r}: its tokenizer has no vocabulary beside "
            f"{len(tokenizer)} special pieces; add the encoder's tokenizer.json to the directory, "
            f"or set hyperparameters.tokenizer_name"
        )
    _take_limits_off(tokenizer)
    if not _words_alike(tokenizer):
        # Byte-level BPE gives the first word of a text other pieces than the same word later, unless told not to.
        tokenizer = _from_pretrained(hparams, setting, name, add_prefix_space=True)
        _take_limits_off(tokenizer)
        pre_tokenizer = tokenizer.backend_tokenizer.pre_tokenizer
        if isinstance(pre_tokenizer, ByteLevel):
            pre_tokenizer.add_prefix_space = True  # transformers 5 does not pass it on where a class is a generic one
        if not _words_alike(tokenizer):
            raise HyperparameterError(
                f"hyperparameters.{setting}: {name!r}: its {type(tokenizer).__name__} gives a word other pieces by "
                f"where it stands, with add_prefix_space too; choose an encoder whose tokenizer tells words apart"
            )
    return from_fast_tokenizer(tokenizer)


def from_fast_tokenizer(tokenizer: Any) -> WordTokenizer:
    """Find a loaded fast tokenizer's special pieces, and take the length limits off it."""
    _take_limits_off(tokenizer)
    with_specials = tokenizer.backend_tokenizer.encode(["a"], is_pretokenized=True, add_special_tokens=True)
    own = [i for i, special in enumerate(with_specials.special_tokens_mask) if not special] or [0]
    unknown = tokenizer.unk_token_id
    if unknown is None:
        unknown = next(
            (i for i in (tokenizer.mask_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0
        )
    return WordTokenizer(
        tokenizer=tokenizer,
        prefix=tuple(with_specials.ids[: own[0]]),
        suffix=tuple(with_specials.ids[own[-1] + 1 :]),
        pad_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0,
        unknown_id=unknown,
    )


def _from_pretrained(hparams: Hyperparameters, setting: str, name: str, **options: Any) -> Any:
    remedy = "mend its tokenizer.json and tokenizer_config.json, or set hyperparameters.tokenizer_name to another one"
    with loading("no tokenizer can be loaded", setting, name, remedy):
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(local_or_hub(name, setting), **hub_options(hparams), **options)


def _take_limits_off(tokenizer: Any) -> None:
    """Some tokenizer.json carry a length, to which texts are cut and filled up."""
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()


def _words_alike(tokenizer: Any) -> bool:
    """Does a word get the same pieces wherever it stands?"""
    backend = tokenizer.backend_tokenizer
    encoding = backend.encode(["word", "word"], is_pretokenized=True, add_special_tokens=False)
    first = [i for i, w in zip(encoding.ids, encoding.word_ids, strict=True) if w == 0]
    second = [i for i, w in zip(encoding.ids, encoding.word_ids, strict=True) if w == 1]
    separate = backend.encode("x word", add_special_tokens=False).ids[-len(second) :]
    return first == second == separate


def local_or_hub(name: str, setting: str) -> str:
    """A model's name as the library takes it: a directory with its ``~`` expanded, or a name of the hub as it is.

    Raises:
        HyperparameterError: the name can only mean a directory, and is none; it must not be looked up on the hub.
    """
    expanded = os.path.expanduser(name)  # noqa: PTH111  (Path would make ./model of the hub's name model)
    if name.startswith((".", "/", "~")) and not Path(expanded).is_dir():
        raise HyperparameterError(
            f"hyperparameters.{setting}: {name!r} is not a directory; "
            f"write the path of a model directory or the name of a hub model such as bert-base-cased"
        )
    return expanded


def hub_options(hparams: Hyperparameters) -> dict[str, Any]:
    """What every ``from_pretrained`` of the library is told."""
    cache = hparams.cache_dir
    return {
        "revision": hparams.revision,
        "cache_dir": str(Path(cache).expanduser()) if cache else None,
        "trust_remote_code": hparams.trust_remote_code,
    }


@contextlib.contextmanager
def loading(failure: str, setting: str, name: str, remedy: str) -> Iterator[None]:
    """Around the library's loading: whatever it raises (dozens of kinds) is a mistake in what it was told to load.

    Args:
        failure: such as ``no weights can be loaded``.
        setting: the hyperparameter that names what is loaded.
        name: its value.
        remedy: what to do where that is a directory, or where the hub is not to blame.

    Raises:
        UserError: in place of any other exception, which is its cause.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and not Path(name).expanduser().is_dir():
            failure = (
                f"{failure}, as it is not a directory here and the Hugging Face hub does not give it "
                f"(no such model or file, or no connection)"
            )
            remedy = (
                "write the path of a local model directory, or check the name of the hub model, "
                "hyperparameters.revision and the connection to the hub"
            )
        raise UserError(f"hyperparameters.{setting}: {name!r}: {failure}: {first_line(error)}; {remedy}") from error
