"""Mistakes in settings, in words: what is wrong with a value, and which setting an unknown name may stand for."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Any, TypeVar

import pydantic

from determined_ner.errors import UserError
from determined_ner.masks import shown
from determined_ner.settings.data import DataSettings
from determined_ner.settings.foreign_names import COUNTERPARTS, Counterpart
from determined_ner.settings.hyperparameters import Hyperparameters, Lora
from determined_ner.settings.sections import Section

S = TypeVar("S", bound=Section)
SECTIONS: dict[str, frozenset[str]] = {
    "": frozenset(
        "bind_mounts checkpoint_policy checkpoint_storage data data_layer debug description entrypoint environment "
        "hyperparameters integrations internal labels log_policies max_restarts min_checkpoint_period "
        "min_validation_period name optimizations pbs perform_initial_validation preemption_timeout profiling project "
        "records_per_epoch reproducibility resources retention_policy scheduling_unit searcher security slurm "
        "tensorboard_storage workspace".split()
    ),
    "searcher": frozenset(
        "bracket_rungs budget divisor max_concurrent_trials max_length max_rungs max_time max_trials metric mode name "
        "num_rungs smaller_is_better source_checkpoint_uuid source_trial_id stop_once time_metric train_stragglers "
        "unit".split()
    ),
    "optimizations": frozenset(
        "aggregation_frequency auto_tune_tensor_fusion average_aggregated_gradients average_training_metrics "
        "grad_updates_size_file gradient_compression mixed_precision tensor_fusion_cycle_time "
        "tensor_fusion_threshold".split()
    ),
    "reproducibility": frozenset(["experiment_seed"]),
    "profiling": frozenset(["enabled", "begin_on_batch", "end_after_batch", "sync_timings"]),
    "hyperparameters": frozenset(),
    "data": frozenset(),
    "checkpoint_storage": frozenset(
        "access_key account_url bucket checkpoint_path connection_string container container_path credential "
        "endpoint_url host_path prefix propagation save_experiment_best save_trial_best save_trial_latest secret_key "
        "storage_path tensorboard_path type user".split()
    ),
    "resources": frozenset(
        "agent_label devices is_single_node max_slots native_parallel priority resource_pool shm_size slots "
        "slots_per_trial weight".split()
    ),
}
"""Names that Determined 0.38's schemas know, by section; no names: not looked into."""
_OURS = [
    *(f"hyperparameters.{name}" for name in Hyperparameters.model_fields),
    *(f"data.{name}" for name in DataSettings.model_fields),
]
_DETERMINED = [
    f"{section}.{name}" if section else name for section, names in SECTIONS.items() for name in sorted(names)
]
_LEAVES = {dotted.rpartition(".")[2]: dotted for dotted in reversed([*_OURS, *_DETERMINED])}
"""All settings: dotted names by their last parts, the first of equals."""


def what_is_meant(name: str, section: str | None, known: Collection[str]) -> str:
    """What to write in place of an unknown name: a setting of ours, its counterpart here, the nearest spelling.

    Args:
        section: where it stands, such as data; "": outside of all; None: in one that is not of a training.
        known: the names of that section.
    """
    plain = name.replace("-", "_").lower()
    if plain in known:
        return f"did you mean {plain}?"
    meant = None if section is None else _counterpart(plain)
    if isinstance(meant, str):
        return f"did you mean {meant}?"
    if meant is not None:
        return str(meant)
    if close := difflib.get_close_matches(plain, known, n=1):
        return f"did you mean {close[0]}?"
    if section is not None and (close := difflib.get_close_matches(plain, _LEAVES, n=1, cutoff=0.8)):
        return f"did you mean {_LEAVES[close[0]]}?"
    return f"known: {', '.join(sorted(known))}"


def what_option_is_meant(option: str, options: Collection[str]) -> str:
    """As `what_is_meant`, of a command line that takes settings by ``--config``.

    Args:
        options: those that it takes.
    """
    plain = option.strip("-").replace("-", "_").lower()
    meant = _counterpart(plain)
    if meant is not None:
        return f"write --config {meant}=…" if isinstance(meant, str) else meant.on_command_line()
    if close := difflib.get_close_matches(option, options, n=1):
        return f"did you mean {close[0]}?"
    if close := difflib.get_close_matches(plain, _LEAVES, n=1, cutoff=0.8):
        return f"did you mean --config {_LEAVES[close[0]]}=…?"
    return "see --help"


def _counterpart(plain: str) -> str | Counterpart | None:
    """What there is here for a name: a setting, dotted, or what stands in the place of another trainer's."""
    for settings in (_OURS, _DETERMINED):
        ours = [dotted for dotted in settings if dotted == plain or dotted.endswith(f".{plain}")]
        if ours:
            return ours[0]
        if plain in COUNTERPARTS:  # which is meant rather than Determined's setting of that name
            return COUNTERPARTS[plain]
    return None


def explain(title: str, model: type[Section], detail: Any) -> UserError:
    """One pydantic error as ours: setting, offending value, what would be right."""
    name = ".".join(str(part) for part in detail["loc"][:1])
    if name == "peft" and len(detail["loc"]) > 1:
        return explain(f"{title}.peft", Lora, {**detail, "loc": detail["loc"][1:]})
    where = f"{title}.{name}" if name else title
    if detail["type"] == "extra_forbidden":
        problem = f"unknown setting (value {shown(detail['input'], name)})"
        ours = title if model in (Hyperparameters, DataSettings) else None
        return UserError(where, problem, what_is_meant(name, ours, model.model_fields))
    if detail["type"] == "missing":
        example = "bert-base-cased" if name == "pretrained_model_name_or_path" else "…"
        return UserError(where, "is required", f"write e.g. {name}: {example}")
    message = detail["msg"].removeprefix("Value error, ")
    return UserError(where, message if not name else f"{shown(detail['input'], name)} is wrong: {message}")


def check_section(title: str, model: type[S], given: dict[str, Any], problems: list[UserError]) -> S | None:
    """A section as typed settings; None where it has mistakes, which are added to ``problems``.

    A null means "not set", as Determined's master treats it.
    """
    try:
        return model(**{str(name): value for name, value in given.items() if value is not None})
    except pydantic.ValidationError as error:
        problems.extend(explain(title, model, detail) for detail in error.errors())
        return None
