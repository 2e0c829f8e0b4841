"""The model card of an export: the README.md of its directory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import transformers

from determined_ner.export.parity import Comparison
from determined_ner.tags.schemes import Scheme
from determined_ner.training.trained import Trained


def write_card(folder: Path, trained: Trained, model: Any, files: Sequence[str], checks: dict[str, Comparison]) -> None:
    """Write ``README.md``.

    Args:
        files: the labelled text that the export was checked on.
        checks: by file of the directory.
    """
    model_type = trained.directory.config.model_type
    tags = json.dumps(["token-classification", model_type, "determined"])
    plain = trained.directory.scheme is Scheme.PLAIN
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: token-classification",
        f"tags: {tags}",
        "---",
        "",
        f"# {_base(trained)} for token classification",
        "",
        f"A {model_type} encoder with {_millions(model)} M parameters, fine-tuned to give each word "
        + ("one of these tags: " if plain else f"a tag of these {len(trained.directory.labels)}: ")
        + ", ".join(f"`{name}`" for name in trained.directory.labels)
        + ".",
        "",
        "```python",
        "from transformers import pipeline",
        "",
        'tagger = pipeline("token-classification", "PATH/OF/THIS/DIRECTORY", aggregation_strategy="first")',
        "```",
        "",
        "## Data",
        "",
        *_data(trained, files),
        "",
        "## Scores",
        "",
        *_scores(trained, checks),
        "",
        "## Checks of this export",
        "",
        "Each file beside the trained model, on the validation text:",
        "",
        "| file | MB | largest difference of a logit | other tags | points lost |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, check in checks.items():
        size = sum(file.stat().st_size for file in folder.glob(f"{name}*")) / 1e6
        lines.append(
            f"| `{name}` | {size:.1f} | {check.difference:.1e} | {check.changed:,} of {check.words:,} "
            f"| {check.points_lost:+.2f} |"
        )
    lines += [
        "",
        "## Settings of the training",
        "",
        *_settings(trained),
        "",
        "## Limits",
        "",
        "- The scores are of text like the training data; on other text they will be lower.",
        f"- The model takes {trained.directory.max_seq_length} pieces at a time, special ones included. Longer text has to "
        "be read through overlapping windows; the `pipeline` above cuts it off unless it is given a `stride`.",
        "- Text has to be cut into words as the training data was; a word's tag is that of its first piece.",
    ]
    if not plain:
        lines.append(
            f"- Tags are in IOB2, whatever scheme the training files had ({trained.directory.scheme.value}). The model "
            "may give an `I-` that continues nothing; read it as the beginning of an entity."
        )
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _base(trained: Trained) -> str:
    """The encoder's name on the hub; where it was a directory, whose place is nobody's business, its architecture."""
    assert trained.settings is not None
    name = trained.settings.hparams.pretrained_model_name_or_path
    directory = name.startswith((".", "/", "~")) or Path(name).is_dir()
    return trained.directory.config.model_type if directory else name


def _last(name: str) -> str:
    return Path(name).name


def _millions(model: Any) -> str:
    return f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f}"


def _data(trained: Trained, files: Sequence[str]) -> list[str]:
    assert trained.settings is not None
    data = trained.settings.data
    rows = [("training", data.train_file), ("test", data.test_file), ("data set", data.dataset_name)]
    rows += [("data set's configuration", data.dataset_config_name), ("data set's revision", data.dataset_revision)]
    lines = [f"- {what}: `{_last(name)}`" for what, name in rows if name]
    return [*lines, "- validation, on which the scores and checks are: " + ", ".join(f"`{_last(f)}`" for f in files)]


def _scores(trained: Trained, checks: dict[str, Comparison]) -> list[str]:
    """Of the trained model and of each file, by type; and of the test data, where the run scored it."""
    trained_scores = next(iter(checks.values())).trained_scores
    test = (trained.summary or {}).get("test")
    columns = [("trained, validation", trained_scores)]
    columns += [(f"`{name}`, validation", check.scores) for name, check in checks.items()]
    columns += [("trained, test", test)] if test else []
    lines = ["| | " + " | ".join(name for name, _ in columns) + " |", "| --- |" + " --- |" * len(columns)]
    lines += [
        f"| {metric} | "
        + " | ".join(f"{scores[metric]:.4f}" if metric in scores else "" for _, scores in columns)
        + " |"
        for metric in trained_scores
    ]
    return lines


def _settings(trained: Trained) -> list[str]:
    assert trained.settings is not None
    hparams = trained.settings.hparams
    names = ["num_train_epochs", "max_steps", "global_batch_size", "learning_rate", "lr_scheduler_type"]
    names += ["warmup_ratio", "num_warmup_steps", "weight_decay", "precision"]
    lines = ["| | |", "| --- | --- |", *(f"| {name} | {getattr(hparams, name)} |" for name in names)]
    lines.append(f"| max_seq_length | {trained.directory.max_seq_length} |")
    lines.append(f"| seed | {(trained.directory.described or {}).get('seed')} |")
    return [*lines, f"| transformers, of the export | {transformers.__version__} |"]
