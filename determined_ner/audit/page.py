"""The first entries of an audit in their sentences, on one HTML page like that of a report."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from determined_ner.audit.occurrences import Entity
from determined_ner.audit.ranking import Doubt, DoubtKind, given_entities
from determined_ner.report.excerpts import CONTEXT_WORDS, LONGEST_EXCERPT, Excerpt
from determined_ner.report.out_of_fold import OutOfFold
from determined_ner.report.page import page_environment

SHOWN = 300
"""Entries on the page; the list has all."""
_MEANINGS = {
    DoubtKind.MISSED: "an entity that is not labelled",
    DoubtKind.SPURIOUS: "labelled as an entity, and none",
    DoubtKind.WRONG_TYPE: "the same words, another type",
    DoubtKind.WRONG_BORDER: "some words in common, the same type",
    DoubtKind.WRONG_TYPE_AND_BORDER: "some words in common, another type",
    DoubtKind.INCONSISTENT: "the model agrees, but the same text is mostly labelled otherwise elsewhere",
}


@dataclass(frozen=True)
class _Shown:
    """An entry of the page."""

    rank: int
    doubt: Doubt
    excerpt: Excerpt


def render_page(text: OutOfFold, doubts: Sequence[Doubt], folds: int) -> str:
    """The whole page.

    Args:
        doubts: all of them, most doubtful first.
        folds: how many models there were.
    """
    given = given_entities(text)
    counts = Counter(doubt.kind for doubt in doubts)
    return (
        page_environment("determined_ner.audit")
        .get_template("audit.html.jinja")
        .render(
            text=text,
            folds=folds,
            labelled=sum(map(len, given)),
            doubts=len(doubts),
            kinds=[(kind, counts[kind], meaning) for kind, meaning in _MEANINGS.items()],
            shown=[
                _Shown(rank, doubt, _excerpt(text, doubt, given[doubt.sentence]))
                for rank, doubt in enumerate(doubts[:SHOWN], 1)
            ],
            date=datetime.date.today().isoformat(),
        )
    )


def _excerpt(text: OutOfFold, doubt: Doubt, given: Sequence[Entity]) -> Excerpt:
    """The words of both readings with some on either side."""
    words = text.words[doubt.sentence]
    low = max(0, doubt.begin - CONTEXT_WORDS)
    high = min(len(words), doubt.end + CONTEXT_WORDS, low + LONGEST_EXCERPT)
    others = [entity for entity in given if entity.end <= doubt.begin or doubt.end <= entity.begin]
    proposed = sorted([*others, *([doubt.proposed] if doubt.proposed else [])])
    return Excerpt(
        place=text.place(doubt.sentence),
        types=tuple(entity.type if entity else "nothing" for entity in (doubt.given, doubt.proposed)),
        confidence=doubt.score,
        words=words[low:high],
        cut_before=low > 0,
        cut_after=high < len(words),
        rows=[("given", _within(given, low, high)), ("proposed", _within(proposed, low, high))],
    )


def _within(entities: Sequence[Entity], low: int, high: int) -> list[tuple[int, int, str]]:
    return [
        (max(begin, low) - low, min(end, high) - low, type_)
        for begin, end, type_ in entities
        if begin < high and low < end
    ]
