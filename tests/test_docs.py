"""The README and the shipped configs say what is so: commands run, configs are valid, every room is named."""

from __future__ import annotations

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

from tests.conftest import ROOT
from tests.shipped import a_point, why_not_offered

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines() if line.strip()
]
CONFIGS = sorted({*ROOT.glob("*.yaml"), *ROOT.glob("configs/*.yaml"), *ROOT.glob("quickstart/*.yaml")})


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    """A copy of the project in which the files stand that the README speaks of."""
    folder = tmp_path_factory.mktemp("readme")
    for file in [*ROOT.glob("ner_*.py"), *ROOT.glob("*.yaml")]:
        shutil.copy(file, folder)
    shutil.copytree(ROOT / "quickstart", folder / "quickstart")
    for split in ("train", "validation"):
        shutil.copy(ROOT / "quickstart" / f"{split}.conll", folder)
    wnut = folder / "wnut17"
    wnut.mkdir()
    (folder / "ncbi-disease").mkdir()
    for split in ("train", "validation", "test"):
        (folder / "ncbi-disease" / f"{split}.tsv").write_text("Ada\tB-PER\nwent\tO\n\n" * 8)
    (folder / "text.txt").write_text("Ada went to Oslo.\n\n")
    row = '{"tokens": ["Ada", "went"], "ner_tags": ["B-PER", "O"]}\n'
    for split in ("train", "validation", "test"):
        (wnut / f"{split}.json").write_text(row * 8)
    return folder


TRAINING = next(line for line in COMMANDS if "--output-dir runs/mine" in line)


@pytest.mark.parametrize("line", [c for c in COMMANDS if c.startswith(("python3 ner_", "torchrun"))])
def test_a_command_of_the_readme_runs(line, directory, tiny_encoder):
    """As it stands, but for a tiny encoder in place of the hub's and two steps in place of the training."""
    if line != TRAINING and "runs/mine" in line and not (directory / "runs/mine/model").is_dir():
        run_line(TRAINING, directory, tiny_encoder)
    run_line(line, directory, tiny_encoder)


def run_line(line: str, directory: Path, tiny_encoder: Path) -> None:
    words = shlex.split(line.replace("=MODEL", f"={tiny_encoder}").split("  #")[0])
    launcher = [sys.executable] if words[0] == "python3" else [sys.executable, "-m", "torch.distributed.run"]
    command = [*launcher, *words[1:]]
    trains = {"ner_trial.py", "ner_data.py"} & set(words)
    if trains and "--help" not in words and "--resume" not in words:
        command += ["--config", f"hyperparameters.pretrained_model_name_or_path={tiny_encoder}"]
        command += ["--config", "hyperparameters.max_steps=2", "--config", "data.max_seq_length=64"]
    done = subprocess.run(
        command,
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
    )
    assert done.returncode == 0, done.stderr


def test_every_command_of_the_readme_is_run_somewhere():
    """make: by .ci/run; python3 and torchrun: above; det: against the stand-in of the master."""
    continuous_integration = (ROOT / ".ci/run").read_text()
    for line in COMMANDS:
        words = line.split("#")[0].split()
        if words[0] == "make":
            assert f"make {words[1]}" in continuous_integration, line
        else:
            assert words[0] in ("python3", "torchrun", "det"), line


def test_the_served_tagger_is_the_tagger(directory, tiny_encoder, monkeypatch):
    """The recipe's methods in the order in which LitServe 0.2.19 calls them, in place of the server."""
    (source,) = (block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "litserve" in block)
    if not (directory / "runs/mine/model").is_dir():
        run_line(TRAINING, directory, tiny_encoder)
    monkeypatch.setitem(sys.modules, "litserve", types.SimpleNamespace(LitAPI=object))
    monkeypatch.chdir(directory)
    recipe: dict[str, Any] = {"__name__": "server"}
    exec(compile(source, "server.py", "exec"), recipe)
    api = recipe["Entities"]()
    api.setup("cpu")
    texts = ["Ada went to Oslo.", ""]
    decoded = [api.decode_request(recipe["Request"](text=text)) for text in texts]
    answers = [json.loads(json.dumps(api.encode_response(found))) for found in api.predict(decoded)]
    assert answers == [{"entities": [asdict(e) for e in found]} for found in api.tagger(texts)]


def test_the_table_of_rooms_names_every_module():
    rooms = README[README.index("## Rooms") :]
    for module in ROOT.glob("ner_*.py"):
        assert f"`{module.name}`" in rooms, module.name


def test_what_the_readme_shows_is_there():
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / link).is_file(), link


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.name)
def test_a_shipped_config_is_what_the_code_reads(config):
    from determined_ner.settings.experiment import read_config
    from determined_ner.settings.loop import parse_loop
    from determined_ner.settings.parsing import parse_settings

    experiment = read_config(config, [])
    launcher, _, program = experiment["entrypoint"].rpartition("python3 ")
    slots = experiment["resources"]["slots_per_trial"]
    assert launcher in ("", "python3 -m determined.launch.torch_distributed ")
    assert slots == 1 or launcher
    if program == "ner_batch_inference.py":
        from determined_ner.cluster.batch_inference import InferenceData, InferenceHyperparameters

        InferenceHyperparameters(**experiment["hyperparameters"])
        InferenceData(**experiment["data"])
        return
    assert program == "ner_trial.py"
    if reason := why_not_offered(experiment):
        pytest.skip(reason)
    settings = parse_settings(a_point(experiment["hyperparameters"]), experiment["data"])
    plan = parse_loop(experiment, settings)
    assert not settings.warnings and not plan.warnings
    assert settings.hparams.global_batch_size >= slots


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.name)
def test_a_shipped_config_is_what_determined_takes(config):
    checker = ROOT.parent / "shared" / "determined" / "check_expconf.py"
    if not checker.is_file():
        pytest.skip(f"Determined's schemas are not here: {checker}")
    import yaml

    spec = importlib.util.spec_from_file_location("check_expconf", checker)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    experiment = yaml.safe_load(config.read_text(encoding="utf-8"))
    assert list(module.faults(experiment)) == []
    for dotted in module.DEPRECATED:
        at = experiment
        for part in dotted.split("."):
            at = at.get(part) if isinstance(at, dict) else None
        assert at is None, f"{dotted} is deprecated"
