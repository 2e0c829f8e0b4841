"""Rows with spans of characters: what doccano, Label Studio, Prodigy, spaCy, GLiNER, AutoGluon and many scripts write.

All but two come down to a text under one key and a list of spans under another. Label Studio nests them, and GLiNER
counts words. A form is told from the first rows; a row that is not of it is refused.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from determined_ner.data.readers.messages import shown
from determined_ner.data.readers.rows import Row
from determined_ner.data.readers.sentences import DOCUMENT_NAMES, TEXT_NAMES, Choice, Layout, Repair, known_name
from determined_ner.data.readers.spans import label_studio
from determined_ner.data.readers.spans.items import annotate, several_types, span_parts, text_of_spans
from determined_ner.data.readers.spans.text import AnnotatedText, Span
from determined_ner.errors import UserError

TEXT_KEYS = ("text", "text_snippet", "full_text", "content", "sentence")
"""Keys that a text goes by, best first."""
NESTED_TEXT_KEYS = ("tokenized_text", "data")
"""Keys of what is no text itself: the words of GLiNER, and what has the texts of Label Studio."""
PRINTED_SPANS = "entity_annotations"
"""AutoGluon's key of the spans, which it prints as JSON."""
ENTITIES_KEY = "predicted_entities"
"""The key of what `predict` writes."""
_SPAN_KEYS = (
    "entities",
    "spans",
    "label",
    "labels",
    "annotations",
    "ner",
    "tags",
    "ner_tags",
    PRINTED_SPANS,
    ENTITIES_KEY,
)
"""Keys that are taken for those of spans where no row has any, best first; else they are found by their content."""

_MARKS: dict[str, tuple[str, ...]] = {
    "prodigy": ("_task_hash", "answer"),
    "autogluon": ("text_snippet",),
    "doccano": ("Comments", "relations"),
    "label studio min": ("annotation_id", "lead_time"),
    "predict": (ENTITIES_KEY,),
}
"""Keys that tell the rows of a tool."""
MARKS = frozenset(mark for marks in _MARKS.values() for mark in marks)
"""The same of all tools: what a reader that loads chosen columns loads as well."""
_TOOLS: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "prodigy": lambda row: any(mark in row for mark in _MARKS["prodigy"]),
    "autogluon": lambda row: any(mark in row for mark in _MARKS["autogluon"]),
    "doccano": lambda row: any(mark in row for mark in _MARKS["doccano"]) or _has_doccano_spans(row),
    "label studio min": lambda row: all(mark in row for mark in _MARKS["label studio min"]),
    "predict": lambda row: any(mark in row for mark in _MARKS["predict"]),
    "spacy": lambda row: any(isinstance(item, list) for item in _items(row, "entities")),
}
"""What else the rows of a tool have."""
_WITHOUT_EMPTY_LISTS = ("prodigy", "label studio min")
"""Tools that leave out the key of the spans where a text has none."""


@dataclass(frozen=True, slots=True)
class Form:
    """How rows keep texts and spans."""

    name: str
    text: str
    """Key of the text."""
    spans: str
    """Key of the spans."""
    document: str | None = None
    """Key of the document."""

    def layout(self) -> Layout:
        """The same as the ``Layout`` that all formats share."""
        return Layout(self.name, self.text, self.spans, document_column=self.document, by_spans=True)


