"""JSON and tables with spans of characters, in the forms that tools write."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from determined_ner.data.hub_datasets import dataset_sources
from determined_ner.data.readers.open import describe, read_annotated, read_file
from determined_ner.data.readers.sentences import Choice
from determined_ner.data.readers.spans.text import Span
from determined_ner.errors import UserError
from determined_ner.settings.data import DataSettings

TEXT = "Ada Brann saw Oslo ."
SPANS = [(0, 9, "PER"), (14, 18, "LOC")]
READ = (["Ada", "Brann", "saw", "Oslo", "."], ["B-PER", "I-PER", "O", "B-LOC", "O"])
OBJECTS = [{"start": start, "end": end, "label": kind} for start, end, kind in SPANS]
RESULTS = [
    {
        "value": {"start": start, "end": end, "text": TEXT[start:end], "labels": [kind]},
        "from_name": "label",
        "to_name": "text",
        "type": "labels",
    }
    for start, end, kind in SPANS
]
TOKENS = [{"text": "Ada", "start": 0, "end": 3, "id": 0}]

FORMS: dict[str, tuple[str, Any]] = {
    "doccano, lists": ("doccano", {"id": 1, "text": TEXT, "label": [list(span) for span in SPANS], "Comments": []}),
    "doccano, old lists": ("doccano", {"text": TEXT, "labels": [list(span) for span in SPANS]}),
    "doccano, relations": (
        "doccano",
        {
            "text": TEXT,
            "entities": [
                {"id": i, "start_offset": s, "end_offset": e, "label": t} for i, (s, e, t) in enumerate(SPANS)
            ],
            "relations": [],
        },
    ),
    "Label Studio": ("label studio", {"id": 1, "data": {"text": TEXT}, "annotations": [{"result": RESULTS}]}),
    "Label Studio, another key": (
        "label studio",
        {"data": {"title": "saw", "body": TEXT}, "annotations": [{"result": RESULTS}], "predictions": []},
    ),
    "Label Studio before 1.0": ("label studio", {"data": {"text": TEXT}, "completions": [{"result": RESULTS}]}),
    "Label Studio, JSON-MIN": ("spans", {"id": 1, "text": TEXT, "label": [one["value"] for one in RESULTS]}),
    "Label Studio, JSON-MIN, another key": (
        "label studio min",
        {"body": TEXT, "label": [one["value"] for one in RESULTS], "annotation_id": 1, "lead_time": 1.5},
    ),
    "Label Studio, hypertext": (
        "label studio",
        {
            "data": {"text": TEXT},
            "annotations": [
                {
                    "result": [
                        {
                            "value": {
                                "start": "/p[1]/text()[1]",
                                "end": "/p[1]/text()[1]",
                                "globalOffsets": {"start": s, "end": e},
                                "hypertextlabels": [t],
                            }
                        }
                        for s, e, t in SPANS
                    ]
                }
            ],
        },
    ),
    "Prodigy": ("prodigy", {"text": TEXT, "_task_hash": 1, "tokens": TOKENS, "spans": OBJECTS, "answer": "accept"}),
    "spaCy": ("spacy", [TEXT, {"entities": [list(span) for span in SPANS]}]),
    "AutoGluon": (
        "autogluon",
        {
            "text_snippet": TEXT,
            "entity_annotations": json.dumps([{"entity_group": t, "start": s, "end": e} for s, e, t in SPANS]),
        },
    ),
    "Hugging Face": ("spans", {"text": TEXT, "spans": OBJECTS}),
    "offset and length": (
        "spans",
        {"text": TEXT, "entities": [{"offset": s, "length": e - s, "category": t} for s, e, t in SPANS]},
    ),
    "a key of one's own": ("spans", {"text": TEXT, "mentions": OBJECTS, "source": "x"}),
    "our own predictions": (
        "predict",
        {
            "text": TEXT,
            "predicted_entities": [
                {"type": t, "text": TEXT[s:e], "start": s, "end": e, "score": 0.5} for s, e, t in SPANS
            ],
        },
    ),
    "GLiNER": ("gliner", {"tokenized_text": READ[0], "ner": [[0, 1, "PER"], [3, 3, "LOC"]]}),
}


MIXED_LISTS = ("doccano, lists", "doccano, old lists", "spaCy", "GLiNER")
"""Forms whose spans no column can hold: the items of a list are of one type there."""
IN_COLUMNS: dict[str, tuple[str, Any]] = {
    **{name: form for name, form in FORMS.items() if name not in MIXED_LISTS},
    "GLiNER": (
        "gliner",
        {
            "tokenized_text": READ[0],
            "ner": [{"start": 0, "end": 1, "label": "PER"}, {"start": 3, "end": 3, "label": "LOC"}],
        },
    ),
    "doccano, comments": (
        "doccano",
        {"text": TEXT, "mentions": OBJECTS, "Comments": []},
    ),
    "full_text": ("spans", {"full_text": TEXT, "spans": OBJECTS}),
    "content, whatever its case": ("spans", {"id": "1", "Content": TEXT, "spans": OBJECTS}),
}


def write(path: Path, *rows: Any) -> Path:
    dumped = [json.dumps(row, ensure_ascii=False) for row in rows]
    text = "\n".join(dumped) + "\n" if path.suffix == ".jsonl" else f"[{', '.join(dumped)}]"
    path.write_bytes(text.encode())
    return path


def write_columns(path: Path, *rows: Any) -> Path:
    """Rows in a table of columns, where what one of them leaves out is null."""
    names = dict.fromkeys(name for row in rows for name in row)
    table = pa.table({name: [row.get(name) for row in rows] for name in names})
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    return path


def read(path: Path, **options: Any) -> list[tuple[list[str], list[str] | None]]:
    return [(sentence.words, sentence.tags) for sentence in read_file(path, Choice(**options))]


def assert_both_are_read(path: Path, name: str) -> None:
    """Two rows of a form, told by its name."""
    layout = describe(path)
    assert (layout.format, layout.by_spans) == (name, True)
    assert read(path) == [READ, READ]


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
@pytest.mark.parametrize(("name", "row"), FORMS.values(), ids=FORMS)
def test_every_form_is_read(tmp_path: Path, name: str, row: Any, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", row, row)
    assert_both_are_read(path, name)
    first, second = read_annotated(path)
    assert (first.text, first.spans) == (TEXT, tuple(Span(*span) for span in SPANS))
    assert (first.line, second.line) == (1, 2)


@pytest.mark.parametrize("row", [row for name, row in FORMS.values() if isinstance(row, dict)])
def test_a_file_of_one_text_is_read(tmp_path: Path, row: Any) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(row, indent=1))
    assert read(path) == [READ]


def test_spans_printed_into_a_table_are_read(tmp_path: Path) -> None:
    for printed in (json.dumps(OBJECTS), repr(OBJECTS), repr(SPANS).replace("(", "[").replace(")", "]")):
        out = io.StringIO()
        csv.writer(out).writerows([["text", "entities"], [TEXT, printed], ["No one .", "[]"]])
        (tmp_path / "a.csv").write_text(out.getvalue())
        assert read(tmp_path / "a.csv") == [READ, (["No", "one", "."], ["O", "O", "O"])]


@pytest.mark.parametrize("rows", [0, 3000], ids=["within the head", "after it"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("text", ["Hi\r\nx\r\nAda met Bob", "Hi\n\r\r\n\ufeffx\nAda met Bob"])
def test_line_ends_in_a_quoted_cell_count_as_they_stand(tmp_path: Path, text: str, end: str, rows: int) -> None:
    """As Python's csv and pandas read them, by which the offsets were counted."""
    at = text.index("Ada")
    cells = ["Ada .,\"[[0, 3, 'PER']]\""] * rows + [f'"{text}","[[{at}, {at + 3}, \'PER\']]"']
    (tmp_path / "a.csv").write_bytes("".join(f"{row}{end}" for row in ["text,entities", *cells]).encode())
    *_, last = read_annotated(tmp_path / "a.csv")
    assert (last.text, last.spans, last.line) == (text, (Span(at, at + 3, "PER"),), rows + 2)


