"""The report as one HTML page with its style and pictures inside and without a script, readable on a phone.

Every word and name on it is somebody else's text. The template escapes all that it shows (autoescape), `_clean`
replaces control characters in all of it, and foreign text is in an element of its own writing direction (``bdi``).
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from determined_ner.masks import model_name
from determined_ner.report.changes import Changes
from determined_ner.report.facts import Facts
from determined_ner.report.mistakes import MistakeKind
from determined_ner.report.panels import SCORE_NAMES
from determined_ner.report.plots import shorten
from determined_ner.report.text import LabelledText, Speed
from determined_ner.training.trained import Trained

TEMPLATE = "report.html.jinja"
GENERATORS = ("determined-ner report", "ner_report.py")
"""What the generator meta tag of a report says: of one made today, and of earlier ones."""
LONGEST_NAME = 80
"""Characters of a word or name that are shown."""
CONFUSED_SHOWN = 10
"""Pairs of types that are listed as most often confused."""
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that HTML does not allow, and those that would reverse the text after them."""
_SCORES = {
    "f1": "words and type both correct; seqeval's default (lenient) mode, which training reports",
    "precision": "the share of the predicted entities that is correct",
    "recall": "the share of the gold entities that was found",
    "f1_strict": "seqeval's strict mode under IOB2, in which an entity with a broken tag does not count",
    "f1_overlap": "one word in common and the same type suffice",
    "accuracy": "the share of words with the correct tag",
}
"""What each score means."""
_KINDS = {
    MistakeKind.MISSED: "a gold entity without a predicted one",
    MistakeKind.SPURIOUS: "a predicted entity without a gold one",
    MistakeKind.WRONG_TYPE: "the same words, another type",
    MistakeKind.WRONG_BOUNDARY: "some words in common, the same type",
    MistakeKind.WRONG_TYPE_AND_BOUNDARY: "some words in common, another type",
}
"""What each kind of mistake means, in the order of the page."""


@dataclass(frozen=True)
class Contents:
    """All that a page shows."""

    facts: Facts
    changes: Changes | None
    """None: no other model is compared."""
    trained: Trained
    text: LabelledText
    speeds: list[tuple[str, Speed]]
    """By model."""
    pictures: dict[str, bytes]
    """PNG files by name."""
    date: str
    examples: bool
    """Whether words of the text are shown."""


def render_page(contents: Contents) -> str:
    """The whole page."""
    environment = page_environment("determined_ner.report")
    return environment.get_template(TEMPLATE).render(
        vars(contents)
        | {
            "generator": GENERATORS[0],
            "score_names": SCORE_NAMES,
            "scores": _SCORES,
            "kinds": _KINDS,
            "reported": _reported_score(contents),
            "confused": _most_confused(contents.facts),
            "windows": _describe_windows(contents.text),
            "pictures": {name: base64.b64encode(data).decode() for name, data in contents.pictures.items()},
        }
    )


def page_environment(package: str) -> jinja2.Environment:
    """What templates of pages are rendered by.

    Args:
        package: whose templates are taken first; those of the report follow.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name, ".") for name in (package, "determined_ner.report")]),
        autoescape=True,
        finalize=_clean,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        thousands="{:,.0f}".format,
        decimals=lambda number, digits=3: f"{number:,.{digits}f}",
        percent=lambda share, digits=0: f"{share:.{digits}%}",
        points=lambda difference: f"{100 * difference:+.1f}",
        short=lambda text: shorten(text, LONGEST_NAME),
        file_name=lambda path: Path(path).name,
        model_name=model_name,
    )
    return environment


def is_page(file: Path) -> bool:
    """Whether the file is the page of a report, which a later report may replace."""
    try:
        with file.open("rb") as opened:
            beginning = opened.read(1000)
    except OSError:
        return False
    return any(f'<meta name="generator" content="{name}">'.encode() in beginning for name in GENERATORS)


def _clean(value: Any) -> Any:
    """What the template shows, without control characters; what a macro made has been through here."""
    return _CONTROLS.sub("\ufffd", value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _reported_score(contents: Contents) -> float | None:
    """The main score that the run reported of the same text and weights; None where it reported none of these."""
    summary = contents.trained.summary
    best = summary.get("best") if summary and contents.text.as_trained else None
    if not summary or not best or best["batches"] != summary["model_batches"]:
        return None
    score: float | None = best.get(contents.facts.main_score)
    return score


def _most_confused(facts: Facts) -> list[tuple[str, str, int]]:
    """Gold type, predicted type and number of the most frequent wrong ones."""
    wrong = facts.confusion[:-1, :-1].copy()
    np.fill_diagonal(wrong, 0)
    often = sorted(zip(*np.nonzero(wrong), strict=True), key=lambda at: (-wrong[at], at))[:CONFUSED_SHOWN]
    return [(facts.types[i], facts.types[j], int(wrong[i, j])) for i, j in often]


def _describe_windows(text: LabelledText) -> dict[str, float]:
    """Numbers of pieces of the model's windows, and the share of padding if all were padded to the longest."""
    sizes = text.windows
    return {
        "number": len(sizes),
        "median": float(np.median(sizes)),
        "most": float(np.quantile(sizes, 0.95)),
        "longest": int(sizes.max()),
        "padding": 1 - float(sizes.sum()) / (len(sizes) * int(sizes.max())),
    }
