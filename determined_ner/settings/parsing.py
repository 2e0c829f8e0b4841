"""Both sections of an experiment config as typed, validated settings.

Nothing is ignored in silence: an unknown key is an error with a suggestion, a key that earlier examples had and
that means nothing any more is named in a warning, and all mistakes of a config are reported together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from determined_ner.errors import HyperparameterError, UserError
from determined_ner.masks import shown
from determined_ner.settings.data import DataSettings
from determined_ner.settings.explaining import check_section
from determined_ner.settings.hyperparameters import Hyperparameters
from determined_ner.settings.ranges import Path, dotted, replaced


@dataclass(frozen=True)
class Settings:
    """Both sections, and the warnings that reading them gave."""

    hparams: Hyperparameters
    data: DataSettings
    given: frozenset[str]
    """Names of the hyperparameters that the config sets itself."""
    warnings: tuple[str, ...] = ()


# Keys of Determined's earlier example (and of its model_hub library) that mean nothing here:
# the values at which leaving them out changes nothing, and what stands in their place.
_OBSOLETE: dict[str, dict[str, tuple[tuple[Any, ...], str]]] = {
    "hyperparameters": {
        "model_mode": (("token-classification",), "this trial does token classification only"),
        "num_labels": ((), "labels are counted in the training data"),
        "num_training_steps": ((), "the length of the training is max_steps or num_train_epochs"),
        "use_auth_token": ((True, False), "set HF_TOKEN in the environment for private models"),
        "use_fast": ((True,), "word boundaries need a fast tokenizer"),
        "adafactor": ((False,), "the optimizer is AdamW"),
        "scale_parameter": ((False,), "the optimizer is AdamW"),
        "relative_step": ((False,), "the optimizer is AdamW"),
    },
    "data": {
        "task_name": (("ner", "NER"), "write hyperparameters.finetuning_task, and leave this out"),
        "return_entity_level_metrics": ((True, False), "write hyperparameters.return_entity_level_metrics"),
        "validation_split": ((), "write validation_split_percentage"),
    },
}


def parse_settings(hyperparameters: dict[str, Any] | None, data: dict[str, Any] | None) -> Settings:
    """Check both sections of an experiment config.

    Raises:
        HyperparameterError: some hyperparameter is wrong (and nothing in ``data:`` is).
        UserError: something in ``data:`` is wrong. Both list every mistake found.
    """
    warnings: list[str] = []
    problems: list[UserError] = []
    hparams_section, ranges = _plain_values(hyperparameters or {}, problems)
    data_section = dict(data or {})
    if data_section.get("train_file") and data_section.get("dataset_name"):
        # So that --config data.train_file=… suffices to bring one's own files to a config that names a data set.
        warnings.append(
            f"data.dataset_name: {shown(data_section['dataset_name'])} is not used, "
            f"data.train_file {shown(data_section['train_file'])} is"
        )
        data_section |= {"dataset_name": None, "dataset_config_name": None, "dataset_revision": None}
    _begin_with_teacher(hparams_section, warnings)
    kept = _without_obsolete("hyperparameters", hparams_section, problems, warnings)
    hparams = None if ranges else check_section("hyperparameters", Hyperparameters, kept, problems)
    parsed_data = check_section(
        "data", DataSettings, _without_obsolete("data", data_section, problems, warnings), problems
    )
    if hparams is not None and parsed_data is not None:
        problems.extend(_check_together(hparams, parsed_data))
    if problems:
        of_hparams = all(problem.where.partition(".")[0] == "hyperparameters" for problem in problems)
        raise (HyperparameterError if of_hparams else UserError).several(problems)
    assert hparams is not None and parsed_data is not None
    return Settings(hparams, parsed_data, frozenset(hparams_section), tuple(warnings))


def _begin_with_teacher(section: dict[str, Any], warnings: list[str]) -> None:
    """A student of its teacher's layers begins with the teacher, whatever encoder the config names.

    So that the config of the teacher's own training and ``teacher`` and ``student_layers`` suffice.
    """
    teacher, layers = section.get("teacher"), section.get("student_layers")
    first = teacher[0] if isinstance(teacher, list) and teacher else teacher
    if layers is None or not isinstance(first, str):
        return
    name = "pretrained_model_name_or_path"
    if section.get(name) not in (None, first):
        warnings.append(
            f"hyperparameters.{name}: {shown(section[name])} is not used, the layers of the teacher {shown(first)} are"
        )
    section[name] = first


def _check_together(hparams: Hyperparameters, data: DataSettings) -> Iterator[UserError]:
    """What does not go together in the loss: weights whose product has no mean of 1, words without one gold tag, a
    teacher of words and labels of pieces."""
    yield from _check_distillation(hparams, data)
    weighted = len({corpus.loss_weight for corpus in data.corpora.values()}) > 1
    which = [name for name, given in (("annotated_types", data.partly_labelled), ("loss_weight", weighted)) if given]
    asked = {
        "class_weights": hparams.class_weights is not None,
        "label_smoothing": bool(hparams.label_smoothing) and data.partly_labelled,
        "head: crf": hparams.head == "crf",
    }
    for name in (name for name, given in asked.items() if given and which):
        yield UserError(
            f"hyperparameters.{name.partition(':')[0]}",
            f"{name} and {which[0]} of a corpus (data.train_file) count words in ways that do not go together",
            "drop one of them",
        )


def _check_distillation(hparams: Hyperparameters, data: DataSettings) -> Iterator[UserError]:
    if hparams.teacher is None:
        if data.unlabelled_file is not None:
            yield UserError(
                "data.unlabelled_file",
                f"{shown(data.unlabelled_file)} is learnt of a teacher, and there is none",
                "write hyperparameters.teacher: DIR, or drop it",
            )
        return
    if hparams.distillation_weight == 0 and hparams.student_layers is None and data.unlabelled_file is None:
        yield UserError(
            "hyperparameters.distillation_weight",
            "0 has nothing learnt of the teacher, and nothing else is taken of it",
            "write a weight up to 1, set student_layers, or drop teacher",
        )
    if data.label_all_tokens:
        yield UserError(
            "hyperparameters.teacher",
            "teaches words, and data.label_all_tokens: true has all pieces of a word learnt",
            "write label_all_tokens: false",
        )


def _plain_values(section: dict[str, Any], problems: list[UserError]) -> tuple[dict[str, Any], bool]:
    """Off the cluster hyperparameters arrive as written: ``{type: const, val: x}`` is x, a range has no value yet.

    Returns:
        the values, and whether there are ranges.
    """
    ranges: list[tuple[str, str]] = []

    def value_of(path: Path, given: dict[str, Any]) -> Any:
        where = dotted(path)
        if given["type"] != "const":
            ranges.append((where, given["type"]))
        elif "val" not in given:
            problems.append(UserError(where, f"{shown(given, path[-1])} has no val", "write its value"))
        return given.get("val")

    plain = replaced(section, value_of)
    if ranges:
        (where, kind), *others = ranges
        also = f" (as {', '.join(name for name, _ in others)})" if others else ""
        problem = f"{shown(kind)} is a search range{also}, and a training takes one point"
        remedy = f"search with determined-ner search CONFIG, or give values, such as --config {where}=…"
        problems.append(UserError(where, problem, remedy))
    return plain, bool(ranges)


def _without_obsolete(
    title: str, section: dict[str, Any], problems: list[UserError], warnings: list[str]
) -> dict[str, Any]:
    """A section less the keys of earlier examples, each of which is warned of or, where it would matter, refused."""
    kept = {}
    for name, value in section.items():
        if name not in _OBSOLETE[title] or value is None:
            kept[name] = value
            continue
        harmless, instead = _OBSOLETE[title][name]
        where = f"{title}.{name}"
        if not harmless or value in harmless:
            warnings.append(f"{where}: {shown(value, name)} has no meaning here and is ignored: {instead}")
        else:
            problems.append(UserError(where, f"{shown(value, name)} is not offered", instead))
    return kept
