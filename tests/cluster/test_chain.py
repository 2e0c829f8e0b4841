"""The trial as a task of a cluster: Determined's own chain of commands from packed context to exit."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from tests.cluster import chain
from tests.cluster.master import TOKEN, TRIAL_SEED
from tests.cluster.trials import DISTRIBUTED, EPOCHS, LEGACY, SCRIPT, STEPS, TOTAL, WITNESS, Cluster, Trial
from tests.conftest import ROOT, assert_equal_states


@pytest.fixture
def script(cluster: Cluster) -> Trial:
    return cluster.script


@pytest.fixture
def legacy(cluster: Cluster) -> Trial:
    return cluster.legacy


# ----- a script as the entrypoint


def test_the_packed_context_is_the_trial_and_no_more(cluster: Cluster, script: Trial) -> None:
    code = script.checkpoint() / "code"
    assert {path.name for path in code.iterdir()} == {
        "determined_ner",
        "ner_trial.py",
        "ner_utils.py",
        "startup-hook.sh",
    }
    sent, ours = (
        {path.relative_to(folder) for path in (folder / "determined_ner").rglob("*") if path.suffix != ".pyc"}
        for folder in (code, ROOT)
    )
    assert sent - {Path("determined_ner")} == {path for path in ours if path.name != "__pycache__"}
    assert sum(path.stat().st_size for path in code.rglob("*")) < 2_000_000


def test_a_task_asks_nothing_that_the_master_does_not_know(script: Trial, legacy: Trial) -> None:
    assert script.master.refused == []
    assert legacy.master.refused == []


def test_experiments_are_told_apart_in_the_web_ui() -> None:
    configs = [yaml.safe_load(path.read_text()) for path in (ROOT / "ner_config.yaml", *ROOT.glob("configs/*.yaml"))]
    for config in configs:
        assert config["name"] and config["description"] and config["labels"], config["name"]
    names = [config["name"] for config in configs]
    assert sorted(names) == sorted(set(names))


def test_a_task_does_not_warn_of_what_the_user_has_not_written(script: Trial) -> None:
    (task,) = script.tasks
    assert [line for line in task.log.splitlines() if "Warning:" in line or line.startswith(("WARN", "ERROR"))] == []


def test_validation_is_reported_once_an_epoch(script: Trial) -> None:
    reports = script.master.reports("validation")
    assert [report.steps for report in reports] == [STEPS, 2 * STEPS, 3 * STEPS]
    assert [report.metrics["epochs"] for report in reports] == [1, 2, 3]
    for report in reports:
        assert {"loss", "accuracy", "precision", "recall", "f1", "f1_PER", "f1_LOC"} <= report.metrics.keys()
        assert all(math.isfinite(value) for value in report.metrics.values())
    assert reports[-1].metrics["f1"] > 0.5
    assert reports[-1].metrics["loss"] < reports[0].metrics["loss"]


def test_training_is_reported_once_a_period(script: Trial) -> None:
    reports = script.master.reports("training")
    assert [report.steps for report in reports] == list(range(2, TOTAL + 1, 2))
    for report in reports:
        assert {"loss", "learning_rate", "samples_per_second"} <= report.metrics.keys()
        assert all(math.isfinite(value) for value in report.metrics.values())


def test_the_status_tells_what_the_task_is_doing(script: Trial) -> None:
    states = [body["state"] for body in script.master.bodies("/runner/metadata")]
    changes = [state for i, state in enumerate(states) if states[i - 1 : i] != [state]]
    assert changes == ["training", "validating", "checkpointing"] * EPOCHS


def test_the_log_tells_once_what_is_trained(script: Trial) -> None:
    (task,) = script.tasks
    name = " determined_ner: "
    said = [line.partition(name)[2] for line in task.log.splitlines() if name in line]
    (calibration,) = (line for line in said if line.startswith("calibration: temperature "))
    said.remove(calibration)
    assert said == [
        "train: 44 sentences, 328 words, 44 windows of at most 64 pieces",
        "validation: 13 sentences, 97 words, 13 windows of at most 64 pieces",
        "tags: IOB2, 4 labels: B-LOC B-PER I-PER O",
        f"model: {script.inputs / 'encoder'}, 0.0 M parameters, eager, fp32 on 1 × cpu of 1 thread",
        "batches: sentences in random order, without padding",
        f"training: 3 epochs = {TOTAL} optimizer steps of 8 windows, seed {TRIAL_SEED}",
        *said_at_the_end(script),
    ]
    assert task.log.count("Reported checkpoint to master") == EPOCHS
    assert TOKEN not in task.log


def said_at_the_end(trial: Trial) -> list[str]:
    best = max(trial.master.reports("validation"), key=lambda report: report.metrics["f1"])
    names = ("loss", "accuracy", "precision", "recall", "f1", "f1_strict")
    (uuid,) = (c["uuid"] for c in trial.master.checkpoints if c["metadata"]["steps_completed"] == best.steps)
    return [
        "validation: " + "  ".join(f"{name} {best.metrics[name]:.4f}" for name in names),
        f"best checkpoint: {uuid}, of batch {best.steps}",
    ]


def test_progress_ends_at_the_end(script: Trial) -> None:
    progress = [body["progress"] for body in script.master.bodies("/progress")]
    assert progress == sorted(progress)
    assert progress[-1] == 1.0


def test_each_epoch_leaves_a_whole_checkpoint(script: Trial) -> None:
    checkpoints = script.master.checkpoints
    assert [checkpoint["metadata"]["steps_completed"] for checkpoint in checkpoints] == [STEPS, 2 * STEPS, 3 * STEPS]
    for i, checkpoint in enumerate(checkpoints):
        assert checkpoint["state"] == "STATE_COMPLETED"
        assert checkpoint["metadata"]["framework"] == f"torch-{torch.__version__}"
        written = json.loads((script.checkpoint(i) / "metadata.json").read_text(encoding="utf-8"))
        assert written == checkpoint["metadata"]
        for name, size in checkpoint["resources"].items():
            path = script.checkpoint(i) / name
            assert path.is_dir() if name.endswith("/") else path.stat().st_size == int(size), name


def test_a_checkpoint_describes_itself(script: Trial) -> None:
    from transformers import AutoConfig, AutoTokenizer

    config = AutoConfig.from_pretrained(script.checkpoint())
    names = ["B-LOC", "B-PER", "I-PER", "O"]
    assert [config.id2label[i] for i in range(config.num_labels)] == names
    assert config.label2id == {name: i for i, name in enumerate(names)}
    assert AutoTokenizer.from_pretrained(script.checkpoint()).tokenize("Ada") == ["a", "##d", "##a"]
    settings = json.loads((script.checkpoint() / "ner_settings.json").read_text(encoding="utf-8"))
    assert settings["labels"] == names
    assert settings["hyperparameters"]["global_batch_size"] == 8
    assert settings["seed"] == TRIAL_SEED  # the trial's, not the experiment's


def test_tensorboard_events_are_in_checkpoint_storage(script: Trial) -> None:
    """All of them: Determined by itself would leave out those of the last second."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(script.storage / "cluster-1/tensorboard/experiment/3/trial/7")).Reload()
    for group, prefix in (("training", ""), ("validation", "val_")):
        for name in ("loss",) if group == "training" else ("loss", "f1", "f1_PER"):
            drawn = [(event.step, event.value) for event in events.Scalars(f"Determined/{prefix}{name}")]
            reported = [(steps, pytest.approx(metrics[name])) for steps, metrics in script.compared(group)]
            assert drawn == reported, name


