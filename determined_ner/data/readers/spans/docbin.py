"""spaCy's DocBin (``.spacy``), read through spaCy where it is installed.

It is compressed msgpack: texts, and the entities or span groups of each. Nothing in it is run.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from determined_ner.data.readers.lines import unpacked_limit
from determined_ner.data.readers.messages import shown
from determined_ner.data.readers.sentences import Choice, Layout, Repair
from determined_ner.data.readers.spans.text import AnnotatedText, Span
from determined_ner.errors import UserError

DOCBIN = "docbin"
"""The format's name in its `Layout`."""
_ENTITIES = "ents"
"""What spaCy calls the entities of a text, beside groups of spans that have names of their own."""


def is_docbin(start: bytes) -> bool:
    """Whether content that begins so is a DocBin: compressed, a map in msgpack, and its version first."""
    try:
        inside = zlib.decompressobj().decompress(start, 64)
    except zlib.error:
        return False
    return inside[:1] != b"" and 0x80 <= inside[0] <= 0x8F and b"version" in inside[:10]


def open_docbin(stream: IO[bytes], choice: Choice, path: Path) -> tuple[Layout, Iterator[AnnotatedText]]:
    """The layout and the texts of a DocBin, which is held in memory.

    Raises:
        UserError: spaCy is not installed, the file is damaged or huge, or it is unclear which spans are meant.
    """
    docs = _load(stream, path)
    groups = sorted({name for doc in docs for name in doc.spans if len(doc.spans[name])})
    like = choice.like if choice.like is not None and choice.like.format == DOCBIN else None
    name = choice.label_column or (like.tag_column if like is not None else None)
    if name is None:
        has_entities = any(len(doc.ents) for doc in docs)
        name = groups[0] if len(groups) == 1 and not has_entities else _ENTITIES
        if len(groups) > 1 and not has_entities:
            raise UserError(path, f"has spans in the groups {shown(groups)}", f"choose one with {choice.label_option}")
    elif like is None and name not in (_ENTITIES, *groups):
        raise UserError(path, f"has no spans {shown(name)}, but {shown([_ENTITIES, *groups])}", "choose one of these")
    return Layout(DOCBIN, "text", name, by_spans=True), _texts(docs, name, path)


def _load(stream: IO[bytes], path: Path) -> list[Any]:
    """The documents of a DocBin, as spaCy makes them."""
    try:
        tokens, vocab = importlib.import_module("spacy.tokens"), importlib.import_module("spacy.vocab")
    except ImportError as error:
        remedy = "run pip install spacy, or write the texts as JSON Lines with text and entities"
        raise UserError(path, f"is spaCy's DocBin, which spaCy is needed for ({error})", remedy) from None
    most = unpacked_limit(path)
    packed = stream.read(most)
    try:
        unpacker = zlib.decompressobj()
        unpacker.decompress(packed, most)
        if unpacker.unconsumed_tail:
            raise UserError(path, f"unpacks to over {most:,} bytes: no text does", "write it again in several files")
        return list(tokens.DocBin().from_bytes(packed).get_docs(vocab.Vocab()))
    except UserError:
        raise
    except Exception as error:  # spaCy, srsly and NumPy raise a dozen kinds at a damaged file
        problem = f"cannot be read as spaCy's DocBin ({type(error).__name__}: {shown(str(error))})"
        raise UserError(path, problem, "write it again with this version of spaCy") from None


def _texts(docs: list[Any], name: str, path: Path) -> Iterator[AnnotatedText]:
    annotated, repairs = [], []
    for number, doc in enumerate(docs, 1):
        if name == _ENTITIES and not doc.has_annotation("ENT_IOB"):
            repairs.append(Repair("texts without annotated entities, left out", shown(doc.text), number))
        else:
            annotated.append((number, doc))
    if docs and not annotated:
        raise UserError(path, f"no entities are annotated in its {len(docs):,} texts", "annotate them first")
    for number, doc in annotated:
        found = doc.ents if name == _ENTITIES else doc.spans.get(name, ())
        spans = tuple(Span(span.start_char, span.end_char, span.label_) for span in found)
        unknown = sum(token.ent_iob == 0 for token in doc) if name == _ENTITIES else 0
        if unknown:
            repairs.append(Repair("texts with words of an unknown tag, read as O", f"{unknown} of {shown(doc.text)}"))
        yield AnnotatedText(doc.text, spans, number, repairs=tuple(repairs))
        repairs = []
