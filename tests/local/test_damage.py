"""What a run reads back: a damaged or hostile checkpoint is one message that names it, and nothing of it runs."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import ner_trial
from determined_ner.errors import UserError
from determined_ner.files.checksums import CHECKSUMS_FILE
from determined_ner.model.directory import ModelDirectory
from determined_ner.training.trial_state import read_trial_state
from tests.conftest import make_sentences, write_config, write_conll
from tests.damage import flip_a_bit


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """A run of which the checkpoints of two epochs are kept, stopped before it wrote its model."""
    folder = tmp_path_factory.mktemp("trained")
    sizes = (("train", 44, 0), ("validation", 13, 100))
    corpus = {name: write_conll(folder / f"{name}.conll", make_sentences(n, offset)) for name, n, offset in sizes}
    config = write_config(folder / "experiment.yaml", tiny_encoder, corpus)
    arguments = [str(config), "--output-dir", str(folder / "run"), "--config", "checkpoint_policy=all"]
    assert ner_trial.main([*arguments, "--config", "checkpoint_storage.save_trial_latest=9"]) == 0
    shutil.rmtree(folder / "run" / "model")
    (folder / "run" / "summary.json").unlink()
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def resume(run: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def resumed(*overrides: str) -> str:
        options = [word for override in overrides for word in ("--config", override)]
        before = (run / "metrics.jsonl").read_bytes()
        capsys.readouterr()
        status = ner_trial.main(["--output-dir", str(run), "--resume", *options])
        message = capsys.readouterr().err
        assert status == 2 and message.count("error: ") == 1 and "Traceback" not in message, message
        assert "weights_only" not in message
        assert (run / "metrics.jsonl").read_bytes() == before and not (run / "model").exists()
        return message[message.index("error: ") :]

    return resumed


class Runs:
    """Code, for whoever unpickles it."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> Any:
        return Path.touch, (self.witness,)


NEWEST, OTHER = "step-00000012", "step-00000006"


@pytest.mark.parametrize("name", ["trial_state.pkl", "workload_sequencer.pkl", "state_dict.pth"])
@pytest.mark.parametrize("sums", [True, False])
def test_a_planted_pickle_is_refused_and_not_run(
    run: Path, resume: Callable[..., str], tmp_path: Path, name: str, sums: bool
) -> None:
    checkpoint, witness = run / "checkpoints" / NEWEST, tmp_path / "ran"
    if name == "workload_sequencer.pkl":  # which Determined looks for where the other is missing
        (checkpoint / "trial_state.pkl").unlink()
    (checkpoint / name).write_bytes(pickle.dumps({"trial_id": Runs(witness)}))
    if not sums:
        (checkpoint / CHECKSUMS_FILE).unlink()
    assert str(checkpoint) in resume()
    assert not witness.exists()
    pickle.loads(pickle.dumps(Runs(witness)))
    assert witness.exists()


@pytest.mark.parametrize("name", ["state_dict.pth", "trial_state.pkl", "ner_settings.json", "metadata.json"])
def test_a_changed_bit_is_noticed_and_another_checkpoint_named(
    run: Path, resume: Callable[..., str], name: str
) -> None:
    checkpoint = run / "checkpoints" / NEWEST
    flip_a_bit(checkpoint / name)
    message = resume()
    assert f"{checkpoint / name}: is damaged" in message
    assert f"remove it and use {run / 'checkpoints' / OTHER}, which is whole" in message
    with pytest.raises(UserError, match="is damaged"):
        ModelDirectory(checkpoint)
    shutil.rmtree(checkpoint)
    assert ner_trial.main(["--output-dir", str(run), "--resume"]) == 0


def test_a_renamed_checkpoint_is_noticed(run: Path, resume: Callable[..., str]) -> None:
    renamed = (run / "checkpoints" / NEWEST).rename(run / "checkpoints" / "step-00000009")
    assert f"{renamed}: its metadata.json is of batch 12" in resume()


def state_without(*parts: str) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        state = torch.load(file, weights_only=True)
        torch.save({name: value for name, value in state.items() if name not in parts}, file)

    return damage


def replaced(make: Callable[[Path], Any]) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        file.unlink()
        make(file)

    return damage


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("state_dict.pth", lambda file: file.write_bytes(file.read_bytes()[:1000])),
        ("state_dict.pth", lambda file: file.write_bytes(b"")),
        ("state_dict.pth", lambda file: file.write_bytes(b"PK\x03\x04")),
        ("state_dict.pth", Path.unlink),
        ("state_dict.pth", replaced(Path.mkdir)),
        ("state_dict.pth", replaced(os.mkfifo)),
        ("state_dict.pth", lambda file: torch.save([1, 2], file)),
        ("state_dict.pth", lambda file: torch.save({"callbacks": []}, file)),
        ("state_dict.pth", state_without("models_state_dict")),
        ("state_dict.pth", state_without("optimizers_state_dict")),
        ("state_dict.pth", state_without("lr_schedulers_state_dict")),
        ("state_dict.pth", state_without("callbacks")),
        ("trial_state.pkl", lambda file: file.write_bytes(file.read_bytes()[:20])),
        ("trial_state.pkl", lambda file: file.write_bytes(b"")),
        ("trial_state.pkl", Path.unlink),
        ("trial_state.pkl", replaced(Path.mkdir)),
        ("trial_state.pkl", replaced(os.mkfifo)),
        ("ner_settings.json", replaced(os.mkfifo)),
        ("metadata.json", lambda file: file.write_text("[]")),
        ("metadata.json", Path.unlink),
        ("metadata.json", replaced(os.mkfifo)),
        (CHECKSUMS_FILE, replaced(os.mkfifo)),
    ],
)
def test_a_checkpoint_that_is_damaged_in_any_way_is_one_message(
    run: Path, resume: Callable[..., str], name: str, damage: Callable[[Path], None]
) -> None:
    """One without checksums, as earlier versions wrote them."""
    checkpoint = run / "checkpoints" / NEWEST
    (checkpoint / CHECKSUMS_FILE).write_text("{}")
    damage(checkpoint / name)
    message = resume()
    assert NEWEST in message or "the checkpoint to begin from" in message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("config.json", content) for content in (b"[]", b"null", b"\xff\xfe\x00", b"[" * 100_000, b'{"data": 5}')),
        *(("metrics.jsonl", content) for content in (b"7\n", b"null\n", b'{"kind": "training"}\n', b"\xff\n")),
    ],
)
def test_a_damaged_run_folder_is_one_message(run: Path, resume: Callable[..., str], name: str, content: bytes) -> None:
    (run / name).write_bytes(content)
    message = resume()
    assert str(run / name) in message


def test_the_numbers_of_a_resumed_run_are_those_that_the_loop_wrote(run: Path) -> None:
    with (run / "checkpoints" / NEWEST / "trial_state.pkl").open("rb") as file:
        state = read_trial_state(file)
    assert state["batches_trained"] == 12 and state["epochs_trained"] == 2 and state["last_val"] == 12
    metadata = json.loads((run / "checkpoints" / NEWEST / "metadata.json").read_text())
    assert metadata["steps_completed"] == 12
