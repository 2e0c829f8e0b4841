"""The trial as a task of a cluster: Determined's own chain of commands from packed context to exit."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import chain
import pytest
import torch
from chain import Outcome
from conftest import ROOT, assert_equal_states, make_encoder, make_sentences, write_config, write_conll
from master import TRIAL_SEED, Master, Report

EPOCHS, STEPS = 3, 6  # 44 sentences in batches of 8
TOTAL = EPOCHS * STEPS
DISTRIBUTED = "python3 -m determined.launch.torch_distributed python3 ner_trial.py"
LEGACY = "ner_trial:NERTrial"


@pytest.fixture(scope="module", autouse=True)
def _namespaces() -> None:
    if reason := chain.why_not():
        pytest.skip(reason)


@dataclass
class Trial:
    """A trial that has ended: what its tasks left behind."""

    master: Master
    storage: Path
    tasks: list[Outcome] = field(default_factory=list)

    def checkpoint(self, index: int = -1) -> Path:
        return self.storage / str(self.master.checkpoints[index]["uuid"])

    def state(self) -> dict[str, Any]:
        """The last checkpoint's weights, optimizer and schedule."""
        import ner_trial  # noqa: F401  (allows NumPy's random state in torch's safe loader)

        state = torch.load(self.checkpoint() / "state_dict.pth", map_location="cpu", weights_only=True)
        return {name: state[f"{name}_state_dict"] for name in ("models", "optimizers", "lr_schedulers")}


