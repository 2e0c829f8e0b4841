"""CoNLL-U with entities in its last column."""

from __future__ import annotations

import pytest

from determined_ner.data.readers.open import describe
from determined_ner.data.readers.sentences import Layout
from tests.data.readers.files import Write, pairs, read, refused


def word(number: int | str, form: str, misc: str, upos: str = "NOUN") -> str:
    return f"{number}\t{form}\t{form}\t{upos}\t_\t_\t0\troot\t_\t{misc}\n"


ADA = word(1, "Ada", "name=B-PER") + word(2, "Byron", "name=I-PER|SpaceAfter=No") + word(3, "sang", "name=O")
ADA_READ = (["Ada", "Byron", "sang"], ["B-PER", "I-PER", "O"])


def test_entities_in_the_last_column_are_read(write: Write) -> None:
    path = write("a.conllu", f"# sent_id = 1\n# text = Ada Byron sang\n{ADA}\n# sent_id = 2\n{ADA}")
    assert pairs(path) == [ADA_READ, ADA_READ]
    assert describe(path) == Layout("conllu", "FORM", "name", "\t")


def test_items_separated_by_a_blank_are_read(write: Write) -> None:
    """NorNE has ``SpaceAfter=No name=O``."""
    assert pairs(write("a.conllu", ADA.replace("name=I-PER|SpaceAfter=No", "SpaceAfter=No name=I-PER"))) == [ADA_READ]


@pytest.mark.parametrize("more", ["", "|SpaceAfter=No", " SpaceAfter=No", "  SpaceAfter=No", " |SpaceAfter=No", " "])
def test_a_type_may_hold_blanks(write: Write, more: str) -> None:
    text = (
        word(1, "Acme", f"name=B-LEGAL ENTITY{more}")
        + word(2, "sues", "name=O")
        + word(3, "Ada", f"Gloss=the first|name=B-LEGAL PERSON{more}")
    )
    assert pairs(write("a.conllu", text)) == [(["Acme", "sues", "Ada"], ["B-LEGAL ENTITY", "O", "B-LEGAL PERSON"])]


@pytest.mark.parametrize("key", ["NER", "ner", "NE", "Ent"])
def test_any_key_of_tags_will_do(write: Write, key: str) -> None:
    text = ADA.replace("name=", f"start_char=0|{key}=")
    path = write("a.conllu", text)
    assert pairs(path) == [ADA_READ]
    assert describe(path).tag_column == key


def test_a_usual_key_may_be_spelled_in_any_way(write: Write) -> None:
    text = word(1, "in", "SpaceAfter=No") + word(2, "Oslo", "NE=Loc") + word(3, "sang", "_") + word(4, "x", "_")
    assert pairs(write("a.conllu", text)) == [(["in", "Oslo", "sang", "x"], ["O", "Loc", "O", "O"])]
    assert pairs(write("b.conllu", ADA.replace("B-PER", "B_PER").replace("I-PER", "I_PER")))[0][1] == [
        "B_PER",
        "I_PER",
        "O",
    ]


def test_a_key_that_o_words_lack(write: Write) -> None:
    (sentence,) = read(write("a.conllu", ADA.replace("name=O", "_")))
    assert (sentence.words, sentence.tags) == ADA_READ
    assert sentence.repairs == ()


def test_a_word_that_lacks_its_key_among_others_is_counted(write: Write) -> None:
    (sentence,) = read(write("a.conllu", ADA + word(4, "here", "SpaceAfter=No")))
    assert sentence.tags == ["B-PER", "I-PER", "O", "O"]
    ((kind, example),) = [(repair.kind, repair.example) for repair in sentence.repairs]
    assert kind == "words without name= in the last column" and "'here'" in example


def test_documents_multiword_tokens_and_empty_nodes(write: Write) -> None:
    text = (
        f"# newdoc id = a\n{ADA}\n{ADA}\n# newdoc id = b\n"
        + word("1-2", "zum", "_")
        + word(1, "zu", "name=O")
        + word("1.1", "x", "name=O")
        + word(2, "dem", "name=O")
    )
    sentences = read(write("a.conllu", text))
    assert [sentence.document for sentence in sentences] == [0, 0, 1]
    assert sentences[2].words == ["zu", "dem"]


@pytest.mark.parametrize(
    ("tag", "tags"), [("O", "O O"), ("S-LOC", "B-LOC E-LOC"), ("B-LOC", "B-LOC I-LOC"), ("E-LOC", "I-LOC E-LOC")]
)
def test_the_tag_of_a_multiword_token_is_that_of_its_words(write: Write, tag: str, tags: str) -> None:
    """Stanza writes it so."""
    text = word("1-2", "zum", f"start_char=0|end_char=3|ner={tag}") + word(1, "zu", "_") + word(2, "dem", "_")
    (sentence,) = read(write("a.conllu", text + word(3, "Rhein", "ner=S-LOC")))
    assert (sentence.words, sentence.tags) == (["zu", "dem", "Rhein"], [*tags.split(), "S-LOC"])
    assert sentence.repairs == ()


def test_a_column_or_a_key_may_be_asked_for(write: Write) -> None:
    path = write("a.conllu", ADA.replace("name=", "chunk=B-NP|ents="))
    assert pairs(path, label_column="ents") == [ADA_READ]
    assert pairs(path, label_column="chunk") == [(ADA_READ[0], ["B-NP"] * 3)]
    assert pairs(path, label_column="4") == [(ADA_READ[0], ["NOUN"] * 3)]
    refused(path, None, "chunk= or ents=", "data.label_column_name")
    assert pairs(write("b.conllu", ADA.replace("name=", "chunk=B-NP|name="))) == [ADA_READ]


def test_another_file_is_read_by_the_key_of_the_first(write: Write) -> None:
    like = describe(write("train.conllu", ADA))
    other = word(1, "it", "name=O|seg=B-X")
    assert pairs(write("a.conllu", other), like=like) == [(["it"], ["O"])]


def test_a_column_of_tags_goes_before_keys(write: Write) -> None:
    text = "".join(line.replace("\t_\t_\t0", "\tB-X\t_\t0") for line in ADA.splitlines(keepends=True))
    assert pairs(write("a.conllu", text)) == [(ADA_READ[0], ["B-X"] * 3)]


def test_mentions_of_corefud_are_refused_by_name(write: Write) -> None:
    text = word(1, "Ada", "Entity=(e1-person-1") + word(2, "Byron", "Entity=e1)") + word(3, "sang", "_")
    refused(write("a.conllu", text), None, "Entity=", "CorefUD", "name=B-PER")


@pytest.mark.parametrize(
    ("bad", "line", "said"),
    [
        (word(5, "x", "name=O"), 4, ["'5' follows 3", "blank line"]),
        (word(1, "x", "name=O"), 4, ["'1' follows 3", "blank line"]),
        (word(4, "", "name=O"), 4, ["no word"]),
        (word(4, "x", "name=O|name=B-X"), 4, ["no single name="]),
        (word(4, "x", "name="), 4, ["no single name="]),
        (word("4.1", "x", "name=B-X"), 4, ["'4.1'", "no word of its own"]),
        (word("5-4", "x", "name=B-X"), 4, ["'5-4'", "no word of its own"]),
        (word("4-5", "x", "name=B-X") + word(4, "x", "name=O"), 5, ["name=O", "name=B-X"]),
        ("4\tx\n", 4, ["2 columns", "CoNLL-U has 10"]),
    ],
)
def test_what_is_no_word_is_refused(write: Write, bad: str, line: int, said: list[str]) -> None:
    refused(write("a.conllu", f"{ADA}{bad}\n{ADA}"), line, *said)
