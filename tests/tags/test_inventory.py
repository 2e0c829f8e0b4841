"""The different tags of a text, and what they come to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from determined_ner.tags.inventory import TagInventory, TagPlace, are_numbers
from determined_ner.tags.labels import MOST_LABELS, Labels, label_list
from determined_ner.tags.schemes import Scheme, detect_scheme, to_iob2
from determined_ner.tags.spelling import STANDARD
from tests.tags.documents import soups, thorough


@thorough
@given(st.lists(soups("BIESLU"), max_size=6), st.booleans())
def test_one_pass_finds_what_separate_passes_find(documents, through_json):
    inventory = TagInventory()
    for tags in documents:
        inventory.add(tags)
    if through_json:
        inventory = TagInventory.of_json(inventory.as_json())
    try:
        scheme = detect_scheme(documents)
    except ValueError as error:
        with pytest.raises(ValueError, match="mix two schemes") as caught:
            inventory.labels(STANDARD)
        assert str(caught.value) == str(error)
        return
    expected = label_list({tag for tags in documents for tag in to_iob2(tags, scheme)[0]}, scheme)
    assert inventory.labels(STANDARD) == Labels(tuple(expected), scheme)


def test_numbers_are_sorted_as_numbers():
    inventory = TagInventory()
    inventory.add(["10", "9", "-1", "0"])
    assert inventory.spelling is None
    assert inventory.labels(None) == Labels(("-1", "0", "9", "10"), Scheme.PLAIN)


def test_each_tag_is_kept_with_its_first_place():
    inventory = TagInventory()
    inventory.add(["O", "B-X"], ["a", "b"], file=0, line=1)
    inventory.add(["B-X", "B-Y"], ["c", "d"], file=1, line=7)
    assert inventory.places == {
        "O": TagPlace(0, 1, 1, "a"),
        "B-X": TagPlace(0, 1, 2, "b"),
        "B-Y": TagPlace(1, 7, 2, "d"),
    }
    again = TagInventory.of_json(inventory.as_json())
    assert (again.places, again.counts) == (inventory.places, inventory.counts)


def test_of_too_many_tags_only_the_number_is_kept():
    inventory = TagInventory()
    inventory.add([f"word{i}" for i in range(MOST_LABELS + 1)])
    inventory.add(["another"])
    assert inventory.as_json() == {"too_many": MOST_LABELS + 2} and inventory.spelling is None


@pytest.mark.parametrize(
    ("tags", "task", "entities"),
    [
        ("PER O O", "ner", True),
        ("PER O O", "pos", False),
        ("NP O O", "chunk", False),
        ("B_NP O O", "chunk", True),
        ("B_NP O O", "pos", False),
        ("B-NP O O", "pos", True),
    ],
)
def test_the_task_tells_entities_from_other_tags(tags, task, entities):
    inventory = TagInventory()
    inventory.add(tags.split())
    assert (inventory.spelling_for(task) is not None) == entities


def test_numbers_are_what_can_be_counted_with() -> None:
    assert are_numbers(["0", "-1", "12"])
    assert not are_numbers(["0", "²"]) and not are_numbers(["--5"])
