"""Labels: found in tags, or what a model's labels say of their scheme."""

from __future__ import annotations

import pytest

from determined_ner.tags.labels import Labels, label_list, label_scheme, with_declared, with_inside
from determined_ner.tags.schemes import Scheme


def test_labels_are_sorted_and_none_is_invented() -> None:
    assert label_list(iter(["O", "B-x", "I-y", "O", "B-x"]), Scheme.BILOU) == ["B-x", "I-y", "O"]


@pytest.mark.parametrize("tag", ["S-x", "NOUN", ""])
def test_labels_that_were_not_converted_are_refused(tag: str) -> None:
    with pytest.raises(ValueError, match=f"'{tag}' is not IOB2: convert BIOES"):
        label_list(["O", tag], Scheme.BIOES)
    assert label_list(["O", tag], Scheme.PLAIN) == sorted(["O", tag])


@pytest.mark.parametrize(
    ("labels", "scheme"),
    [
        ("O B-PER I-PER", Scheme.IOB2),
        ("O B-PER I-PER B-LOC", Scheme.IOB2),
        ("B-LOC B-PER I-LOC I-ORG I-PER O", Scheme.IOB1),
        ("O I-PER", Scheme.IOB1),
        ("O B-PER E-PER S-PER", Scheme.BIOES),
        ("O B-PER U-PER", Scheme.BILOU),
        ("ADJ NOUN", Scheme.PLAIN),
        ("LABEL_0 LABEL_1", Scheme.PLAIN),
        ("O", Scheme.PLAIN),
    ],
)
def test_the_scheme_of_labels(labels, scheme):
    assert label_scheme(labels.split()) is scheme


def test_labels_of_two_schemes_are_refused():
    with pytest.raises(ValueError, match=r"BIOES.*BILOU.*E-PER U-PER"):
        label_scheme(["O", "E-PER", "U-PER"])


@pytest.mark.parametrize(
    ("found", "scheme", "declared", "expected"),
    [
        ("B-A O", Scheme.IOB2, "O B-A I-A", "O B-A I-A"),
        ("B-A O X", Scheme.PLAIN, "O X", "O X B-A"),
        ("B-A O", Scheme.BIOES, "O S-A", "B-A O"),  # what it declares is not what its tags are converted to
        ("B-A O", Scheme.IOB1, "O I-A I-B", "O I-A I-B B-A B-B"),
        ("B-A O", Scheme.IOB2, None, "B-A O"),
    ],
)
def test_declared_names_come_first_in_their_order(found, scheme, declared, expected):
    names = None if declared is None else tuple(declared.split())
    assert with_declared(Labels(tuple(found.split()), scheme), names).names == tuple(expected.split())


def test_an_inside_of_a_known_type_becomes_a_label_and_nothing_else_does():
    labels = Labels(("B-A", "B-B", "I-A", "O"), Scheme.IOB2)
    assert with_inside(labels, {"O", "B-A", "I-B", "I-C", "B-C"}).names == ("B-A", "B-B", "I-A", "I-B", "O")
    assert with_inside(labels, {"I-A", "I-C"}) is labels