def as_row(value: object) -> object:
    """A training example of spaCy, ``[text, {"entities": […]}]``, as an object; anything else as it is."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict):
        return {"text": value[0], **value[1]}
    return value


def find_form(sample: Sequence[Row], choice: Choice, path: Path) -> Form | None:
    """The form of rows with spans, told from the first of them; None where they have words and tags, or no spans.

    Raises:
        UserError: several keys have spans.
    """
    rows = [row for _, row in sample]
    names = list(dict.fromkeys(name for row in rows for name in row))
    document = choice.document_column or known_name(names, DOCUMENT_NAMES)
    if any(map(label_studio.is_task, rows)):
        return Form("label studio", choice.text_column or "data", "annotations")
    if any("tokenized_text" in row and _is_spans(row.get("ner"), words=True) for row in rows):
        return Form("gliner", "tokenized_text", "ner", document)
    texts = [name for name in names if _any(rows, name, str)]
    text = choice.text_column or known_name(texts, TEXT_KEYS) or _text_key(rows, texts, choice)
    if text is None or not _any(rows, text, str):
        return None
    if choice.label_column is None and _has_words_and_tags(rows, names, choice):
        return None
    spans = _span_key(rows, names, text, choice, path)
    if spans is None:
        return None
    tool = next((tool for tool, is_of in _TOOLS.items() if any(map(is_of, rows))), "spans")
    return Form(tool, text, spans, document)


def read_rows(rows: Iterable[Row], form: Form, choice: Choice, path: Path) -> Iterator[AnnotatedText]:
    """Yield the texts of rows of a form. What was left out between them is told with a text beside it.

    Raises:
        UserError: at a row that is not of the form, or without any text that is left.
    """
    last: AnnotatedText | None = None
    left_out: list[Repair] = []
    for row in rows:
        read = _read_row(row, form, choice, path)
        if isinstance(read, Repair):
            left_out.append(replace(read, line=row[0]))
            continue
        if last is not None:
            yield last
        last, left_out = _with_repairs(read, left_out), []
    if last is None:
        first = left_out[0] if left_out else Repair("texts", "none")
        raise UserError(path, f"no text is left: {first.kind}: {len(left_out)}", "annotate them first")
    yield _with_repairs(last, left_out)


def _with_repairs(annotated: AnnotatedText, repairs: Sequence[Repair]) -> AnnotatedText:
    if not repairs:
        return annotated
    return replace(annotated, repairs=(*annotated.repairs, *repairs))


def _read_row(row: Row, form: Form, choice: Choice, path: Path) -> AnnotatedText | Repair:
    """The text of a row, or why it is left out."""
    number, cells = row
    where = f"{path}:{number}"
    if form.name == "label studio":
        return label_studio.read_task(row, choice, path)
    document = None if form.document is None or cells.get(form.document) is None else str(cells[form.document])
    if form.name == "gliner":
        return _read_words(row, form, document, choice, path)
    text = cells.get(form.text)
    if not isinstance(text, str):
        raise _of_another_form(where, cells, form, form.text)
    if form.name == "prodigy" and cells.get("answer") not in (None, "accept"):
        return Repair("texts that were not accepted, left out", f"answer {shown(cells['answer'])}: {shown(text)}")
    leaves_out = form.name in _WITHOUT_EMPTY_LISTS
    if form.spans not in cells and not (leaves_out and _TOOLS[form.name](cells)):
        raise _of_another_form(where, cells, form, form.spans)
    # A table of columns has null for a key that a row leaves out; all marks are null in a row that the tool never saw.
    marked = leaves_out and any(cells.get(mark) is not None for mark in _MARKS[form.name])
    if cells.get(form.spans, []) is None and not marked:
        return Repair("texts whose spans are null, left out", shown(text))
    items = _as_list(cells.get(form.spans))
    if items is None:
        raise UserError(where, f"{shown(cells[form.spans])} of {form.spans!r} is no list of spans", "write [] for none")
    return annotate(text, items, number, document, choice, where)


def _read_words(row: Row, form: Form, document: str | None, choice: Choice, path: Path) -> AnnotatedText:
    """A row of GLiNER: its words, and spans from their first to their last word."""
    number, cells = row
    where = f"{path}:{number}"
    words, items = cells.get(form.text), cells.get(form.spans)
    if not isinstance(words, list) or not isinstance(items, list) or not all(isinstance(word, str) for word in words):
        raise _of_another_form(where, cells, form, form.text)
    offsets, at = [], 0
    for word in words:
        offsets.append((at, at + len(word)))
        at += len(word) + 1
    spans, repairs = [], []
    for i, item in enumerate(items, 1):
        parts = span_parts(item, choice.label_names)
        if parts is None or not 0 <= parts[0] <= parts[1] < len(words):
            problem = f"span {i}, {shown(item)}, is not from a first word to a last one of {len(words)}, and a type"
            raise UserError(where, problem, 'write [0, 1, "PER"] for the first two words')
        start, end = offsets[parts[0]][0], offsets[parts[1]][1]
        repairs += several_types(parts[2], start, end, choice, where)
        spans.append(Span(start, end, parts[2][0]))
    return AnnotatedText(" ".join(words), tuple(spans), number, document, tuple(repairs), tuple(offsets))


# -- Telling a form --------------------------------------------------------------------------------------------


def _text_key(rows: Sequence[Mapping[str, Any]], names: Sequence[str], choice: Choice) -> str | None:
    """The key of the text where none has a known name: that of the texts which spans say they cover."""
    found = set()
    for row in rows:
        texts = {name: row[name] for name in names if isinstance(row.get(name), str)}
        for items in (_as_list(cell) for cell in row.values() if _is_spans(cell)):
            found.add(text_of_spans(texts, items or (), choice.span_offsets))
    return found.pop() if len(found) == 1 else None


def _span_key(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], text: str, choice: Choice, path: Path
) -> str | None:
    """The key of the spans: that which the user named, else the only one with spans.

    Raises:
        UserError: several have spans; what `predict` wrote does not count beside others.
    """
    if choice.label_column is not None:
        blank = choice.label_column in names and all(row.get(choice.label_column) in (None, []) for row in rows)
        return choice.label_column if blank or _are_spans(rows, choice.label_column) else None
    like = choice.like
    if like is not None and like.by_spans and like.tag_column in names and like.text_column == text:
        return like.tag_column
    found = [name for name in names if name != text and _are_spans(rows, name)]
    given = [name for name in found if name != ENTITIES_KEY] or found
    if len(given) > 1 and any(len({repr(row.get(name)) for name in given}) > 1 for row in rows):
        problem = f"rows that have spans under several keys, {shown(given)}"
        remedy = f"choose one with {choice.label_option}; keep exports of different tools in files of their own"
        raise UserError(path, problem, remedy)
    if given:
        return given[0]
    if any(all(mark in row for mark in _MARKS["prodigy"]) for row in rows):
        return "spans"  # Prodigy, and nothing in it so far
    # Rows without a single span yet: no text with a word has an empty list of tags.
    empty = [name for name in names if all(row.get(name) == [] for row in rows)]
    return known_name(empty, _SPAN_KEYS) if any(str(row.get(text, "")).strip() for row in rows) else None


def _are_spans(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Whether a cell of a key is a list of spans, with one in it: nothing else looks like that."""
    return any(_is_spans(row.get(name)) for row in rows)


