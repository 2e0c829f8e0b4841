"""Files read as annotation tools read them, by the description of each format."""

from __future__ import annotations

import json
from pathlib import Path

from determined_ner.data.readers.sentences import DETECTED
from determined_ner.data.readers.spans.brat import read_brat


def read_spans(path: Path, format_: str) -> list[tuple[str, list[tuple[int, int, str]]]]:
    """Each text of a file or directory with its spans, as (start, end, type)."""
    if format_ == "brat":
        return [
            (read.text, [(s.start, s.end, s.type) for s in read.spans])
            for ann in sorted(path.glob("*.ann"))
            for read in read_brat(ann, DETECTED)
        ]
    content = path.read_bytes().decode()
    rows = json.loads(content) if format_ == "label-studio" else [json.loads(row) for row in content.split("\n")[:-1]]
    if format_ == "label-studio":
        regions = [[region["value"] for region in row["annotations"][0]["result"]] for row in rows]
        return [
            (row["data"]["text"], [(v["start"], v["end"], *v["labels"]) for v in values])
            for row, values in zip(rows, regions, strict=True)
        ]
    if format_ == "doccano":
        return [(row["text"], [tuple(span) for span in row["label"]]) for row in rows]
    spans, type_ = ("spans", "label") if format_ == "prodigy" else ("predicted_entities", "type")
    return [(row["text"], [(s["start"], s["end"], s[type_]) for s in row[spans]]) for row in rows]
