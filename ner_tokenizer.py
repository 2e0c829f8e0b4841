"""A fast tokenizer, probed rather than believed: its special pieces, its prefix space, a piece for every word."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ner_errors import UserError
from ner_hparams import Hyperparameters


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
        UserError: there is none, it is a slow one, or it does not tell words apart.
    """
    name = hparams.tokenizer_name or hparams.pretrained_model_name_or_path
    tokenizer = _from_pretrained(hparams, name)
    if not tokenizer.is_fast:
        raise UserError(
            f"tokenizer of {name}: {type(tokenizer).__name__} is a slow one, which does not tell which piece belongs "
            f"to which word; choose an encoder with a fast tokenizer (a tokenizer.json), or convert this one"
        )
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        # What the library makes of a model directory without tokenizer files.
        raise UserError(
            f"tokenizer of {name}: it has no vocabulary beside its {len(tokenizer)} special pieces; "
            f"add the encoder's tokenizer.json to the directory, or set hyperparameters.tokenizer_name"
        )
    if not _words_alike(tokenizer):
        # Byte-level BPE gives the first word of a text other pieces than the same word later, unless told not to.
        tokenizer = _from_pretrained(hparams, name, add_prefix_space=True)
    return from_fast_tokenizer(tokenizer)


def from_fast_tokenizer(tokenizer: Any) -> WordTokenizer:
    """Find a loaded fast tokenizer's special pieces, and take the length limits off it."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()  # some tokenizer.json carry a limit, which would cut words off
    backend.no_padding()
    with_specials = backend.encode(["a"], is_pretokenized=True, add_special_tokens=True)
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


def _from_pretrained(hparams: Hyperparameters, name: str, **options: Any) -> Any:
    from transformers import AutoTokenizer

    check_local_model(name)
    try:
        return AutoTokenizer.from_pretrained(
            name,
            revision=hparams.revision,
            cache_dir=hparams.cache_dir,
            trust_remote_code=hparams.trust_remote_code,
            **options,
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UserError(
            f"hyperparameters.pretrained_model_name_or_path: no tokenizer can be loaded from {name!r}: "
            f"{first_line(error)}"
        ) from None


def _words_alike(tokenizer: Any) -> bool:
    """Does a word get the same pieces wherever it stands?"""
    backend = tokenizer.backend_tokenizer
    encoding = backend.encode(["word", "word"], is_pretokenized=True, add_special_tokens=False)
    first = [i for i, w in zip(encoding.ids, encoding.word_ids, strict=True) if w == 0]
    second = [i for i, w in zip(encoding.ids, encoding.word_ids, strict=True) if w == 1]
    separate = backend.encode("x word", add_special_tokens=False).ids[-len(second) :]
    return first == second == separate


def check_local_model(name: str) -> None:
    """A name that can only mean a directory, and is none, must not be looked up on the hub."""
    if name.startswith((".", "/", "~")) and not Path(name).expanduser().is_dir():
        raise UserError(
            f"hyperparameters.pretrained_model_name_or_path: {name!r} is not a directory; "
            f"write the path of a model directory or the name of a hub model such as bert-base-cased"
        )


def first_line(error: BaseException) -> str:
    """The first line of a library's message: the rest speaks to programmers."""
    return str(error).strip().split("\n")[0] or type(error).__name__
