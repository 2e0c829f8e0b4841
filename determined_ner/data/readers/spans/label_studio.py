"""Label Studio's JSON: tasks, each with the annotations that people have made of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from determined_ner.data.readers.messages import shown
from determined_ner.data.readers.rows import Row
from determined_ner.data.readers.sentences import Choice, Repair
from determined_ner.data.readers.spans.items import annotate
from determined_ner.data.readers.spans.text import AnnotatedText
from determined_ner.errors import UserError

_ANNOTATIONS = ("annotations", "completions")
"""What they are called; the second before Label Studio 1.0."""


def is_task(row: Mapping[str, Any]) -> bool:
    """Whether a row is a task of Label Studio."""
    return isinstance(row.get("data"), dict) and any(isinstance(row.get(key), list) for key in _ANNOTATIONS)


def read_task(row: Row, choice: Choice, path: Path) -> AnnotatedText | Repair:
    """The text of a task with the spans of its first annotation that was not cancelled, or why it is left out.

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
    made = next(cells[key] for key in _ANNOTATIONS if isinstance(cells.get(key), list))
    valid = [one for one in made if isinstance(one, dict) and not one.get("was_cancelled")]
    if not valid:
        return Repair("tasks without an annotation, left out", shown(cells["data"]))
    chosen = next((one for one in valid if one.get("ground_truth")), valid[0])
    items = [_labelled(one, where) for one in chosen.get("result") or [] if _is_labelled(one)]
    text = _text(cells["data"], items, choice, where)
    annotated = annotate(text, items, number, None, choice, where)
    if len(valid) == 1:
        return annotated
    several = Repair("tasks with several annotations, of which one is read", shown(text))
    return AnnotatedText(text, annotated.spans, number, None, (*annotated.repairs, several))


def _is_labelled(result: object) -> bool:
    """Whether a result marks a span; relations and choices do not."""
    return isinstance(result, dict) and isinstance(result.get("value"), dict) and "labels" in result["value"]


def _labelled(result: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The span of a result."""
    value = dict(result["value"])
    offsets = value.pop("globalOffsets", None)
    if isinstance(offsets, dict):
        value |= offsets
    if not isinstance(value.get("start"), int):
        problem = f"a label at {shown(value.get('start'))} counts no characters: it is one of HyperText"
        raise UserError(where, problem, "export with globalOffsets, or label the plain text (a Text tag)")
    if isinstance(value.get("text"), str):
        value["text"] = value["text"].replace("\\n", "\n")  # as its editor writes line ends
    return value


def _text(data: Mapping[str, Any], items: list[dict[str, Any]], choice: Choice, where: str) -> str:
    """The one of a task's texts that its spans are of."""
    texts = {name: value for name, value in data.items() if isinstance(value, str)}
    if choice.text_column in texts:
        return texts[choice.text_column]
    if len(texts) > 1 and "text" not in texts and items:
        one = items[0]
        texts = {k: v for k, v in texts.items() if v[one["start"] : one.get("end")] == one.get("text")} or texts
    if "text" in texts:
        return texts["text"]
    if len(texts) != 1:
        remedy = f"name its key with {choice.text_option}"
        raise UserError(where, f"it is unclear which of {shown(list(data))} holds the text of this task", remedy)
    return next(iter(texts.values()))
