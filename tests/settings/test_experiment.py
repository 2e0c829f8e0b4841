"""Experiment configs are read, and overridden, as Determined does it."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import pytest

from determined_ner.errors import UserError
from determined_ner.settings.experiment import DEFAULT_CONFIG, MAX_BYTES, override_config, read_config
from tests.conftest import ROOT

BASE = {
    "name": "test",
    "hyperparameters": {"learning_rate": 1e-3, "global_batch_size": {"type": "const", "val": 8}},
    "data": {"train_file": "a.conll"},
    "labels": ["x"],
}


@pytest.mark.parametrize(
    "override",
    [
        "name=other",
        "name=a b",
        "name=",
        "name='a #b'",
        "hyperparameters.learning_rate=3e-5",
        "hyperparameters.learning_rate=.5",
        "hyperparameters.new=true",
        "hyperparameters.new=yes",
        "hyperparameters.new=null",
        "hyperparameters.new=007",
        "hyperparameters.global_batch_size.val=16",
        "hyperparameters.global_batch_size={type: int, minval: 1}",
        "hyperparameters={a: 1, b: {c: 2}}",
        "data.train_file=b.conll",
        "data.train_file=x=y",
        "data.label_column_name=-1",
        "searcher.max_length.epochs=3",
        "labels=a,b",
        "labels=[a, b]",
        "labels=1,2.5,true",
        "bind_mounts={host_path: /a, container_path: /b}",
        "bind_mounts=[{host_path: /a, container_path: /b}]",
        "bind_mounts=a",
    ],
)
def test_an_override_does_what_det_does_with_it(override):
    from determined.cli import ntsc

    expected = ntsc.parse_config_overrides(copy.deepcopy(BASE), [override])
    assert override_config(copy.deepcopy(BASE), [override]) == expected


def test_overrides_are_applied_in_order_and_leave_the_config_alone():
    before = copy.deepcopy(BASE)
    changed = override_config(BASE, ["a.b.c=1", "a.b.d=2", "a.b.c=3"])
    assert changed["a"] == {"b": {"c": 3, "d": 2}}
    assert before == BASE


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("name", "write KEY=VALUE"),
        ("=1", "write KEY=VALUE"),
        ("name=a #b", "is a comment in YAML; write name='\"a #b\"'"),
        ("name=[1", "does not fit the config"),
        ("name.first=x", "does not fit the config"),
        ("name=.inf", "'.inf' is not a finite number"),
        ("data={train_file: a, train_file: b}", "the key 'train_file' stands twice"),
        ("a" + 50 * ".a" + "=1", "nested in more than 50 levels"),
        ("environment.\udcff=1", "'utf-8' codec can't encode"),
    ],
)
def test_an_override_that_cannot_be_is_refused_by_name(override, problem):
    with pytest.raises(UserError) as refused:
        override_config(copy.deepcopy(BASE), [override])
    assert str(refused.value).startswith(f"--config {override}: ") and problem in str(refused.value)


def test_the_default_config_is_the_one_of_the_root():
    assert DEFAULT_CONFIG == ROOT / "ner_config.yaml"
    assert read_config(None, [])["data"]["dataset_name"] == "conll2003"


def test_own_files_take_the_place_of_the_default_data_set():
    data = read_config(None, ["data.train_file=a.conll", "data.validation_file=b.conll"])["data"]
    assert "dataset_name" not in data and data["train_file"] == "a.conll"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1", ":1: not valid YAML"),
        ("a: 1\na: 2", ":2: not valid YAML: the key 'a' stands twice"),
        ("", ": is empty; write the sections"),
        ("- a", ": holds ['a']; write the sections"),
        ("searchr: {}", ": searchr: unknown setting (value {}); did you mean searcher?"),
        ("train_file: x", ": train_file: unknown setting (value 'x'); did you mean data.train_file?"),
        ("name: [a]", ": name: ['a'] is not a text"),
        ("searcher: 1", ": searcher: 1 is not a section of KEY: VALUE lines"),
    ],
)
def test_a_config_that_cannot_be_read_is_refused_with_its_place(text, expected, tmp_path):
    file = tmp_path / "experiment.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as refused:
        read_config(file, [])
    assert str(refused.value).startswith(f"{file}{expected}")


def test_what_is_no_file_of_a_config_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "big.yaml").write_text(f"name: {'x' * MAX_BYTES}")
    (tmp_path / "latin.yaml").write_bytes(b"name: M\xfcnchen")
    for path, expected in {
        tmp_path / "pipe": "is a pipe or a device, not a regular file",
        Path("/dev/zero"): "is a pipe or a device, not a regular file",
        tmp_path: "is a directory; write the path of an experiment YAML in it",
        tmp_path / "big.yaml": "more than the 256 KiB that a config may have",
        tmp_path / "latin.yaml": "cannot be read as a config file: 'utf-8' codec can't decode",
        Path("a\0b"): "cannot be read as a config file",
        tmp_path / ("x" * 300): "cannot be read as a config file",
    }.items():
        with pytest.raises(UserError) as refused:
            read_config(path, [])
        assert str(refused.value).startswith(f"{path}: {expected}")


def test_a_date_is_the_text_that_was_written(tmp_path):
    file = tmp_path / "experiment.yaml"
    file.write_text("name: 2026-11-25\nlabels: [2026-11-25, 10:30:00]\n", encoding="utf-8")
    config = read_config(file, ["description=2026-11-25 10:30:00", "environment={2026-11-25: 1}", "project=2026-11-25"])
    assert config == {
        "name": "2026-11-25",
        "labels": ["2026-11-25", "10:30:00"],
        "description": "2026-11-25 10:30:00",
        "environment": {"2026-11-25": 1},
        "project": "2026-11-25",
    }


def test_every_unknown_setting_is_named_at_once(tmp_path):
    file = tmp_path / "experiment.yaml"
    file.write_text("searchr: {}\nsearcher: {metrik: f1}\n", encoding="utf-8")
    with pytest.raises(UserError) as refused:
        read_config(file, [])
    assert [error.where for error in refused.value.errors] == [str(file), str(file)]
    assert "searchr" in str(refused.value) and "searcher.metrik" in str(refused.value)


def test_a_null_is_no_value(tmp_path):
    file = tmp_path / "experiment.yaml"
    file.write_text(json.dumps({"name": None, "data": {"train_file": "a", "test_file": None}}), encoding="utf-8")
    assert read_config(file, []) == {"data": {"train_file": "a"}}


def test_a_missing_config_is_told():
    with pytest.raises(UserError, match=r"nowhere.yaml: no such config file; write the path"):
        read_config(Path("nowhere.yaml"), [])
