"""One span as tools write it, an object or a list, and the spans of a text made one annotated text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from determined_ner.data.readers.messages import shown
from determined_ner.data.readers.sentences import Choice, Repair
from determined_ner.data.readers.spans.offsets import (
    Counting,
    cuts_a_character,
    describe_mismatch,
    gives,
    to_characters,
)
from determined_ner.data.readers.spans.text import AnnotatedText, Span
from determined_ner.errors import UserError

_STARTS = ("start", "start_offset", "startOffset", "start_char", "begin", "offset")
_ENDS = ("end", "end_offset", "endOffset", "end_char")
_TYPES = ("entity_group", "label", "labels", "entity_type", "entity", "type", "category", "class", "tag")


def annotate(
    text: str, items: Sequence[Any], line: int, document: str | None, choice: Choice, where: str
) -> AnnotatedText:
    """A text and its spans, as objects or as lists (start, end, type), made one.

    Raises:
        UserError: one is no span, cuts a character, or does not give the text that it says it covers; or it has
            several types and may not be repaired.
    """
    position = to_characters(text, choice.span_offsets)
    spans: list[Span] = []
    repairs: list[Repair] = []
    for i, item in enumerate(items, 1):
        parts = span_parts(item, choice.label_names)
        if parts is None:
            remedy = 'write {"start": 0, "end": 5, "label": "PER"} or [0, 5, "PER"]'
            raise UserError(where, f"span {i}, {shown(item)}, has no start, end and type", remedy)
        start, end, types, covered = parts
        repairs += several_types(types, start, end, choice, where)
        for offset in (start, end):
            if cuts_a_character(position, offset):
                raise UserError(
                    where,
                    f"span {start} to {end} of type {shown(types[0])} cuts the character at {offset}, of two UTF-16 "
                    f"units, {shown(text[position(offset)])}, in half",
                    "correct it, or drop data.span_offsets: utf16 if its offsets count characters",
                )
        span = Span(position(start), position(end), types[0])
        if covered is not None and 0 <= span.start <= span.end and not gives(text, [(span.start, span.end)], covered):
            raise UserError(where, *describe_mismatch(text, [(start, end)], choice.span_offsets, covered))
        spans.append(span)
    return AnnotatedText(text, tuple(spans), line, document, tuple(repairs))


def several_types(types: Sequence[str], start: int, end: int, choice: Choice, where: str) -> list[Repair]:
    """What is told of a span of several types; nothing of one that has one.

    Raises:
        UserError: it may not be repaired.
    """
    if len(types) == 1:
        return []
    several = Repair("spans of several types, read as of the first", f"{shown(types)} ({start} to {end})")
    refuse_bad_span(several, choice, where)
    return [several]


def refuse_bad_span(repair: Repair, choice: Choice, where: str) -> None:
    """Refuse a span that had to be repaired where that is not wanted.

    Raises:
        UserError: ``choice`` says so.
    """
    if choice.on_bad_spans == "error":
        raise UserError(where, f"{repair.kind}: {repair.example}", "correct it, or set data.on_bad_spans: snap")


def text_of_spans(texts: Mapping[str, str], items: Sequence[Any], counting: Counting) -> str | None:
    """The name of the text that spans are of; None where several may be meant.

    That is the only one, or the only one in which all spans give what they say they cover, or the one called "text".
    """

    def fits(text: str) -> bool:
        position = to_characters(text, counting)
        found = [parts for parts in map(span_parts, items) if parts is not None]
        return all(gives(text, [(position(start), position(end))], said or "") for start, end, _, said in found)

    fitting = [name for name in texts if fits(texts[name])] if items and len(texts) > 1 else []
    names = fitting if len(fitting) == 1 else list(texts)
    return "text" if "text" in names else names[0] if len(names) == 1 else None


def span_parts(item: object, label_names: Sequence[str] | None = None) -> tuple[int, int, list[str], str | None] | None:
    """Start, end, types and the covered text (where it is there) of a span; None where it is none."""
    covered: object = None
    if isinstance(item, Mapping):
        start, end, kind = (_first(item, keys) for keys in (_STARTS, _ENDS, _TYPES))
        if end is None and _is_number(item.get("offset")) and _is_number(item.get("length")):
            end = item["offset"] + item["length"]
        covered = item.get("text")
    elif isinstance(item, list | tuple) and len(item) == 3:
        start, end, kind = item
    else:
        return None
    if not (_is_number(start) and _is_number(end)):
        return None
    types = [_type(one, label_names) for one in (kind if isinstance(kind, list) else [kind])]
    if not types or not all(types):
        return None
    return int(start), int(end), [str(one) for one in types], covered if isinstance(covered, str) else None


def _type(value: object, label_names: Sequence[str] | None) -> str | None:
    """A type by its name, or by its number: doccano once wrote these."""
    if isinstance(value, int) and not isinstance(value, bool):
        return label_names[value] if label_names and 0 <= value < len(label_names) else str(value)
    return value.strip() if isinstance(value, str) else None


def _first(item: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((item[key] for key in keys if item.get(key) is not None), None)


def _is_number(value: object) -> bool:
    return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
