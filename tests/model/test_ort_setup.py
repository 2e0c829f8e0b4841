"""``determined-ner setup-ort``: what it compiles is kept for the next container."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from determined_ner.model import ort, ort_setup
from determined_ner.model.ort import Installation

VERSIONS = {"onnxruntime-training": "1.19.2", "torch-ort": "1.19.2", "torch": "2.3.1+cpu"}


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Where extensions were compiled."""
    places: list[Path] = []

    def compile_extensions(installation: Installation) -> None:
        if installation.has_extensions("cpu"):
            return
        places.append(installation.extensions_folder)
        for name in ort.EXTENSIONS["cpu"]:
            (places[-1] / f"{name}.so").write_text(f"{name} {len(places)}", encoding="utf-8")

    monkeypatch.setattr(ort_setup, "compile_extensions", compile_extensions)
    monkeypatch.setattr(ort_setup, "cuda_to_compile_for", lambda: None)
    return places


def container(folder: Path, **versions: str) -> Installation:
    """A fresh one."""
    made = Installation(VERSIONS | versions, folder / "onnxruntime")
    made.extensions_folder.mkdir(parents=True)
    return made


def test_it_says_what_it_compiles_and_how_long_that_takes(tmp_path, compiled, capsys):
    here = container(tmp_path)
    ort_setup.set_up(here, None)
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("setup-ort: compiling the extensions") and "takes about three minutes" in first
    assert last.startswith("setup-ort: compiled in ")
    ort_setup.set_up(here, None)
    assert len(compiled) == 1 and capsys.readouterr().err == ""


def test_the_next_container_takes_what_the_first_has_compiled(tmp_path, compiled, capsys):
    first, second = container(tmp_path / "1"), container(tmp_path / "2")
    for each in (first, second):
        ort_setup.set_up(each, tmp_path / "cache")
        assert each.has_extensions("cpu")
    assert compiled == [first.extensions_folder]
    assert capsys.readouterr().err.count(f"keeping them in {tmp_path / 'cache'}") == 1
    names = sorted(path.name for path in first.extensions_folder.iterdir())
    assert sorted(path.name for path in second.extensions_folder.iterdir()) == names
    for name in names:
        assert (second.extensions_folder / name).read_bytes() == (first.extensions_folder / name).read_bytes()


def test_another_version_compiles_its_own(tmp_path, compiled):
    for number, torch in enumerate(["2.3.1+cpu", "2.4.1+cpu", "2.3.1+cpu"]):
        ort_setup.set_up(container(tmp_path / str(number), torch=torch), tmp_path / "cache")
    assert len(compiled) == 2


def test_what_a_disk_has_damaged_is_compiled_again(tmp_path, compiled):
    ort_setup.set_up(container(tmp_path / "1"), tmp_path / "cache")
    (kept,) = (tmp_path / "cache").glob("ortmodule-*")
    next(kept.glob("*.so")).write_text("something else", encoding="utf-8")
    ort_setup.set_up(second := container(tmp_path / "2"), tmp_path / "cache")
    assert len(compiled) == 2 and second.has_extensions("cpu")


@pytest.mark.parametrize(
    ("config", "cache"),
    [
        (None, None),
        ({"data": None}, None),
        ({"data": {"cache_dir": None}}, None),
        ({"data": {"cache_dir": "/mnt/agent/determined-ner"}}, Path("/mnt/agent/determined-ner")),
    ],
)
def test_the_cache_is_that_of_the_experiment(monkeypatch, config, cache):
    monkeypatch.delenv("DET_EXPERIMENT_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("DET_EXPERIMENT_CONFIG", json.dumps(config))
    assert ort_setup.cache_of_experiment() == cache
