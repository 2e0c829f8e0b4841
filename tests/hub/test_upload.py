"""Models that go to the Hugging Face hub: what is asked before a training, what is uploaded, and what never."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import pytest

import ner_trial
from determined_ner import Tagger, cli
from determined_ner.errors import UserError
from determined_ner.export.public import public_copy
from determined_ner.files.checksums import check_files
from determined_ner.hub_repository import HubRepository
from determined_ner.settings.parsing import parse_settings
from determined_ner.trackers.runs import public_settings
from tests.conftest import ROOT, make_sentences, read_metrics
from tests.forked import content, together
from tests.hub.standin import TOKEN, Hub, Repository, words_in

PUSH = ["--config", "data.push_to_hub=true", "--config", "data.hub_model_id=tagger"]
SENTENCES = [*make_sentences(44), *make_sentences(13, 100), *make_sentences(7, 200)]
WORDS = {word for sentence in SENTENCES for word, _ in sentence if len(word) > 3}


def train(config: Path, folder: Path, *options: str, processes: int = 1) -> str:
    """In copies of this process; returns what they said."""
    arguments = [str(config), "--output-dir", str(folder), *options]
    status, output = together(lambda: ner_trial.main(arguments), processes)
    assert status == 0, output
    return output


def assert_tells_nothing(told: bytes, *places: Path, words: bool = False) -> None:
    """Of the machine, the login and, unless ``words``, the texts."""
    texts = [TOKEN, str(Path.home()) + os.sep, str(ROOT), sys.executable, *map(str, places)]
    texts += [socket.gethostname()] if len(socket.gethostname()) > 8 else []  # a short one may stand there by chance
    assert [text for text in texts if text.encode() in told] == []
    assert words or words_in(told, WORDS) == []


@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_uploads_model_card_and_report_and_nothing_of_texts_or_machine(tmp_path, config_file, hub, processes):
    folder = tmp_path / "run"
    output = train(config_file, folder, *PUSH, processes=processes)
    repository = hub.repositories["ada/tagger"]
    assert repository.private and len(repository.commits) == 1
    assert f"uploaded {hub.address}/ada/tagger" in output and TOKEN not in output
    uploaded = {"model.safetensors", "config.json", "tokenizer.json", "README.md", "calibration.json", "report.html"}
    assert uploaded <= repository.files.keys()
    assert repository.files["model.safetensors"] == (folder / "model" / "model.safetensors").read_bytes()
    assert repository.files["README.md"].startswith(b"---\n")
    assert b"Sentences of the text are not shown here." in repository.files["report.html"]
    assert_tells_nothing(hub.received, tmp_path)
    assert not any(TOKEN.encode() in data for data in content(folder).values())


def test_what_was_uploaded_tags(tmp_path, config_file, hub):
    train(config_file, tmp_path / "run", *PUSH)
    downloaded = tmp_path / "downloaded"
    downloaded.mkdir()
    for name, data in hub.repositories["ada/tagger"].files.items():
        (downloaded / name).write_bytes(data)
    text = "Ada Bo went to Oslo ."
    model = Tagger.from_pretrained(tmp_path / "run" / "model")
    assert Tagger.from_pretrained(downloaded)([text]) == model([text])


def test_sentences_are_uploaded_where_the_settings_ask_for_it(tmp_path, config_file, hub):
    train(config_file, tmp_path / "run", *PUSH, "--config", "data.report_examples=true")
    assert words_in(hub.repositories["ada/tagger"].files["report.html"], WORDS)
    assert_tells_nothing(hub.received, tmp_path, words=True)


def test_a_repository_is_public_where_the_settings_ask_for_it(tmp_path, config_file, hub):
    train(config_file, tmp_path / "run", *PUSH, "--config", "data.hub_private_repo=false")
    assert not hub.repositories["ada/tagger"].private


def test_files_of_an_earlier_model_are_removed_and_others_stay(tmp_path, config_file, hub):
    stale = {"model.onnx", "adapter/adapter_model.safetensors", "thresholds.json"}
    files = {**dict.fromkeys(stale, b"old"), "notes.txt": b"ours"}
    hub.repositories["ada/tagger"] = Repository(private=True, files=files)
    train(config_file, tmp_path / "run", *PUSH)
    left = hub.repositories["ada/tagger"].files
    assert not stale & left.keys() and left["notes.txt"] == b"ours"


def test_an_upload_that_fails_costs_no_model_and_is_told_with_the_command_that_does_it(tmp_path, config_file, hub):
    folder, hub.broken = tmp_path / "run", True
    output = train(config_file, folder, *PUSH)
    assert "Traceback" not in output and json.loads((folder / "summary.json").read_text())["test"]
    (said,) = (line for line in output.splitlines() if "is not uploaded" in line)
    assert "the stand-in takes no commit" in said
    command = said.partition("upload it with: determined-ner ")[2].split()
    hub.broken = False
    assert cli.main([str(tmp_path / "export") if word == "DIR" else word for word in command]) == 0
    assert hub.repositories["ada/tagger"].files["model.safetensors"]


def test_uploading_changes_no_weight(tmp_path, config_file, hub):
    train(config_file, tmp_path / "with", *PUSH)
    train(config_file, tmp_path / "without")
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("with", "without")]
    assert weights[0] == weights[1]


def test_a_run_may_be_resumed_with_an_upload_that_it_began_without(tmp_path, config_file, hub):
    folder = tmp_path / "run"
    train(config_file, folder)
    before = read_metrics(folder)
    options = ["--output-dir", str(folder), "--resume", *PUSH]
    status, output = together(lambda: ner_trial.main(options), 1)
    assert status == 0, output
    assert hub.repositories["ada/tagger"].files["report.html"] and read_metrics(folder) == before


# -- Before data is read ---------------------------------------------------------------------------------------------


def no_login(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", "/nowhere/token")


def wrong_login(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")


def read_only(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories["ada/tagger"] = Repository(private=True, writable=False)


def public(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories["ada/tagger"] = Repository(private=False)


def unreachable(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (no_login, "needs a login of the Hugging Face hub, and there is none; set HF_TOKEN in the environment"),
        (wrong_login, "does not know this login"),
        (read_only, "this login may not write there"),
        (public, "is public: all could read the model; write data.hub_private_repo: false"),
        (unreachable, "does not answer"),
    ],
)
def test_a_repository_that_cannot_be_uploaded_to_is_refused_before_data_is_read(
    refuse, hub, monkeypatch, prepare, message
):
    prepare(hub, monkeypatch)
    said = refuse(*(option for option in PUSH if option != "--config"), "data.train_file=nowhere.conll")
    assert said.startswith("error: data.hub_model_id: 'tagger': ") and message in said
    assert TOKEN not in said and "hf_wrong" not in said


def test_another_namespace_is_refused_before_data_is_read(refuse, hub):
    settings = ("data.push_to_hub=true", "data.hub_model_id=others/tagger", "data.train_file=nowhere.conll")
    assert "this login may not write there" in refuse(*settings)


def test_a_hub_that_does_not_answer_may_do_so_at_the_next_try(hub, monkeypatch):
    unreachable(hub, monkeypatch)
    with pytest.raises(UserError) as refused:
        HubRepository.open("tagger", True, "data.hub_model_id", "")
    assert type(refused.value).__name__ == "TemporaryError"


def test_an_upload_offline_is_refused(config_file, tmp_path, hub):
    command = [sys.executable, ROOT / "ner_trial.py", config_file, "--output-dir", tmp_path / "run", *PUSH]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2 and "cannot be uploaded to offline; unset HF_HUB_OFFLINE" in done.stderr
    assert done.stderr.count("error: ") == 1 and not hub.asked


def test_trials_of_a_search_do_not_replace_one_another(tmp_path, config_file, hub, capsys):
    ranges = "hyperparameters.learning_rate={type: log, base: 10, minval: -4.0, maxval: -2.0}"
    options = [
        "--config",
        "searcher={name: random, max_trials: 2, metric: f1, smaller_is_better: false}",
        "--config",
        ranges,
    ]
    assert cli.main(["search", str(config_file), "--output-dir", str(tmp_path / "search"), *options, *PUSH]) == 2
    said = capsys.readouterr().err
    assert "the trials of a search" in said and "export SEARCH/trial-N" in said and not hub.repositories


def test_one_training_by_the_config_of_a_search_is_uploaded(tmp_path, config_file, hub):
    train(config_file, tmp_path / "run", *PUSH, "--config", "searcher.name=random")
    assert "model.safetensors" in hub.repositories["ada/tagger"].files


def test_thresholds_of_what_was_uploaded_may_be_changed(tmp_path, config_file):
    train(config_file, run := tmp_path / "run")
    (run / "model" / "thresholds.json").write_text("{}", encoding="utf-8")
    public_copy(run / "model", tmp_path / "public", "a card")
    (tmp_path / "public" / "thresholds.json").write_text("[]", encoding="utf-8")
    check_files(tmp_path / "public", "copy it again")


def test_of_a_path_the_last_part_leaves_this_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own" / "bert").mkdir(parents=True)
    names = {
        "pretrained_model_name_or_path": ("own/bert", "bert"),
        "tokenizer_name": ("encoders/secret/bert", "bert"),
        "config_name": ("google-bert/bert-base-cased", "google-bert/bert-base-cased"),
        "dataset_name": ("data/acme/private", "private"),
        "teacher": (["runs/big/model/", "/data/acme/other/", "model"], ["big", "other", "model"]),
    }
    shown = public_settings({name: value for name, (value, _) in names.items()})
    assert shown == {name: kept for name, (_, kept) in names.items()}
    assert public_settings({"teacher": "big"})["teacher"] == public_settings(shown)["teacher"][:1] == ["big"]
    student = {"pretrained_model_name_or_path": "runs/big", "student_layers": 2}  # no model of a hub
    assert public_settings(student)["pretrained_model_name_or_path"] == "big"


def test_models_of_folds_do_not_replace_one_another(tmp_path, config_file, hub, capsys):
    where = ["--output-dir", str(tmp_path / "folds"), "--config", "data.validation_file=null"]
    assert cli.main(["train", str(config_file), "--folds", "2", *where, *PUSH]) == 2
    assert "the models of the folds" in capsys.readouterr().err and not hub.repositories


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"push_to_hub": True}, "push_to_hub needs a name"),
        ({"hub_model_id": "ada/tagger"}, "hub_model_id has no meaning without push_to_hub"),
        ({"push_to_hub": True, "hub_model_id": "a/b/c"}, "data.hub_model_id: 'a/b/c' is wrong"),
        ({"push_to_hub": True, "hub_model_id": "ada/my tagger"}, "data.hub_model_id: 'ada/my tagger' is wrong"),
        ({"hub_token": TOKEN}, "data.hub_token: unknown setting (value '…'); leave it out: a token never stands in"),
    ],
)
def test_settings_that_cannot_be_are_refused(data, message):
    with pytest.raises(UserError) as refused:
        parse_settings({"pretrained_model_name_or_path": "x"}, {"dataset_name": "d", **data})
    assert message in str(refused.value) and TOKEN not in str(refused.value)


# -- Exports ---------------------------------------------------------------------------------------------------------


def test_an_export_is_uploaded_as_it_is_less_what_it_says_of_the_machine(tmp_path, config_file, hub):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    train(config_file, tmp_path / "run")
    export = tmp_path / "export"
    arguments = ["export", str(tmp_path / "run"), "--output", str(export), "--onnx", "--push-to-hub", "ada/tagger"]
    assert cli.main(arguments) == 0
    repository, local = hub.repositories["ada/tagger"], content(export)
    assert repository.private and repository.files.keys() == local.keys() and "model.onnx" in local
    differing = {name for name, data in local.items() if repository.files[name] != data}
    assert differing - {"config.json"} == {"ner_settings.json", "checksums.json"}  # transformers 4 has the path in it
    assert_tells_nothing(hub.received, tmp_path)


def test_adapters_are_uploaded_without_the_place_of_their_encoder(tmp_path, config_file, hub):
    pytest.importorskip("peft")
    train(config_file, tmp_path / "run", "--config", "hyperparameters.peft={r: 2}")
    arguments = ["export", str(tmp_path / "run"), "--output", str(tmp_path / "export"), "--adapters"]
    assert cli.main([*arguments, "--push-to-hub", "ada/tagger", "--public"]) == 0
    repository = hub.repositories["ada/tagger"]
    assert not repository.private and "adapter/adapter_model.safetensors" in repository.files
    assert_tells_nothing(hub.received, tmp_path)


def test_an_export_whose_upload_fails_is_kept(tmp_path, config_file, hub, capsys):
    train(config_file, tmp_path / "run")
    hub.broken, export = True, tmp_path / "export"
    assert cli.main(["export", str(tmp_path / "run"), "--output", str(export), "--push-to-hub", "tagger"]) == 2
    said = capsys.readouterr().err
    assert "error: --push-to-hub: 'tagger': " in said and f"{export} is complete" in said
    assert Tagger.from_pretrained(export)(["Ada went to Oslo ."])


@pytest.mark.parametrize(
    ("login", "options", "message"),
    [
        (TOKEN, ["--public"], "--public: has no meaning without --push-to-hub"),
        ("hf_wrong", ["--push-to-hub", "tagger"], "does not know this login"),
    ],
)
def test_an_export_that_cannot_be_uploaded_is_refused_before_it_begins(
    tmp_path, hub, monkeypatch, capsys, login, options, message
):
    monkeypatch.setenv("HF_TOKEN", login)
    assert cli.main(["export", str(tmp_path), "--output", str(tmp_path / "export"), *options]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "export").exists()