def test_texts_without_a_span_are_texts_without_an_entity(tmp_path: Path) -> None:
    empty = {"text": "No one .", "label": []}
    assert read(write(tmp_path / "a.jsonl", empty, empty)) == [(["No", "one", "."], ["O", "O", "O"])] * 2
    prodigy = {"text": "No one .", "_task_hash": 1, "answer": "accept"}
    assert read(write(tmp_path / "b.jsonl", prodigy)) == [(["No", "one", "."], ["O", "O", "O"])]


def test_words_and_tags_beside_spans_are_read_as_before(tmp_path: Path) -> None:
    row = {"text": TEXT, "entities": OBJECTS, "tokens": READ[0], "ner_tags": ["O"] * 5}
    assert read(write(tmp_path / "a.jsonl", row)) == [(READ[0], ["O"] * 5)]
    assert read(tmp_path / "a.jsonl", label_column="entities", text_column="text") == [READ]


def test_what_was_not_accepted_is_left_out_and_counted(tmp_path: Path) -> None:
    row = dict(FORMS["Prodigy"][1])
    path = write(tmp_path / "a.jsonl", row, {**row, "answer": "reject"}, {**row, "answer": "ignore"})
    (sentence,) = read_file(path)
    kind = "texts that were not accepted, left out"
    assert [(repair.kind, repair.line) for repair in sentence.repairs] == [(kind, 2), (kind, 3)]
    with pytest.raises(UserError, match="no text is left"):
        read(write(tmp_path / "b.jsonl", {**row, "answer": "reject"}))


