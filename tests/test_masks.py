"""No secret of a URL is shown, wherever it stands in a text, and nothing that a terminal would obey."""

from __future__ import annotations

import json

import pytest

from determined_ner.errors import UserError
from determined_ner.masks import masked, printable, printable_lines, shown, without_secrets


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://me:hunter2@host:80/a/b.csv?token=hunter2", "https://host:80/a/b.csv?…"),
        ("'http://me:hunter2@host/a' is not used, 'x' is", "'http://host/a' is not used, 'x' is"),
        ("see https://host/a;sig=hunter2/b?x#y, then", "see https://host/a;…/b?…, then"),
        ("http:/me:hunter2@host/p", "http:/host/p"),  # as pathlib writes it
        ("simplecache::http://me:hunter2@host/p?hunter2", "simplecache::http://host/p?…"),
        ("http://me:hun/ter2@host/p", "http://host/p"),
        ("http://me:hunter 2@host/p is", "http://host/p is"),
        ('"http://me:hunter\'2@host/p"', '"http://host/p"'),
        ("http://me:hunter2@w@host/p", "http://host/p"),
        ("http://hunter2@host/p", "http://host/p"),
        ("HTTP://me:hunter2@host", "HTTP://host"),
        ("http://me:hunter2", "http://…"),  # the end was cut off
        ("['http://a/b?hunter2', 'http://me:hunter2@b']", "['http://a/b?…', 'http://b']"),
        ("http://host/p#access_token=hunter2.", "http://host/p#…."),
        ("jdbc:postgresql://host/db?password=hunter2", "jdbc:postgresql://host/db?…"),
    ],
)
def test_a_url_shows_no_secret(text, expected):
    assert masked(text) == expected and "hunter2" not in masked(text)
    assert masked(expected) == expected


@pytest.mark.parametrize(
    "text",
    [
        "http://host:8080, and",
        "http://[::1]:80/x",
        "s3://bucket/a/b.conll",
        "hf://datasets/a@main/b.conll",
        "http://host/a:b/c (no such file); write to a@b.c",
        "/tmp/x?y: not readable",
        "C:/x",
        "a: b",
    ],
)
def test_what_holds_no_secret_stays_as_it_is(text):
    assert masked(text) == text


def test_a_mistake_shows_no_secret_wherever_it_holds_one():
    url = "http://me:hunter2@host/train.conll?token=hunter2"
    said = str(UserError.several([UserError(f"--config data.x={url}", f"{url!r} is wrong", f"drop {url}")] * 2))
    assert "hunter2" not in said and said.count("http://host/train.conll") == 6


def test_settings_show_neither_secrets_of_urls_nor_passwords():
    config = {
        "data": {"train_file": "https://me:hunter2@host/t.conll?token=hunter 2", "label_all_tokens": True},
        "hyperparameters": {"tokenizer_name": "bert", "hub_token": "hunter2", "learning_rate": 1e-5},
        "environment": {
            "environment_variables": ["HF_TOKEN=hunter2", "A=b", "PGPASSWORD=hunter2", "B=x;AccountKey=hunter2;y=z"],
            "registry_auth": {"username": "u", "password": "hunter2", "auth": "hunter2", "identitytoken": "hunter2"},
        },
        "checkpoint_storage": {"access_key": "hunter2", "secret_key": "hunter2", "bucket": "b"},
        "tensorboard_storage": {"connection_string": "DefaultEndpointsProtocol=https;AccountKey=hunter2"},
        "labels": ["a", None],
    }
    before = json.dumps(config)
    shown_config = without_secrets(config)
    assert "hunter" not in json.dumps(shown_config) and json.dumps(config) == before
    assert shown_config["data"] == {"train_file": "https://host/t.conll?…", "label_all_tokens": True}
    assert shown_config["environment"]["environment_variables"] == [
        *("HF_TOKEN=…", "A=b", "PGPASSWORD=…", "B=x;AccountKey=…;y=z")
    ]
    assert shown_config["hyperparameters"]["tokenizer_name"] == "bert" and shown_config["labels"] == ["a", None]


def test_a_value_is_shown_in_short():
    assert shown("http://me:hunter2@host/x") == "'http://host/x'" and shown(3e-5) == "3e-05"
    assert shown("hunter2", "hub_token") == "'…'"
    assert len(shown("x" * 10**6)) <= 102 and len(shown([list(range(1000))] * 1000)) < 1000


@pytest.mark.parametrize("text", ["http://" + ":" * 10**6, "a:/" * 10**6, "http://x:" + " " * 10**6])
def test_a_long_text_is_masked_in_time_that_grows_with_it(text):
    """Otherwise this would not end."""
    assert masked(text).startswith(text[:2])


HOSTILE = "B-\x1b]0;owned\x07\u202eX\u2066"


def test_what_a_terminal_would_obey_is_escaped():
    assert printable(HOSTILE) == "B-\\x1b]0;owned\\x07\\u202eX\\u2066"
    assert printable("Größe 北京 'a' 👍") == "Größe 北京 'a' 👍"
    assert printable("a\nb\u200b\udcff") == "a\\nb\\u200b\\udcff"
    assert printable_lines("a\x1b\n\nb") == "a\\x1b\n\nb"


@pytest.mark.parametrize("verb", ["check", "train", "predict"])
def test_words_tags_and_names_of_files_reach_no_terminal_raw(verb, tmp_path, tiny_encoder, capfd):
    """Neither in tables nor in the log, nor in the message at the end."""
    from determined_ner import cli
    from tests.conftest import make_sentences, write_config, write_conll

    word, kind = f"w{HOSTILE[2:]}", HOSTILE[2:]
    hostile = [[("Ada", f"B-{kind}"), (word, f"I-{kind}"), ("went", "O")]] * 6
    folder = tmp_path / f"d{kind.replace('/', '')}"
    folder.mkdir()
    files = {name: write_conll(folder / f"{name}.conll", hostile) for name in ("train", "validation")}
    config = write_config(tmp_path / "c.json", tiny_encoder, files, num_train_epochs=1)
    if verb == "check":
        assert cli.main(["check", str(config), "--no-timing"]) == 0
    elif verb == "train":
        assert cli.main(["train", str(config), "--output-dir", str(tmp_path / "run")]) == 0
        write_conll(files["validation"], [*hostile, [(word, f"I-{kind}-unknown")], *make_sentences(1)])
        assert cli.main(["train", str(config), "--output-dir", str(tmp_path / "other")]) == 2
    else:
        assert cli.main(["predict", str(folder), str(folder / "input.txt")]) == 2
    out, err = capfd.readouterr()
    assert "owned" in out + err and "\\x1b" in out + err
    assert not {"\x1b", "\x07", "\u202e", "\u2066"} & set(out + err)


def test_types_of_a_label_map_are_no_secrets_whatever_they_are_called():
    labels = {"password": "PASSWORD", "api_key": "KEY"}
    kept = {"label_map": labels, "train_file": {"a": {"file": "a.conll", "label_map": labels}}}
    assert without_secrets(kept) == kept
    assert without_secrets({"environment": labels})["environment"] == {"password": "…", "api_key": "…"}
