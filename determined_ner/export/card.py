"""The model card of an export or a checkpoint: ``README.md``, with the metadata that the Hugging Face hub reads.

The text is the template ``card.md.jinja``; the metadata before it is written by ``huggingface_hub``. Names that come
from the data (labels, types, files) may hold any character, so each goes through one of the filters below.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import transformers
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from determined_ner.export.int8 import Attempt
from determined_ner.export.parity import Comparison
from determined_ner.machine import described
from determined_ner.masks import file_name
from determined_ner.tagging.cost import Cost
from determined_ner.tags.schemes import Scheme
from determined_ner.trackers.runs import is_local, public_settings
from determined_ner.training.trained import Trained

CARD_FILE = "README.md"
TASK = "token-classification"
SETTINGS = (
    "num_train_epochs",
    "max_steps",
    "global_batch_size",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_ratio",
    "num_warmup_steps",
    "weight_decay",
    "precision",
)
"""The hyperparameters that the card shows."""
DISTILLATION = ("teacher", "student_layers", "distillation_weight", "distillation_temperature")
"""Those that it shows of a student."""
RESULTS = ("f1", "precision", "recall", "accuracy")
"""The scores that go into the metadata."""
SPLITS = {"trained, validation": "validation", "trained, test": "test"}
"""Columns of scores that a run's summary has intervals of."""
SAME = 1e-9
"""By which a score may differ from that of the summary."""


@dataclass(frozen=True)
class CheckedFile:
    """A row of the table of checks."""

    name: str
    megabytes: float
    result: Comparison


@dataclass(frozen=True)
class Measurements:
    """What was measured on the machine that made an export."""

    graphs: dict[str, float] = field(default_factory=dict)
    """Speed of each float32 graph beside the first; the fastest is ``model.onnx``. Empty: there is none."""
    tried: Sequence[Attempt] = ()
    """int8 files, the one that was taken last."""
    costs: Sequence[Cost] = ()
    """Of each backend."""


def write_card(
    folder: Path,
    trained: Trained,
    model: Any,
    files: Sequence[str],
    checks: dict[str, Comparison],
    measured: Measurements | None = None,
) -> None:
    """Write the card.

    Args:
        folder: the export, complete except for the card.
        model: the trained one, of transformers.
        files: the labelled text that the export was checked on.
        checks: the comparison of each file of the export, by its name.
        measured: by the export.
    """
    checked = [CheckedFile(name, _megabytes(folder, name), check) for name, check in checks.items()]
    parameters = sum(p.numel() for p in model.parameters())
    card = ModelCard(make_card(trained, parameters, files, _trained_scores(checks), checked, measured))
    card.save(folder / CARD_FILE)


def make_card(
    trained: Trained,
    parameters: int,
    files: Sequence[str],
    scores: dict[str, float],
    checked: Sequence[CheckedFile] = (),
    measured: Measurements | None = None,
) -> str:
    """The card of a trained model, in Markdown with the hub's metadata before it.

    Args:
        parameters: numbers in the model.
        files: the labelled text of the scores.
        scores: of the trained model on it.
        checked: the files of an export; none: the card is a checkpoint's.
        measured: by the export.
    """
    metadata = card_metadata(trained, files, scores).to_yaml()
    return f"---\n{metadata}\n---\n\n{card_text(trained, parameters, files, scores, checked, measured)}"


def card_metadata(trained: Trained, files: Sequence[str], scores: dict[str, float]) -> ModelCardData:
    """What the hub reads: the task, the encoder, and the scores of the trained model."""
    assert trained.settings is not None
    data = trained.settings.data
    scored = [("validation", ", ".join(map(file_name, files)), scores)]
    if test := _test_scores(trained):
        scored.append(("test", file_name(data.test_file or data.dataset_name or ""), test))
    results = [
        EvalResult(
            task_type=TASK,
            dataset_type=name,
            dataset_name=name,
            dataset_split=split,
            metric_type=metric,
            metric_value=round(found[metric], 4),
        )
        for split, name, found in scored
        for metric in RESULTS
        if metric in found
    ]
    return ModelCardData(
        base_model=_hub_encoder(trained),
        library_name="transformers",
        pipeline_tag=TASK,
        tags=[TASK, trained.directory.model_type, "determined"],
        model_name=trained.name,
        eval_results=results,
    )


