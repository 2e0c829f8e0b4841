"""Our loop and Determined's train the same bits, at the same borders, and go on with each other's checkpoints."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import ner_trial
from determined_ner.training.trial_state import TrialState
from tests.conftest import (
    ROOT,
    assert_equal_states,
    command,
    read_metrics,
    without_times,
)
from tests.determined_loop import train_by_determined
from tests.forked import together

KEPT = ("checkpoint_storage.save_trial_latest=99",)
RUNS = {
    "fp32": (1, ("hyperparameters.warmup_ratio=0.2", "hyperparameters.weight_decay=0.1", "scheduling_unit=4")),
    "bf16": (1, ("hyperparameters.precision=bf16", "optimizations.aggregation_frequency=2", "scheduling_unit=4")),
    "two processes": (2, ("scheduling_unit=4",)),
    "two processes, accumulated": (2, ("optimizations.aggregation_frequency=2", "scheduling_unit=4")),
}
"""Processes and settings; of 12 batches, or 24 where steps have two."""
BORDERS = {
    "each epoch": (),
    "odd places": (
        *("min_validation_period.batches=4", "min_checkpoint_period.batches=5", "checkpoint_policy=none"),
        "perform_initial_validation=true",
    ),
    "every validation": ("min_validation_period.batches=4", "checkpoint_policy=all", "searcher.max_length.batches=10"),
    "records": ("searcher.max_length.records=88", "min_validation_period.records=40", "min_checkpoint_period.epochs=2"),
}


def ours(config: Path, folder: Path, *overrides: str, resume: bool = False) -> int:
    options = [word for override in overrides for word in ("--config", override)]
    arguments = [str(config), "--output-dir", str(folder), *options, *(["--resume"] if resume else [])]
    return ner_trial.main(arguments)


def determineds(config: Path, folder: Path, *overrides: str, resume: bool = False) -> int:
    return train_by_determined(config, folder, *overrides, resume=resume)


def drive(loop: Any, processes: int, *arguments: Any, **options: Any) -> None:
    """In copies of this process: Determined's ends leave threads."""
    status, output = together(lambda: loop(*arguments, **options), processes)
    assert status == 0, output


def checkpoints(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in sorted((folder / "checkpoints").iterdir())}


def assert_same(left: Path, right: Path) -> None:
    """Reports, and of each checkpoint weights, optimizer, schedule, random state and what it says of itself."""
    assert without_times(read_metrics(left)) == without_times(read_metrics(right))
    of_left, of_right = checkpoints(left), checkpoints(right)
    assert list(of_left) == list(of_right)
    for name, path in of_left.items():
        assert_same_checkpoints(path, of_right[name])


def assert_same_checkpoints(left: Path, right: Path) -> None:
    one, two = (torch.load(path / "state_dict.pth", weights_only=True) for path in (left, right))
    assert one.keys() == two.keys()
    for part in one.keys() - {"callbacks"}:
        assert_equal_states(one[part], two[part], f"{left}: {part}")
    assert one["callbacks"]["self_contained"] == two["callbacks"]["self_contained"]
    for name in ("load_data.json", "metadata.json", "ner_settings.json"):
        assert json.loads((left / name).read_text()) == json.loads((right / name).read_text()), name
    states = [pickle.loads((path / "trial_state.pkl").read_bytes()) for path in (left, right)]
    assert states[0] == states[1] and list(states[0]) == list(states[1])
    of_left, of_right = ({path.name for path in folder.iterdir()} - {"code"} for folder in (left, right))
    assert of_left == of_right


@pytest.mark.parametrize("name", RUNS)
def test_both_loops_train_the_same_bits(config_file, tmp_path, name):
    processes, settings = RUNS[name]
    folders = [tmp_path / "ours", tmp_path / "determineds"]
    for loop, folder in zip((ours, determineds), folders, strict=True):
        drive(loop, processes, config_file, folder, *settings, *KEPT, "checkpoint_policy=all")
    assert_same(*folders)


