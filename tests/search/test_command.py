"""The command ``determined-ner search``: trials, what a stop changes (nothing), and what is there at the end."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from determined_ner import cli
from determined_ner.errors import HyperparameterError, UserError
from determined_ner.local import run
from determined_ner.local.processes import LAUNCHED
from determined_ner.model.device_memory import DeviceMemoryError
from determined_ner.search import command
from determined_ner.search.trials import read_trials
from determined_ner.training.divergence import DivergedError
from determined_ner.training.setup import Training
from determined_ner.training.trained import find_trained
from tests.conftest import ROOT, make_sentences, write_config, write_conll
from tests.stopped import Killed, stop_after

RATE = {"type": "log", "base": 10, "minval": -4.0, "maxval": -2.0}


def write_search(folder: Path, encoder: Path, searcher: dict[str, Any], **hyperparameters: Any) -> Path:
    folder.mkdir(exist_ok=True)
    data = {
        "train": write_conll(folder / "train.conll", make_sentences(24)),
        "validation": write_conll(folder / "validation.conll", make_sentences(8, 100)),
    }
    path = write_config(folder / "search.yaml", encoder, data, **hyperparameters)
    config = json.loads(path.read_text())
    config["searcher"] = {"metric": "accuracy", "smaller_is_better": False, **searcher}
    if "max_time" in searcher:
        del config["hyperparameters"]["num_train_epochs"]
    path.write_text(json.dumps(config))
    return path


@pytest.fixture(scope="module")
def adaptive(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """Three trials of four epochs, compared after one; the first of them trains to its end."""
    searcher = {"name": "adaptive_asha", "max_trials": 3, "time_metric": "epochs", "max_time": 4}
    searcher |= {"mode": "aggressive", "divisor": 3}
    return write_search(tmp_path_factory.mktemp("adaptive"), tiny_encoder, searcher, learning_rate=RATE)


def search(config: Path, folder: Path, *options: str) -> int:
    return cli.main(["search", str(config), "--output-dir", str(folder), *options])


@pytest.fixture(scope="module")
def searched(adaptive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched") / "out"
    assert search(adaptive, folder) == 0
    return folder


def what_came_out(folder: Path) -> dict[str, str]:
    """Hashes of all that a stop must not change; the table names the folder."""
    names = ["trials.json", *(f"trial-{n}/model/model.safetensors" for n in range(1, 4))]
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    table = [{**row, "folder": ""} for row in rows(folder)]
    return {**hashes, "trials.csv": json.dumps(table)}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_trials_are_compared_and_the_worse_ones_end_after_their_rung(searched: Path) -> None:
    trials = read_trials(searched)
    assert [trial.number for trial in trials] == [1, 2, 3]
    best = -1.0
    for trial in trials:
        first = trial.validations[0]["score"]
        epochs = trial.validations[-1]["epochs"]
        assert (trial.state.value, epochs) == (("completed", 4) if first >= best else ("stopped", 1))
        best = max(best, first)
    assert {trial.state.value for trial in trials} == {"completed", "stopped"}


def test_a_trial_that_is_stopped_ends_as_one_that_is_done(searched: Path) -> None:
    for trial in read_trials(searched):
        run_folder = searched / trial.folder
        assert find_trained(str(run_folder), run_folder).summary is not None
        assert (run_folder / "report" / "report.html").is_file()
        assert ("stopped by the search: accuracy is" in trial.reason) == (trial.state.value == "stopped")


def test_a_trial_trains_by_the_schedule_of_the_whole_length(searched: Path) -> None:
    """After one of four epochs a linear schedule is at three quarters of its peak."""
    stopped = next(trial for trial in read_trials(searched) if trial.state.value == "stopped")
    lines = [json.loads(line) for line in (searched / stopped.folder / "metrics.jsonl").read_text().splitlines()]
    rates = [line["learning_rate"] for line in lines if line["kind"] == "training"]
    peak = stopped.values["learning_rate"]
    assert 0.74 * peak < rates[-1] < 0.9 * peak


def test_the_table_is_sorted_and_names_what_differs(searched: Path) -> None:
    table = rows(searched)
    assert list(table[0]) == ["trial", "accuracy", "batches", "ended", "learning_rate", "folder"]
    scores = [float(row["accuracy"]) for row in table]
    assert scores == sorted(scores, reverse=True)
    for row in table:
        summary = json.loads((Path(row["folder"]) / "summary.json").read_text())
        assert summary["best"]["accuracy"] == pytest.approx(float(row["accuracy"]), abs=1e-6)
        assert summary["settings"]["hyperparameters"]["learning_rate"] == float(row["learning_rate"])
    assert json.loads((searched / "trials.json").read_text())["best"] == f"trial-{table[0]['trial']}/model"
    assert (searched / "trials.png").read_bytes()[:4] == b"\x89PNG"


def test_the_text_is_tokenized_once(searched: Path) -> None:
    assert not list(searched.glob("trial-*/cache"))
    written = [path.stat().st_mtime_ns for path in (searched / "cache").rglob("*") if path.is_file()]
    assert written and max(written) < (searched / "trial-2" / "config.json").stat().st_mtime_ns


def test_a_search_by_records_compares_nothing(tmp_path: Path, tiny_encoder: Path) -> None:
    searcher = {"name": "random", "max_trials": 2, "max_length": {"records": 16}}
    config = write_search(tmp_path, tiny_encoder, searcher, learning_rate=RATE)
    assert search(config, tmp_path / "out") == 0
    assert [trial.state.value for trial in read_trials(tmp_path / "out")] == ["completed"] * 2


def test_a_search_that_validates_after_its_rungs_is_told(
    tmp_path: Path, tiny_encoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    searcher = {"name": "async_halving", "num_rungs": 2, "divisor": 3, "max_trials": 1}
    searcher |= {"time_metric": "batches", "max_time": 6}
    config = write_search(tmp_path, tiny_encoder, searcher, learning_rate=RATE)
    late = ("--config", "min_validation_period.batches=6")
    assert search(config, tmp_path / "out", *late) == 0
    assert "later than the first of these: write min_validation_period: {batches: 2}" in capsys.readouterr().err


def test_a_trial_is_the_run_that_its_point_alone_would_be(searched: Path, adaptive: Path, tmp_path: Path) -> None:
    whole = next(trial for trial in read_trials(searched) if trial.state.value == "completed")
    point = f"hyperparameters.learning_rate={whole.values['learning_rate']!r}"
    assert cli.main(["train", str(adaptive), "--output-dir", str(tmp_path / "alone"), "--config", point]) == 0
    alone, among = (f / "model" / "model.safetensors" for f in (tmp_path / "alone", searched / whole.folder))
    assert alone.read_bytes() == among.read_bytes()


@pytest.mark.parametrize("where", ["inside a trial", "at the end of a trial", "before it is noted"])
def test_a_search_that_was_killed_goes_on_to_the_same_end(
    searched: Path, adaptive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    if where == "inside a trial":
        stop_after(monkeypatch, Training, "train_step", 4)
    elif where == "at the end of a trial":
        stop_after(monkeypatch, run, "finish", 1)
    else:
        stop_after(monkeypatch, command, "write_trials", 1)
    with pytest.raises(Killed):
        search(adaptive, tmp_path / "out")
    monkeypatch.undo()
    done = {
        t.folder: (tmp_path / "out" / t.folder / "summary.json").stat().st_mtime_ns
        for t in read_trials(tmp_path / "out")
    }
    assert search(adaptive, tmp_path / "out", "--resume") == 0
    for name, changed in done.items():
        assert (tmp_path / "out" / name / "summary.json").stat().st_mtime_ns == changed, "trained again"
    assert what_came_out(tmp_path / "out") == what_came_out(searched)


def test_a_search_that_is_asked_to_stop_saves_its_step(
    searched: Path, adaptive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original, steps = Training.train_step, []

    def step(self: Training, *given: Any) -> Any:
        steps.append(1)
        if len(steps) == 14:  # in the second trial
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *given)

    monkeypatch.setattr(Training, "train_step", step)
    assert search(adaptive, tmp_path / "out") == 143
    monkeypatch.undo()
    said = capsys.readouterr().err
    assert "stopped by SIGTERM; batch " in said and "the same command with --resume goes on from there" in said
    assert len(steps) == 14
    assert search(adaptive, tmp_path / "out", "--resume") == 0
    assert what_came_out(tmp_path / "out") == what_came_out(searched)


def test_a_finished_search_resumed_trains_nothing(searched: Path, adaptive: Path, monkeypatch: Any) -> None:
    before = what_came_out(searched)
    stop_after(monkeypatch, Training, "train_step", 0)
    assert search(adaptive, searched, "--resume") == 0
    assert what_came_out(searched) == before


def test_a_shipped_search_runs_here(adaptive: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    data, shipped = adaptive.parent, ROOT / "configs" / "search_adaptive.yaml"
    settings = [f"data.train_file={data / 'train.conll'}", f"data.validation_file={data / 'validation.conll'}"]
    settings += ["data.cache_dir=null", "searcher.max_trials=2", "data.max_seq_length=64"]
    settings += [f"hyperparameters.pretrained_model_name_or_path={tiny_encoder}"]
    assert search(shipped, tmp_path / "out", *(word for one in settings for word in ("--config", one))) == 0
    assert len(rows(tmp_path / "out")) == 2 and (tmp_path / "out" / "cache").is_dir()


@pytest.fixture
def two_draws(tmp_path: Path, tiny_encoder: Path) -> Path:
    searcher = {"name": "random", "max_trials": 2}
    return write_search(tmp_path / "data", tiny_encoder, searcher, learning_rate=RATE, num_train_epochs=1)


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception, at: int) -> None:
    original, calls = command.run_locally, []

    def fails(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == at:
            raise error
        return original(*given)

    monkeypatch.setattr(command, "run_locally", fails)


def test_a_point_that_cannot_work_is_made_up_for(two_draws: Path, tmp_path: Path, monkeypatch: Any) -> None:
    failing(monkeypatch, HyperparameterError("hyperparameters.warmup_ratio", "too long"), at=1)
    assert search(two_draws, tmp_path / "out") == 0
    trials = read_trials(tmp_path / "out")
    assert [trial.state.value for trial in trials] == ["invalid", "completed", "completed"]
    assert rows(tmp_path / "out")[-1]["ended"] == "invalid" and rows(tmp_path / "out")[-1]["folder"] == ""


@pytest.mark.parametrize(
    "error", [DivergedError("the loss is inf", None, "lower it"), DeviceMemoryError("a", "CUDA out of memory", "b")]
)
def test_a_trial_that_fails_is_told_and_the_others_go_on(
    two_draws: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    failing(monkeypatch, error, at=2)
    assert search(two_draws, tmp_path / "out") == 0
    trials = read_trials(tmp_path / "out")
    assert [trial.state.value for trial in trials] == ["completed", "failed"]
    assert "the loss is inf" in trials[1].reason or "CUDA out of memory" in trials[1].reason
    assert [row["ended"] for row in rows(tmp_path / "out")] == ["completed", "failed"]


def test_a_search_of_which_nothing_comes_ends_with_one_message(
    two_draws: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warm_up = ["--config", "hyperparameters.num_warmup_steps=999"]
    assert search(two_draws, tmp_path / "out", *warm_up) == 2
    said = capsys.readouterr().err
    assert said.count("error: ") == 1 and "none of 4 trials came to a model" in said and "num_warmup_steps" in said


def test_a_trial_that_ends_by_itself_is_no_stopped_one(two_draws: Path, tmp_path: Path) -> None:
    patience = ["hyperparameters.num_train_epochs=3", "hyperparameters.early_stopping_patience=1"]
    patience += ["hyperparameters.early_stopping_threshold=1"]
    options = [word for setting in patience for word in ("--config", setting)]
    assert search(two_draws, tmp_path / "out", *options) == 0
    assert {(trial.state.value, trial.reason[:14]) for trial in read_trials(tmp_path / "out")} == {
        ("ended early", "early stopping")
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--config", "searcher.name=bayes"], "searcher.name: 'bayes' is no search that runs here"),
        (["--config", "hyperparameters.learning_rate=1e-3"], "there is no range in it to search"),
        (["--config", "data.train_file=nowhere.conll"], "nowhere.conll"),
        (["--resume"], "holds no run to go on with"),
    ],
)
def test_what_cannot_be_searched_is_refused_and_leaves_nothing(
    two_draws: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert search(two_draws, tmp_path / "out", *options) == 2
    said = capsys.readouterr().err
    assert said.count("error: ") == 1 and message in said and "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_a_mistake_in_the_data_leaves_nothing(two_draws: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "train.conll").write_text("Ada\tB-PER\tx\n\nBo\n")
    assert search(two_draws, tmp_path / "out") == 2
    assert not (tmp_path / "out").exists()


def test_other_settings_data_or_commands_are_refused(
    searched: Path, adaptive: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert search(adaptive, searched, "--resume", "--config", "searcher.max_trials=9") == 2
    assert "searcher.max_trials: 3 → 9" in capsys.readouterr().err
    assert search(adaptive, searched) == 2
    assert "already" in capsys.readouterr().err
    assert cli.main(["train", str(adaptive), "--output-dir", str(searched), "--resume"]) == 2
    assert "determined-ner search" in capsys.readouterr().err
    with pytest.raises(UserError, match="trials of a search"):
        find_trained(str(searched), searched)
    validation = adaptive.parent / "validation.conll"
    before = validation.read_text()
    validation.write_text(before + "Ada\tB-PER\n")
    assert search(adaptive, searched, "--resume") == 2
    assert "other settings or data" in capsys.readouterr().err
    validation.write_text(before)
    for name in ("WORLD_SIZE", *LAUNCHED):
        monkeypatch.setenv(name, "0" if "RANK" in name else "2")
    assert search(adaptive, searched, "--resume") == 2
    assert "by several processes" in capsys.readouterr().err


def test_a_training_of_ranges_says_in_one_message_that_it_is_a_search(
    adaptive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = 'hyperparameters.pretrained_model_name_or_path={"type": "categorical", "vals": ["a", "b"]}'
    assert cli.main(["train", str(adaptive), "--output-dir", str(tmp_path / "out"), "--config", name]) == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1 and "search with determined-ner search CONFIG" in said
    assert "hyperparameters.learning_rate" in said and "pretrained_model_name_or_path" in said


def test_a_damaged_list_of_trials_is_told(searched: Path, adaptive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = searched / "trials.json"
    before = file.read_text()
    entries = json.loads(before)["trials"]
    many = json.dumps({"trials": [{**entries[0], "number": number} for number in range(1, 9)]})
    no_values = json.dumps({"trials": [{**entry, "values": None} for entry in entries]})
    for damaged in (many, '{"trials": [{}]}', "{}", "[]", before.replace('"completed"', '"done"'), no_values):
        file.write_text(damaged)
        assert search(adaptive, searched, "--resume") == 2
        assert capsys.readouterr().err.count("error: ") == 1
    file.write_text(before)