# ----- the older form of an entrypoint


def test_a_legacy_entrypoint_trains_the_same(script: Trial, legacy: Trial) -> None:
    assert legacy.compared("training") == script.compared("training")
    # min_validation_period is the master's default: here the loop is Determined's, and it validates at the end.
    assert legacy.compared("validation") == script.compared("validation")[-1:]
    assert_equal_states(legacy.state(), script.state())


# ----- a hyperparameter that cannot work


@pytest.mark.parametrize(("batch_size", "slots"), [(0, 1), (1, 2)])
def test_an_invalid_hyperparameter_is_told_to_the_searcher(cluster: Cluster, batch_size: int, slots: int) -> None:
    entrypoint = DISTRIBUTED if slots > 1 else SCRIPT
    trial = cluster.run(f"batch-of-{batch_size}", entrypoint=entrypoint, slots=slots, global_batch_size=batch_size)
    (task,) = trial.tasks
    assert trial.master.bodies("/early_exit") == [{"reason": "EXITED_REASON_INVALID_HP"}] * slots
    assert trial.master.refused == []
    assert trial.master.checkpoints == []
    assert f"hyperparameters.global_batch_size: {batch_size} is" in task.log
    assert "Traceback" not in task.log


@pytest.mark.parametrize("slots", [1, 2])
def test_a_trial_that_diverges_leaves_the_search_to_its_other_points(cluster: Cluster, slots: int) -> None:
    entrypoint = DISTRIBUTED if slots > 1 else SCRIPT
    search = {"name": "random", "max_trials": 2}
    trial = cluster.run(f"diverges-{slots}", entrypoint=entrypoint, slots=slots, searcher=search, learning_rate=1e30)
    (task,) = trial.tasks
    assert trial.master.bodies("/early_exit") == [{"reason": "EXITED_REASON_INVALID_HP"}]
    assert trial.master.checkpoints == [] and trial.master.refused == []
    assert "the training diverged, and there is no checkpoint yet" in task.log
    assert "Traceback" not in task.log


