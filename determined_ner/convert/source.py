"""Where labelled texts come from: words and tags as training sees them, or texts with spans as they stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from determined_ner.data.sources import find_labelled
from determined_ner.data.text_store import StoredText, store_text
from determined_ner.data.writers.labelled import LabelledText, join_words, place_entities
from determined_ner.data.writers.open import WORDS
from determined_ner.errors import UserError
from determined_ner.settings.data import DataSettings
from determined_ner.tags.labels import Labels
from determined_ner.tags.schemes import Scheme, bad_tags, iob2_entities, to_iob2


@dataclass
class Labelled:
    """The labelled texts of a source, and what has to be said of them."""

    format: str
    """How the files are read."""
    texts: Iterator[LabelledText]
    """Can be read once."""
    remarks: list[str] = field(default_factory=list)
    repairs: Counter[str] = field(default_factory=Counter)
    """How often each thing was read otherwise than it stands; known when all texts were read."""


def find_labelled_texts(settings: DataSettings, format_: str, directory: Path) -> Labelled:
    """What the settings name, for a format.

    Args:
        directory: an empty one, for the text.

    Raises:
        UserError: the text cannot be read; or, while it is, a tag that its scheme does not allow where
            data.on_bad_tags is error.
    """
    assert settings.train_file is not None
    source, settings = find_labelled(settings, "ner", settings.train_file)
    text = store_text(source, settings, directory)
    labels = text.labels()
    labelled = Labelled(" and ".join(dict.fromkeys(layout.format for layout in source.layouts())), iter(()))
    if labels.scheme not in (Scheme.IOB2, Scheme.PLAIN):
        labelled.remarks.append(f"tags are {labels.scheme.value}, written as IOB2")
    if format_ not in WORDS:
        labelled.remarks.append("texts are their words with one space between them")
        if labels.scheme is Scheme.PLAIN:
            labelled.remarks.append("tags are plain: every word is an entity of its own")
    labelled.texts = _of_words(text, labels, settings, labelled.repairs)
    return labelled


def _of_words(
    text: StoredText, labels: Labels, settings: DataSettings, repairs: Counter[str]
) -> Iterator[LabelledText]:
    """Sentences as texts, their words joined by spaces."""
    marked = text.has_documents()
    for batch in text.batches():
        names = ("words", "tags", "document", "file", "line")
        for words, given, document, file, line in zip(*(batch.column(name).to_pylist() for name in names), strict=True):
            tags, repaired = to_iob2(given, labels.scheme)
            if repaired and settings.on_bad_tags == "error":
                at = bad_tags(given, labels.scheme)[0]
                raise UserError(
                    f"{text.source.files[file]}:{line}",
                    f"word {at + 1} ({words[at]!r}) has {given[at]!r}, which {labels.scheme.value} does not allow there",
                    "correct it, or read it as seqeval does with data.on_bad_tags=repair",
                )
            repairs["tags that their scheme does not allow, read as seqeval does"] += repaired
            joined, offsets = join_words(words)
            if labels.scheme is Scheme.PLAIN:
                entities = [(tag, i, i + 1) for i, tag in enumerate(tags)]
            else:
                entities = iob2_entities(tags)
            spans = place_entities(entities, offsets)
            yield LabelledText(joined, offsets, spans, tags, document if marked else None)
