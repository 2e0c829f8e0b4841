"""Texts with spans of characters, in JSON: what annotation tools import, and what ``predict`` writes."""

from __future__ import annotations

import itertools
from typing import Any
from xml.sax.saxutils import quoteattr

from determined_ner.data.readers.spans.rows import ENTITIES_KEY
from determined_ner.data.writers.labelled import LabelledText
from determined_ner.data.writers.writer import Writer, count_overlaps, json_line, rounded


class SpansWriter(Writer):
    """Objects with ``text`` and its entities, as `predict` writes them."""

    title = "spans"
    keeps_scores = True

    def format_text(self, text: LabelledText) -> str:
        entities = []
        for start, end, type_, score in text.spans:
            entity: dict[str, Any] = {"type": type_, "text": text.text[start:end], "start": start, "end": end}
            if score is not None:
                entity["score"] = rounded(score)
            entities.append(entity)
        return json_line({"text": text.text, ENTITIES_KEY: entities, **_document(text)}) + "\n"


class DoccanoWriter(Writer):
    """doccano's JSON Lines of sequence labelling: ``text`` and ``label``, a list of [start, end, type]."""

    title = "doccano"

    def format_text(self, text: LabelledText) -> str:
        self.lost["overlapping spans, which the project's option 'Allow overlapping spans' takes"] += count_overlaps(
            text.spans
        )
        if max(text.text, default="") > "\uffff":
            self.lost["texts with emoji and the like, after which doccano shows spans too far to the left"] += 1
        return json_line({"text": text.text, "label": [span[:3] for span in text.spans], **_document(text)}) + "\n"


class ProdigyWriter(Writer):
    """Prodigy's tasks: ``text``, ``tokens``, and ``spans`` of whole tokens."""

    title = "Prodigy"
    keeps_scores = True

    def format_text(self, text: LabelledText) -> str:
        self.lost["overlapping spans, which only spans.manual shows"] += count_overlaps(text.spans)
        offsets = _tokens(text)
        tokens = [
            {
                "text": text.text[start:end],
                "start": start,
                "end": end,
                "id": i,
                "ws": text.text[end : end + 1].isspace(),
            }
            for i, (start, end) in enumerate(offsets)
        ]
        first = {start: i for i, (start, _) in enumerate(offsets)}
        last = {end: i for i, (_, end) in enumerate(offsets)}
        spans = []
        for start, end, type_, score in text.spans:
            span: dict[str, Any] = {"start": start, "end": end, "token_start": first[start], "token_end": last[end]}
            spans.append({**span, "label": type_, **({} if score is None else {"score": rounded(score)})})
        return json_line({"text": text.text, "tokens": tokens, "spans": spans, **_document(text)}) + "\n"


class LabelStudioWriter(Writer):
    """Label Studio's tasks, one array: ``predictions`` of a model, or ``annotations``."""

    title = "Label Studio"
    head, between, tail = "[\n", ",\n", "\n]\n"
    keeps_scores = True

    def format_text(self, text: LabelledText) -> str:
        regions = []
        for i, (start, end, type_, score) in enumerate(text.spans, 1):
            value = {"start": start, "end": end, "text": text.text[start:end], "labels": [type_]}
            region: dict[str, Any] = {"id": f"entity-{i}", "from_name": "label", "to_name": "text", "type": "labels"}
            regions.append({**region, "value": value, **({} if score is None else {"score": rounded(score)})})
        result: dict[str, Any] = {"result": regions}
        scores = [span.score for span in text.spans if span.score is not None]
        if self.model is not None:
            result["model_version"] = self.model
        if scores:
            result["score"] = rounded(sum(scores) / len(scores))
        kind = "annotations" if self.model is None else "predictions"
        return json_line({"data": {"text": text.text, **_document(text)}, kind: [result]})

    def advice(self) -> str:
        labels = "".join(f"<Label value={quoteattr(type_)}/>" for type_ in sorted(self.types))
        config = f'<Labels name="label" toName="text">{labels}</Labels><Text name="text" value="$text"/>'
        return f"labeling configuration of the project: <View>{config}</View>"


def _document(text: LabelledText) -> dict[str, int | str]:
    return {} if text.document is None else {"doc_id": text.document}


def _tokens(text: LabelledText) -> list[tuple[int, int]]:
    """The words, cut where a span begins or ends inside one; white space is a token where a span begins or ends in it.

    Prodigy refuses a span that is not one of whole tokens.
    """
    begins, ends = {span.start for span in text.spans}, {span.end for span in text.spans}
    borders = sorted({*begins, *ends, *(border for word in text.words for border in word)})
    tokens = []
    words = iter(text.words)
    word = next(words, None)
    for start, end in itertools.pairwise(borders):
        while word is not None and word[1] <= start:
            word = next(words, None)
        if (word is not None and word[0] <= start) or start in begins or end in ends:
            tokens.append((start, end))
    return tokens
