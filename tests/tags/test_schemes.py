"""Schemes: detected, converted to IOB2 and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from determined_ner.tags.schemes import Scheme, detect_scheme, from_iob2, split_tag, to_iob2
from tests.tags.documents import (
    ENTITY_SCHEMES,
    SEGMENTS,
    Document,
    Segment,
    default_reference,
    entities_of,
    soups,
    spell,
    strict_reference,
    thorough,
)


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("O", ("O", "_")),
        ("B-PER", ("B", "PER")),
        ("U-a-b", ("U", "a-b")),
        ("E-", ("E", "_")),
        ("ADJ", None),
        ("B", None),
        ("", None),
        ("-LRB-", None),
        ("X-PER", None),
        ("b-PER", None),
        ("O-PER", None),
    ],
)
def test_split_tag_knows_entity_tags_alone(tag: str, expected: tuple[str, str] | None) -> None:
    assert split_tag(tag) == expected


@pytest.mark.parametrize("scheme", ENTITY_SCHEMES)
def test_detection_knows_each_scheme(scheme: Scheme) -> None:
    segments = [[("PER", 2), ("PER", 1), ("O", 1), ("a-b", 3)], [("O", 2), ("PER", 1), ("LOC", 2)]]
    assert detect_scheme(spell(document, scheme) for document in segments) is scheme


@pytest.mark.parametrize(
    ("sequences", "expected"),
    [
        ([], Scheme.IOB2),
        ([["O", "O"], []], Scheme.IOB2),
        ([["I-x", "O"]], Scheme.IOB1),
        ([["I-x", "I-y"]], Scheme.IOB1),
        ([["I-x"], ["B-x", "I-x"]], Scheme.IOB2),  # a B that parts nothing: the first I is broken IOB2
        ([["I-x", "B-y"]], Scheme.IOB2),
        ([["O", "I-x", "B-x", "B-x"]], Scheme.IOB1),
        ([["B-x", "I-x", "I-x"], ["B-x"]], Scheme.IOB2),
        ([["I-a-b", "B-a-b"], ["I-a-c"]], Scheme.IOB1),
        ([["I-a-b", "B-a-c"]], Scheme.IOB2),  # types that share a part still differ
        ([["O", "S-x"]], Scheme.BIOES),
        ([["B-x", "E-x"]], Scheme.BIOES),
        ([["O", "U-x"]], Scheme.BILOU),
        ([["B-x", "L-x"]], Scheme.BILOU),
        ([["NOUN", "ADJ", "O"]], Scheme.PLAIN),
        ([["B-x", "I-x"], ["B-x", "I"]], Scheme.PLAIN),
        ([["S-x", "U-x"], ["ADJ"]], Scheme.PLAIN),
    ],
)
def test_detection_of_mixtures(sequences: list[Document], expected: Scheme) -> None:
    assert detect_scheme(sequences) is expected


def test_detection_refuses_a_mix_of_bioes_and_bilou_and_names_examples() -> None:
    with pytest.raises(ValueError, match=r"'S-PER' is BIOES, 'L-LOC' is BILOU"):
        detect_scheme([["O", "S-PER"], ["B-LOC", "L-LOC"]])


@pytest.mark.parametrize("scheme", ENTITY_SCHEMES)
@thorough
@given(SEGMENTS)
def test_valid_tags_keep_their_entities_and_come_back_unchanged(scheme: Scheme, segments: list[Segment]) -> None:
    tags = spell(segments, scheme)
    iob2, repaired = to_iob2(tags, scheme)
    assert repaired == 0
    assert default_reference(iob2) == strict_reference(iob2, Scheme.IOB2) == entities_of(segments)
    assert strict_reference(tags, scheme) == entities_of(segments)
    assert from_iob2(iob2, scheme) == tags


@thorough
@given(soups("BIESLU"), st.sampled_from(ENTITY_SCHEMES))
def test_broken_tags_keep_the_entities_that_seqeval_reads(tags: Document, scheme: Scheme) -> None:
    iob2, _ = to_iob2(tags, scheme)
    known_to_seqeval = [{"L": "E", "U": "S"}.get(tag[0], tag[0]) + tag[1:] for tag in tags]
    assert default_reference(iob2) == strict_reference(iob2, Scheme.IOB2) == default_reference(known_to_seqeval)


@thorough
@given(soups("BIESLU"), st.sampled_from(ENTITY_SCHEMES))
def test_what_comes_back_is_valid_in_its_scheme(tags: Document, scheme: Scheme) -> None:
    iob2, _ = to_iob2(tags, scheme)
    spelled = from_iob2(iob2, scheme)
    assert to_iob2(spelled, scheme) == (iob2, 0)
    assert strict_reference(spelled, scheme) == default_reference(iob2)


@pytest.mark.parametrize(
    ("scheme", "tags", "expected", "repaired"),
    [
        (Scheme.IOB2, ["I-x", "I-x"], ["B-x", "I-x"], 1),
        (Scheme.IOB2, ["O", "I-x"], ["O", "B-x"], 1),
        (Scheme.IOB2, ["B-x", "I-y"], ["B-x", "B-y"], 1),
        (Scheme.IOB1, ["I-x", "I-y", "B-y"], ["B-x", "B-y", "B-y"], 0),
        (Scheme.IOB1, ["B-x", "O"], ["B-x", "O"], 1),
        (Scheme.BIOES, ["E-x", "O"], ["B-x", "O"], 1),
        (Scheme.BIOES, ["B-x", "I-x", "O"], ["B-x", "I-x", "O"], 1),
        (Scheme.BIOES, ["S-x", "E-x"], ["B-x", "B-x"], 1),
        (Scheme.BILOU, ["B-x", "L-x", "I-x", "L-x"], ["B-x", "I-x", "B-x", "I-x"], 1),
        (Scheme.BILOU, ["B-x", "U-x"], ["B-x", "B-x"], 1),
    ],
)
def test_repairs_are_made_and_counted(scheme: Scheme, tags: Document, expected: Document, repaired: int) -> None:
    assert to_iob2(tags, scheme) == (expected, repaired)


def test_predictions_that_are_broken_iob2_are_spelled_as_they_are_read() -> None:
    broken = ["O", "I-x", "I-x", "I-y"]
    assert from_iob2(broken, Scheme.BIOES) == ["O", "B-x", "E-x", "S-y"]
    assert from_iob2(broken, Scheme.IOB1) == broken
    assert from_iob2(broken, Scheme.IOB2) == broken


def test_plain_tags_pass_through_unchanged() -> None:
    tags = ["NOUN", "I-x", "O"]
    assert to_iob2(tags, Scheme.PLAIN) == (tags, 0)
    assert from_iob2(tags, Scheme.PLAIN) == tags


@pytest.mark.parametrize("scheme", ENTITY_SCHEMES)
def test_a_tag_outside_the_scheme_is_named(scheme: Scheme) -> None:
    with pytest.raises(ValueError, match="'NOUN' is no entity tag"):
        to_iob2(["O", "NOUN"], scheme)