def card_text(
    trained: Trained,
    parameters: int,
    files: Sequence[str],
    scores: dict[str, float],
    checked: Sequence[CheckedFile],
    measured: Measurements | None = None,
) -> str:
    """The card without its metadata, in Markdown; see `make_card`."""
    assert trained.settings is not None
    directory, data = trained.directory, trained.settings.data
    named = [
        *(("training", corpus.file) for corpus in data.corpora.values()),
        ("test", data.test_file),
        ("without labels, tagged by the teacher", data.unlabelled_file),
        ("data set", data.dataset_name),
        ("data set's configuration", data.dataset_config_name),
        ("data set's revision", data.dataset_revision),
    ]
    columns = {"trained, validation": scores}
    columns |= {f"{code(check.name)}, validation": check.result.scores for check in checked}
    if test := _test_scores(trained):
        columns["trained, test"] = test
    intervals = {name: found for name, split in SPLITS.items() if (found := trained.intervals(split))}
    metrics = list(dict.fromkeys(metric for column in columns.values() for metric in column))
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"text": text, "code": code, "cell": cell}
    template = resources.files(__package__).joinpath("card.md.jinja").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        base=_hub_encoder(trained) or directory.model_type,
        model_type=directory.model_type,
        millions=f"{parameters / 1e6:.1f}",
        plain=directory.scheme is Scheme.PLAIN,
        scheme=directory.scheme.value,
        labels=directory.labels,
        data=[(what, file_name(name)) for what, name in named if name],
        validation=[file_name(file) for file in files],
        columns=list(columns),
        scores=[
            (metric, [_score(column, metric, intervals.get(name, {})) for name, column in columns.items()])
            for metric in metrics
        ],
        intervals=bool(intervals),
        checks=checked,
        measured=measured or Measurements(),
        machine=f"{described()}, {datetime.date.today().isoformat()}",
        settings={
            **{name: getattr(trained.settings.hparams, name) for name in SETTINGS},
            **_of_teacher(trained),
            "max_seq_length": trained.max_seq_length,
            "seed": (directory.described or {}).get("seed"),
            "transformers, of the export" if checked else "transformers": transformers.__version__,
        },
        max_seq_length=trained.max_seq_length,
        calibration=directory.calibration_errors,
    )


# -- What the card says ----------------------------------------------------------------------------------------


def _hub_encoder(trained: Trained) -> str | None:
    """The encoder's name on the hub; None where it was a directory, whose place is nobody's business."""
    assert trained.settings is not None
    hparams = trained.settings.hparams
    name = hparams.pretrained_model_name_or_path
    return None if hparams.student_layers is not None or is_local(name) else name


def _of_teacher(trained: Trained) -> dict[str, Any]:
    """The settings of a student that the card shows; directories by their last part."""
    assert trained.settings is not None
    teachers = public_settings(trained.settings.hparams.model_dump(include={*DISTILLATION}))
    joined = {"teacher": ", ".join(teachers["teacher"])} if teachers["teacher"] else {}
    return {name: value for name, value in {**teachers, **joined}.items() if value is not None}


def _trained_scores(checks: dict[str, Comparison]) -> dict[str, float]:
    """Of the trained model on the text of the checks, the same beside every file."""
    return next(iter(checks.values())).trained_scores


def _test_scores(trained: Trained) -> dict[str, float] | None:
    """Of the trained model on the test data; None where the run did not score it."""
    scores: dict[str, float] | None = (trained.summary or {}).get("test")
    return scores


def _score(scores: dict[str, float], metric: str, intervals: dict[str, dict[str, float]]) -> str:
    """A score with the interval that the run's summary has of it, if it is of the same text and weights."""
    value, found = scores.get(metric), intervals.get(metric)
    if value is None or metric.startswith("support_"):
        return "" if value is None else f"{value:,.0f}"
    if found is None or abs(found["value"] - value) > SAME:
        return f"{value:.4f}"
    return f"{value:.4f} ({found['low']:.3f} to {found['high']:.3f})"


def _megabytes(folder: Path, name: str) -> float:
    """Size of a file with the files that hold its weights."""
    return sum(file.stat().st_size for file in folder.glob(f"{name}*")) / 1e6


# -- Markdown --------------------------------------------------------------------------------------------------


def text(value: str) -> str:
    """As text of one line, of which Markdown reads nothing as markup."""
    return re.sub(r"[\\`*<>\[\]&#~]", r"\\\g<0>", _one_line(value))


def code(value: str) -> str:
    """As a code span, whose backticks are more than the value has in a row."""
    value = _one_line(value)
    fence = "`" * (1 + max(map(len, re.findall("`+", value)), default=0))
    space = " " if value.startswith("`") or value.endswith("`") else ""
    return f"{fence}{space}{value}{space}{fence}"


def cell(markdown: str) -> str:
    """As a cell of a table, which a pipe would end."""
    return markdown.replace("|", r"\|")


def _one_line(value: str) -> str:
    return re.sub(r"\s", " ", value)
