"""Entities against seqeval 1.2.2, in its default and its strict mode."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from determined_ner.tags.entities import TagTable, entity_spans
from determined_ner.tags.schemes import Scheme
from determined_ner.tags.scores import evaluate
from tests.conftest import ROOT
from tests.tags.documents import (
    ENTITY_SCHEMES,
    PREFIXES,
    Document,
    Entity,
    all_tags,
    default_reference,
    encode,
    soups,
    strict_reference,
    thorough,
)


def ours(documents: list[Document], table: TagTable, strict: Scheme | None = None) -> list[list[Entity]]:
    """Entities per document, with offsets in it; fails if one crosses a border."""
    tags, starts = encode(documents, table)
    spans = entity_spans(tags, starts, table, strict)
    found: list[list[Entity]] = [[] for _ in documents]
    for begin, end, type_id in zip(spans.begin.tolist(), spans.end.tolist(), spans.type_id.tolist(), strict=True):
        document = int(np.searchsorted(starts, begin, side="right")) - 1
        assert starts[document] <= begin < end <= starts[document + 1]
        found[document].append((table.types[type_id], begin - int(starts[document]), end - int(starts[document])))
    return found


@thorough
@given(st.lists(soups("BIESLU"), max_size=5))
def test_default_reading_finds_the_entities_of_get_entities_for_every_prefix(documents: list[Document]) -> None:
    expected = [default_reference(document) for document in documents]
    assert ours(documents, TagTable(all_tags("BIESLU"))) == expected


@pytest.mark.parametrize("scheme", ENTITY_SCHEMES)
def test_default_reading_agrees_on_every_sequence_of_three_tags(scheme: Scheme) -> None:
    tags = all_tags(PREFIXES[scheme], ["x", "y"])
    documents = [list(document) for document in itertools.product(tags, repeat=3)]
    assert ours(documents, TagTable(tags)) == [default_reference(document) for document in documents]


@pytest.mark.parametrize("scheme", ENTITY_SCHEMES)
def test_strict_reading_agrees_on_every_sequence_of_three_tags(scheme: Scheme) -> None:
    tags = all_tags(PREFIXES[scheme], ["x", "y"])
    documents = [list(document) for document in itertools.product(tags, repeat=3)]
    assert ours(documents, TagTable(tags), scheme) == [strict_reference(document, scheme) for document in documents]


@pytest.mark.parametrize("scheme", ENTITY_SCHEMES)
@thorough
@given(st.data())
def test_strict_reading_finds_the_entities_of_seqevals_scheme(scheme: Scheme, data: st.DataObject) -> None:
    documents = data.draw(st.lists(soups(PREFIXES[scheme]), max_size=5))
    expected = [strict_reference(document, scheme) for document in documents]
    assert ours(documents, TagTable(all_tags(PREFIXES[scheme])), scheme) == expected


@pytest.mark.parametrize("strict", [None, Scheme.IOB2])
def test_an_entity_never_crosses_a_document_border(strict: Scheme | None) -> None:
    documents = [["O", "B-x"], [], ["I-x"], ["I-x", "B-x"], [], []]
    table = TagTable(all_tags("BI", ["x"]))
    separate = [ours([document], table, strict)[0] for document in documents]
    assert ours(documents, table, strict) == separate
    assert separate[0] == [("x", 1, 2)]


def test_an_unopened_entity_of_seqeval_begins_in_its_own_document() -> None:
    # In ['U-', 'B-x'] seqeval ends an entity that it never began, and takes its begin from whatever came before.
    documents = [["O", "B-x", "O"], ["O", "U-", "B-x"]]
    assert ours(documents, TagTable(["B-x", "O", "U-"])) == [[("x", 1, 2)], [("_", 0, 2), ("x", 2, 3)]]


def test_dashes_at_the_ends_of_a_type_belong_to_it() -> None:
    table = TagTable(["B--x", "B-x", "B-x-", "O"])
    for strict in (None, Scheme.IOB2):
        assert ours([["B--x", "B-x", "B-x-"]], table, strict) == [[("-x", 0, 1), ("x", 1, 2), ("x-", 2, 3)]]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.int64])
def test_any_integer_dtype_will_do(dtype: type) -> None:
    table = TagTable(["O", *(f"B-{i}" for i in range(126))])  # 127 ids fill int8; the table's own `O` has id 127
    tags = np.array([126, 0, 126, 126]).astype(dtype)
    assert evaluate(tags, tags, np.array([0, 4]), table)["f1_strict"] == 1.0
    assert entity_spans(tags, np.array([0, 4]), table).begin.tolist() == [0, 2, 3]


def test_a_table_may_be_told_whether_it_is_plain() -> None:
    tags, starts = np.array([0, 1, 0]), np.array([0, 3])
    assert evaluate(tags, tags, starts, TagTable(["B-x", "O"], plain=True)) == {"accuracy": 1.0}
    with_padding = TagTable(["B-x", "PAD"], plain=False)
    assert with_padding.types == ["x"]
    assert entity_spans(tags, starts, with_padding).begin.tolist() == [0, 2]


@pytest.mark.parametrize("tags", [[0, -100], [0, 2], [[0, 1]]])
def test_tag_ids_outside_the_table_are_refused(tags: list[int]) -> None:
    with pytest.raises(ValueError, match="ids from 0 to 1"):
        entity_spans(np.array(tags), np.array([0, 2]), TagTable(["B-x", "O"]))


@pytest.mark.parametrize("starts", [[], [0], [0, 3], [1, 2], [0, 2, 1, 2], [[0, 2]]])
def test_starts_that_do_not_cover_the_words_are_refused(starts: list[int]) -> None:
    with pytest.raises(ValueError, match="starts must rise from 0 to the number of words, 2"):
        entity_spans(np.array([0, 1]), np.array(starts, dtype=int), TagTable(["B-x", "O"]))


def test_repeated_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="distinct"):
        TagTable(["O", "B-x", "O"])


def test_labels_foreign_to_a_strict_scheme_are_refused() -> None:
    with pytest.raises(ValueError, match="no strict reading of labels with E, S"):
        entity_spans(np.array([0]), np.array([0, 1]), TagTable(["O", "S-x", "E-x"]), Scheme.IOB2)


@pytest.mark.parametrize(("labels", "strict"), [(["NOUN", "ADJ"], None), (["B-x", "O"], Scheme.PLAIN)])
def test_entities_of_plain_labels_are_refused(labels: list[str], strict: Scheme | None) -> None:
    with pytest.raises(ValueError, match="only their accuracy"):
        entity_spans(np.array([0]), np.array([0, 1]), TagTable(labels), strict)


def test_the_module_imports_neither_seqeval_nor_sklearn_nor_determined() -> None:
    code = "import sys, ner_utils; print({'seqeval', 'sklearn', 'determined', 'torch'} & set(sys.modules))"
    root = ROOT
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
