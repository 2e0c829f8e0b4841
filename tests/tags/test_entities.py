"""ner_utils against seqeval 1.2.2, which is the reference for every entity and every score."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import seqeval.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval import scheme as seqeval_scheme
from seqeval.metrics.sequence_labeling import get_entities, precision_recall_fscore_support

from determined_ner.tags.entities import TagTable, entity_spans
from determined_ner.tags.labels import label_list
from determined_ner.tags.schemes import Scheme, detect_scheme, from_iob2, split_tag, to_iob2
from determined_ner.tags.scores import count_entities, evaluate, scores
from tests.conftest import ROOT

Document = list[str]
Entity = tuple[str, int, int]

ENTITY_SCHEMES = [Scheme.IOB1, Scheme.IOB2, Scheme.BIOES, Scheme.BILOU]
REFERENCE_SCHEMES = {
    Scheme.IOB1: seqeval_scheme.IOB1,
    Scheme.IOB2: seqeval_scheme.IOB2,
    Scheme.BIOES: seqeval_scheme.IOBES,
    Scheme.BILOU: seqeval_scheme.BILOU,
}
PREFIXES = {Scheme.IOB1: "BI", Scheme.IOB2: "BI", Scheme.BIOES: "BIES", Scheme.BILOU: "BILU"}
TYPES = ["PER", "a-b", ""]  # "" is the type of `B-`

thorough = settings(max_examples=200, deadline=None)


@contextmanager
def seqeval_warnings_silenced() -> Iterator[None]:
    """It warns of every L and U tag and of every division by zero."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# -- Tags to try -----------------------------------------------------------------------------------------------


def all_tags(prefixes: str, types: list[str] = TYPES) -> list[str]:
    return ["O", *(f"{prefix}-{entity_type}" for prefix in prefixes for entity_type in types)]


def soups(prefixes: str, types: list[str] = TYPES, min_size: int = 0) -> st.SearchStrategy[Document]:
    """Documents of tags in any order, most of them broken."""
    return st.lists(st.sampled_from(all_tags(prefixes, types)), min_size=min_size, max_size=12)


@st.composite
def gold_and_pred(draw: st.DrawFn, prefixes: str, types: list[str] = TYPES) -> tuple[list[Document], list[Document]]:
    """Two taggings of the same documents, which agree often; some documents are empty, one is not."""
    tag = st.sampled_from(all_tags(prefixes, types))
    pair = st.one_of(tag.map(lambda same: (same, same)), st.tuples(tag, tag))
    documents = draw(st.lists(st.lists(pair, max_size=8), max_size=5))
    documents.insert(draw(st.integers(0, len(documents))), draw(st.lists(pair, min_size=1, max_size=8)))
    return [[gold for gold, _ in d] for d in documents], [[pred for _, pred in d] for d in documents]


Segment = tuple[str, int]
SEGMENTS = st.lists(st.tuples(st.sampled_from(["O", "PER", "LOC", "a-b"]), st.integers(1, 4)), max_size=6)


def spell(segments: list[Segment], scheme: Scheme) -> Document:
    """Write entities (type, length) one after another in `scheme`, by its definition."""
    tags: Document = []
    for i, (entity_type, length) in enumerate(segments):
        if entity_type == "O":
            tags += ["O"] * length
            continue
        prefixes = ["B", *"I" * (length - 1)]
        if scheme is Scheme.IOB1 and not (i and segments[i - 1][0] == entity_type):
            prefixes[0] = "I"
        elif scheme in (Scheme.BIOES, Scheme.BILOU):
            last, only = ("E", "S") if scheme is Scheme.BIOES else ("L", "U")
            prefixes[-1] = last if length > 1 else only
        tags += [f"{prefix}-{entity_type}" for prefix in prefixes]
    return tags


def entities_of(segments: list[Segment]) -> list[Entity]:
    ends = list(itertools.accumulate(length for _, length in segments))
    return [(kind, end - length, end) for (kind, length), end in zip(segments, ends, strict=True) if kind != "O"]


# -- Both sides in one form ------------------------------------------------------------------------------------


def encode(documents: list[Document], table: TagTable) -> tuple[np.ndarray, np.ndarray]:
    ids = {label: i for i, label in enumerate(table.labels)}
    tags = np.array([ids[tag] for tag in itertools.chain.from_iterable(documents)], dtype=np.int64)
    return tags, np.cumsum([0, *map(len, documents)])


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


def default_reference(tags: Document) -> list[Entity]:
    with seqeval_warnings_silenced():
        return [(entity_type, begin, last + 1) for entity_type, begin, last in get_entities(list(tags))]


def strict_reference(tags: Document, scheme: Scheme) -> list[Entity]:
    (entities,) = seqeval_scheme.Entities([tags], REFERENCE_SCHEMES[scheme]).entities
    return [(entity.tag, entity.start, entity.end) for entity in entities]


