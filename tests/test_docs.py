"""The README and the pages of docs/ say what is so: commands and code run, links lead somewhere, nothing is stale."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import types
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT, make_encoder
from tests.documentation import GUIDES, OTHERS, PAGES, README, Block, blocks, commands
from tests.hub.standin import hub

__all__ = ["hub"]

RUN_HERE = ("determined-ner", "python3", "torchrun", "echo")
COMMANDS = [line for line in commands() if line.split()[0] in RUN_HERE]
TRAINING = next(line for line in COMMANDS if "--output-dir runs/mine" in line and "--resume" not in line)
EXPORT = next(line for line in COMMANDS if line.startswith("determined-ner export"))
CODE = blocks("python")
ARCHITECTURE = ROOT / "docs" / "explanation" / "architecture.md"


def _extension(name: str) -> types.ModuleType:
    """A module of docs/_ext, where what builds the pages is installed (requirements/docs.txt)."""
    if name == "reference_tables":
        pytest.importorskip("sphinx")
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "_ext" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- Commands --------------------------------------------------------------------------------------------------


class Reader:
    """Somebody in a checkout, with the files at hand that the pages speak of, who types their commands.

    A tiny encoder takes the place of the hub's, two steps that of a training.
    """

    def __init__(self, folder: Path, encoder: Path) -> None:
        self.folder, self._encoder = folder, encoder
        for name in ("ner_trial.py", "ner_utils.py", "ner_config.yaml"):
            shutil.copy(ROOT / name, folder)
        for name in ("determined_ner", "quickstart", "configs"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for split in ("train", "validation"):
            shutil.copy(ROOT / "quickstart" / f"{split}.conll", folder)
        row = '{"tokens": ["Ada", "went"], "ner_tags": ["B-PER", "O"]}\n'
        (folder / "wnut17").mkdir()
        (folder / "ncbi-disease").mkdir()
        for split in ("train", "validation", "test"):
            (folder / "wnut17" / f"{split}.json").write_text(row * 8)
            (folder / "ncbi-disease" / f"{split}.tsv").write_text("Ada\tB-PER\nwent\tO\n\n" * 8)
        (folder / "text.txt").write_text("Ada went to Oslo.\n\n")
        programs = folder / "programs"
        programs.mkdir()
        for name, words in {
            "determined-ner": "-m determined_ner",
            "python3": "",
            "torchrun": "-m torch.distributed.run",
        }.items():
            (programs / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words} "$@"\n')
            (programs / name).chmod(0o755)

    def types(self, line: str) -> None:
        """Run a line: the command of this process where it stands alone, else in a shell of its own."""
        line = line.replace("=MODEL", f"={self._encoder}")
        words = shlex.split(line)
        trains = {"train", "check", "audit", "search", "ner_trial.py"} & set(words)
        if trains and not {"--help", "--resume"} & set(words):
            tiny = [f"hyperparameters.pretrained_model_name_or_path={self._encoder}", "hyperparameters.max_steps=2"]
            tiny += [] if "data.max_seq_length" in line else ["data.max_seq_length=64"]
            words += [word for setting in tiny for word in ("--config", setting)]
        if words[0] == "determined-ner":
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(self.folder)
                self._runs_here(words[1:])
            return
        done = subprocess.run(
            ["bash", "-ec", line if "|" in line else shlex.join(words)],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            env={
                **os.environ,
                "PATH": f"{self.folder / 'programs'}:{os.environ['PATH']}",
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": "",
            },
        )
        assert done.returncode == 0, done.stderr

    def _runs_here(self, words: list[str]) -> None:
        from determined_ner.cli import main

        try:
            status = main(words)
        except SystemExit as end:  # of --help
            status = int(end.code or 0)
        assert status == 0, words

    def has_trained(self) -> None:
        """The runs that the pages speak of."""
        runs = self.folder / "runs"
        if (runs / "other").is_dir():
            return
        self.types(TRAINING)
        for name in ("quickstart", "other"):
            shutil.copytree(runs / "mine", runs / name)

    def has_exported(self) -> None:
        """The directory that the pages export to. The two steps of its model leave int8 little to agree with."""
        self.has_trained()
        if not (self.folder / "exported").is_dir():
            self.types(EXPORT)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(tmp_path_factory.mktemp("reader"), make_encoder(tmp_path_factory.mktemp("encoder"), layers=3))


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_pages_runs(line: str, reader: Reader, request: pytest.FixtureRequest) -> None:
    if "hub" in line:
        request.getfixturevalue("hub")
    if line == TRAINING:
        reader.has_trained()
        return
    if "runs/mine" in line or "runs/quickstart/" in line or "report runs" in line:
        reader.has_trained()
    if "exported" in line:
        reader.has_exported()
        if line == EXPORT:
            return
    reader.types(line)


def test_every_command_of_the_pages_is_run_somewhere() -> None:
    """make: by .ci/run; det: by tests/cluster, against a stand-in of its master; all else: above."""
    continuous_integration = (ROOT / ".ci/run").read_text()
    for line in commands():
        words = line.split()
        if words[0] == "make":
            assert f"make {words[1]}\n" in continuous_integration, line
        else:
            assert words[0] in (*RUN_HERE, "det"), line


def test_the_pages_speak_of_every_verb() -> None:
    from determined_ner.cli import make_parser

    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for verb in _extension("reference_tables").verbs(make_parser()):
        assert f"determined-ner {verb}" in text, verb


# -- Code ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [b for b in CODE if "litserve" not in b.text], ids=str)
def test_code_of_the_pages_runs(block: Block, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    if "exported" in block.text:
        reader.has_exported()
    elif "runs/" in block.text:
        reader.has_trained()
    monkeypatch.chdir(reader.folder)
    exec(compile(block.text, str(block), "exec"), {"__name__": "__main__"})


def test_the_served_tagger_is_the_tagger(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe's methods in the order in which LitServe 0.2.19 calls them, in place of the server."""
    reader.has_exported()
    (block,) = (b for b in CODE if "litserve" in b.text)
    monkeypatch.setitem(sys.modules, "litserve", types.SimpleNamespace(LitAPI=object))
    monkeypatch.chdir(reader.folder)
    recipe: dict[str, Any] = {"__name__": "server"}
    exec(compile(block.text, "server.py", "exec"), recipe)
    api = recipe["Entities"]()
    api.setup("cpu")
    texts = ["Ada went to Oslo.", ""]
    decoded = [api.decode_request(recipe["Request"](text=text)) for text in texts]
    answers = [json.loads(json.dumps(api.encode_response(found))) for found in api.predict(decoded)]
    assert answers == [{"entities": [asdict(e) for e in found]} for found in api.tagger(texts)]


