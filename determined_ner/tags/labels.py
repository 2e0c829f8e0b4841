"""What a model predicts: labels, found in the training tags or read off a model.

A *label* is a tag or any other word class (``ADJ``) that a model predicts; a *tag id* is its index in the label list.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from determined_ner.tags.schemes import Scheme, split_tag, to_iob2
from determined_ner.tags.spelling import STANDARD, Spelling

MOST_LABELS = 2**15 - 1
"""Tag ids are stored in 16 bits."""


def label_list(tags: Iterable[str], scheme: Scheme) -> list[str]:
    """Return the labels to predict, sorted and distinct, given the training set's tags after `to_iob2`.

    The ids are those that Hugging Face's ``run_ner.py`` gives to tags stored as strings; like it, this adds no
    ``I-X`` where only ``B-X`` occurs.

    Raises:
        ValueError: a tag is not IOB2 though `scheme` is not PLAIN.
    """
    labels = sorted(set(tags))
    for label in labels:
        if scheme is not Scheme.PLAIN and (split_tag(label) or "?")[0] not in "OBI":
            raise ValueError(f"{label!r} is not IOB2: convert {scheme.value} with to_iob2 first")
    return labels


def label_scheme(labels: Sequence[str]) -> Scheme:
    """Tell from a model's labels alone which scheme they are of.

    IOB1 is known by a type that has an I and no B; labels that have both for every type are read as IOB2.

    Raises:
        ValueError: labels of BIOES and of BILOU both occur.
    """
    parts = [split_tag(label) for label in labels]
    prefixes = {part[0] for part in parts if part is not None}
    if None in parts or prefixes <= {"O"}:
        return Scheme.PLAIN
    if prefixes & set("ES") and prefixes & set("LU"):
        raise ValueError(f"the labels mix BIOES (E, S) and BILOU (L, U): {' '.join(labels)}")
    if prefixes & set("ESLU"):
        return Scheme.BIOES if prefixes & set("ES") else Scheme.BILOU
    begun = {part[1] for part in parts if part is not None and part[0] == "B"}
    return Scheme.IOB1 if any(part[0] == "I" and part[1] not in begun for part in parts if part) else Scheme.IOB2


@dataclass(frozen=True)
class Labels:
    """What the model predicts: names in the order of their ids, tags in IOB2 (or plain)."""

    names: tuple[str, ...]
    scheme: Scheme
    """Scheme of the training files, to which predictions are converted back."""
    spelling: Spelling = STANDARD
    """How the training files write tags."""

    def ids(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}


def with_inside(found: Labels, tags: Iterable[str]) -> Labels:
    """The labels, and the I-X among ``tags`` of types that have a B-X alone."""
    inside = {tag for tag in tags if tag.startswith("I-") and f"B-{tag[2:]}" in found.names}
    if found.scheme is Scheme.PLAIN or inside <= set(found.names):
        return found
    return replace(found, names=tuple(label_list({*found.names, *inside}, found.scheme)))


def with_kept(found: Labels, kept: Iterable[str]) -> Labels:
    """The labels, and those of a trained model whose types are to stay; none where these are no labels of entities."""
    before = tuple(kept)
    if not before or not all(_is_iob2(name) for name in before):
        return found
    return replace(found, names=tuple(label_list({*found.names, *before}, found.scheme)))


def with_taught(found: Labels, taught: Iterable[str]) -> Labels:
    """The labels, and those of teachers; none where one are labels of entities and the others are not."""
    before = tuple(taught)
    unlike = all(_is_iob2(name) for name in before) == (found.scheme is Scheme.PLAIN)
    if unlike or set(before) <= set(found.names):
        return found
    return replace(found, names=tuple(label_list({*found.names, *before}, found.scheme)))


def with_declared(found: Labels, declared: tuple[str, ...] | None) -> Labels:
    """The labels found in training, after those that a data set declares, in its order.

    What it declares counts only where it is what the tags are converted to: not S-PER, but of IOB1 the I-PER.
    """
    scheme = found.scheme
    if declared is None or not (scheme is Scheme.PLAIN or all(_is_iob2(name) for name in declared)):
        return found
    names: Sequence[str] = found.names
    if scheme is Scheme.IOB1:  # an entity is of a declared type though training has none of it
        begins = {tag for name in declared for tag in to_iob2([name], scheme)[0]}
        names = label_list({*names, *begins}, scheme)
    return replace(found, names=(*declared, *(name for name in names if name not in declared)))


def _is_iob2(name: str) -> bool:
    return name == "O" or name.startswith(("B-", "I-"))