def reference_scores(gold: list[Document], pred: list[Document]) -> dict[str, float]:
    with seqeval_warnings_silenced():
        types = sorted({entity_type for entity_type, _, _ in get_entities(gold) + get_entities(pred)})
        by_type = reference.f1_score(gold, pred, average=None, zero_division=0)
        return {
            "accuracy": reference.accuracy_score(gold, pred),
            "precision": reference.precision_score(gold, pred, zero_division=0),
            "recall": reference.recall_score(gold, pred, zero_division=0),
            "f1": reference.f1_score(gold, pred, zero_division=0),
            "f1_strict": reference.f1_score(gold, pred, mode="strict", scheme=seqeval_scheme.IOB2, zero_division=0),
            **{f"f1_{entity_type}": f1 for entity_type, f1 in zip(types, by_type, strict=True)},
        }


# -- Entities equal seqeval's ----------------------------------------------------------------------------------


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


# -- Scores equal seqeval's ------------------------------------------------------------------------------------


@thorough
@given(gold_and_pred("BI"))
def test_every_score_equals_seqevals(documents: tuple[list[Document], list[Document]]) -> None:
    gold, pred = documents
    table = TagTable(all_tags("BI"))
    (gold_ids, starts), (pred_ids, _) = encode(gold, table), encode(pred, table)
    expected = dict.fromkeys(("f1_PER", "f1_a-b", "f1__"), 0.0) | reference_scores(gold, pred)
    assert evaluate(gold_ids, pred_ids, starts, table) == pytest.approx(expected, abs=1e-12)


@thorough
@given(gold_and_pred("BIESLU", ["PER", "a-b"]))
def test_default_scores_equal_seqevals_for_every_prefix(documents: tuple[list[Document], list[Document]]) -> None:
    gold, pred = documents
    table = TagTable(all_tags("BIESLU", ["PER", "a-b"]))
    (gold_ids, starts), (pred_ids, _) = encode(gold, table), encode(pred, table)
    result = scores(count_entities(gold_ids, pred_ids, starts, table), table)
    with seqeval_warnings_silenced():
        precision, recall, f1, _ = precision_recall_fscore_support(gold, pred, average="micro")
    assert [result["precision"], result["recall"], result["f1"]] == pytest.approx([precision, recall, f1], abs=1e-12)


@pytest.mark.parametrize("scheme", ENTITY_SCHEMES)
@thorough
@given(st.data())
def test_strict_scores_equal_seqevals_under_each_scheme(scheme: Scheme, data: st.DataObject) -> None:
    gold, pred = data.draw(gold_and_pred(PREFIXES[scheme]))
    table = TagTable(all_tags(PREFIXES[scheme]))
    (gold_ids, starts), (pred_ids, _) = encode(gold, table), encode(pred, table)
    result = scores(count_entities(gold_ids, pred_ids, starts, table, scheme), table)
    options = {"mode": "strict", "scheme": REFERENCE_SCHEMES[scheme], "zero_division": 0}
    expected = [metric(gold, pred, **options) for metric in (reference.precision_score, reference.recall_score)]
    assert [result["precision"], result["recall"]] == pytest.approx(expected, abs=1e-12)


def test_scores_of_a_noisy_corpus_equal_seqevals() -> None:
    rng = random.Random(0)
    gold = [
        spell([(rng.choice(["O", "O", "PER", "LOC"]), rng.randint(1, 5)) for _ in range(8)], Scheme.IOB2)
        for _ in range(500)
    ]
    tags = label_list(itertools.chain.from_iterable(gold), Scheme.IOB2)
    pred = [[tag if rng.random() < 0.9 else rng.choice(tags) for tag in document] for document in gold]
    table = TagTable(tags)
    (gold_ids, starts), (pred_ids, _) = encode(gold, table), encode(pred, table)
    assert evaluate(gold_ids, pred_ids, starts, table) == pytest.approx(reference_scores(gold, pred), abs=1e-12)


def test_counts_are_integers_per_type_in_the_tables_order() -> None:
    table = TagTable(["B-x", "B-y", "I-x", "I-y", "O"])
    gold, starts = encode([["B-x", "I-x", "O", "B-y"], ["B-x"]], table)
    pred, _ = encode([["B-x", "O", "B-y", "B-y"], ["B-x"]], table)
    counts = count_entities(gold, pred, starts, table)
    assert [a.tolist() for a in (counts.true_positive, counts.gold, counts.predicted)] == [[1, 1], [2, 1], [2, 2]]
    assert all(a.dtype == np.int64 for a in (counts.true_positive, counts.gold, counts.predicted))


@thorough
@given(gold_and_pred("BI"), st.randoms(use_true_random=False))
def test_scores_do_not_depend_on_the_order_of_documents(
    documents: tuple[list[Document], list[Document]], rng: random.Random
) -> None:
    table = TagTable(all_tags("BI"))

    def result(pairs: list[tuple[Document, Document]]) -> dict[str, float]:
        gold, starts = encode([gold for gold, _ in pairs], table)
        return evaluate(gold, encode([pred for _, pred in pairs], table)[0], starts, table)

    pairs = list(zip(*documents, strict=True))
    assert result(rng.sample(pairs, len(pairs))) == result(pairs)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.int64])