def test_of_label_studios_annotations_one_that_counts_is_read(tmp_path: Path) -> None:
    none, cancelled = {"result": []}, {"result": [], "was_cancelled": True}
    task: dict[str, Any] = {"data": {"text": TEXT}}
    rows = [
        {**task, "annotations": [cancelled, {"result": RESULTS}]},
        {**task, "annotations": [none, {"result": RESULTS, "ground_truth": True}]},
        {**task, "annotations": []},
    ]
    first, second = read_file(write(tmp_path / "a.json", *rows))
    assert first.tags == READ[1] and first.repairs == () and second.tags == READ[1]
    assert [repair.kind for repair in second.repairs] == [
        "tasks with several annotations, of which one is read",
        "tasks without an annotation, left out",
    ]


def test_tasks_that_a_model_alone_has_marked_are_left_out(tmp_path: Path) -> None:
    predicted = {"data": {"text": TEXT}, "predictions": [{"result": RESULTS}]}
    with pytest.raises(UserError, match="no text is left: tasks without an annotation, left out: 1; annotate them"):
        read(write(tmp_path / "a.json", predicted))
    task = {"data": {"text": TEXT}, "annotations": [{"result": RESULTS}]}
    (sentence,) = read_file(write(tmp_path / "b.json", predicted, task), Choice(on_bad_spans="error"))
    assert sentence.tags == READ[1] and len(sentence.repairs) == 1  # no span was bad


def test_of_a_tasks_texts_that_which_its_spans_are_of_is_read(tmp_path: Path) -> None:
    task = {"data": {"text": "A title of a text .", "body": TEXT}, "annotations": [{"result": RESULTS}]}
    assert read(write(tmp_path / "a.json", task)) == [READ]
    unmarked = {"data": {"title": "x", "body": TEXT}, "annotations": [{"result": []}]}
    path = write(tmp_path / "b.json", unmarked)
    with pytest.raises(UserError, match=r"b.json:1: it is unclear which of \['title', 'body'\] holds the text"):
        read(path)
    assert read(path, text_column="body") == [(READ[0], ["O"] * 5)]


def test_regions_without_a_label_are_left_out_and_counted(tmp_path: Path) -> None:
    bare = {"value": {"start": 0, "end": 9, "text": "Ada Brann"}, "type": "labels"}
    relation = {"from_id": "a", "to_id": "b", "type": "relation"}
    task = {"data": {"text": TEXT}, "annotations": [{"result": [bare, relation, RESULTS[1]]}]}
    (sentence,) = read_file(write(tmp_path / "a.json", task))
    assert sentence.tags == ["O", "O", "O", "B-LOC", "O"]
    assert [repair.kind for repair in sentence.repairs] == ["regions without a label, left out"]


def test_label_studios_line_ends_in_covered_texts_are_line_ends(tmp_path: Path) -> None:
    for text, said in (("New\nYork", "New\\nYork"), ("C:\\new", "C:\\new")):
        value = {"start": 0, "end": len(text), "text": said, "labels": ["X"]}
        task = {"data": {"text": text}, "annotations": [{"result": [{"value": value}]}]}
        (first,) = read_annotated(write(tmp_path / "a.json", task))
        assert first.spans == (Span(0, len(text), "X"),)


def test_what_leaves_out_empty_lists_is_read_without_them(tmp_path: Path) -> None:
    row: dict[str, Any] = {"body": TEXT, "annotation_id": 1, "lead_time": 1.5}
    path = write(tmp_path / "a.json", {**row, "label": [one["value"] for one in RESULTS]}, row)
    assert read(path) == [READ, (READ[0], ["O"] * 5)]


