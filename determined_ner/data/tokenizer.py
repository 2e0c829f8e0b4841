"""A fast tokenizer, probed rather than believed: its special pieces, a piece for every word; its own file read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from determined_ner.data.words import has_hidden, visible
from determined_ner.errors import first_line
from determined_ner.files.atomic import read_json
from determined_ner.hub import Pretrained

MAX_WORD = 1 << 16
"""Characters of a word that are read; a window holds far fewer pieces than these make."""
TOKENIZER_FILE, TOKENIZER_CONFIG_FILE = "tokenizer.json", "tokenizer_config.json"
"""The tokenizer itself; which of its pieces are special, and how many the model takes."""
TOKENIZER_FILES = (
    *(TOKENIZER_FILE, TOKENIZER_CONFIG_FILE, "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "merges.txt", "*.model", "tokenization*.py"),
)
"""All that transformers writes of a tokenizer (patterns): after the second what its version 4 says again, and what its
slow tokenizers and those with code of their own are made of."""
UNLIMITED = 10**30
"""``model_max_length`` of a tokenizer that says none, as transformers writes it."""


@dataclass(frozen=True)
class WordTokenizer:
    """Turns lists of words into pieces, at least one a word."""

    backend: Any
    """The ``tokenizers.Tokenizer``."""
    prefix: tuple[int, ...]
    """Special pieces before a text, e.g. [CLS]."""
    suffix: tuple[int, ...]
    """Special pieces after it, e.g. [SEP]."""
    pad_id: int
    unknown_id: int
    """Stands for a word that has no piece of its own (zero-width or control characters)."""
    limit: Any
    """``model_max_length`` of its config: pieces that it says the model takes, unchecked."""
    pretrained: Any = None
    """That of transformers around it, which saves it with a model; None: it was read without transformers."""

    @property
    def specials(self) -> int:
        """Special pieces of a window."""
        return len(self.prefix) + len(self.suffix)

    @property
    def unknown(self) -> str:
        """``unknown_id`` as text, e.g. [UNK]."""
        return str(self.backend.id_to_token(self.unknown_id))

    def fingerprint(self) -> str:
        """Equal for tokenizers that give the same pieces; that of a word without one, ``unknown_id``, is not counted.

        It stands in tokenizer_config.json. A run resumes only where this is what it was when the run began.
        """
        return hashlib.sha256(self.backend.to_str().encode()).hexdigest()

    def unlike(self, other: WordTokenizer) -> str | None:
        """How it reads text otherwise than another tokenizer, in words; None: both give the same pieces."""
        own, others = (tokenizer.backend.get_vocab(with_added_tokens=True) for tokenizer in (self, other))
        if odd := sorted(own.items() ^ others.items()):
            piece = odd[0][0]
            numbers = (f"{pieces.get(piece, 'none')} of {len(pieces):,}" for pieces in (own, others))
            return f"the piece {piece!r} is number {' here and '.join(numbers)} there"
        if (self.prefix, self.suffix) != (other.prefix, other.suffix):
            return "other special pieces stand around a text"
        here, there = (json.loads(each.backend.to_str()) for each in (self, other))
        parts = ("normalizer", "pre_tokenizer", "model")
        return next((f"its {part} is another" for part in parts if here[part] != there[part]), None)

    def check_rows(self, rows: Any, source: Pretrained) -> None:
        """Check that a model has a word vector for every piece that this can give.

        Added ones, special ones, padding and what stands for an unknown word included: any may come at any time.

        Args:
            rows: word vectors of the model; None: it does not say how many.
            source: of the tokenizer.

        Raises:
            UserError: it has not: the tokenizer is another model's, or has added pieces (of a hyperparameter, a
                HyperparameterError).
        """
        if not isinstance(rows, int):
            return
        named = {*self.backend.get_vocab(with_added_tokens=True).items()}
        ids = {*self.prefix, *self.suffix, self.pad_id, self.unknown_id}
        named |= {(str(self.backend.id_to_token(i)), i) for i in ids if i >= rows}
        beyond = sorted((item for item in named if item[1] >= rows), key=lambda item: item[1])
        if not beyond:
            return
        piece, number = beyond[0]
        more = f" and {len(beyond) - 1:,} more" if len(beyond) > 1 else ""
        raise source.refused(
            f"its tokenizer has the piece {piece!r} (id {number}){more}, and the model vectors for {rows:,} pieces "
            f"only",
            "take the tokenizer that belongs to the model, or leave the added pieces out of its tokenizer.json",
        )

    def stated_limit(self, source: Pretrained) -> int:
        """Pieces that it says the model takes, special ones included; a million where it says more.

        Raises:
            UserError: what it says is no number of pieces.
        """
        if not (isinstance(self.limit, int | float) and self.limit >= 1):
            problem = f"model_max_length of its tokenizer is {self.limit!r}, which is no number of pieces"
            raise source.refused(problem, "correct it in its tokenizer_config.json, or copy it again")
        return int(min(self.limit, 1_000_000))

    def pieces(self, texts: Sequence[Sequence[str]]) -> tuple[NDArray[np.int32], NDArray[np.int64], int]:
        """Tokenize texts given as words, without special pieces and without a length limit.

        The characters of a word that nobody sees are left out: they would change its pieces. Of a word of more than
        `MAX_WORD` characters, those after them are left out as well.

        Returns:
            (P,) ids of all pieces; (words,) how many of them each word has, never 0; and how many words had no
            piece of their own and got ``unknown_id``.
        """
        encodings = self.backend.encode_batch(
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


def read_tokenizer(source: Pretrained) -> WordTokenizer:
    """Read the tokenizer of a model that a training of ours left, as the training had it.

    From its own file, without transformers, some of whose classes keep the vocabulary and make the rest anew.

    Args:
        source: of the directory.

    Raises:
        UserError: there is none, it is damaged, fails at a text, or does not tell words apart.
    """
    folder = Path(source.location())
    remedy = "copy the model directory again"
    with source.loading("no tokenizer can be loaded", remedy):
        backend = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
        config = read_json(folder / TOKENIZER_CONFIG_FILE, "the model directory")
    if config is None:
        raise source.refused(f"has no {TOKENIZER_CONFIG_FILE}, which says what its special pieces are", remedy)
    remove_limits(backend)
    check_unknown(backend, source)
    if not words_alike(backend):
        raise source.refused("its tokenizer gives a word other pieces by where it stands", remedy)
    ids = {role: _special_id(backend, config.get(f"{role}_token")) for role in ("unk", "mask", "pad", "eos")}
    return word_tokenizer(backend, ids, config.get("model_max_length", UNLIMITED))


def _special_id(backend: Any, named: Any) -> int | None:
    """The id of a special piece as a tokenizer's config names it: by its text, or with how it is matched."""
    text = named.get("content") if isinstance(named, dict) else named
    found: int | None = backend.token_to_id(text) if isinstance(text, str) else None
    return found


