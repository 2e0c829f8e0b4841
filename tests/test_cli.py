"""The command: its verbs answer at once, and what is missing is said in one message."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import determined_ner
from determined_ner import cli
from tests.conftest import ROOT

HEAVY = {"datasets", "determined", "matplotlib", "numpy", "pyarrow", "pydantic", "torch", "transformers"}
"""Libraries that take a good part of a second, or seconds, to import."""


def loaded_after(code: str, *arguments: str) -> tuple[str, set[str]]:
    """What a new process printed, and which libraries it had imported at its end."""
    code += "\nprint('LOADED', *{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}", *arguments], capture_output=True, text=True, check=True, cwd=ROOT
    )
    said, _, loaded = done.stdout.rpartition("LOADED ")
    return said, set(loaded.split())


HELP = """
from determined_ner import cli
try:
    cli.main([*sys.argv[1:], "--help"])
except SystemExit as error:
    assert error.code == 0
"""


@pytest.mark.parametrize("verb", ["", *cli.VERBS])
def test_help_waits_for_no_library(verb):
    said, loaded = loaded_after(HELP, *verb.split())
    assert f"usage: determined-ner {verb}".strip() in said
    assert not loaded & HEAVY


def test_importing_the_package_costs_nothing():
    _, loaded = loaded_after("from determined_ner import __version__, UserError")
    assert not loaded & HEAVY


def test_the_measure_sees_a_heavy_library():
    _, loaded = loaded_after("import numpy")
    assert loaded & HEAVY == {"numpy"}


def test_setup_ort_needs_no_library_of_ours():
    """It runs in a container before anything else is sure to be installed."""
    _, loaded = loaded_after("from determined_ner import cli\nimport determined_ner.model.ort")
    assert not loaded & HEAVY


def test_the_verbs_are_listed_with_what_they_do(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert [line.split()[0] for line in said.splitlines() if line.startswith("    ") and line[4] != " "] == [*cli.VERBS]


def test_the_version(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"{determined_ner.__version__}\n"


@pytest.mark.parametrize(
    ("argv", "said"),
    [([], "required: VERB"), (["trayn"], "invalid choice: 'trayn'"), (["export", "runs/a"], "required: --output")],
)
def test_a_mistyped_command_is_refused(capsys, argv, said):
    with pytest.raises(SystemExit) as ended:
        cli.main(argv)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


URL = "https://me:hunter2@host/x;sig=hunter2?token=hunter2"


@pytest.mark.parametrize(
    ("argv", "argument"),
    [
        (["predict", URL, "text.txt"], "MODEL_DIR"),
        (["predict", "model", URL], "INPUT"),
        (["predict", "model", "text.txt", "--output", URL], "--output"),
        (["convert", URL, "out.jsonl"], "IN"),
        (["convert", "in.conll", URL], "OUT"),
        (["report", URL], "RUN_OR_MODEL"),
        (["report", "model", "--data", URL], "--data"),
        (["report", "model", "--compare", URL], "--compare"),
        (["export", "model", "--output", "x", "--data", URL], "--data"),
        (["train", URL], "CONFIG"),
        (["train", "--output-dir", URL], "--output-dir"),
        (["check", URL], "CONFIG"),
    ],
)
def test_a_url_where_a_file_is_read_is_refused_without_its_secrets(capsys, argv, argument):
    with pytest.raises(SystemExit) as ended:
        cli.main(argv)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and f": argument {argument}: 'https://host/x;…?…' is a URL" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    "argv", [["train", "c.yaml", URL], ["predict", "m", "i", URL], ["train", f"--conf={URL}", f"--x={URL}"]]
)
def test_a_command_line_that_is_refused_shows_no_secret(capsys, argv):
    with pytest.raises(SystemExit) as ended:
        cli.main(argv)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "error: " in said and "hunter2" not in said


def test_an_option_of_another_verb_is_refused_with_the_nearest(capsys):
    with pytest.raises(SystemExit):
        cli.main(["predict", "model", "text.txt", "--text_column", "x"])
    assert "unrecognized arguments: --text_column; did you mean --text-column?" in capsys.readouterr().err


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_its_function(verb):
    assert callable(getattr(import_module(cli.VERBS[verb].module), cli.VERBS[verb].function))


def test_a_mistake_is_one_message_and_status_2(capsys, tmp_path):
    assert cli.main(["predict", str(tmp_path), str(tmp_path / "nowhere")]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and "nowhere" in captured.err and "Traceback" not in captured.err


def test_train_is_the_trial_s_own_command(capsys, tmp_path):
    """Its status is the command's."""
    assert cli.main(["train", str(tmp_path / "nowhere.yaml")]) == 2
    assert "nowhere.yaml: no such config file" in capsys.readouterr().err


def test_a_library_that_is_not_installed_is_named_with_its_extra():
    code = """
sys.modules["pyarrow"] = None  # as where they are not installed
from determined_ner import cli
assert cli.main(["report", "runs/a"]) == 2
"""
    done = subprocess.run([sys.executable, "-c", f"import sys\n{code}"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    expected = "error: determined-ner report: pyarrow is not installed; pip install 'determined-ner[report]'\n"
    assert done.stderr == expected


def test_python_m_is_the_same_command(tmp_path):
    command = [sys.executable, "-m", "determined_ner", "predict", str(tmp_path), "missing.txt"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and done.stderr.startswith("error: "), done.stderr
