"""Label maps: entity types of files read as others, or as none."""

from __future__ import annotations

import difflib
import functools
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from determined_ner.data.readers.sentences import Repair, Sentence
from determined_ner.data.repairs import BadTag
from determined_ner.data.source import Numbered, Source
from determined_ner.errors import UserError
from determined_ner.tags.inventory import TagInventory, TagPlace
from determined_ner.tags.schemes import Scheme, bad_tags, from_iob2, split_tag, to_iob2
from determined_ner.tags.spelling import Spelling

_SHOWN = 6


@dataclass(frozen=True)
class Survey:
    """What a pass over labelled sentences tells of their tags."""

    spelling: Spelling | None
    """None: they are no tags of entities."""
    scheme: Scheme
    types: dict[str, TagPlace]
    """The entity types (of plain tags: the tags), each with the place of a tag of it."""
    places: dict[str, TagPlace]
    """Of each tag, where it occurs first."""
    hashes: array[int]
    """Of the words of each sentence; empty where nobody asked for them."""

    @classmethod
    def of(cls, sentences: Callable[[], Iterable[Numbered]], task: str, where: str, hashed: bool) -> Survey:
        """
        Args:
            task: what the tags are for.
            where: the sentences are read from, for messages.
            hashed: keep a hash of each sentence.

        Raises:
            UserError: the tags mix two schemes.
        """
        inventory, hashes = TagInventory(), array("q")
        for file, sentence in sentences():
            inventory.add(sentence.tags or [], sentence.words, file, sentence.line)
            if hashed:
                hashes.append(hash(tuple(sentence.words)))
        spelling = inventory.spelling_for(task)
        try:
            scheme = Scheme.PLAIN if inventory.too_many else inventory.labels(spelling).scheme
        except ValueError as error:
            raise UserError(where, str(error)) from None
        types: dict[str, TagPlace] = {}
        for tag, place in inventory.places.items():
            name = tag
            if spelling is not None:
                parts = spelling.split(tag)
                if parts is None or parts[0] == "O":
                    continue
                name = parts[1]
            types.setdefault(name, place)
        return cls(spelling, scheme, types, inventory.places, hashes)

    @property
    def read_as(self) -> Scheme:
        """The scheme of the tags once they are mapped: two types that become one need a B between them."""
        return Scheme.IOB2 if self.scheme is Scheme.IOB1 else self.scheme


class MappedText:
    """Sentences of some files whose tags are read in their spelling, by a label map, and given out as ``B-PER``."""

    def __init__(
        self,
        sentences: Callable[[], Iterable[Numbered]],
        files: tuple[str, ...],
        label_map: Mapping[str, str] | None,
        on_bad_tags: str,
        survey: Callable[[], Survey],
    ) -> None:
        self._sentences, self._files = sentences, files
        self._map = dict(label_map or {})
        self._on_bad_tags = on_bad_tags
        self.survey = functools.cache(survey)

    def place(self, at: TagPlace) -> str:
        """``file:line`` of a tag."""
        return f"{self._files[at.file]}:{at.line}"

    def types(self) -> dict[str, str]:
        """The types after the map, each with the place of a tag of it."""
        found: dict[str, str] = {}
        for name, at in self.survey().types.items():
            meant = self._map.get(name, name)
            if meant != "O":
                found.setdefault(meant, self.place(at))
        return found

    def sentences(self) -> Iterator[Numbered]:
        """
        Raises:
            UserError: a tag that its scheme does not allow where data.on_bad_tags is error.
        """
        survey = self.survey()
        for file, sentence in self._sentences():
            yield file, self._mapped(sentence, file, survey)

    def _mapped(self, sentence: Sentence, file: int, survey: Survey) -> Sentence:
        given = sentence.tags or []
        if survey.spelling is None:
            return replace(sentence, tags=[self._map.get(tag, tag) for tag in given])
        spelled = survey.spelling.respell(given)
        if any(split_tag(tag) is None for tag in spelled):
            return sentence  # a stray, which is refused where all tags are known
        tags, repaired = to_iob2(spelled, survey.scheme)
        repairs = sentence.repairs
        if repaired:
            at = bad_tags(spelled, survey.scheme)[0]
            bad = BadTag(file, sentence.line, at + 1, sentence.words[at], given[at], given[at - 1] if at else None)
            if self._on_bad_tags == "error":
                source = Source("train", "", lambda: (), self._files)
                raise bad.refused(source, survey.scheme, "correct it, or set data.on_bad_tags: repair")
            repairs = (*repairs, Repair(f"sentences with tags not allowed in {survey.scheme.value}", str(bad)))
        mapped = [self._of_type(tag) for tag in tags]
        return replace(sentence, tags=from_iob2(mapped, survey.read_as), repairs=repairs)

    def _of_type(self, tag: str) -> str:
        parts = split_tag(tag)
        assert parts is not None
        if parts[0] == "O" or parts[1] not in self._map:
            return tag
        meant = self._map[parts[1]]
        return "O" if meant == "O" else f"{parts[0]}-{meant}"


def check_map(setting: str, label_map: Mapping[str, str], texts: Iterable[MappedText]) -> None:
    """Check that a label map names only types that some file has.

    Args:
        setting: its dotted name.
        texts: of the files that it is for; read until all types are found.

    Raises:
        UserError: it names another.
    """
    missing, plain = dict(label_map), False
    found: dict[str, str] = {}
    for text in texts:
        survey = text.survey()
        plain = plain or survey.spelling is None
        if plain and "O" in missing.values() and "O" not in survey.types:
            name = next(name for name, meant in missing.items() if meant == "O")
            raise UserError(setting, f"{name}: O drops an entity type, and these are plain tags", "name another tag")
        for name, at in survey.types.items():
            found.setdefault(name, text.place(at))
            missing.pop(name, None)
        if not missing:
            return
    name = next(iter(missing))
    shown = ", ".join(f"{kind} ({place})" for kind, place in list(found.items())[:_SHOWN])
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    parts = split_tag(name)
    close = difflib.get_close_matches(name, found, n=1)
    if parts is not None and parts[1] in found:
        remedy = f"write the type alone: {parts[1]}"
    else:
        remedy = f"did you mean {close[0]}?" if close else "name one of these, or drop it from the map"
    raise UserError(setting, f"{name!r}: no file has this type; they have {shown or 'none'}{more}", remedy)