def _is_spans(cell: object, words: bool = False) -> bool:
    items = _as_list(cell)
    return items is not None and (words or bool(items)) and all(span_parts(item) is not None for item in items)


def _as_list(cell: object) -> list[Any] | None:
    """A list of spans, which a table of text has printed; None: nothing of the kind. No cell at all is an empty one."""
    if cell is None or cell == "":
        return []
    if isinstance(cell, str) and cell.lstrip()[:1] == "[":
        cell = _parsed(cell)
    if isinstance(cell, Mapping) and cell and all(isinstance(column, list) for column in cell.values()):
        if len({len(column) for column in cell.values()}) > 1:
            return None
        # So the datasets library keeps a list of objects.
        return [dict(zip(cell, items, strict=True)) for items in zip(*cell.values(), strict=True)]
    return cell if isinstance(cell, list) else None


def _parsed(cell: str) -> object:
    """A list as JSON or Python print it; None where it is none."""
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(cell)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return None


def _has_words_and_tags(rows: Sequence[Mapping[str, Any]], names: Sequence[str], choice: Choice) -> bool:
    """Whether rows have lists of words and of as many tags, which are read before any spans."""
    words = known_name([name for name in names if _any(rows, name, list)], TEXT_NAMES)
    tags = known_name([name for name in names if _any(rows, name, list)], choice.tag_names)
    if words is None or tags is None or words == tags:
        return False
    pairs = [(row[words], row[tags]) for row in rows if isinstance(row.get(words), list) and row.get(tags)]
    return any(
        isinstance(cells, list) and len(cells) == len(texts) and all(isinstance(text, str) for text in texts)
        for texts, cells in pairs
    )


def _has_doccano_spans(row: Mapping[str, Any]) -> bool:
    """Lists under ``label``, or objects with a ``start_offset``."""
    lists = [item for name in ("label", "labels") for item in _items(row, name)]
    objects = [item for name in ("entities", "annotations") for item in _items(row, name)]
    return any(isinstance(item, list) for item in lists) or any(
        isinstance(item, Mapping) and "start_offset" in item for item in objects
    )


def _items(row: Mapping[str, Any], name: str) -> list[Any]:
    """The items of a list; of anything else none."""
    cell = row.get(name)
    return cell if isinstance(cell, list) else []


def _any(rows: Sequence[Mapping[str, Any]], name: str, kind: type) -> bool:
    return any(isinstance(row.get(name), kind) for row in rows)


def _of_another_form(where: str, cells: Mapping[str, Any], form: Form, key: str) -> UserError:
    return UserError(
        where,
        f"has no {key!r} as other rows have, which are of the form {form.name!r}; it has {shown(list(cells))}",
        "keep the exports of different tools in files of their own",
    )
