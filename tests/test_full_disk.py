"""A disk that is full at any moment ends a command in one message, with nothing half there; then it can be done again.

Here a process may write no file of more than so many bytes, which stops Python, C and Rust alike.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from determined_ner.errors import exit_status
from determined_ner.files.atomic import atomic_directory
from tests.conftest import assert_equal_states, final_state, make_sentences, write_config, write_conll
from tests.forked import content, forked, litter
from tests.test_killed import command, scores, train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """A run whose disk had room."""
    folder = tmp_path_factory.mktemp("full")
    sentences = {"train": make_sentences(24), "validation": make_sentences(9, 100)}
    corpus = {split: write_conll(folder / f"{split}.conll", of) for split, of in sentences.items()}
    config = write_config(folder / "c.json", tiny_encoder, corpus, num_train_epochs=2, learning_rate=0.02)
    assert train(config, folder / "run")() == 0
    return folder / "run"


def refused(action, largest_file: int, log: Path) -> str:
    """The one message of a command that could not write all."""
    status, _ = forked(action, largest_file=largest_file, log=log)
    told = log.read_text()
    assert status == 2 and told.count("error: ") == 1 and "Traceback" not in told, told
    message = told[told.index("error: ") :]
    assert any(words in message for words in ("File too large", "No space left", "the disk is full, or lost"))
    assert "; " in message, "no remedy"
    return message


def largest(folder: Path, name: str) -> int:
    return max(path.stat().st_size for path in folder.rglob(name))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "checkpoints.py", "state_dict.pth", "*.png"])
def test_a_run_ends_with_a_message_and_goes_on_when_there_is_room(run, tmp_path, name):
    folder = tmp_path / "run"
    action = train(run.parent / "c.json", folder)
    room = largest(run, name) if name != "config.json" else 600
    if name in ("state_dict.pth", "*.png"):  # whose size varies a little from run to run
        room -= 1000
    message = refused(action, room - 1, tmp_path / "log")
    assert str(folder) in message
    assert folder.exists() == (name not in ("config.json", "tokenizer.json")), "a run that could not start"
    assert not litter(tmp_path)
    for checkpoint in folder.glob("checkpoints/*"):
        assert set(content(checkpoint)) == set(content(next((run / "checkpoints").iterdir())))
    assert forked(action)[0] == 0
    assert_equal_states(final_state(folder)["models_state_dict"], final_state(run)["models_state_dict"])
    assert scores(folder) == scores(run) and content(folder / "model") == content(run / "model")


def save_tensors(path: Path) -> None:
    save_file({"a": torch.zeros(10_000)}, path / "a")


def save_archive(path: Path) -> None:
    torch.save(torch.zeros(10_000), path / "a")


def save_tokenizer(path: Path) -> None:
    Tokenizer(WordLevel({str(i): i for i in range(2_000)}, "0")).save(str(path / "a"))


@pytest.mark.parametrize("write", [save_tensors, save_archive, save_tokenizer])
def test_whatever_writes_the_message_is_the_same(tmp_path, write):
    def action() -> int:
        def command() -> None:
            with atomic_directory(tmp_path / "out", lambda _: None) as partial:
                write(partial)

        return exit_status(command, interrupted="", unwritable="")

    message = refused(action, 10_000, tmp_path / "log")
    assert message.startswith(f"error: --output {tmp_path / 'out'}: cannot be written: ")
    assert message.endswith("; make room or rights\n") and "/new/" not in message
    assert {path.name for path in tmp_path.iterdir()} == {"log"}


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors"])
def test_an_export_ends_with_a_message_and_nothing_is_left(run, tmp_path, name):
    output = tmp_path / "new" / "out"
    (log := tmp_path / "log").touch()
    message = refused(command("export", run, "--output", output), largest(run / "model", name) - 1, log)
    assert f"--output {output}: cannot be written" in message
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_report_ends_with_a_message_and_the_earlier_one_stays(run, tmp_path):
    output, log = tmp_path / "out", tmp_path / "log"
    action = command("report", run, "--output", output)
    assert forked(action)[0] == 0
    before = content(output)
    room = largest(output, "*.html") - 1000  # (times and speeds in it make its size vary a little)
    assert f"--output {output}: cannot be written" in refused(action, room, log)
    assert content(output) == before and {path.name for path in tmp_path.iterdir()} == {"out", "log"}


def test_a_prediction_ends_with_a_message_and_nothing_is_left(run, tmp_path):
    (text := tmp_path / "text").write_text("Ada went to Oslo .\n" * 500)
    action = command("predict", run / "model", text, "--format", "text", "--output", tmp_path / "out")
    assert f"{tmp_path / 'out'}: cannot be written" in refused(action, 10_000, tmp_path / "log")
    assert {path.name for path in tmp_path.iterdir()} == {"text", "log"}
