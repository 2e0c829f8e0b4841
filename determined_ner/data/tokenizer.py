"""A fast tokenizer, probed rather than believed: its special pieces, its prefix space, a piece for every word."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import normalizers
from tokenizers.pre_tokenizers import ByteLevel

from determined_ner.data.words import has_hidden, visible
from determined_ner.errors import UserError, first_line
from determined_ner.hub import Pretrained

MAX_WORD = 1 << 16
"""Characters of a word that are read; a window holds far fewer pieces than these make."""


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

    def unlike(self, other: WordTokenizer) -> str | None:
        """How it reads text otherwise than another tokenizer, in words; None: both give the same pieces."""
        own, others = (tokenizer.tokenizer.get_vocab() for tokenizer in (self, other))
        if odd := sorted(own.items() ^ others.items()):
            piece = odd[0][0]
            numbers = (f"{pieces.get(piece, 'none')} of {len(pieces):,}" for pieces in (own, others))
            return f"the piece {piece!r} is number {' here and '.join(numbers)} there"
        if (self.prefix, self.suffix) != (other.prefix, other.suffix):
            return "other special pieces stand around a text"
        here, there = (json.loads(each.tokenizer.backend_tokenizer.to_str()) for each in (self, other))
        parts = ("normalizer", "pre_tokenizer", "model")
        return next((f"its {part} is another" for part in parts if here[part] != there[part]), None)

    def pieces_beyond(self, rows: int) -> list[tuple[str, int]]:
        """Pieces that it can give, with their ids, for which a model of ``rows`` word vectors has none.

        Added ones, special ones, padding and what stands for an unknown word included: any may come at any time.
        """
        named = {*self.tokenizer.get_vocab().items()}
        ids = {*self.prefix, *self.suffix, self.pad_id, self.unknown_id}
        named |= {(str(self.tokenizer.convert_ids_to_tokens(i)), i) for i in ids if i >= rows}
        return sorted((item for item in named if item[1] >= rows), key=lambda item: item[1])

    def pieces(self, texts: Sequence[Sequence[str]]) -> tuple[NDArray[np.int32], NDArray[np.int64], int]:
        """Tokenize texts given as words, without special pieces and without a length limit.

        The characters of a word that nobody sees are left out: they would change its pieces. Of a word of more than
        `MAX_WORD` characters, those after them are left out as well.

        Returns:
            (P,) ids of all pieces; (words,) how many of them each word has, never 0; and how many words had no
            piece of their own and got ``unknown_id``.
        """
        encodings = self.tokenizer.backend_tokenizer.encode_batch(
            [_readable(text) for text in texts],
            is_pretokenized=True,
            add_special_tokens=False,
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


def _readable(text: Sequence[str]) -> list[str]:
    """The words of a text as the tokenizer is shown them."""
    words = [visible(word) for word in text] if has_hidden("".join(text)) else list(text)
    return [word[:MAX_WORD] for word in words] if max(map(len, words), default=0) > MAX_WORD else words


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
    _remove_limits(tokenizer)
    _check_unknown(tokenizer, source)
    if not _words_alike(tokenizer):
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
    _remove_limits(spaced)
    pre_tokenizer = spaced.backend_tokenizer.pre_tokenizer
    if isinstance(pre_tokenizer, ByteLevel):
        pre_tokenizer.add_prefix_space = True  # transformers 5 does not pass it on where a class is a generic one
    if _words_alike(spaced):
        return spaced
    # A ByteLevel that comes after other steps would put a blank before each of their parts.
    backend = tokenizer.backend_tokenizer
    own = [] if backend.normalizer is None else [backend.normalizer]
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(" "), *own])
    if not _words_alike(tokenizer):
        raise source.refused(
            f"its {type(tokenizer).__name__} gives a word other pieces by where it stands, blanks or not",
            "choose an encoder whose tokenizer tells words apart",
        )
    return tokenizer


def _is_slow(source: Pretrained) -> bool:
    """Whether a tokenizer that cannot be loaded is of a class that has no fast form."""
    from transformers import PreTrainedTokenizerFast
    from transformers.models.auto.tokenization_auto import get_tokenizer_config, tokenizer_class_from_name

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
    _remove_limits(tokenizer)
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


def _from_pretrained(source: Pretrained, **options: Any) -> Any:
    remedy = "fix its tokenizer.json and tokenizer_config.json, or set hyperparameters.tokenizer_name to another one"
    if source.setting is None:
        remedy = "put the tokenizer's files (tokenizer.json …) there"
    with source.loading("no tokenizer can be loaded", remedy):
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(source.location(), **source.options(), **options)


def _remove_limits(tokenizer: Any) -> None:
    """Some tokenizer.json carry a length, to which texts are cut or padded."""
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()


def _check_unknown(tokenizer: Any, source: Pretrained) -> None:
    """
    Raises:
        UserError: it raises at a word that it does not know, as where its unknown piece is not in its vocabulary.
    """
    try:
        tokenizer.backend_tokenizer.encode(["word", *"ᚠ𒀀𓀀\U0010fffd"], is_pretokenized=True)
    except BaseException as error:  # its own kinds are bare exceptions, and one that is not even that
        if not (isinstance(error, Exception) or type(error).__name__ == "PanicException"):
            raise
        raise source.refused(
            f"its tokenizer fails at words that it does not know: {first_line(error).rpartition('error: ')[2]}",
            "copy its tokenizer.json again, or correct the unknown piece in it",
        ) from error


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


def _words_alike(tokenizer: Any) -> bool:
    """Whether a word gets the same pieces wherever it stands."""
    backend = tokenizer.backend_tokenizer
    encoding = backend.encode(["word", "word"], is_pretokenized=True, add_special_tokens=False)
    first = [i for i, w in zip(encoding.ids, encoding.word_ids, strict=True) if w == 0]
    second = [i for i, w in zip(encoding.ids, encoding.word_ids, strict=True) if w == 1]
    separate = backend.encode("x word", add_special_tokens=False).ids[-len(second) :]
    return bool(first == second == separate)