def test_training_examples_under_annotations_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"classes": ["PER", "LOC"], "annotations": [FORMS["spaCy"][1]]}))
    assert read(path) == [READ]


def test_a_span_that_cuts_a_surrogate_pair_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "😀 Oslo", "label": [[1, 7, "LOC"]]})
    with pytest.raises(
        UserError, match=r"a.jsonl:1: span 1 to 7 of type 'LOC' cuts the character at 1, .*'😀', in half"
    ):
        read(path, span_offsets="utf16")
    path = write(tmp_path / "b.jsonl", {"text": "😀 Oslo", "label": [[0, 3, "X"], [3, 7, "LOC"]]})
    assert read(path, span_offsets="utf16")[0][1] == ["B-X", "B-LOC"]


def test_a_span_of_two_types_is_of_the_first_or_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "Oslo", "label": [{"start": 0, "end": 4, "labels": ["LOC", "ORG"]}]})
    (sentence,) = read_file(path)
    assert sentence.tags == ["B-LOC"]
    assert [repair.kind for repair in sentence.repairs] == ["spans of several types, read as of the first"]
    with pytest.raises(UserError, match=r"a.jsonl:1: spans of several types"):
        read(path, on_bad_spans="error")


def test_offsets_in_utf16_are_read_on_request_and_told_otherwise(tmp_path: Path) -> None:
    row = {"text": "😀 Oslo", "label": [{"start": 3, "end": 7, "text": "Oslo", "labels": ["LOC"]}]}
    path = write(tmp_path / "a.jsonl", row)
    assert read(path, span_offsets="utf16") == [(["😀", "Oslo"], ["O", "B-LOC"])]
    with pytest.raises(UserError, match=r"a.jsonl:1: 3 to 7 .*count UTF-16 units; set data.span_offsets=utf16"):
        read(path)


def test_documents_are_those_of_the_rows(tmp_path: Path) -> None:
    rows = [{"text": TEXT, "label": [], "doc_id": doc} for doc in (7, 7, 8)]
    assert [sentence.document for sentence in read_file(write(tmp_path / "a.jsonl", *rows))] == [0, 0, 1]


def test_numbers_of_types_take_their_names(tmp_path: Path) -> None:
    row = {"text": TEXT, "annotations": [{"label": 1, "start_offset": 0, "end_offset": 9, "user": 1}]}
    path = write(tmp_path / "a.jsonl", row)
    assert read(path, label_names=("LOC", "PER")) == [(READ[0], ["B-PER", "I-PER", "O", "O", "O"])]
    assert read(path) == [(READ[0], ["B-1", "I-1", "O", "O", "O"])]


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        (
            {"text": "x", "spans": OBJECTS},
            "a.jsonl: rows that have spans under several keys, .*'label', 'spans'.*data.label_column_name",
        ),
        ({"tokens": ["x"], "ner_tags": ["O"]}, "a.jsonl:1: column 'tokens' is missing"),
        ({"text": "x", "label": [[0, 1]]}, "a.jsonl:2: span 1, .*has no start, end and type"),
        ({"text": "x", "label": [[0, 5, "PER"]]}, "a.jsonl:2: span 0 to 5 of type 'PER' leaves its text"),
        ({"text": "x", "label": [[1, 0, "PER"]]}, "a.jsonl:2: .*ends before it begins"),
        ({"text": "x", "label": "PER"}, "a.jsonl:2: 'PER' of 'label' is no list of spans"),
        ({"text": "x" * (10 << 20), "label": []}, "a.jsonl:2: a text of 10,485,760 characters"),
        ({"text": "x", "label": [{"start": 0, "end": 1, "text": "y", "label": "X"}]}, "a.jsonl:2: 0 to 1 is 'x' in"),
    ],
)
def test_a_row_of_another_form_is_refused(tmp_path: Path, second: Any, problem: str) -> None:
    path = write(tmp_path / "a.jsonl", FORMS["doccano, lists"][1], second)
    with pytest.raises(UserError, match=problem):
        read(path)


