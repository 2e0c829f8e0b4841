"""Label Studio's JSON: tasks, each with the annotations that people have made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from determined_ner.data.readers.messages import shown
from determined_ner.data.readers.rows import Row
from determined_ner.data.readers.sentences import DOCUMENT_NAMES, Choice, Repair, known_name
from determined_ner.data.readers.spans.items import annotate, span_parts, text_of_spans
from determined_ner.data.readers.spans.text import AnnotatedText
from determined_ner.errors import UserError

_ANNOTATIONS = ("annotations", "completions")
"""What they are called; the second before Label Studio 1.0."""


def is_task(row: Mapping[str, Any]) -> bool:
    """Whether a row is a task of Label Studio, annotated or with what a model predicts alone."""
    keys = (*_ANNOTATIONS, "predictions")
    return isinstance(row.get("data"), dict) and any(isinstance(row.get(key), list) for key in keys)


def read_task(row: Row, choice: Choice, path: Path) -> AnnotatedText | Repair:
    """The text of a task with the spans of its first annotation that was not cancelled, or why it is left out.

    An annotation that is marked as the truth goes before others.

    Raises:
        UserError: the row is no task, or has no text that its spans could be of.
    """
    number, cells = row
    where = f"{path}:{number}"
    if not is_task(cells):
        raise UserError(
            where,
            f"is no task of Label Studio as the rows before are; it has {shown(list(cells))}",
            "keep the exports of different tools in files of their own",
        )
    made: list[Any] = next((cells[key] for key in _ANNOTATIONS if isinstance(cells.get(key), list)), [])
    valid = [one for one in made if isinstance(one, dict) and not one.get("was_cancelled")]
    if not valid:
        return Repair("tasks without an annotation, left out", shown(cells["data"]))
    chosen = next((one for one in valid if one.get("ground_truth")), valid[0])
    repairs, items = [], []
    for result in chosen.get("result") or []:
        types = _types(result)
        if types:
            items.append(_labelled(result["value"], types, where))
        elif types is not None:
            repairs.append(Repair("regions without a label, left out", shown(result["value"])))
    text = _text(cells["data"], items, choice, where)
    for item in items:
        covered = item.get("text")
        if isinstance(covered, str) and "\\n" in covered and "\\n" not in text:
            item["text"] = covered.replace("\\n", "\n")  # as its editor writes line ends
    column = choice.document_column or known_name(list(cells["data"]), DOCUMENT_NAMES)
    document = None if column is None or cells["data"].get(column) is None else str(cells["data"][column])
    annotated = annotate(text, items, number, document, choice, where)
    if len(valid) > 1:
        repairs.append(Repair("tasks with several annotations, of which one is read", shown(text)))
    return replace(annotated, repairs=(*annotated.repairs, *repairs))


def _types(result: object) -> Sequence[str] | None:
    """The types of a region, under ``labels`` or, say, ``hypertextlabels``; None: a relation, a choice …"""
    value = result.get("value") if isinstance(result, dict) else None
    if not isinstance(value, dict):
        return None
    lists = [item for key, item in value.items() if key.endswith("labels") and isinstance(item, list)]
    if lists:
        return lists[0]
    return None if value.get("start") is None or value.get("end") is None else []


def _labelled(value: Mapping[str, Any], types: Sequence[str], where: str) -> dict[str, Any]:
    """The span of a region."""
    value = {**value, "labels": types}
    offsets = value.pop("globalOffsets", None)
    if isinstance(offsets, dict):
        value |= offsets
    if span_parts(value) is None:
        problem = f"a region labelled {shown(types)} counts no characters of a text: {shown(value)}"
        remedy = "label plain text (a Text tag), or export HyperText with globalOffsets; images and sound are not read"
        raise UserError(where, problem, remedy)
    return value


def _text(data: Mapping[str, Any], items: list[dict[str, Any]], choice: Choice, where: str) -> str:
    """The one of a task's texts that its spans are of."""
    texts = {name: value for name, value in data.items() if isinstance(value, str)}
    if choice.text_column in texts:
        return texts[choice.text_column]
    name = text_of_spans(texts, items, choice.span_offsets)
    if name is None:
        remedy = f"name its key with {choice.text_option}"
        raise UserError(where, f"it is unclear which of {shown(list(data))} holds the text of this task", remedy)
    return texts[name]
