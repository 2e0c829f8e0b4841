"""``det`` against a stand-in of the master: what it sends, and every line of it in README, docs/ and the configs."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from determined.common import util

from tests.cluster.cli_master import EXPERIMENT, NAME, PASSWORD, UUID, CliMaster
from tests.conftest import ROOT, make_sentences, write_conll
from tests.documentation import commands

CLUSTER_PAGE = (ROOT / "docs" / "how-to" / "cluster.md").read_text(encoding="utf-8")
OF_PAGES = [line for line in commands() if line.startswith("det ")]
OF_HEADERS = [
    line.removeprefix("#").split("     ")[0].strip()
    for config in sorted([*ROOT.glob("configs/*.yaml"), ROOT / "ner_config.yaml"])
    for line in config.read_text(encoding="utf-8").splitlines()
    if re.match(r"# +det ", line)
]
SIZE = 2_000_000
"""Bytes that a context stays under, so that the page on clusters can state it."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as a user has it: with runs, an environment, and a corpus beside it."""
    folder = tmp_path_factory.mktemp("det") / "project"
    ignored = shutil.ignore_patterns(".git", ".venv*", "runs", "__pycache__", ".*_cache", ".hypothesis")
    shutil.copytree(ROOT, folder, ignore=ignored)
    for name in (
        ".venv",
        "runs/mine/model",
        "data",
        "checkpoint",
        "figures",
        ".git/objects",
        "tests/cluster/__pycache__",
        ".ruff_cache",
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "large").write_bytes(b"\0" * 1_000_000)
    (folder.parent / "corpus").mkdir()
    for split in ("train", "validation"):
        write_conll(folder.parent / "corpus" / f"{split}.conll", make_sentences(4))
    return folder


@pytest.fixture
def master(tmp_path: Path) -> Iterator[CliMaster]:
    (tmp_path / "storage" / UUID).mkdir(parents=True)
    for name in ("metadata.json", "state_dict.pth"):
        (tmp_path / "storage" / UUID / name).write_text("{}", encoding="utf-8")
    with CliMaster(tmp_path / "storage", ["metadata.json", "state_dict.pth"]) as played:
        yield played


@pytest.fixture
def det(master: CliMaster, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """``det`` in this process, for a user who has logged in or types the password when asked."""
    from determined.cli.cli import main

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("DET_USER", "DET_USER_TOKEN", "DET_PASS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda _: PASSWORD)
    monkeypatch.chdir(checkout)

    def run(line: str) -> None:
        for placeholder, value in (("NAME", NAME), ("EXPERIMENT", str(EXPERIMENT)), ("UUID", UUID)):
            line = re.sub(rf"\b{placeholder}\b", value, line)
        try:
            main(["--master", master.url, *shlex.split(line)[1:]])  # DET_MASTER is read once, at import
        except SystemExit as end:
            assert not end.code, f"{line}: {end.code}"

    run("det user login NAME")
    yield run
    assert master.refused == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("line", sorted({*OF_PAGES, *OF_HEADERS}))
def test_a_line_of_det_does_what_is_said_of_it(line: str, det, master: CliMaster, checkout: Path) -> None:
    det(line)
    words = shlex.split(line)
    if words[1:3] == ["experiment", "create"]:
        (created,) = master.created
        shipped = yaml.safe_load((checkout / words[3]).read_text(encoding="utf-8"))
        assert created.config["description"] == shipped["description"]
        for setting in [words[i + 1] for i, word in enumerate(words) if word == "--config"]:
            value: object = created.config
            for key in setting.partition("=")[0].split("."):
                value = value[key]  # type: ignore[index]
            assert value in (util.yaml_safe_load(setting.partition("=")[2]), UUID)
        given = {created.config["data"].get(f"{split}_file") for split in ("train", "validation")}
        for file in given - {None}:  # that lies neither in a mounted directory nor at a URL was sent along
            assert file.startswith(("/mnt/", "https://")) or file in created.files
    elif words[1:3] == ["experiment", "continue"]:
        (override,) = master.continued
        assert override
    elif words[1:3] == ["checkpoint", "download"]:
        assert (checkout / words[words.index("--output-dir") + 1] / "state_dict.pth").is_file()


def test_the_page_on_clusters_speaks_of_every_shipped_experiment() -> None:
    for config in ROOT.glob("configs/*.yaml"):
        assert f"configs/{config.name}" in CLUSTER_PAGE, config.name


def test_det_sends_the_trial_and_nothing_else(master: CliMaster, checkout: Path, tmp_path: Path) -> None:
    """The program itself, by a user who has not logged in."""
    run = subprocess.run(
        [Path(sys.executable).with_name("det"), "experiment", "create", "configs/constant.yaml", "."],
        cwd=checkout,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "DET_MASTER": master.url,
            "DET_USER": NAME,
            "DET_PASS": PASSWORD,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    (created,) = master.created
    package = (path.relative_to(ROOT) for path in (ROOT / "determined_ner").rglob("*") if path.is_file())
    sent = {"startup-hook.sh", "ner_trial.py", "ner_utils.py"}
    assert set(created.files) == sent | {path.as_posix() for path in package if "__pycache__" not in path.parts}
    size = sum(map(len, created.files.values()))
    assert size < SIZE
    assert f"under {SIZE // 10**6} MB" in CLUSTER_PAGE
    assert master.refused == []
