"""Tagged documents to try, and how seqeval 1.2.2, the reference, reads them."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from seqeval import scheme as seqeval_scheme
from seqeval.metrics.sequence_labeling import get_entities

from determined_ner.tags.entities import TagTable
from determined_ner.tags.schemes import Scheme

Document = list[str]

Entity = tuple[str, int, int]

ENTITY_SCHEMES = [Scheme.IOB1, Scheme.IOB2, Scheme.BIOES, Scheme.BILOU]

REFERENCE_SCHEMES = {
    Scheme.IOB1: seqeval_scheme.IOB1,
    Scheme.IOB2: seqeval_scheme.IOB2,
    Scheme.BIOES: seqeval_scheme.IOBES,
    Scheme.BILOU: seqeval_scheme.BILOU,
}

PREFIXES = {Scheme.IOB1: "BI", Scheme.IOB2: "BI", Scheme.BIOES: "BIES", Scheme.BILOU: "BILU"}

TYPES = ["PER", "a-b", ""]  # "" is the type of `B-`

thorough = settings(max_examples=200, deadline=None)


@contextmanager
def seqeval_warnings_silenced() -> Iterator[None]:
    """It warns of every L and U tag and of every division by zero."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def all_tags(prefixes: str, types: list[str] = TYPES) -> list[str]:
    return ["O", *(f"{prefix}-{entity_type}" for prefix in prefixes for entity_type in types)]


def soups(prefixes: str, types: list[str] = TYPES, min_size: int = 0) -> st.SearchStrategy[Document]:
    """Documents of tags in any order, most of them broken."""
    return st.lists(st.sampled_from(all_tags(prefixes, types)), min_size=min_size, max_size=12)


@st.composite
def gold_and_pred(draw: st.DrawFn, prefixes: str, types: list[str] = TYPES) -> tuple[list[Document], list[Document]]:
    """Two taggings of the same documents, which agree often; some documents are empty, one is not."""
    tag = st.sampled_from(all_tags(prefixes, types))
    pair = st.one_of(tag.map(lambda same: (same, same)), st.tuples(tag, tag))
    documents = draw(st.lists(st.lists(pair, max_size=8), max_size=5))
    documents.insert(draw(st.integers(0, len(documents))), draw(st.lists(pair, min_size=1, max_size=8)))
    return [[gold for gold, _ in d] for d in documents], [[pred for _, pred in d] for d in documents]


Segment = tuple[str, int]

SEGMENTS = st.lists(st.tuples(st.sampled_from(["O", "PER", "LOC", "a-b"]), st.integers(1, 4)), max_size=6)


def spell(segments: list[Segment], scheme: Scheme) -> Document:
    """Write entities (type, length) one after another in `scheme`, by its definition."""
    tags: Document = []
    for i, (entity_type, length) in enumerate(segments):
        if entity_type == "O":
            tags += ["O"] * length
            continue
        prefixes = ["B", *"I" * (length - 1)]
        if scheme is Scheme.IOB1 and not (i and segments[i - 1][0] == entity_type):
            prefixes[0] = "I"
        elif scheme in (Scheme.BIOES, Scheme.BILOU):
            last, only = ("E", "S") if scheme is Scheme.BIOES else ("L", "U")
            prefixes[-1] = last if length > 1 else only
        tags += [f"{prefix}-{entity_type}" for prefix in prefixes]
    return tags


def entities_of(segments: list[Segment]) -> list[Entity]:
    ends = list(itertools.accumulate(length for _, length in segments))
    return [(kind, end - length, end) for (kind, length), end in zip(segments, ends, strict=True) if kind != "O"]


def encode(documents: list[Document], table: TagTable) -> tuple[np.ndarray, np.ndarray]:
    ids = {label: i for i, label in enumerate(table.labels)}
    tags = np.array([ids[tag] for tag in itertools.chain.from_iterable(documents)], dtype=np.int64)
    return tags, np.cumsum([0, *map(len, documents)])


def default_reference(tags: Document) -> list[Entity]:
    with seqeval_warnings_silenced():
        return [(entity_type, begin, last + 1) for entity_type, begin, last in get_entities(list(tags))]


def strict_reference(tags: Document, scheme: Scheme) -> list[Entity]:
    (entities,) = seqeval_scheme.Entities([tags], REFERENCE_SCHEMES[scheme]).entities
    return [(entity.tag, entity.start, entity.end) for entity in entities]