def test_a_single_trial_that_diverges_ends_with_a_message(cluster: Cluster) -> None:
    with cluster.trial("diverges-alone", learning_rate=1e30) as trial:
        task = trial.run()
    assert task.status != 0 and trial.master.bodies("/early_exit") == [] and trial.master.checkpoints == []
    assert task.log.count("error: the training loss is") == 1 and "Traceback" not in task.log


def test_a_damaged_checkpoint_is_refused_and_nothing_of_it_runs(cluster: Cluster) -> None:
    deaths = [{"task": 1, "rank": 0, "batch": STEPS + 3}]
    with cluster.trial("damaged", entrypoint=WITNESS, deaths=deaths) as trial:
        trial.run()
        file = trial.checkpoint() / "trial_state.pkl"
        file.write_bytes(file.read_bytes().replace(b"last_val", b"last_vax"))
        task = trial.run()
    assert task.status != 0 and f"{file}: is damaged: its checksum is another" in task.log
    assert "Traceback" not in task.log


# ----- without a cluster


LOAD = (
    chain.OWN_ROOMS
    + """
mkdir -p "$INPUTS"
mount -t tmpfs tmpfs "$INPUTS"
cd /
exec python3 -c '
import sys
import torch
from determined import pytorch
trial = pytorch.load_trial_from_checkpoint_path(sys.argv[1])
trial.model.eval()
ids = torch.arange(5, 25)[None]
with torch.no_grad():
    logits = trial.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
torch.save([list(trial.model.config.id2label.values()), logits], sys.argv[2])
' "$CHECKPOINT" "$RESULT"
"""
)


@pytest.mark.parametrize("form", ["script", "legacy"])
def test_a_checkpoint_loads_where_data_and_encoder_are_gone(
    cluster: Cluster, form: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from transformers import AutoConfig, AutoModelForTokenClassification

    trial: Trial = request.getfixturevalue(form)
    environment = {
        **chain.bare_environment(tmp_path),
        "INPUTS": str(cluster.inputs),
        "CHECKPOINT": str(trial.checkpoint()),
        "RESULT": str(tmp_path / "result.pth"),
    }
    log = tmp_path / "log"
    with log.open("w") as file:
        status = chain.in_own_rooms(["bash", "-c", LOAD], environment, [trial.storage, tmp_path], file, timeout=60)
    assert status == 0, log.read_text()
    names, logits = torch.load(tmp_path / "result.pth", weights_only=True)

    model = AutoModelForTokenClassification.from_config(AutoConfig.from_pretrained(trial.checkpoint()))
    model.load_state_dict(trial.weights())
    model.eval()
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        torch.testing.assert_close(logits, model(input_ids=ids).logits, rtol=0, atol=1e-6)
    assert list(names) == ["B-LOC", "B-PER", "I-PER", "O"]


def test_det_tests_the_trial_without_a_master(cluster: Cluster, tmp_path: Path) -> None:
    config = cluster.config(tmp_path / "experiment.yaml")
    config["hyperparameters"] = {
        # Determined itself refuses a global_batch_size that is not yet a number.
        name: value if name == "global_batch_size" else {"type": "const", "val": value}
        for name, value in config["hyperparameters"].items()
    }
    config["data"]["cache_dir"] = str(tmp_path / "cache")
    (tmp_path / "experiment.yaml").write_text(json.dumps(config), encoding="utf-8")
    det = Path(sys.executable).with_name("det")
    run = subprocess.run(
        [det, "experiment", "create", "--local", "--test", "experiment.yaml", ROOT, "--config", f"entrypoint={LEGACY}"],
        cwd=tmp_path,
        env={**chain.bare_environment(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert "The test experiment passed" in run.stdout
    (checkpoint,) = (tmp_path / "data" / "determined").iterdir()
    assert {"state_dict.pth", "config.json", "ner_settings.json"} <= {path.name for path in checkpoint.iterdir()}
    assert not (checkpoint / "code" / "tests").exists()
    assert list((tmp_path / "cache").iterdir())