@dataclass(frozen=True)
class Cluster:
    """Where trials of this module run, on the same data."""

    folder: Path
    inputs: Path
    modules: frozenset[str]
    archive: str

    def run(
        self,
        name: str,
        encoder: str = "encoder",
        entrypoint: str = "python3 ner_trial.py",
        slots: int = 1,
        preempt_after: int | None = None,
        searcher: dict[str, Any] | None = None,
        **hyperparameters: Any,
    ) -> Trial:
        """Run a trial, and if it is preempted its second task."""
        folder = self.folder / name
        folder.mkdir()
        config = self.config(folder / "experiment.yaml", encoder, **hyperparameters)
        config["entrypoint"] = entrypoint
        config["resources"]["slots_per_trial"] = slots
        config["searcher"].update(searcher or {})
        config["scheduling_unit"] = 2
        storage = folder / "checkpoints"
        with Master(chain.complete(config, storage), self.archive) as master:
            trial = Trial(master, storage)
            for _ in range(1 if preempt_after is None else 2):
                if preempt_after is not None and not trial.tasks:
                    master.preempt_after(preempt_after)
                trial.tasks.append(chain.run_task(master, folder, [self.inputs]))
                assert trial.tasks[-1].status == 0, trial.tasks[-1].log
        return trial

    def config(self, path: Path, encoder: str = "encoder", **hyperparameters: Any) -> dict[str, Any]:
        corpus = {split: self.inputs / f"{split}.conll" for split in ("train", "validation")}
        settings = {"num_train_epochs": EPOCHS, "learning_rate": 0.01, **hyperparameters}
        write_config(path, self.inputs / encoder, corpus, **settings)
        return dict(json.loads(path.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    folder = tmp_path_factory.mktemp("cluster")
    inputs = folder / "inputs"
    for encoder, dropout in (("encoder", 0.1), ("encoder-without-dropout", 0.0)):
        (inputs / encoder).mkdir(parents=True)
        make_encoder(inputs / encoder, dropout)
    write_conll(inputs / "train.conll", make_sentences(44))
    write_conll(inputs / "validation.conll", make_sentences(13, 100))
    return Cluster(folder, inputs, frozenset(path.name for path in ROOT.glob("ner_*.py")), chain.pack(ROOT))


@pytest.fixture(scope="module")
def script(cluster: Cluster) -> Trial:
    return cluster.run("script")


@pytest.fixture(scope="module")
def legacy(cluster: Cluster) -> Trial:
    return cluster.run("legacy", entrypoint=LEGACY, searcher={"max_length": {"epochs": EPOCHS}})


def comparable(reports: list[Report]) -> list[tuple[int, dict[str, Any]]]:
    """Reports less what two equal runs differ in."""
    return [
        (report.steps, {name: value for name, value in report.metrics.items() if not name.endswith("_per_second")})
        for report in reports
    ]


def weights(trial: Trial) -> dict[str, torch.Tensor]:
    """Of the last checkpoint, as a model of one slot names them."""
    (model,) = trial.state()["models"]
    torch.nn.modules.utils.consume_prefix_in_state_dict_if_present(model, "module.")
    return dict(model)


# ----- a script as the entrypoint


def test_the_packed_context_is_the_trial_and_no_more(cluster: Cluster, script: Trial) -> None:
    code = script.checkpoint() / "code"
    names = {path.name for path in code.iterdir()}
    assert cluster.modules <= names
    assert not names & {"tests", "quickstart", "runs", ".venv", ".git"}
    assert sum(path.stat().st_size for path in code.rglob("*")) < 2**20


def test_a_task_asks_nothing_that_the_master_does_not_know(script: Trial, legacy: Trial) -> None:
    assert script.master.refused == []
    assert legacy.master.refused == []


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


def test_progress_ends_at_the_end(script: Trial) -> None:
    progress = [body["progress"] for body in script.master.bodies("/progress")]
    assert progress == sorted(progress)
    assert progress[-1] == 1.0


def test_each_epoch_leaves_a_whole_checkpoint(script: Trial) -> None:
    checkpoints = script.master.checkpoints
    assert [checkpoint["metadata"]["steps_completed"] for checkpoint in checkpoints] == [STEPS, 2 * STEPS, 3 * STEPS]
    for i, checkpoint in enumerate(checkpoints):
        assert checkpoint["state"] == "STATE_COMPLETED"
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
    assert list(script.storage.glob("cluster-1/tensorboard/experiment/3/trial/7/*tfevents*"))


# ----- the older form of an entrypoint


def test_a_legacy_entrypoint_trains_the_same(script: Trial, legacy: Trial) -> None:
    assert comparable(legacy.master.reports("training")) == comparable(script.master.reports("training"))
    # min_validation_period is the master's default: here the loop is Determined's, and it validates at the end.
    assert comparable(legacy.master.reports("validation")) == comparable(script.master.reports("validation"))[-1:]
    assert_equal_states(weights(legacy), weights(script))


# ----- two slots


def test_two_slots_train_what_one_slot_trains(cluster: Cluster) -> None:
    one = cluster.run("one-slot", encoder="encoder-without-dropout")
    two = cluster.run("two-slots", encoder="encoder-without-dropout", entrypoint=DISTRIBUTED, slots=2)
    assert two.master.refused == []
    for group, reports in (("training", TOTAL // 2), ("validation", EPOCHS)):
        left, right = (comparable(trial.master.reports(group)) for trial in (one, two))
        assert len(left) == reports
        assert [steps for steps, _ in right] == [steps for steps, _ in left]
        for (_, expected), (_, metrics) in zip(left, right, strict=True):
            assert metrics == pytest.approx(expected, abs=1e-5)
    expected_weights = weights(one)
    for name, tensor in weights(two).items():
        torch.testing.assert_close(tensor, expected_weights[name], rtol=0, atol=1e-5, msg=name)


# ----- preemption


def test_a_preempted_trial_ends_as_if_nothing_had_happened(cluster: Cluster, script: Trial) -> None:
    trial = cluster.run("preempted", preempt_after=STEPS + 2)
    master = trial.master
    assert master.refused == []
    first, second = ([request.path for request in task.requests] for task in trial.tasks)
    assert sum(path.endswith("/signals/ack_preemption") for path in first) == 1
    assert sum(path.endswith("/signals/ack_preemption") for path in second) == 0

    reports = master.reports("training")
    stopped_at = max(report.steps for report in reports if report.run == 1)
    assert STEPS < stopped_at < 2 * STEPS, "not in the middle of an epoch"
    assert min(report.steps for report in reports if report.run == 2) == stopped_at + 2
    assert comparable(reports) == comparable(script.master.reports("training"))
    assert comparable(master.reports("validation")) == comparable(script.master.reports("validation"))
    saved = [checkpoint["metadata"]["steps_completed"] for checkpoint in master.checkpoints]
    assert saved == [STEPS, stopped_at, 2 * STEPS, 3 * STEPS]
    assert_equal_states(trial.state(), script.state())


# ----- a hyperparameter that cannot work


@pytest.mark.parametrize(("batch_size", "slots"), [(0, 1), (1, 2)])
def test_an_invalid_hyperparameter_is_told_to_the_searcher(cluster: Cluster, batch_size: int, slots: int) -> None:
    entrypoint = DISTRIBUTED if slots > 1 else "python3 ner_trial.py"
    trial = cluster.run(f"batch-of-{batch_size}", entrypoint=entrypoint, slots=slots, global_batch_size=batch_size)
    (task,) = trial.tasks
    assert trial.master.bodies("/early_exit") == [{"reason": "EXITED_REASON_INVALID_HP"}] * slots
    assert trial.master.refused == []
    assert trial.master.checkpoints == []
    assert f"hyperparameters.global_batch_size: {batch_size} is" in task.log
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
torch.save([trial.labels.names, logits], sys.argv[2])
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
    model.load_state_dict(weights(trial))
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
