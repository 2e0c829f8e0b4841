"""One span as tools write it, an object or a list, and the spans of a text made one annotated text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from determined_ner.data.readers.messages import shown
from determined_ner.data.readers.sentences import Choice, Repair
from determined_ner.data.readers.spans.offsets import describe_mismatch, gives, to_characters
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
        UserError: one is no span, or does not give the text that it says it covers.
    """
    position = to_characters(text, choice.span_offsets)
    spans, repairs = [], []
    for i, item in enumerate(items, 1):
        parts = span_parts(item, choice.label_names)
        if parts is None:
            remedy = 'write {"start": 0, "end": 5, "label": "PER"} or [0, 5, "PER"]'
            raise UserError(where, f"span {i}, {shown(item)}, has no start, end and type", remedy)
        start, end, types, covered = parts
        if len(types) > 1:
            repairs.append(Repair("spans of several types, read as of the first", f"{shown(types)} ({start} to {end})"))
        span = Span(position(start), position(end), types[0])
        if covered is not None and 0 <= span.start <= span.end and not gives(text, [(span.start, span.end)], covered):
            raise UserError(where, *describe_mismatch(text, [(start, end)], choice.span_offsets, covered))
        spans.append(span)
    return AnnotatedText(text, tuple(spans), line, document, tuple(repairs))


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
