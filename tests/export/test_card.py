"""The model card: its metadata is read by the hub, and no name from the data breaks it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from determined_ner.export.card import code, write_card
from determined_ner.export.parity import Comparison
from determined_ner.settings.parsing import parse_settings
from determined_ner.tags.schemes import Scheme
from determined_ner.training.trained import find_trained

ODD = "a \"quoted\" | `b` 'c': [d]\n---\n# <e> & *f* \\"


@pytest.fixture(scope="module")
def trained(run, tmp_path_factory):
    return find_trained(str(run), tmp_path_factory.mktemp("downloads"))


def check(scores: dict[str, float]) -> dict[str, Comparison]:
    return {"model.safetensors": Comparison(0.0, 0, 1234, "f1", scores, scores)}


def write(folder, trained, files, scores) -> tuple[dict, str]:
    """Metadata and text of a card, parted by what parts them for any reader of YAML."""
    write_card(folder, trained, torch.nn.Linear(2, 3), files, check(scores))
    content = (folder / "README.md").read_text(encoding="utf-8")
    assert content.startswith("---\n")
    metadata, text = content[4:].split("\n---\n", 1)
    return yaml.safe_load(metadata), text


def cells(text: str) -> list[list[str]]:
    """Rows of the tables, cut where a reader of Markdown cuts them."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [re.split(r"(?<!\\)\|", row.replace("\\\\", ""))[1:-1] for row in rows]


def test_the_metadata_has_the_task_and_the_scores_of_the_run(run, trained, tmp_path):
    summary = json.loads((run / "summary.json").read_text())
    scores = {name: value for name, value in summary["best"].items() if isinstance(value, float)}
    metadata, _ = write(tmp_path, trained, ["some/where/validation.conll"], scores)
    assert metadata["library_name"] == "transformers" and metadata["pipeline_tag"] == "token-classification"
    assert metadata["tags"] == ["token-classification", "bert", "determined"]
    assert "base_model" not in metadata  # a directory
    (index,) = metadata["model-index"]
    assert index["name"] == "run"
    found = {
        (result["dataset"]["name"], result["dataset"]["split"]): {m["type"]: m["value"] for m in result["metrics"]}
        for result in index["results"]
    }
    names = ("f1", "precision", "recall", "accuracy")
    assert found == {
        ("validation.conll", "validation"): {name: round(summary["best"][name], 4) for name in names},
        ("test.conll", "test"): {name: round(summary["test"][name], 4) for name in names},
    }
    loaded = ModelCard.load(tmp_path / "README.md")
    assert loaded.data.model_name == "run" and len(loaded.data.eval_results) == 8


def test_an_encoder_of_the_hub_is_named(trained, tmp_path):
    settings = parse_settings(
        {**trained.settings.hparams.model_dump(), "pretrained_model_name_or_path": "org/base"},
        {"train_file": "t.conll", "validation_file": "v.conll"},
    )
    metadata, text = write(tmp_path, replace(trained, settings=settings), ["v.conll"], {"f1": 0.5})
    assert metadata["base_model"] == "org/base"
    assert text.startswith("\n# org/base for token classification\n") and "- training: `t.conll`\n" in text


def test_no_name_from_the_data_breaks_the_card(trained, tmp_path):
    hparams = {**trained.settings.hparams.model_dump(), "pretrained_model_name_or_path": ODD}
    settings = parse_settings(hparams, {"train_file": ODD, "validation_file": ODD, "test_file": ODD})
    directory = SimpleNamespace(
        model_type="bert",
        labels=("O", f"B-{ODD}"),
        scheme=Scheme.IOB2,
        max_seq_length=64,
        described=None,
        calibration_errors={},
    )
    odd = replace(trained, settings=settings, directory=directory, summary={"test": {"f1": 0.25}})
    metadata, text = write(tmp_path, odd, [ODD], {"f1": 0.5, f"f1_{ODD}": 0.75})
    assert metadata["base_model"] == ODD
    assert {result["dataset"]["name"] for result in metadata["model-index"][0]["results"]} == {ODD}
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert len(headings) == 6 and headings[0].endswith(" for token classification")
    assert "---" not in text.splitlines()
    rows = cells(text)
    assert {len(row) for row in rows} == {2, 4, 5}
    (row,) = (row for row in rows if "f1\\_a" in row[0] or "f1_a" in row[0])
    assert [cell.strip() for cell in row[1:]] == ["0.7500", "0.7500", ""]
    assert f"`O`, {code(f'B-{ODD}')}." in text


@pytest.mark.parametrize(
    ("value", "span"), [("B-PER", "`B-PER`"), ("a`b", "``a`b``"), ("`", "`` ` ``"), ("a``b`", "``` a``b` ```")]
)
def test_a_code_span_holds_backticks(value, span):
    assert code(value) == span