def word_tokenizer(backend: Any, ids: Mapping[str, int | None], limit: Any, pretrained: Any = None) -> WordTokenizer:
    """Find a tokenizer's special pieces.

    Args:
        backend: without limits.
        ids: of its special pieces, by role: ``unk``, ``mask``, ``pad``, ``eos``; None: it has none.
        limit: pieces that it says the model takes.
        pretrained: see `WordTokenizer`.
    """
    with_specials = backend.encode(["a"], is_pretokenized=True, add_special_tokens=True)
    own = [i for i, special in enumerate(with_specials.special_tokens_mask) if not special] or [0]
    pad = ids["pad"]
    return WordTokenizer(
        backend=backend,
        prefix=tuple(with_specials.ids[: own[0]]),
        suffix=tuple(with_specials.ids[own[-1] + 1 :]),
        pad_id=0 if pad is None else pad,
        unknown_id=next((i for i in (ids["unk"], ids["mask"], pad, ids["eos"]) if i is not None), 0),
        limit=limit,
        pretrained=pretrained,
    )


def remove_limits(backend: Any) -> None:
    """Some tokenizer.json carry a length, to which texts are cut or padded."""
    backend.no_truncation()
    backend.no_padding()


def check_unknown(backend: Any, source: Pretrained) -> None:
    """
    Raises:
        UserError: it raises at a word that it does not know, as where its unknown piece is not in its vocabulary.
    """
    try:
        backend.encode(["word", *"ᚠ𒀀𓀀\U0010fffd"], is_pretokenized=True)
    except BaseException as error:  # its own kinds are bare exceptions, and one that is not even that
        if not (isinstance(error, Exception) or type(error).__name__ == "PanicException"):
            raise
        raise source.refused(
            f"its tokenizer fails at words that it does not know: {first_line(error).rpartition('error: ')[2]}",
            "copy its tokenizer.json again, or correct the unknown piece in it",
        ) from error


def words_alike(backend: Any) -> bool:
    """Whether a word gets the same pieces wherever it stands."""
    encoding = backend.encode(["word", "word"], is_pretokenized=True, add_special_tokens=False)
    first = [i for i, w in zip(encoding.ids, encoding.word_ids, strict=True) if w == 0]
    second = [i for i, w in zip(encoding.ids, encoding.word_ids, strict=True) if w == 1]
    separate = backend.encode("x word", add_special_tokens=False).ids[-len(second) :]
    return bool(first == second == separate)
