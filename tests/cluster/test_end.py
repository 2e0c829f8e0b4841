"""How a trial of a cluster ends: scored, described, registered; once, however often its end is begun."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from determined_ner import cli
from determined_ner.export.card import CARD_FILE
from determined_ner.model.checkpoint import check_checkpoint
from determined_ner.model.directory import CALIBRATION_FILE
from determined_ner.report.command import PAGE
from determined_ner.training.trained import find_trained
from tests.cluster import chain
from tests.cluster.master import TRIAL_SEED
from tests.cluster.trials import DISTRIBUTED, LEGACY, SCRIPT, STEPS, TOTAL, WITNESS, Cluster, Trial
from tests.conftest import ROOT, make_sentences, write_conll
from tests.forked import torchrun

MODEL = "company entities"
STEPS_OF_END = ["report_metrics", "add_to_checkpoint", "register_version", "set_notes", "set_metadata"]
WORDS = {word for sentence in make_sentences(13, 100) for word, _ in sentence if len(word) > 3}
"""Of the validation data."""


@pytest.fixture(scope="module")
def tested(cluster: Cluster) -> dict[str, Any]:
    """Options of a trial with test data, of which the best checkpoint becomes a version of a model."""
    file = cluster.inputs / "test.conll"
    write_conll(file, make_sentences(40, 200))
    data = {"test_file": str(file), "registry_model": MODEL}
    return {"data": data, "learning_rate": 0.004, "num_train_epochs": 2}


@pytest.fixture(scope="module")
def ended(cluster: Cluster, tested: dict[str, Any]) -> Trial:
    return cluster.run("ended", entrypoint=SCRIPT, **tested)


def best(trial: Trial) -> int:
    """Index of the checkpoint with the best validation."""
    scores = {report.steps: report.metrics["f1"] for report in trial.master.reports("validation")}
    by_checkpoint = [scores[saved["metadata"]["steps_completed"]] for saved in trial.master.checkpoints]
    return by_checkpoint.index(max(by_checkpoint))


def scores_of_test(trial: Trial) -> dict[str, float]:
    (report,) = trial.master.reports("test")
    trained, saved = trial.master.reports("training")[-1].steps, trial.master.checkpoints[best(trial)]
    assert report.steps == trained and report.metrics["batches"] == saved["metadata"]["steps_completed"]
    return {name: value for name, value in report.metrics.items() if name != "batches"}


def train_here(cluster: Cluster, tested: dict[str, Any], folder: Path, processes: int) -> dict[str, Any]:
    """What ``determined-ner train`` makes of the same settings, by so many processes."""
    config = cluster.config(folder / "experiment.yaml", **{k: v for k, v in tested.items() if k != "data"})
    config["data"].update(tested["data"])
    config["reproducibility"] = {"experiment_seed": TRIAL_SEED}
    (folder / "experiment.yaml").write_text(json.dumps(config), encoding="utf-8")
    command = [*torchrun(processes), ROOT / "ner_trial.py", "experiment.yaml", "--output-dir", "run"]
    done = subprocess.run(
        command,
        cwd=folder,
        env=chain.bare_environment(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads((folder / "run" / "summary.json").read_text(encoding="utf-8"))
    return summary


@pytest.mark.parametrize("slots", [1, 2])
def test_the_test_score_is_that_of_a_run_without_a_cluster(
    cluster: Cluster, tested: dict[str, Any], ended: Trial, tmp_path: Path, slots: int
) -> None:
    """To the digit, the loss included."""
    if slots > 1:
        tested = {**tested, "data": {**tested["data"], "report_examples": True}}
    trial = ended if slots == 1 else cluster.run("two", entrypoint=DISTRIBUTED, slots=2, **tested)
    here = train_here(cluster, tested, tmp_path, slots)
    assert scores_of_test(trial) == here["test"]
    assert 0 < here["test"]["f1"] < 1 and here["test"]["support_PER"] > 0
    assert trial.master.records.metadata["score"] == here["best"]["f1"]
    calibration = (trial.checkpoint(best(trial)) / CALIBRATION_FILE).read_text(encoding="utf-8")
    assert json.loads(calibration) == here["calibration"]
    page = (trial.checkpoint(best(trial)) / PAGE).read_text(encoding="utf-8")
    assert bool(WORDS & set(re.findall(r"\w+", page))) == (slots > 1)  # where report_examples asks for them


def test_report_and_card_travel_in_the_best_checkpoint_without_a_word_of_the_corpus(ended: Trial) -> None:
    checkpoint = ended.checkpoint(best(ended))
    check_checkpoint(checkpoint)
    assert find_trained(str(checkpoint), checkpoint).directory.labels == ("B-LOC", "B-PER", "I-PER", "O")
    page = (checkpoint / PAGE).read_text(encoding="utf-8")
    said = re.sub(r'src="data:[^"]*"', "", page)
    assert not WORDS & set(re.findall(r"\w+", said))
    assert "Sentences of the text are not shown here." in said and page.count("data:image/png") >= 5
    card = (checkpoint / CARD_FILE).read_text(encoding="utf-8")
    assert f"{scores_of_test(ended)['f1']:.4f}" in card and "| support\\_PER |" in card.replace(
        "support_", "support\\_"
    )
    others = [i for i in range(len(ended.master.checkpoints)) if i != best(ended)]
    assert others and not any((ended.checkpoint(i) / PAGE).exists() for i in others)


def test_an_export_of_the_best_checkpoint_gives_calibrated_scores(ended: Trial, tmp_path: Path) -> None:
    checkpoint = ended.checkpoint(best(ended))
    assert cli.main(["export", str(checkpoint), "--output", str(tmp_path / "export")]) == 0
    kept = (tmp_path / "export" / CALIBRATION_FILE).read_text(encoding="utf-8")
    assert json.loads(kept) == json.loads((checkpoint / CALIBRATION_FILE).read_text(encoding="utf-8"))
    assert "Scores of entities" in (tmp_path / "export" / CARD_FILE).read_text(encoding="utf-8")


def test_an_entrypoint_of_the_older_form_says_that_it_ends_without_this(cluster: Cluster, ended: Trial) -> None:
    task = cluster.run("older", entrypoint=LEGACY, searcher={"max_length": {"batches": 2}}).tasks[-1]
    line = "ner_trial:NERTrial ends without test score, metadata, report, registered model, upload and trackers"
    assert task.log.count(line) == 1 and "entrypoint: python3 ner_trial.py" in task.log
    assert line not in ended.tasks[-1].log


def test_no_checkpoint_is_made_for_the_end(ended: Trial) -> None:
    """Garbage collection keeps what it kept before, and a trial goes on from its newest."""
    assert [saved["metadata"]["steps_completed"] for saved in ended.master.checkpoints] == [STEPS, 2 * STEPS]


def test_the_run_can_be_found_by_what_it_was_made_of(cluster: Cluster, ended: Trial) -> None:
    found = ended.master.records.metadata
    assert found["base_model"] == str(cluster.inputs / "encoder")
    assert found["corpus"]["name"] == "train.conll" and found["corpus"]["train"]["sentences"] == 44
    assert len(found["corpus"]["test"]["fingerprint"]) == 32
    assert (found["labels"], found["scheme"], found["seed"]) == ("B-LOC B-PER I-PER O", "IOB2", TRIAL_SEED)
    assert found["versions"].keys() == {"determined-ner", "determined", "torch", "transformers"}
    assert found["test"]["f1"] == scores_of_test(ended)["f1"]


def test_the_best_checkpoint_becomes_a_version_of_the_model_with_its_card(ended: Trial) -> None:
    (version,) = ended.master.records.registry.models[MODEL]
    assert version.checkpoint["uuid"] == ended.master.checkpoints[best(ended)]["uuid"]
    assert version.notes == (ended.checkpoint(best(ended)) / CARD_FILE).read_text(encoding="utf-8")


@pytest.mark.parametrize("steps", [["report_metrics", "set_notes"], pytest.param(STEPS_OF_END, marks=pytest.mark.slow)])
def test_an_end_that_is_begun_again_does_nothing_twice(
    cluster: Cluster, tested: dict[str, Any], ended: Trial, steps: list[str]
) -> None:
    """Killed before each of its parts, one after the other."""
    deaths = [{"task": number, "before": step} for number, step in enumerate(steps, 1)]
    with cluster.trial(f"killed-{len(steps)}-times", entrypoint=WITNESS, deaths=deaths, **tested) as trial:
        for number in range(1, len(steps) + 1):
            assert trial.run().status != 0
            assert len(trial.master.reports("test")) == (0 if number == 1 else 1)
        trial.run_well()
    assert scores_of_test(trial) == scores_of_test(ended)
    scored_before = [("scored by an earlier task" in task.log) for task in trial.tasks]
    assert scored_before == [False, False, *[True] * (len(steps) - 1)]
    assert len(trial.master.checkpoints) == len(ended.master.checkpoints)
    (version,) = trial.master.records.registry.models[MODEL]
    assert version.checkpoint["uuid"] == trial.master.checkpoints[best(trial)]["uuid"]
    assert version.notes == ended.master.records.registry.models[MODEL][0].notes
    assert trial.master.records.metadata == ended.master.records.metadata


def test_a_trial_that_is_paused_has_not_ended(cluster: Cluster, tested: dict[str, Any], ended: Trial) -> None:
    with cluster.trial("paused-before-its-end", **tested) as trial:
        trial.master.preempt_after(STEPS)
        trial.run_well()
        assert trial.master.reports("training")[-1].steps < 2 * STEPS
        assert not trial.master.reports("test") and not trial.master.records.metadata
        trial.run_well()
    assert scores_of_test(trial) == scores_of_test(ended)


def test_a_trial_that_the_searcher_stops_ends_as_one_that_is_done(cluster: Cluster, tested: dict[str, Any]) -> None:
    search = {"name": "random", "max_trials": 2}
    with cluster.trial("stopped-by-the-searcher", searcher=search, **tested) as trial:
        trial.master.searcher = lambda _: True
        task = trial.run_well()
    assert trial.master.reports("training")[-1].steps == STEPS < TOTAL
    assert scores_of_test(trial) and trial.master.records.registry.models[MODEL]
    ours = [line for line in task.log.splitlines() if "determined_ner: " in line]
    assert "stopped by the searcher (random) after 1 of its 2 epochs" in ours[-1]
