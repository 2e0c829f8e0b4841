"""The different tags of a text, found in one pass: their spelling, their scheme, and the labels that they come to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import Any

from determined_ner.tags.labels import MOST_LABELS, Labels, label_list
from determined_ner.tags.schemes import Scheme, SchemeDetector, split_tag, to_iob2
from determined_ner.tags.spelling import Form, Spelling, find_spelling


@dataclass(frozen=True)
class TagPlace:
    """Where a tag stands."""

    file: int
    """A position in the source's list, not a path: the cache outlives a move of the file."""
    line: int
    """Where its sentence begins."""
    word: int
    """Its 1-based number in the sentence."""
    text: str


class TagInventory:
    """Each different tag with how often and where first it occurs, and each pair of tags that follow one another.

    Scheme and labels depend on nothing else: whether a tag begins an entity is told by the one before it. Of more
    different tags than there may be labels, only the number is kept.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.places: dict[str, TagPlace] = {}
        """Of each tag, where it occurs first."""
        self._pairs: dict[tuple[str | None, str], None] = {}

    @property
    def too_many(self) -> bool:
        """Whether these are more tags than there may be labels."""
        return len(self.counts) > MOST_LABELS

    def add(self, tags: Sequence[str], words: Sequence[str] = (), file: int = 0, line: int = 0) -> None:
        """Take the tags of one sentence.

        Args:
            words: the words that they are of.
            file: position of its file in the source's list.
            line: where it begins.
        """
        if not self.too_many:
            for tag in (tag for tag in dict.fromkeys(tags) if tag not in self.places):
                at = tags.index(tag)
                self.places[tag] = TagPlace(file, line, at + 1, words[at] if words else "")
            self._pairs.update(dict.fromkeys(zip((None, *tags), tags, strict=False)))
        self.counts.update(tags)

    @cached_property
    def spelling(self) -> Spelling | None:
        """Of the tags; None: they are no entity tags."""
        return None if self.too_many else find_spelling(self.counts)

    def spelling_for(self, task: str) -> Spelling | None:
        """The same where ``pos`` or ``chunk`` is the task: tags without prefix are none of entities there.

        Parts of speech are what they look like unless all of them are B-X.
        """
        found = self.spelling
        if found is None or task == "ner":
            return found
        prefixed = found.form in (Form.PREFIX, Form.SUFFIX)
        exact = found.standard and not found.strays(self.counts)
        return found if exact or (task == "chunk" and prefixed) else None

    def iob2(self, spelling: Spelling) -> set[str]:
        """The tags in IOB2; those that ``spelling`` does not read are left out."""
        found = set()
        for before, tag in self._respelled(spelling):
            found.add(to_iob2([tag] if before is None else [before, tag], Scheme.IOB2)[0][-1])
        return found

    def labels(self, spelling: Spelling | None) -> Labels:
        """
        Args:
            spelling: how the tags are read; None: they are labels as they stand.

        Raises:
            ValueError: the tags mix two schemes.
        """
        if spelling is None:
            names = sorted(self.counts)
            return Labels(tuple(sorted(names, key=int) if are_numbers(names) else names), Scheme.PLAIN)
        detector = SchemeDetector()
        for before, tag in self._respelled(spelling):
            detector.add_pair(before, tag)
        scheme = detector.scheme()
        return Labels(tuple(label_list(self.iob2(spelling), scheme)), scheme, spelling)

    def _respelled(self, spelling: Spelling) -> Iterable[tuple[str | None, str]]:
        """The pairs as `schemes` has them; before the first tag of a sentence, and after one that is not read, None."""
        for before, tag in self._pairs:
            both = spelling.respell([tag] if before is None else [before, tag])
            if split_tag(both[-1]) is not None:
                yield None if before is None or split_tag(both[0]) is None else both[0], both[-1]

    def as_json(self) -> dict[str, Any]:
        if self.too_many:
            return {"too_many": len(self.counts)}
        number = {tag: i for i, tag in enumerate(self.places)}
        return {
            "tags": [[tag, self.counts[tag], *astuple(place)] for tag, place in self.places.items()],
            "pairs": [[None if before is None else number[before], number[tag]] for before, tag in self._pairs],
        }

    @classmethod
    def of_json(cls, value: dict[str, Any]) -> TagInventory:
        """The inverse of `as_json`.

        Raises:
            ValueError: there were too many tags.
        """
        if "too_many" in value:
            raise ValueError(f"{value['too_many']} different tags")
        inventory = cls()
        for tag, count, *place in value["tags"]:
            inventory.counts[tag] = count
            inventory.places[tag] = TagPlace(*place)
        tags = list(inventory.places)
        for before, tag in value["pairs"]:
            inventory._pairs[None if before is None else tags[before], tags[tag]] = None
        return inventory


def are_numbers(tags: Iterable[str]) -> bool:
    """Whether all tags are whole numbers."""
    return all(re.fullmatch(r"-?\d+", tag, re.ASCII) for tag in tags)
