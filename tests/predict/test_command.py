"""The command: what is read is written with tags, in order, whole or not at all, or refused in one message."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from determined_ner.data.readers.conll_columns import find_columns
from determined_ner.predict.command import main
from determined_ner.tagging.tagger import Tagger
from tests.conftest import NAMES, PLACES, ROOT, make_sentences, write_config, write_conll


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory, tiny_encoder) -> Path:
    import ner_trial

    folder = tmp_path_factory.mktemp("run")
    corpus = {
        "train": write_conll(folder / "train.conll", make_sentences(60)),
        "validation": write_conll(folder / "validation.conll", make_sentences(13, 100)),
    }
    config = write_config(folder / "c.json", tiny_encoder, corpus, num_train_epochs=8, learning_rate=0.02)
    assert ner_trial.main([str(config), "--output-dir", str(folder / "run")]) == 0
    return folder / "run" / "model"


@pytest.fixture
def tag(model_dir, tmp_path, capsys):
    """Write the input to a file, run the command in this process; exit status, output and messages."""

    def run(content: str | bytes, *options: object, name: str = "input.txt") -> tuple[int, str, str]:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        status = main([str(model_dir), str(path), *map(str, options)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(ROOT / "py"), *map(str, arguments)]


TEXT = f"{NAMES[0]} {NAMES[1]} went to {PLACES[0]}."


def test_plain_text_becomes_entities_with_their_places(tag):
    status, out, err = tag(f"{TEXT}\n\n \t\n{TEXT}\r\n{'x' * 1_000_000}")
    rows = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and len(rows) == 5
    assert [row["text"] for row in rows] == [TEXT, "", " \t", TEXT, "x" * 1_000_000]
    first = rows[0]["predicted_entities"]
    assert [(e["type"], e["start"], e["end"]) for e in first] == [("PER", 0, 6), ("LOC", 15, 19)]
    assert [TEXT[e["start"] : e["end"]] for e in first] == [e["text"] for e in first]
    assert rows[1]["predicted_entities"] == rows[2]["predicted_entities"] == []
    assert rows[3]["predicted_entities"] == first
    assert "read as text" in err and "5 texts" in err and "words/s" in err


def test_columns_keep_every_line_and_gain_one(tag):
    head = ["-DOCSTART- -X- O", "", "# a comment of three"]
    data = [f"{NAMES[0]} NN O", "went VB O", "", "# text = x", "to NN O", f"{PLACES[0]} NN B-LOC", ""]
    status, out, _ = tag("\n".join(head + data) + "\n", name="input.conll")
    assert status == 0
    assert out.splitlines() == [
        *head,
        f"{NAMES[0]} NN O B-PER",
        "went VB O O",
        "",
        "# text = x",
        "to NN O O",
        f"{PLACES[0]} NN B-LOC B-LOC",
        "",
    ]


def test_columns_with_a_header_and_multiword_tokens_stay_columns(tag, tmp_path):
    """What is written can be read again: every row has as many columns."""
    from determined_ner.data.readers.open import read_file

    lines = "# newdoc id = 1\n1\tAda\tB-PER\n2-3\tdu\t_\n2\tde\tO\n3\tle\tO\n\n1\tOslo\tO\n"
    status, out, _ = tag(lines, name="input.iob2")
    (tmp_path / "again.iob2").write_text(out)
    assert status == 0 and "2-3\tdu\t_\t_" in out
    assert [s.words for s in read_file(tmp_path / "again.iob2", label_column="-1")] == [["Ada", "de", "le"], ["Oslo"]]
    status, out, _ = tag("word\ttag\nAda\tO\n\nOslo\tO\n", name="input.tsv")
    assert status == 0 and out.splitlines()[:2] == ["word\ttag\tpredicted_tags", "Ada\tO\tB-PER"]


def test_words_without_tags_are_read(tag):
    status, out, _ = tag("Ada\nwent\n\nto\nOslo\n", name="input.conll")
    assert (status, out) == (0, "Ada B-PER\nwent O\n\nto O\nOslo B-LOC\n")


def test_json_lines_keep_their_keys(tag):
    rows = [
        {"id": 1, "tokens": ["Ada", "went"], "ner_tags": ["O", "O"]},
        {"id": 2, "tokens": []},
        {"id": 3, "tokens": TEXT},
    ]
    status, out, _ = tag("\n".join(map(json.dumps, rows)), name="input.jsonl")
    found = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert found[0] == {**rows[0], "predicted_tags": ["B-PER", "O"]}
    assert found[1] == {**rows[1], "predicted_tags": []}
    assert [e["text"] for e in found[2]["predicted_entities"]] == ["Ada Bo", "Oslo"]
    status, out, _ = tag('{"body": "Ada"}', "--text-column", "body", name="input.jsonl")
    assert json.loads(out)["predicted_entities"][0]["type"] == "PER"


def test_documents_are_told_as_training_tells_them():
    from determined_ner.data.readers.sentences import Choice
    from determined_ner.predict.inputs import read_columns, read_json_lines

    rows = [{"text": "a", "doc_id": 1}, {"text": "b", "doc_id": 1}, {"text": "c", "doc_id": 2}]
    lines = [(i, json.dumps(row)) for i, row in enumerate(rows, 1)]
    assert [item.document for item in read_json_lines(iter(lines), None, Path("a"))] == [0, 0, 1]
    lines = [(i, json.dumps({"text": "a"})) for i in (1, 2)]
    assert [item.document for item in read_json_lines(iter(lines), None, Path("a"))] == [0, 1]
    text = "a O\n\nb O\n\n-DOCSTART- O\n\nc O\n# newdoc\nd O"
    head = list(enumerate(text.split("\n"), 1))
    columns = find_columns(head, Choice(need_tags=False), Path("a"))
    items = list(read_columns(iter(head), columns, Path("a")))
    assert [(item.document, item.words) for item in items] == [(0, ["a"]), (0, ["b"]), (1, ["c"]), (2, ["d"])]


def test_standard_input_and_packed_files_are_read(tag, model_dir, monkeypatch, capsys):
    status, out, _ = tag(gzip.compress(TEXT.encode()), name="input.txt.gz")
    assert status == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    assert main([str(model_dir), "-"]) == 0
    assert capsys.readouterr().out == out
    assert tag("")[:2] == (0, "")


def test_the_order_of_the_input_survives_many_buffers(tag, monkeypatch):
    lines = [" ".join([NAMES[i % 6]] * (1 + i * 7 % 23)) + f" {i}" for i in range(300)]
    whole = tag("\n".join(lines))[1]
    monkeypatch.setattr("determined_ner.tagging.tagger.BUFFER_WORDS", 64)
    parted = tag("\n".join(lines))[1]
    assert [json.loads(row)["text"] for row in parted.splitlines()] == lines

    def places(out: str) -> list[list[tuple[str, int, int]]]:
        found = [json.loads(row)["predicted_entities"] for row in out.splitlines()]
        return [[(e["type"], e["start"], e["end"]) for e in entities] for entities in found]

    assert places(parted) == places(whole)


def test_unconstrained_tags_are_a_choice(tag, model_dir):
    from determined_ner.tagging.tagger import Tagger

    words = ["Oslo", "went", "Bo", "to", "Ada", "x"] * 3
    row = json.dumps({"tokens": words})
    free = json.loads(tag(row, "--unconstrained", name="input.jsonl")[1])["predicted_tags"]
    assert free == Tagger.from_pretrained(model_dir, constrained=False).tag([words]).tags[0]


# -- Output ----------------------------------------------------------------------------------------------------


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if "input" not in path.name)


def test_an_output_that_exists_is_kept(tag, tmp_path):
    output = tmp_path / "out.jsonl"
    assert tag(TEXT, "--output", output)[:2] == (0, "")
    before = output.read_text()
    status, _, err = tag(f"{TEXT}\n{TEXT}", "--output", output)
    assert status == 2 and "exists" in err and "--overwrite" in err and output.read_text() == before
    assert tag(f"{TEXT}\n{TEXT}", "--output", output, "--overwrite")[0] == 0
    assert output.read_text() == before * 2
    assert leftovers(tmp_path) == ["out.jsonl"]


@pytest.mark.parametrize("where", ["nowhere/out.jsonl", ".", "/dev/null"])
def test_an_output_that_cannot_be_is_refused(tag, tmp_path, where):
    status, _, err = tag(TEXT, "--output", tmp_path / where, "--overwrite")
    assert status == 2 and err.startswith("error: ") and err.count("\n") == 1


def test_a_mistake_in_the_middle_leaves_nothing(tag, tmp_path, monkeypatch):
    monkeypatch.setattr("determined_ner.tagging.tagger.BUFFER_WORDS", 2)
    status, _, err = tag(f"{TEXT}\n{TEXT}\n".encode() + b"caf\xe9\n", "--output", tmp_path / "out.jsonl")
    assert status == 2 and "input.txt:3" in err and "0xe9" in err
    assert leftovers(tmp_path) == []


def test_another_writer_is_not_disturbed(tag, tmp_path):
    from determined_ner.files.atomic import atomic_file

    with atomic_file(tmp_path / "out.jsonl", overwrite=False) as file:
        file.write("first\n")
        status, _, err = tag(TEXT, "--output", tmp_path / "out.jsonl")
        assert status == 2 and "another process" in err
    assert (tmp_path / "out.jsonl").read_text() == "first\n"


def test_an_output_that_was_finished_while_the_lock_was_taken_is_kept(tmp_path, monkeypatch):
    import fcntl

    from determined_ner.errors import UserError
    from determined_ner.files.atomic import atomic_file

    output, partial = tmp_path / "out.jsonl", tmp_path / ".out.jsonl.partial"

    def finish_elsewhere(*_: object) -> None:
        partial.write_text("theirs\n")
        partial.rename(output)

    monkeypatch.setattr(fcntl, "flock", finish_elsewhere)
    with pytest.raises(UserError, match="another process"), atomic_file(output, overwrite=False):
        pass
    assert output.read_text() == "theirs\n"


def test_killed_and_run_again_no_line_is_missing_or_twice(model_dir, tmp_path):
    """Killed without a chance to clean up, after some of the output stood on the disk."""
    lines = [f"{NAMES[i % 6]} {NAMES[i % 5]} went to {PLACES[i % 4]} {i}" for i in range(8_000)]
    (tmp_path / "many.txt").write_text("\n".join(lines) + "\n")
    output, partial = tmp_path / "out.jsonl", tmp_path / ".out.jsonl.partial"
    words = command(model_dir, tmp_path / "many.txt", "--output", output)
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (partial.exists() and partial.stat().st_size):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL and partial.stat().st_size and not output.exists()
    assert main([str(model_dir), str(tmp_path / "many.txt"), "--output", str(output)]) == 0
    found = [json.loads(line)["text"] for line in output.read_text().splitlines()]
    assert found == lines and not partial.exists()


# -- What is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.txt", b"ok\n\xff\xfe\n", "a.txt:2: byte 0xff at offset 3"),
        ("a.conll", b"", "is empty"),
        ("a.conll", b"one two\nthree\n", "--text-column"),
        ("a.conll", b"Ada O\nwent\n", "a.conll:2: 1 column in"),
        ("a.jsonl", b'{"tokens": ["a"]}\nnot json\n', "a.jsonl:2: not JSON"),
        ("a.jsonl", b'{"other": "a"}\n', "a.jsonl:1: no text among the keys ['other']"),
        ("a.jsonl", b'{"text": 7}\n', "a.jsonl:1: 7 of 'text' is neither"),
        ("a.jsonl", b'{"tokens": ["a", 1]}\n', "is neither a string nor a list of strings"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', "half a character"),
        ("a.jsonl", b'{"text": "a", "id": "\\udc00"}\n', "half a character"),
        ("a.jsonl", b'{"text": "a", "predicted_entities": 1}\n', "has 'predicted_entities' already"),
        ("a.txt", b"-DOCSTART- O\n\nAda B-PER\nwent O\n", "a.txt:3: 'Ada B-PER' may be a word and its tag"),
        ("a.csv", b"a,b\n", "csv is not read here"),
        ("a.parquet", b"PAR1", "parquet is not read here"),
    ],
)
def test_bad_input_is_told_with_its_place(tag, name, content, told):
    status, out, err = tag(content, name=name)
    assert status == 2 and told in err and out == ""
    assert err.splitlines()[-1].startswith("error: ") and "data." not in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["MODEL", "nothing.txt"], "nothing.txt: no such file"),
        (["MODEL", "."], "is a directory"),
        (["nothing", "TEXT"], "nothing: no such directory"),
        (["ENCODER", "TEXT"], "which is no token classifier"),
        (["MODEL", "TEXT", "--backend", "onnx"], "ner_export.py --onnx"),
        (["MODEL", "TEXT", "--onnx-file", "model_quantized.onnx"], "--backend onnx"),
    ],
)
def test_bad_arguments_are_told(arguments, told, model_dir, tiny_encoder, tmp_path, capsys):
    (tmp_path / "a.txt").write_text(TEXT)
    real = {"MODEL": str(model_dir), "ENCODER": str(tiny_encoder), "TEXT": str(tmp_path / "a.txt")}
    assert main([real.get(argument, argument) for argument in arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and told in err and err.count("\n") == 1


def test_an_interrupted_command_leaves_nothing(tag, tmp_path, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Tagger, "tag", interrupt)
    status, _, err = tag(TEXT, "--output", tmp_path / "out.jsonl")
    assert status == 130 and "interrupted; no output is left" in err
    assert leftovers(tmp_path) == []


def test_help_does_not_wait_for_torch():
    """Nothing slow is imported before the arguments are read, nor for a mistyped path."""
    script = (
        "import sys, ner_predict\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert main(['m', 'nothing.txt']) == 2\n"
        "assert not {'torch', 'transformers', 'numpy', 'determined'} & set(sys.modules), sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_reader_that_has_had_enough_ends_it_quietly(model_dir, tmp_path):
    (tmp_path / "a.txt").write_text(f"{TEXT}\n" * 2000)
    line = f"{' '.join(command(model_dir, tmp_path / 'a.txt'))} 2>{tmp_path / 'err'} | head -1"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False, env=environment)
    assert json.loads(done.stdout)["text"] == TEXT
    assert "Traceback" not in (tmp_path / "err").read_text()
