"""An image that has the package: an experiment's directory holds its config and its data, and no code."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.cluster import chain
from tests.cluster.master import Master
from tests.cluster.trials import Cluster, Trial
from tests.conftest import ROOT, assert_equal_states

ENTRYPOINT = "python3 -m ner_trial"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of packages with ours, from its wheel."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder]
    subprocess.run([*pip, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def trial(cluster: Cluster, site: Path) -> Trial:
    folder = cluster.folder / "installed"
    context = folder / "context"
    (context / "corpus").mkdir(parents=True)
    for split in ("train", "validation"):
        shutil.copy(cluster.inputs / f"{split}.conll", context / "corpus")
    config = cluster.config(context / "experiment.yaml")
    config["entrypoint"], config["scheduling_unit"] = ENTRYPOINT, 2
    config["data"].update({f"{split}_file": f"corpus/{split}.conll" for split in ("train", "validation")})
    (context / "experiment.yaml").write_text(json.dumps(config), encoding="utf-8")
    (context / "startup-hook.sh").write_text(f"export PYTHONPATH={site}  # stands for an image with the package\n")
    complete = chain.complete(config, folder / "checkpoints")
    with Master(complete, chain.pack(context)) as master:
        made = Trial(master, folder, cluster.inputs, [])
        outcome = chain.run_task(master, folder, [cluster.inputs, site])
        made.tasks.append(outcome)
    assert outcome.status == 0, outcome.log
    return made


def test_it_trains_as_the_same_experiment_with_its_code(cluster: Cluster, trial: Trial) -> None:
    assert_equal_states(trial.state(), cluster.script.state())
    assert trial.compared("validation") == cluster.script.compared("validation")


def test_a_checkpoint_holds_the_code_that_made_it_and_no_data(trial: Trial, site: Path) -> None:
    code = trial.checkpoint() / "code"
    assert {path.name for path in code.iterdir()} == {"determined_ner", "ner_trial.py"}
    assert (code / "ner_trial.py").read_bytes() == (site / "ner_trial.py").read_bytes()
    loaded = json.loads((trial.checkpoint() / "load_data.json").read_text(encoding="utf-8"))
    assert loaded["trial_cls_spec"] == "ner_trial:NERTrial"


def test_its_checkpoint_loads_where_data_and_package_are_gone(trial: Trial, tmp_path: Path) -> None:
    code = "import sys\nfrom determined import pytorch\n"
    code += "trial = pytorch.load_trial_from_checkpoint_path(sys.argv[1])\nprint(sorted(trial.model.config.label2id))"
    done = subprocess.run(
        [sys.executable, "-c", code, trial.checkpoint()],
        cwd="/",
        env=chain.bare_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "['B-LOC', 'B-PER', 'I-PER', 'O']" in done.stdout
