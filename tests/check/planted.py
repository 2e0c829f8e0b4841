"""Corpora with planted faults, whose places are known."""

from __future__ import annotations

Sentences = list[list[tuple[str, str]]]

DUPLICATE = [("Bo", "B-PER"), ("left", "O"), ("Rome", "B-LOC"), (".", "O")]
LONG = [("lima", "O")] * 40  # 160 pieces of the tiny encoder, whose windows hold 62
PLANTED_IN_TRAIN: Sentences = [
    DUPLICATE,
    [("Zed", "B-RARE"), ("came", "O")],
    [("in", "O"), ("Kyiv", "I-LOC"), (".", "O")],
    LONG,
    [("x" * 80, "O"), ("!", "O")],
    [("the", "O"), *zip(["house"] * 11, ["B-ORG"] + ["I-ORG"] * 10, strict=True)],
    [("so", "O"), ("...", "B-PER"), ("-", "I-PER")],
    [("said", "O"), ("'", "B-PER"), ("Ada", "I-PER")],
    [("to", "O"), ("New York", "B-LOC")],
    DUPLICATE,
    *([("Java", "B-LOC"), (str(i), "O")] for i in range(3)),
    *([("Java", "O"), ("code", "O"), (str(i), "O")] for i in range(2)),
    [("Java", "B-PER"), ("sings", "O")],
]
PLANTED_IN_VALIDATION: Sentences = [
    [("Dee", "B-PER"), ("went", "O")],
    [("a", "O"), ("\u200b", "O"), ("b", "O")],
    DUPLICATE,
]


def ordinary(count: int) -> Sentences:
    return [[("Ada", "B-PER"), ("saw", "O"), (f"n{i}", "O"), ("Oslo", "B-LOC")] for i in range(count)]


def line_of(sentences: Sentences, index: int) -> int:
    return 1 + sum(len(sentence) + 1 for sentence in sentences[:index])