def test_the_served_tagger_refuses_what_would_hold_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the size of the body, which LitServe looks at, and by the length of the text in it."""
    from pydantic import ValidationError

    (block,) = (b for b in CODE if "litserve" in b.text)
    made: dict[str, Any] = {}

    class Server:
        def __init__(self, api: object, **settings: Any) -> None:
            made.update(settings)

        def run(self, **settings: Any) -> None:
            made["host"] = settings["host"]

    api = type("LitAPI", (), {"__init__": lambda self, **settings: None})
    monkeypatch.setitem(sys.modules, "litserve", types.SimpleNamespace(LitAPI=api, LitServer=Server))
    recipe: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(block.text, "server.py", "exec"), recipe)
    assert made["max_payload_size"] == 1 << 18 and made["host"] == "127.0.0.1"
    text = "北" * 20_000
    assert len(json.dumps({"text": text}).encode()) < made["max_payload_size"]
    assert recipe["Request"](text=text).text == text
    with pytest.raises(ValidationError, match="at most 20000 characters"):
        recipe["Request"](text=f"{text}x")


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_settings_of_the_pages_are_known(block: Block) -> None:
    from determined_ner.settings.data import DataSettings
    from determined_ner.settings.hyperparameters import Hyperparameters

    config = yaml.safe_load(block.text)
    for section, known in (("hyperparameters", Hyperparameters), ("data", DataSettings)):
        assert set(config.get(section, {})) <= set(known.model_fields)


# -- What the pages say ----------------------------------------------------------------------------------------


def test_the_citation_is_of_this_version() -> None:
    from determined_ner import __version__

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0" and {"message", "title", "authors"} <= set(citation)
    assert citation["version"] == __version__


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").split()) <= 900


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_pictures_are_there(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


def test_every_page_is_in_the_table_of_contents() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in GUIDES:
        name = page.relative_to(ROOT / "docs").with_suffix("").as_posix()
        assert name == "index" or f"\n{name}\n" in index, name


def test_the_architecture_page_names_every_module() -> None:
    page = ARCHITECTURE.read_text(encoding="utf-8")
    package_tree = _extension("package_tree")
    assert package_tree.tree() in page, "stale: run python3 docs/_ext/package_tree.py"
    folders = {p.parent.relative_to(ROOT / "determined_ner").as_posix() for p in ROOT.glob("determined_ner/**/*.py")}
    assert folders - {"."} == set(package_tree.FOLDERS), "name each folder in docs/_ext/package_tree.py"


def test_the_modules_that_the_pages_name_exist() -> None:
    folders = "|".join(sorted({path.name for path in (ROOT / "determined_ner").iterdir() if path.is_dir()}))
    for page in PAGES:
        for name in re.findall(rf"`((?:{folders})/[\w/]+\.py)`", page.read_text(encoding="utf-8")):
            assert (ROOT / "determined_ner" / name).is_file(), f"{page.name}: {name}"
        for name in re.findall(r"`((?:determined_ner|tests|docs|benchmarks)/[\w/]+\.py)`", page.read_text()):
            assert (ROOT / name).is_file(), f"{page.name}: {name}"


def test_the_tests_that_the_pages_name_exist() -> None:
    there = {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    named = {name for page in PAGES for name in re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8"))}
    assert named and not named - there, sorted(named - there)


def test_the_settings_that_the_pages_name_exist() -> None:
    from determined_ner.cluster.batch_inference import InferenceData, InferenceHyperparameters
    from determined_ner.settings.data import DataSettings
    from determined_ner.settings.hyperparameters import Hyperparameters

    known = {
        "hyperparameters": {*Hyperparameters.model_fields, *InferenceHyperparameters.model_fields},
        "data": {*DataSettings.model_fields, *InferenceData.model_fields},
    }
    for page in PAGES:
        for section, name in re.findall(r"(?<![\w./])(hyperparameters|data)\.(\w+)", page.read_text(encoding="utf-8")):
            assert name in known[section] or name == "py", f"{page.name}: {section}.{name}"


# -- Reference out of the code ---------------------------------------------------------------------------------


def test_settings_are_described_by_their_fields() -> None:
    from determined_ner.settings.data import DataSettings
    from determined_ner.settings.hyperparameters import Hyperparameters

    for section in (Hyperparameters, DataSettings):
        bare = [name for name, field in section.model_fields.items() if not field.description]
        assert not bare, f"{section.__name__}: describe {', '.join(bare)} by a string literal below each"

    table = _extension("reference_tables").settings_table(DataSettings)
    assert "| `max_seq_length` | whole number ≥ 4 |  | Pieces per window" in table
    assert "| `on_bad_tags` | `repair`, `error` | `repair` |" in table


def test_commands_are_described_by_their_parsers() -> None:
    from determined_ner.cli import make_parser

    pages = _extension("reference_tables").command_pages(make_parser())
    assert "## determined-ner predict" in pages
    assert "| `--backend {torch,onnx}` | what runs the model |" in pages
    assert "95 % bootstrap" in pages  # not the %% of argparse


@pytest.mark.slow
def test_the_pages_build_strictly(tmp_path: Path) -> None:
    """As ``make docs`` builds them, from nothing."""
    pytest.importorskip("sphinx")
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-b", "html", "-d", str(tmp_path / "doctrees")]
    done = subprocess.run(
        [*build, "docs", str(tmp_path / "html")], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    settings = (tmp_path / "html" / "reference" / "settings.html").read_text(encoding="utf-8")
    assert "Peak learning rate of AdamW" in settings
