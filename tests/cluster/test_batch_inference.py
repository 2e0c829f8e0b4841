"""Batch inference through Determined's chain: the same file on any number of slots, paused or not."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from determined_ner.cluster import batch_inference
from determined_ner.data.split import Split
from determined_ner.errors import UserError
from tests.cluster.experiments import Experiments
from tests.cluster.trials import Trial
from tests.conftest import ROOT, make_sentences, read_metrics, write_conll

SENTENCES = [[word for word, _ in sentence] for sentence in make_sentences(60, 300)]
LONG = [[*(word for sentence in SENTENCES for word in sentence)] * 2]
"""One sentence that takes several windows."""


def config(experiments: Experiments, trained: Trial, folder: Path, slots: int) -> dict[str, Any]:
    folder.mkdir()
    rows = [json.dumps({"tokens": words}) + "\n" for words in [*SENTENCES, *LONG]]
    (folder / "input.jsonl").write_text("".join(rows), encoding="utf-8")
    shipped: dict[str, Any] = yaml.safe_load((ROOT / "configs/batch_inference.yaml").read_text(encoding="utf-8"))
    shipped["hyperparameters"] = {
        "checkpoint": trained.master.checkpoints[-1]["uuid"],
        "pieces_per_part": 50,  # of some 3,500, of which the long sentence is one part
    }
    shipped["data"] = {
        "input_file": str(folder / "input.jsonl"),
        "output_file": str(folder / "predictions.jsonl"),
        "cache_dir": str(folder / "cache"),
    }
    shipped["resources"]["slots_per_trial"] = slots
    return shipped


def run(experiments: Experiments, trained: Trial, name: str, slots: int, pause: bool = False) -> Trial:
    inputs = experiments.inputs / name
    with experiments.trial(name, config(experiments, trained, inputs, slots)) as trial:
        (saved,) = trained.master.checkpoints
        storage = {"checkpoint_storage": trained.master.config["checkpoint_storage"]}
        trial.master.stored = {saved["uuid"]: (saved, storage)}
        if pause:
            trial.master.preempt_at(0)
            trial.run_well()
            assert not (inputs / "predictions.jsonl").exists()
            assert list(inputs.glob(".predictions.jsonl.parts-*/*.jsonl"))
        trial.run_well()
    assert [path.name for path in inputs.glob(".predictions*")] == []
    return trial


@pytest.fixture(scope="module")
def trained(experiments: Experiments) -> Trial:
    return experiments.ran("own_data")


@pytest.fixture(scope="module")
def one_slot(experiments: Experiments, trained: Trial) -> bytes:
    run(experiments, trained, "inference", 1)
    return (experiments.inputs / "inference" / "predictions.jsonl").read_bytes()


def test_words_in_are_tags_out(one_slot: bytes, trained: Trial) -> None:
    rows = [json.loads(line) for line in one_slot.decode().splitlines()]
    assert [row["tokens"] for row in rows] == [*SENTENCES, *LONG]
    labels = json.loads((trained.checkpoint() / "ner_settings.json").read_text(encoding="utf-8"))["labels"]
    for row in rows:
        assert len(row["tags"]) == len(row["tokens"])
        assert set(row["tags"]) <= set(labels)


def test_two_slots_paused_and_resumed_write_the_same_file(
    experiments: Experiments,
    trained: Trial,
    one_slot: bytes,
) -> None:
    trial = run(experiments, trained, "inference-of-two", 2, pause=True)
    assert (experiments.inputs / "inference-of-two" / "predictions.jsonl").read_bytes() == one_slot
    first, *_, last = (saved["metadata"]["steps_completed"] for saved in trial.master.checkpoints)
    assert 0 < first < last


def test_parts_hold_whole_sentences_and_every_window_once() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 30, 400)
    words = np.concatenate([[0], np.cumsum(rng.integers(1, 9, 400))])
    sentences = np.unique(np.concatenate([words[[0, -1]], rng.choice(words, 150), rng.choice(words[-1], 50)]))
    windows = np.concatenate([[0], np.cumsum(sizes)])
    empty = np.zeros(0, np.int16)
    split = Split("input", empty, empty, empty, windows, words, empty, sentences, {})
    for pieces in (1, 50, 1000, 10**9):
        borders = batch_inference.cut_into_parts(split, pieces)
        assert borders[0] == 0 and borders[-1] == 400 and (np.diff(borders) > 0).all()
        assert np.isin(words[borders], sentences).all()
    assert len(borders) == 2


@pytest.mark.parametrize(
    ("hyperparameters", "data", "message"),
    [
        ({}, {}, "hyperparameters.checkpoint: is required"),
        ({"checkpoint": "none"}, {}, "hyperparameters.checkpoint: 'none' is no checkpoint of this trial"),
        ({"checkpoint": "none"}, {"input_file": "none.txt"}, "none.txt: no such file"),
        ({"checkpoint": "none"}, {"output_file": "input.txt"}, "input.txt is there already"),
        ({"checkpoint": "none"}, {"input": "x"}, "data.input: unknown setting (value 'x'); did you mean input_file?"),
        ({"checkpoint": "none", "pieces_per_part": 0}, {}, "hyperparameters.pieces_per_part: 0 is wrong"),
    ],
)
def test_what_cannot_be_is_told(
    hyperparameters: dict[str, Any],
    data: dict[str, Any],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("input.txt").write_text("Ada\n", encoding="utf-8")
    files = {"input_file": "input.txt", "output_file": "out.jsonl", "cache_dir": "cache"}
    trial = SimpleNamespace(_config={"data": {**files, **data}}, hparams=hyperparameters)
    info: Any = SimpleNamespace(trial=trial, latest_checkpoint=None)
    with pytest.raises(UserError) as error:
        batch_inference.tag_files(info)
    assert message in str(error.value)
    assert {path.name for path in tmp_path.iterdir()} <= {"input.txt", "cache"}


@pytest.mark.parametrize(("context", "head"), [("sentence", "linear"), ("document", "linear"), ("sentence", "crf")])
def test_tags_are_those_that_validation_scored(
    context: str, head: str, train: Any, tmp_path: Path, onednn_products: list[tuple[int, ...]]
) -> None:
    mark = [[("-DOCSTART-", "O")]]
    gold = make_sentences(40, 100)
    for name, sentences in (("train", make_sentences(44)), ("validation", gold)):
        write_conll(tmp_path / f"{name}.conll", [*mark, *sentences[:20], *mark, *sentences[20:]])
    test = f"data.test_file={tmp_path / 'validation.conll'}"
    options = [f"hyperparameters.head={head}", "data.max_seq_length=40", "hyperparameters.learning_rate=0.01"]
    folder = train(f"data.context={context}", test, *options)
    (best,) = (folder / "checkpoints").glob("step-*")
    accuracy = read_metrics(folder, "validation")[-1]["accuracy"]
    outputs = []
    for pieces in (1, 100, 10_000):
        output = tmp_path / f"{pieces}.jsonl"
        hparams = batch_inference.InferenceHyperparameters(checkpoint=str(best), pieces_per_part=pieces)
        validation = str(tmp_path / "validation.conll")
        data = batch_inference.InferenceData(
            input_file=validation, output_file=str(output), cache_dir=str(tmp_path / "tagged")
        )
        job = batch_inference.prepare(hparams, data)
        job.parts.mkdir()
        for part in reversed(range(len(job))):
            onednn_products.clear()
            job.make_part(part, torch.device("cpu"))
            assert onednn_products
        job.finish()
        job.parts.mkdir()  # as by a task that is started again after it was done
        job.finish()
        assert not job.parts.exists()
        outputs.append([json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()])
    for rows in outputs:
        assert [row["tokens"] for row in rows] == [[word for word, _ in sentence] for sentence in gold]
        assert rows == outputs[0]
    pairs = [
        (tag, predicted)
        for sentence, row in zip(gold, outputs[0], strict=True)
        for (_, tag), predicted in zip(sentence, row["tags"], strict=True)
    ]
    assert sum(tag == predicted for tag, predicted in pairs) / len(pairs) == pytest.approx(accuracy, abs=1e-12)
    assert 0.3 < accuracy < 1
