"""The command: table and JSON agree, nothing is left behind, and it fails where training would."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from determined_ner import cli
from determined_ner.check.command import check
from determined_ner.errors import UserError
from tests.conftest import ROOT


def command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "determined_ner", "check", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT), **environment},
        cwd=environment.get("HOME"),
    )


def ours(stderr: str) -> str:
    """Without what torch 2.3 says of a machine that has CUDA's compiler and no GPU."""
    return re.sub(r"No CUDA runtime is found, using CUDA_HOME=.*\n", "", stderr)


def test_table_and_json_agree_and_nothing_is_left_behind(planted, tmp_path, capsys):
    config, _, report = planted
    folders = {name: tmp_path / name for name in ("HOME", "TMPDIR")}
    for folder in folders.values():
        folder.mkdir()
    before = sorted(config.parent.iterdir())
    environment = {name: str(folder) for name, folder in folders.items()}
    as_json = command(config, "--no-timing", "--json", **environment)
    assert (as_json.returncode, ours(as_json.stderr)) == (0, "")
    read = json.loads(as_json.stdout)
    assert cli.main(["check", str(config), "--no-timing"]) == 0
    table = capsys.readouterr().out
    assert sorted(config.parent.iterdir()) == before
    assert [list(folder.rglob("*")) for folder in folders.values()] == [[], []]

    assert read["cost"]["timing"] is None and read["splits"]["train"]["sentences"] == report.splits["train"].sentences
    rows = {}
    for line in table.split("Words of train")[0].splitlines():
        rows.setdefault(line[2:42].strip(), [cell.strip() for cell in line[42:].split("  ") if cell.strip()])
    splits = list(read["splits"].values())
    assert rows["sentences"] == [str(split["sentences"]) for split in splits]
    assert rows["words"] == [str(split["words"]) for split in splits]
    assert rows["entities"] == [str(sum(split["entities"].values())) for split in splits]
    assert rows["PER"] == [str(split["entities"]["PER"]) for split in splits]
    assert rows["padding"] == [f"{split['padding']:.1%}" for split in splits]
    assert [cell.split()[0] for cell in rows["words lost by cutting off instead"]] == [
        str(split["lost_by_truncation"]["words"]) for split in splits
    ]
    assert rows["words in no window"] == ["0", "0"]
    shown = table.split("Look at these:")[1]
    assert shown.count("\n  - ") == len(read["warnings"]) > 5
    for remark in read["warnings"]:
        assert remark["text"].split()[0] in shown
        for place in remark["places"]:
            assert Path(place.split(": ")[0]).name in shown  # files by their names alone
    assert all(len(line) <= 100 for line in shown.splitlines())


def test_the_cache_is_kept_where_it_is_asked_for(planted, tmp_path):
    config, _, report = planted
    cache = tmp_path / "cache"
    overrides = [f"data.cache_dir={cache}"]
    assert check(config, overrides, timing=False) == report
    kept = {path: path.stat().st_mtime_ns for path in cache.rglob("*.bin")}
    assert kept
    assert check(config, overrides, timing=False) == report
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.bin")} == kept


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("hyperparameters.learnig_rate=1", "hyperparameters.learnig_rate"),
        ("hyperparameters.global_batch_size=0", "hyperparameters.global_batch_size"),
        ("hyperparameters.num_warmup_steps=1000", "hyperparameters.num_warmup_steps"),
        ("hyperparameters.pretrained_model_name_or_path=/no/model", "is not a directory"),
        ("data.max_seq_length=100", "data.max_seq_length: 100 is more than the 64 pieces"),
        ("data.stride=62", "data.stride"),
        ("data.train_file=/no/such.conll", "/no/such.conll: no such file"),
        ("data.on_bad_tags=error", "tag 'I-LOC' of word 2 ('Kyiv')"),
        ("data.context=document", "no documents are marked"),
        ("searcher.metric=bleu", "searcher.metric: 'bleu'"),
        ("searcher.max_length=5", "searcher.max_length"),
        ("checkpoint_policy=sometimes", "checkpoint_policy"),
        ("resources.slots_per_trial=16", "global_batch_size: 8 is less than the 16 slots"),
        ("resources.slots_per_trial=many", "resources.slots_per_trial: 'many'"),
    ],
)
def test_where_training_would_fail_so_does_the_check(planted, capsys, override, expected):
    config, _, _ = planted
    assert cli.main(["check", str(config), "--no-timing", "--config", override]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("error: ") and expected in printed.err


def test_neither_help_nor_a_mistake_in_the_settings_waits_for_torch():
    script = (
        "import sys\n"
        "from determined_ner.cli import main\n"
        "try: main(['check', '--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "assert main(['check', '--config', 'hyperparameters.learnig_rate=1']) == 2\n"
        "assert not {'torch', 'determined', 'transformers'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0 and "--no-timing" in done.stdout, done.stderr


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_takes_time_is_named_before_it_begins(planted, monkeypatch):
    """Here it fails at once: what was shown before is all that a long reading would show."""
    config, _, _ = planted
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with pytest.raises(UserError):
        check(config, ["data.train_file=/no/such.conll"], timing=False)
    assert "reading, tokenizing, loading the model" in terminal.getvalue()