def test_what_no_span_of_words_can_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a.jsonl:1: span 1, \[0, 5, 'PER'\], is not from a first word to a last one"):
        read(write(tmp_path / "a.jsonl", {"tokenized_text": ["a"], "ner": [[0, 5, "PER"]]}))
    hypertext = [{"value": {"start": "/p[1]", "end": "/p[1]", "labels": ["X"]}}]
    with pytest.raises(UserError, match=r"b.json:1: a region labelled \['X'\] counts no characters"):
        read(write(tmp_path / "b.json", {"data": {"text": "x"}, "annotations": [{"result": hypertext}]}))


odd = st.sampled_from(["\r\n", "e\u0301", "😀", "👩\u200d🚀", "שלום", "\u202eabc", "\u2028", "𐀀"])
texts = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | odd, min_size=1, max_size=6).map(
    "".join
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(text=texts, data=st.data())
def test_text_spans_and_types_come_back_whatever_they_are(tmp_path: Path, text: str, data: st.DataObject) -> None:
    pairs = data.draw(st.lists(st.tuples(st.integers(0, len(text)), st.integers(0, len(text))), max_size=4))
    spans = [(min(pair), max(pair), data.draw(st.sampled_from(["PER", "a-b", "Ж"]))) for pair in pairs]
    path = write(tmp_path / "a.jsonl", {"text": text, "label": spans}, {"text": "x", "label": [[0, 1, "X"]]})
    first, _ = read_annotated(path)
    assert (first.text, first.spans) == (text, tuple(Span(*span) for span in spans))
    units = [(len(text[:s].encode("utf-16-le")) // 2, len(text[:e].encode("utf-16-le")) // 2, t) for s, e, t in spans]
    path = write(tmp_path / "b.jsonl", {"text": text, "label": units}, {"text": "x", "label": [[0, 1, "X"]]})
    first, _ = read_annotated(path, Choice(span_offsets="utf16"))
    assert first.spans == tuple(Span(*span) for span in spans)


@pytest.mark.parametrize(
    "cell",
    [OBJECTS, {name: [one[name] for one in OBJECTS] for name in OBJECTS[0]}],
    ids=["a list of objects", "an object of lists"],
)
@pytest.mark.parametrize("key", ["entities", "mentions"])
def test_columns_with_spans_are_read(tmp_path: Path, key: str, cell: Any) -> None:
    row = {"id": 1, "text": TEXT, key: cell}
    for name in ("a.parquet", "a.arrow"):
        path = write_columns(tmp_path / name, row, row)
        assert describe(path).by_spans and read(path) == [READ, READ]


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize(("name", "row"), IN_COLUMNS.values(), ids=IN_COLUMNS)
def test_every_form_that_columns_can_hold_is_read_from_them(tmp_path: Path, name: str, row: Any, suffix: str) -> None:
    path = write_columns(tmp_path / f"a{suffix}", row, row)
    assert_both_are_read(path, name)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_what_was_not_accepted_is_left_out_of_columns_too(tmp_path: Path, suffix: str) -> None:
    row = {"text": TEXT, "spans": OBJECTS}
    accepted, rejected = {**row, "answer": "accept"}, {**row, "answer": "reject"}
    path = write_columns(tmp_path / f"a{suffix}", accepted, rejected, {**row, "answer": "ignore"}, accepted)
    first, second = read_file(path)
    kind = "texts that were not accepted, left out"
    assert [(repair.kind, repair.line) for repair in second.repairs] == [(kind, 2), (kind, 3)]
    assert (first.tags, second.tags, second.line) == (READ[1], READ[1], 4)
    printed = [{**one, "spans": json.dumps(OBJECTS)} for one in (accepted, rejected)]
    assert read(write_columns(tmp_path / f"b{suffix}", *printed), label_column="spans") == [READ]


def test_null_in_a_column_is_a_key_that_a_row_leaves_out(tmp_path: Path) -> None:
    accepted = {"text": TEXT, "_task_hash": 1, "spans": OBJECTS, "answer": "accept"}
    without_spans = {"text": TEXT, "_task_hash": 2, "answer": "accept"}
    without_answer = {"text": TEXT, "_task_hash": 3, "spans": OBJECTS}
    rows = (accepted, without_spans, without_answer)
    path = write_columns(tmp_path / "a.parquet", *rows)
    assert read(path) == read(write(tmp_path / "a.jsonl", *rows)) == [READ, (READ[0], ["O"] * 5), READ]
    row: dict[str, Any] = {"body": TEXT, "annotation_id": 1, "lead_time": 1.5}
    path = write_columns(tmp_path / "b.parquet", {**row, "label": [one["value"] for one in RESULTS]}, row)
    assert read(path) == [READ, (READ[0], ["O"] * 5)]
    _, second = read_file(write_columns(tmp_path / "c.parquet", accepted, {"text": "Never annotated ."}, accepted))
    assert [(repair.kind, repair.line) for repair in second.repairs] == [("texts whose spans are null, left out", 2)]
    choices = {"value": {"choices": ["news"]}, "from_name": "kind", "to_name": "text", "type": "choices"}
    task = {"data": {"text": TEXT}, "annotations": [{"result": [*RESULTS, choices]}]}
    (sentence,) = read_file(write_columns(tmp_path / "d.parquet", task))
    assert sentence.tags == READ[1] and sentence.repairs == ()


def test_columns_that_leave_open_which_has_the_text_are_refused(tmp_path: Path) -> None:
    path = write_columns(tmp_path / "a.parquet", {"title": "A title of a text .", "body": TEXT, "spans": OBJECTS})
    names = r"\['title', 'body', 'spans'\]"
    with pytest.raises(UserError, match=f"a.parquet:1: no column for data.text_column_name among {names}"):
        read(path)
    with pytest.raises(UserError, match=f"a.parquet:1: no column 'other' for data.text_column_name among {names}"):
        read(path, text_column="other")
    assert read(path, text_column="body") == [READ]
    tasks = [
        {"data": {"title": "x", "body": TEXT, "part": part}, "annotations": [{"result": RESULTS}]} for part in (7, 8)
    ]
    read_tasks = read_file(
        write_columns(tmp_path / "b.parquet", *tasks), Choice(text_column="body", document_column="part")
    )
    assert [(sentence.tags, sentence.document) for sentence in read_tasks] == [(READ[1], 0), (READ[1], 1)]


def test_a_data_set_with_spans_is_read(tmp_path: Path) -> None:
    rows = datasets.Dataset.from_list([{"text": TEXT, "entities": OBJECTS}, {"text": "No one .", "entities": []}])
    empty = datasets.Dataset.from_list([{"text": "No one .", "entities": []}], features=rows.features)
    datasets.DatasetDict({"train": rows, "validation": empty}).save_to_disk(tmp_path / "set")
    train, validation = dataset_sources(DataSettings(dataset_name=str(tmp_path / "set")), "ner")
    assert [(s.words, s.tags) for _, s in train.sentences()] == [READ, (["No", "one", "."], ["O", "O", "O"])]
    assert [(s.words, s.tags) for _, s in validation.sentences()] == [(["No", "one", "."], ["O", "O", "O"])]


def test_what_stands_beside_spans_may_be_anything(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.jsonl", {"text": TEXT, "spans": OBJECTS, "label": 1})) == [READ]
    assert read(write(tmp_path / "b.jsonl", {"text": TEXT, "mentions": OBJECTS, "entities": 2})) == [READ]
    region = {"start": 0, "end": 3, "text": ["a\\nb"], "labels": ["PER"]}
    task = {"data": {"text": TEXT}, "annotations": [{"result": [{"value": region}]}]}
    assert read(write(tmp_path / "c.json", task)) == [(READ[0], ["B-PER", "O", "O", "O", "O"])]


def test_spans_of_words_follow_the_same_rules(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", {"tokenized_text": ["a", "b"], "ner": [[0, 0, ["X", "Y"]], [1, 1, 1]]})
    (sentence,) = read_file(path, Choice(label_names=("O", "Z")))
    assert sentence.tags == ["B-X", "B-Z"]
    assert [repair.kind for repair in sentence.repairs] == ["spans of several types, read as of the first"]
    with pytest.raises(UserError, match=r"spans of several types"):
        read(path, on_bad_spans="error")


def test_a_document_of_label_studio_is_that_of_its_tasks(tmp_path: Path) -> None:
    tasks = [{"data": {"text": TEXT, "doc_id": doc}, "annotations": [{"result": []}]} for doc in (7, 7, 8)]
    assert [sentence.document for sentence in read_file(write(tmp_path / "a.json", *tasks))] == [0, 0, 1]


def test_null_is_no_annotation(tmp_path: Path) -> None:
    row = FORMS["doccano, lists"][1]
    (sentence,) = read_file(write(tmp_path / "a.jsonl", {**row, "label": None}, row))
    (repair,) = sentence.repairs
    assert (repair.kind, repair.line, sentence.line) == ("texts whose spans are null, left out", 1, 2)