@pytest.mark.parametrize("name", BORDERS)
@pytest.mark.parametrize("accumulation", [1, 2])
def test_both_loops_validate_save_and_report_at_the_same_places(config_file, tmp_path, name, accumulation):
    settings = (*BORDERS[name], f"optimizations.aggregation_frequency={accumulation}", "scheduling_unit=3", *KEPT)
    if name == "each epoch":
        settings += ("checkpoint_storage.save_trial_best=99",)
    folders = [tmp_path / "ours", tmp_path / "determineds"]
    for loop, folder in zip((ours, determineds), folders, strict=True):
        drive(loop, 1, config_file, folder, *settings)
    assert_same(*folders)


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("first", ["ours", "determineds"])
def test_a_run_begun_in_one_loop_is_resumed_in_the_other(config_file, tmp_path, name, first):
    """In the middle of an epoch."""
    processes, settings = RUNS[name]
    settings = (*settings, *KEPT, "min_checkpoint_period.batches=8")
    loops = {"ours": ours, "determineds": determineds}
    whole, mixed = tmp_path / "whole", tmp_path / "mixed"
    drive(loops.pop(first), processes, config_file, whole, *settings)
    shutil.copytree(whole, mixed)
    for checkpoint, path in checkpoints(mixed).items():
        if checkpoint > "step-00000008":
            shutil.rmtree(path)
    assert list(checkpoints(mixed))[-1] == "step-00000008"
    for left_over in ("model", "summary.json"):
        shutil.rmtree(mixed / left_over, ignore_errors=True)
    (other,) = loops.values()
    drive(other, processes, config_file, mixed, *settings, resume=True)
    assert_same(whole, mixed)


def test_the_state_of_a_training_has_determineds_fields():
    from determined import pytorch

    assert list(vars(pytorch._TrialState())) == list(vars(TrialState()))
    assert vars(pytorch._TrialState()) == vars(TrialState())


EVENTS = """
import sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
events.Reload()
for tag in sorted(events.Tags()["scalars"]):
    if not tag.endswith("_per_second"):
        print(tag, [(event.step, event.value) for event in events.Scalars(tag)])
"""


def test_both_loops_write_the_same_events(config_file, tmp_path):
    folders = [tmp_path / "ours", tmp_path / "determineds"]
    told = []
    for loop, folder in zip((ours, determineds), folders, strict=True):
        drive(loop, 1, config_file, folder, "scheduling_unit=5")
        done = subprocess.run([sys.executable, "-c", EVENTS, folder / "tensorboard"], capture_output=True, text=True)
        told.append(done.stdout)
    assert told[0] == told[1] and "Determined/val_f1 [(6, " in told[0] and "Determined/learning_rate [(0, " in told[0]


# -- Without Determined --------------------------------------------------------------------------------------------

WITHOUT_DETERMINED = """
import runpy, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("determined", "zmq"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    assert not [name for name in sys.modules if name.partition(".")[0] in ("determined", "zmq")]
"""


@pytest.mark.parametrize("by", ["ner_trial.py", "determined_ner/__main__.py train"])
def test_it_trains_where_determined_cannot_be_imported(config_file, tmp_path, by):
    script, *verb = by.split()
    arguments = [*verb, str(config_file), "--output-dir", str(tmp_path / "run")]
    for more in ([], ["--resume"]):
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{WITHOUT_DETERMINED}",
             str(ROOT / script), *arguments, *more],
            capture_output=True, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


IMPORTED = """
import atexit, runpy, sys
tops = lambda: {name.partition(".")[0] for name in sys.modules}
atexit.register(lambda: print("IMPORTED", sorted({"determined", "zmq"} & tops())))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_nothing_of_determined_is_imported_off_a_cluster_where_it_is_installed(config_file, tmp_path):
    script, *arguments = command(config_file, "--output-dir", tmp_path / "run")[1:]
    check = ["check", str(config_file), "--no-timing"]
    for words in ([script, *arguments], [str(ROOT / "determined_ner" / "__main__.py"), *check]):
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{IMPORTED}", *words],
            capture_output=True, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "IMPORTED []" in done.stdout
