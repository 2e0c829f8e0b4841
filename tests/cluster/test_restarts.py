"""A mistake is made once, in every shipped experiment; what may pass is tried again."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.experiments import Experiments
from tests.cluster.trials import Trial
from tests.conftest import ROOT
from tests.shipped import SHIPPED

EVERY = [*SHIPPED, ROOT / "ner_config.yaml", ROOT / "quickstart" / "quickstart.yaml"]
BAD_LINE = "Ada B-PER\nwent O\nhome\n\n"


def mistyped_path(config: dict[str, Any], folder: Path) -> str:
    name = "input_file" if "input_file" in config["data"] else "train_file"
    config["data"][name] = str(folder / "corpus-train.conll")
    return "corpus-train.conll"


def unknown_setting(config: dict[str, Any], folder: Path) -> str:
    config["data"]["text_colum"] = "words"
    return "text_colum"


def bad_line(config: dict[str, Any], folder: Path) -> str:
    folder.mkdir()
    if "input_file" in config["data"]:
        (folder / "bad.jsonl").write_text('{"tokens": ["Ada"]}\n{"tokens": ["went"\n', encoding="utf-8")
        config["data"]["input_file"] = str(folder / "bad.jsonl")
        return "bad.jsonl:2"
    (folder / "bad.conll").write_text(BAD_LINE, encoding="utf-8")
    config["data"]["train_file"] = str(folder / "bad.conll")
    return "bad.conll:3"


MISTAKES = [mistyped_path, unknown_setting, bad_line]
MADE = [
    *(pytest.param(ROOT / "configs/constant.yaml", mistake, id=f"constant-{mistake.__name__}") for mistake in MISTAKES),
    *(  # what a config's log policy sees depends on no other setting: each of the others makes one of them
        pytest.param(path, mistake, id=f"{path.stem}-{mistake.__name__}", marks=pytest.mark.slow)
        for path, mistake in zip(EVERY, itertools.cycle(MISTAKES))
        if path.stem != "constant"
    ),
]


def run_with(experiments: Experiments, shipped: Path, mistake: Callable[..., str], **changes: Any) -> tuple[Trial, str]:
    name = f"{shipped.stem}-{mistake.__name__}-{'-'.join(changes)}"
    inference = shipped.stem == "batch_inference"
    config = experiments.small(shipped)
    if inference:
        trained = experiments.ran("constant")
        config["hyperparameters"] = {"checkpoint": str(trained.checkpoint())}
        config["data"]["output_file"] = str(experiments.inputs / "storage" / f"{name}.jsonl")
    said = mistake(config, experiments.inputs / name)
    config.update(changes)
    with experiments.trial(name, config) as trial:
        trial.run_to_the_end()
    return trial, said


@pytest.mark.parametrize(("shipped", "mistake"), MADE)
def test_a_mistake_is_made_once(experiments: Experiments, shipped: Path, mistake: Callable[..., str]) -> None:
    trial, said = run_with(experiments, shipped, mistake)
    (task,) = trial.tasks
    slots = trial.master.slots
    by_hook = "error: startup-hook.sh: " in task.log  # backend: ort, in an image that cannot have it
    assert task.status == (1 if slots > 1 or by_hook else 2)
    assert task.log.count("Traceback") == task.log.count("ChildFailedError: ") == (0 if slots == 1 else 1)  # torchrun's
    (line,) = {line for line in task.log.splitlines() if re.match(r"(\[rank=0\] )?(temporary )?error: ", line)}
    assert line.removeprefix("[rank=0] ").startswith("error: ")
    if shipped.stem not in ("apex", "ort"):  # which are refused here for what this machine lacks
        assert said in line


def test_without_the_log_policy_a_mistake_is_made_again(experiments: Experiments) -> None:
    trial, _ = run_with(experiments, ROOT / "configs/constant.yaml", unknown_setting, log_policies=[], max_restarts=1)
    assert len(trial.tasks) == 2


def test_a_server_that_does_not_answer_is_asked_again_by_the_next_task(experiments: Experiments) -> None:
    with experiments.trial("silent", experiments.small(ROOT / "configs/own_data_url.yaml")) as trial:
        trial.master.silent = 1  # type: ignore[attr-defined]
        first, second = trial.run_to_the_end()
    assert first.status == 2 and "Traceback" not in first.log
    (line,) = (line for line in first.log.splitlines() if re.match("(temporary )?error: ", line))
    assert line.startswith("temporary error: data.train_file: ")
    assert "the server answers 503" in line
    assert second.status == 0
    assert trial.master.checkpoints