def test_any_integer_dtype_will_do(dtype: type) -> None:
    table = TagTable(["O", *(f"B-{i}" for i in range(126))])  # 127 ids fill int8; the table's own `O` has id 127
    tags = np.array([126, 0, 126, 126]).astype(dtype)
    assert evaluate(tags, tags, np.array([0, 4]), table)["f1_strict"] == 1.0
    assert entity_spans(tags, np.array([0, 4]), table).begin.tolist() == [0, 2, 3]


def test_scores_are_python_floats_with_the_same_keys_whatever_the_tags() -> None:
    table = TagTable(["B-x", "B-y", "O"])
    keys = {"accuracy", "precision", "recall", "f1", "f1_strict", "f1_x", "f1_y"}
    for tags in ([0, 1, 2], [2], []):
        result = evaluate(np.array(tags, dtype=int), np.array(tags, dtype=int), np.array([0, len(tags)]), table)
        assert set(result) == keys
        assert {type(value) for value in result.values()} == {float}


@pytest.mark.filterwarnings("error")
def test_a_score_without_entities_is_zero_and_silent() -> None:
    table = TagTable(["B-x", "O"])
    outside, nothing = np.array([1, 1]), np.array([], dtype=int)
    zeros = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "f1_x": 0.0, "f1_strict": 0.0}
    assert evaluate(outside, outside, np.array([0, 2]), table) == {"accuracy": 1.0, **zeros}
    assert evaluate(nothing, nothing, np.array([0, 0, 0]), table) == {"accuracy": 0.0, **zeros}
    assert evaluate(nothing, nothing, np.array([0]), table) == {"accuracy": 0.0, **zeros}


@pytest.mark.filterwarnings("error")
def test_part_of_speech_tags_have_an_accuracy_alone_and_no_warning() -> None:
    table = TagTable(label_list(["NOUN", "ADJ", "B-x", "O"], Scheme.PLAIN))
    assert table.plain and table.types == []
    gold, pred = np.array([0, 1, 2, 3]), np.array([0, 1, 2, 0])
    assert evaluate(gold, pred, np.array([0, 4]), table) == {"accuracy": 0.75}


def test_a_table_may_be_told_whether_it_is_plain() -> None:
    tags, starts = np.array([0, 1, 0]), np.array([0, 3])
    assert evaluate(tags, tags, starts, TagTable(["B-x", "O"], plain=True)) == {"accuracy": 1.0}
    with_padding = TagTable(["B-x", "PAD"], plain=False)
    assert with_padding.types == ["x"]
    assert entity_spans(tags, starts, with_padding).begin.tolist() == [0, 2]


def test_a_type_named_strict_does_not_take_the_name_of_f1_strict() -> None:
    table = TagTable(["B-strict", "I-strict", "B-_strict", "B-stricter", "O"])
    gold, pred = np.array([4, 0, 1, 4]), np.array([0, 0, 1, 1])
    result = evaluate(gold, pred, np.array([0, 4]), table)
    assert {key for key in result if "strict" in key} == {"f1_strict", "f1__strict", "f1___strict", "f1_stricter"}
    assert result["f1_strict"] == result["f1__strict"] == 0.0
    assert evaluate(gold, gold, np.array([0, 4]), table)["f1__strict"] == 1.0


# -- Schemes ---------------------------------------------------------------------------------------------------


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


def test_labels_are_sorted_and_none_is_invented() -> None:
    assert label_list(iter(["O", "B-x", "I-y", "O", "B-x"]), Scheme.BILOU) == ["B-x", "I-y", "O"]


@pytest.mark.parametrize("tag", ["S-x", "NOUN", ""])
def test_labels_that_were_not_converted_are_refused(tag: str) -> None:
    with pytest.raises(ValueError, match=f"'{tag}' is not IOB2: convert BIOES"):
        label_list(["O", tag], Scheme.BIOES)
    assert label_list(["O", tag], Scheme.PLAIN) == sorted(["O", tag])


# -- Mistakes are refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("tags", [[0, -100], [0, 2], [[0, 1]]])
def test_tag_ids_outside_the_table_are_refused(tags: list[int]) -> None:
    with pytest.raises(ValueError, match="ids from 0 to 1"):
        entity_spans(np.array(tags), np.array([0, 2]), TagTable(["B-x", "O"]))


@pytest.mark.parametrize("starts", [[], [0], [0, 3], [1, 2], [0, 2, 1, 2], [[0, 2]]])
def test_starts_that_do_not_cover_the_words_are_refused(starts: list[int]) -> None:
    with pytest.raises(ValueError, match="starts must rise from 0 to the number of words, 2"):
        entity_spans(np.array([0, 1]), np.array(starts, dtype=int), TagTable(["B-x", "O"]))


def test_gold_and_pred_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        evaluate(np.array([0, 1]), np.array([0]), np.array([0, 2]), TagTable(["B-x", "O"]))


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
