"""Spellings of entity tags: each is told from its tags alone, read as IOB2, and other tags are left alone."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from determined_ner.tags.inventory import TagInventory
from determined_ner.tags.schemes import Scheme, to_iob2
from determined_ner.tags.spelling import STANDARD, Form, Spelling, cleaned, find_spelling
from tests.tags.documents import Document, Segment, spell, thorough


def counts(text: str) -> Counter[str]:
    """``O*9 B-PER`` as counts of tags; <> is the empty one."""
    found: Counter[str] = Counter()
    for item in text.split():
        tag, star, count = item.rpartition("*")
        found[("" if (tag or item) == "<>" else tag) if star else item] += int(count) if star else 1
    return found


def written(tags: Document, form: str, outside: str) -> Document:
    """IOB2, BIOES or BILOU tags as a file may have them."""
    spelled = []
    for tag in tags:
        prefix, _, entity_type = tag.partition("-")
        spelled.append(outside if tag == "O" else form.replace("b", prefix.lower()).replace("B", prefix) % entity_type)
    return spelled


def bmes(tags: Document, whole: str) -> Document:
    """BIOES tags with M for I, and W for S where asked to."""
    letters = {"I": "M", "S": whole}
    return [letters.get(tag[0], tag[0]) + tag[1:] for tag in tags]


SEGMENTS = st.lists(
    st.tuples(st.sampled_from(["PER", "LOC", "a-b", "work_of_art"]), st.integers(1, 3)), min_size=1, max_size=6
)


def with_gaps(segments: list[Segment]) -> list[Segment]:
    """The same entities with so many words between them that most words are of none."""
    return [part for kind, length in segments for part in ((kind, length), ("O", length + 1))]


@thorough
@given(SEGMENTS, st.sampled_from(["B_%s", "%s-B", "%s_B", "b-%s", "b_%s", "B/%s", "B:%s"]), st.sampled_from("O0_-"))
def test_every_spelling_of_prefixes_is_read(segments, form, outside):
    segments = with_gaps(segments)
    outside = "o" if "b" in form and outside == "O" else outside
    iob2 = spell(segments, Scheme.IOB2)
    tags = written(iob2, form, outside)
    spelling = find_spelling(Counter(tags))
    assert spelling is not None and not spelling.strays(Counter(tags))
    assert spelling.respell(tags) == iob2


@thorough
@given(SEGMENTS, st.sampled_from(["B-%s", "B_%s"]), st.sampled_from("SW"))
def test_m_and_w_are_read_as_i_and_s(segments, form, whole):
    segments = [("PER", 3), ("O", 1), ("PER", 1), *with_gaps(segments)]
    bioes = spell(segments, Scheme.BIOES)
    tags = written(bmes(bioes, whole), form, "O")
    spelling = find_spelling(Counter(tags))
    assert spelling is not None and spelling.respell(tags) == bioes


@thorough
@given(SEGMENTS, st.sampled_from(["O", "o", "0", "_", "-", ""]))
def test_words_of_one_type_in_a_row_are_one_entity_where_tags_have_no_prefix(segments, outside):
    segments = with_gaps(segments)
    iob2 = spell(segments, Scheme.IOB2)
    tags = [outside if tag == "O" else tag[2:] for tag in iob2]
    spelling = find_spelling(Counter(tags))
    assert spelling is not None and spelling.form is Form.TYPE and spelling.respell(tags) == iob2
    assert spelling.respell(["PER", "PER", "LOC", outside, "LOC"]) == ["B-PER", "I-PER", "B-LOC", "O", "B-LOC"]


def test_a_type_may_look_like_another_spelling():
    spelling = find_spelling(counts("O*60 b-cell*5 t-cell*9 hepatitis-B*4 hepatitis-C*4"))
    assert spelling is not None and spelling.form is Form.TYPE
    assert spelling.respell(["b-cell", "hepatitis-B"]) == ["B-b-cell", "B-hepatitis-B"]


@pytest.mark.parametrize(
    ("tags", "read"),
    [
        ("B I O B B", "B-_ I-_ O B-_ B-_"),
        ("b i o o", "B-_ I-_ O O"),
        ("B M E O S O", "B-_ I-_ E-_ O S-_ O"),
        ("B L U O O O", "B-_ L-_ U-_ O O O"),
        ("O I I", "O I-_ I-_"),
    ],
)
def test_bare_prefixes_are_of_one_type_without_a_name(tags, read):
    spelling = find_spelling(counts(tags))
    assert spelling is not None and spelling.respell(tags.split()) == read.split()


@pytest.mark.parametrize(
    "tags",
    [
        "NOUN*40 VERB*30 _*3",
        "_*90 NOUN*10 VERB*10 X*3",  # most words are not annotated
        "O*90 NN*10 IN*10 B*3",
        "B*3 O*4 IN*30 NN*40 I*2",
        "o*3 n*20 v*10 b*4",
        "0*100 1*10 2*10",
        "-100*10 0*20 1*3",
        "_*90 SpaceAfter=No*10",
        "_*90 Y*10",
        "_*10",
        "0*10",
        "B*40 M*4 E*40 S*30",  # words of Chinese text
        "B*40 I*40",
        "O*20 B_S*3 I_S*2",  # type S, or types B and I
        "-*190 B-PER*3 U-PER*4",  # spaCy: unknown, or O
        "O*90 B-PER*10 X*50",
        "PER*50 LOC*20 O*60",
        "the*9 a*4 went*2",
        "",
    ],
)
def test_what_are_no_tags_of_entities_or_could_be_two_kinds_is_left_alone(tags):
    assert find_spelling(counts(tags)) is None


@pytest.mark.parametrize("tags", ["O*9 B-PER I-PER", "O*9", "B-PER", "I-PER S-PER U-PER", "B- I- O", "O B-_ B-a_b"])
def test_standard_tags_are_read_as_they_stand(tags):
    found = counts(tags)
    assert find_spelling(found) == STANDARD
    assert STANDARD.respell(list(found)) == list(found) and STANDARD.describe(found) == ""


@pytest.mark.parametrize(
    ("tags", "strays"),
    [
        ("O*2374 B-PER*250 I-PER*250 0", ["0"]),
        ("O*189 B-PER*20 L-PER*10 -", ["-"]),
        ("O*190 B_PER*20 I_PER*20 B-PER", ["B-PER"]),
        ("O*190 PER*20 B-PER", ["B-PER"]),
        ("O*20 B*10 I*4 0", ["0"]),
        ("0*190 B-PER*20 1", ["1"]),
        ("O*90 B-PER*20 X*15 <>*2", ["X", ""]),
    ],
)
def test_a_slip_among_tags_of_entities_is_a_stray(tags, strays):
    found = counts(tags)
    spelling = find_spelling(found)
    assert spelling is not None and spelling.strays(found) == strays


def test_o_is_read_beside_what_stands_for_it():
    found = counts("0*90 O*3 B-PER*9")
    spelling = find_spelling(found)
    assert spelling == Spelling(outside="0") and spelling.respell(["0", "O", "B-PER"]) == ["O", "O", "B-PER"]


@pytest.mark.parametrize(
    ("tag", "seen"),
    [
        ("B-PER", "B-PER"),
        ("B-PER\u200b", "B-PER"),
        ("\ufeffB-PER\u00a0", "B-PER"),
        ("B-Per\u00adson", "B-Person"),
        ("B-سازمان\u200cها", "B-سازمان\u200cها"),  # Persian is written with it
        ("B-work of art", "B-work of art"),
    ],
)
def test_characters_that_nobody_sees_do_not_count(tag, seen):
    assert cleaned(tag) == seen
    assert STANDARD.respell([tag]) == [seen] and find_spelling(Counter([tag, "O"])) == STANDARD


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ("O*9 B_PER*2 I_PER", "tags are spelled B_PER: read as B-PER"),
        ("o*9 b-per*2", "tags are spelled b-per: read as B-per and 'o' as O"),
        ("O*9 B-PER*4 M-PER*2 E-PER*4", "tags are spelled M-PER: read as I-PER"),
        ("0*9 B-PER*4", "tags have '0' for O: it is read as O"),
        ("<>*9 B-PER*4", "tags have nothing for O: it is read as O"),
        ("O*9 B*2 I", "tags name no type: B, I are read as of one type, _"),
        ("0*9 PER*2", "tags have no prefix: words of one type in a row (PER) are read as one entity and '0' as O"),
    ],
)
def test_what_is_read_is_told_in_one_line(tags, told):
    spelling = find_spelling(counts(tags))
    assert spelling is not None and spelling.describe(counts(tags)) == told


@given(st.sampled_from(list(Form)), st.sampled_from("-_/"), st.sampled_from(["O", "0", ""]), st.booleans())
def test_a_spelling_is_the_same_after_json(form, separator, outside, lower):
    spelling = Spelling(form, separator, outside, lower)
    assert Spelling.of_json(spelling.as_json()) == spelling


def test_labels_of_a_spelling_are_iob2():
    inventory = TagInventory()
    inventory.add(["PER", "PER", "O", "O", "LOC"])
    inventory.add(["O", "O", "LOC"])
    labels = inventory.labels(inventory.spelling)
    assert labels.names == ("B-LOC", "B-PER", "I-PER", "O") and labels.scheme is Scheme.IOB2
    assert to_iob2(labels.spelling.respell(["LOC", "LOC"]), labels.scheme) == (["B-LOC", "I-LOC"], 0)
