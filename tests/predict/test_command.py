"""The command: texts are written with their tags, in order, atomically; or it is refused in one message."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from determined_ner import cli
from determined_ner.tagging.tagger import BUFFER_WORDS, Tagger
from tests.conftest import NAMES, PLACES, ROOT
from tests.forked import Copy
from tests.own_code import OwnCode


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "determined_ner", "predict", *map(str, arguments)]


TEXT = f"{NAMES[0]} {NAMES[1]} went to {PLACES[0]}."


def test_standard_input_and_packed_files_are_read(tag, model_dir, monkeypatch, capsys):
    status, out, _ = tag(gzip.compress(TEXT.encode()), name="input.txt.gz")
    assert status == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    assert cli.main(["predict", str(model_dir), "-"]) == 0
    assert capsys.readouterr().out == out
    assert tag("")[:2] == (0, "")


def test_the_order_of_the_input_survives_many_buffers(tag, model_dir):
    lines = [" ".join([NAMES[i % 6]] * (1 + i * 7 % 23)) + f" {i}" for i in range(3000)]
    assert sum(len(line.split()) for line in lines) > BUFFER_WORDS
    rows = [json.loads(row) for row in tag("\n".join(lines))[1].splitlines()]
    assert [row["text"] for row in rows] == lines

    def places(entities: list[dict]) -> list[tuple[str, int, int]]:
        return [(e["type"], e["start"], e["end"]) for e in entities]

    some = slice(None, None, 100)
    expected = Tagger.from_pretrained(model_dir)(lines[some])
    assert [places(row["predicted_entities"]) for row in rows[some]] == [places(map(asdict, e)) for e in expected]


def test_unconstrained_tags_are_a_choice(tag, model_dir):
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


def test_a_mistake_after_a_buffer_was_written_leaves_nothing(tag, tmp_path):
    long = "a " * (BUFFER_WORDS + 1)
    status, _, err = tag(f"{long}\n{TEXT}\n".encode() + b"caf\xe9\n", "--output", tmp_path / "out.jsonl")
    assert status == 2 and "input.txt:3" in err and "0xe9" in err
    assert leftovers(tmp_path) == []


def test_another_writer_is_not_disturbed(tag, tmp_path):
    from determined_ner.files.atomic import atomic_file

    with atomic_file(tmp_path / "out.jsonl", overwrite=False) as file:
        file.write("first\n")
        status, _, err = tag(TEXT, "--output", tmp_path / "out.jsonl")
        assert status == 2 and "another process" in err
    assert (tmp_path / "out.jsonl").read_text() == "first\n"


def test_an_output_that_appears_meanwhile_is_kept(tmp_path):
    from determined_ner.errors import UserError
    from determined_ner.files.atomic import atomic_file

    output = tmp_path / "out.jsonl"
    with pytest.raises(UserError, match="exists"), atomic_file(output, overwrite=False) as file:
        file.write("ours\n")
        output.write_text("theirs\n")
    assert output.read_text() == "theirs\n"


def test_killed_and_run_again_no_line_is_missing_or_twice(model_dir, tmp_path):
    """Killed without a chance to clean up, after some of the output stood on the disk."""
    lines = [f"{NAMES[i % 6]} {NAMES[i % 5]} went to {PLACES[i % 4]} {i}" for i in range(8_000)]
    (tmp_path / "many.txt").write_text("\n".join(lines) + "\n")
    output = tmp_path / "out.jsonl"

    def half_written() -> bool:
        return any(file.stat().st_size for file in tmp_path.glob(".out.jsonl.partial-*/new"))

    arguments = ["predict", str(model_dir), str(tmp_path / "many.txt"), "--output", str(output)]
    copy = Copy(lambda: cli.main(arguments), tmp_path / "log.txt")
    copy.wait_until(half_written)
    copy.kill()
    assert copy.poll() == -signal.SIGKILL and half_written() and not output.exists()
    assert cli.main(arguments) == 0
    found = [json.loads(line)["text"] for line in output.read_text().splitlines()]
    assert found == lines and list(tmp_path.glob(".*")) == []


# -- Refusals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["MODEL", "nothing.txt"], "nothing.txt: no such file"),
        (["MODEL", "."], "is a directory"),
        (["nothing", "TEXT"], "nothing: no such directory"),
        (["ENCODER", "TEXT"], "which is no token classifier"),
        (["MODEL", "TEXT", "--backend", "onnx"], "--onnx"),
        (["MODEL", "TEXT", "--device", "cuda:99"], "--device: device 'cuda:99' is not here; there is cpu"),
        (["MODEL", "TEXT", "--onnx-file", "model_quantized.onnx"], "--backend onnx"),
    ],
)
def test_bad_arguments_are_refused(arguments, expected, model_dir, tiny_encoder, tmp_path, capsys):
    (tmp_path / "a.txt").write_text(TEXT)
    real = {"MODEL": str(model_dir), "ENCODER": str(tiny_encoder), "TEXT": str(tmp_path / "a.txt")}
    assert cli.main(["predict", *(real.get(argument, argument) for argument in arguments)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and expected in err and err.count("\n") == 1


def test_what_computes_is_told(model_dir, tmp_path, capsys):
    (tmp_path / "a.txt").write_text(TEXT)
    assert cli.main(["predict", str(model_dir), str(tmp_path / "a.txt"), "--device", "cpu"]) == 0
    assert "; PyTorch on cpu\n" in capsys.readouterr().err


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
        "import sys\n"
        "from determined_ner.cli import main\n"
        "try: main(['predict', '--help'])\n"
        "except SystemExit: pass\n"
        "assert main(['predict', 'm', 'nothing.txt']) == 2\n"
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


def test_code_of_a_model_runs_only_when_this_command_is_told_so(model_dir, tmp_path, monkeypatch, capsys):
    own = OwnCode(model_dir, tmp_path, monkeypatch)
    (tmp_path / "a.txt").write_text(TEXT)
    arguments = ["predict", str(own.path), str(tmp_path / "a.txt")]
    assert cli.main(arguments) == 2
    refused = capsys.readouterr()
    assert refused.out == "" and refused.err.startswith(f"error: {own.path}") and refused.err.count("\n") == 1
    assert "--trust-remote-code" in refused.err and own.stdin.tell() == 0 and not own.has_run
    assert cli.main([*arguments, "--trust-remote-code"]) == 0
    assert [e["text"] for e in json.loads(capsys.readouterr().out)["predicted_entities"]] == ["Ada Bo", "Oslo"]
    assert own.has_run
