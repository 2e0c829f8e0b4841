"""Reading an experiment config, with overrides.

On a cluster the master hands the config over, completed with its defaults; off the cluster the same file is read
here, so that one YAML and one override syntax serve both.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError

from determined_ner.errors import UserError
from determined_ner.settings.data import DataSettings
from determined_ner.settings.hyperparameters import Hyperparameters

_PACKAGE = Path(__file__).parents[1]
DEFAULT_CONFIG = next(
    (folder / "ner_config.yaml" for folder in (_PACKAGE, _PACKAGE.parent) if (folder / "ner_config.yaml").is_file()),
    Path("ner_config.yaml"),
)
"""In the package where it is installed, beside it in a checkout."""
_LISTS = ("bind_mounts",)
"""Keys whose single value stands for a list of one."""
# Names that Determined 0.38's schemas know; no names: not looked into.
_SECTIONS: dict[str, frozenset[str]] = {
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
    "checkpoint_storage": frozenset(),
    "resources": frozenset(),
}


def read_config(path: Path | None, overrides: list[str]) -> dict[str, Any]:
    """Read an experiment config and apply ``KEY=VALUE`` overrides, values parsed as YAML.

    Args:
        path: None for the default config; own files then take the place of its data set without a word.

    Raises:
        UserError: no such file, bad YAML (with its line), or an override without ``=``.
    """
    default, path = path is None, path or DEFAULT_CONFIG
    try:
        config = _load_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(path, "no such config file", "write the path of an experiment YAML") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(path, f"cannot be read as a config file: {error}") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}", f"not valid YAML: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(config, dict):
        held = "is empty" if config is None else f"holds {config!r}"
        raise UserError(path, held, "write the sections of an experiment config")
    config = override_config(_without_nulls(config), overrides)
    problems = list(_unknown_names(config, path))
    if problems:
        raise UserError.several(problems)
    data = config.get("data", {})
    if default and data.get("train_file"):
        for name in ("dataset_name", "dataset_config_name", "dataset_revision"):
            data.pop(name, None)
    return dict(config)


def _load_yaml(text: str) -> Any:
    """As Determined reads it: YAML 1.2."""
    return YAML(typ="safe", pure=True).load(text)


def _without_nulls(config: dict[Any, Any]) -> dict[Any, Any]:
    """A null means "not set", as the master treats it; the override syntax would stumble over it."""
    return {
        key: _without_nulls(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if value is not None
    }


def _unknown_names(config: dict[str, Any], path: Path) -> Iterator[UserError]:
    """What the master would refuse: misspelt sections and settings outside of hyperparameters: and data:."""
    for section, known in _SECTIONS.items():
        part = config if section == "" else config.get(section, {})
        if not isinstance(part, dict):
            yield UserError(path, f"{section}: {part!r} is not a section of KEY: VALUE lines")
            continue
        for name in part if known else ():
            if name in known:
                continue
            where = f"{section}.{name}" if section else str(name)
            ours = [f"hyperparameters.{name}"] * (name in Hyperparameters.model_fields)
            ours += [f"data.{name}"] * (name in DataSettings.model_fields)
            close = ours or difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(known))}"
            yield UserError(path, f"{where}: unknown setting (value {part[name]!r})", hint)


def override_config(config: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Apply ``KEY=VALUE`` overrides in the syntax of ``det experiment create --config``.

    ``a.b=c`` is the key b of the section a. A value is YAML; outside of brackets commas make it a list.

    Raises:
        UserError: an override without ``=``, or one that does not fit.
    """
    for override in overrides:
        where = f"--config {override}"
        key, equals, value = override.partition("=")
        if not key or not equals:
            raise UserError(where, "write KEY=VALUE, e.g. --config hyperparameters.learning_rate=3e-5")
        if " #" in value and value[:1] not in ("'", '"'):
            raise UserError(where, f"what follows ' #' is a comment in YAML; write {key}='\"{value}\"'")
        try:
            config = _with_value(config, key.split("."), _override_value(key, value))
        except (YAMLError, AttributeError, TypeError, ValueError) as error:
            reason = getattr(error, "problem", None) or error
            raise UserError(where, f"does not fit the config: {reason}") from None
    return config


def _override_value(key: str, text: str) -> Any:
    if "," in text and not text.startswith(("[", "{")):
        return [_load_yaml(part) for part in text.split(",")]
    value = _load_yaml(text)
    lone = key in _LISTS and not text.startswith("[")
    return [value] if lone else value


def _with_value(config: dict[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    """A copy of the config with a value at a path of keys; sections are merged."""
    name, *rest = path
    before = config.get(name)
    if rest:
        value = _with_value({} if before is None else before, rest, value)
    elif isinstance(before, dict) and isinstance(value, dict):
        for key in value:
            before = _with_value(before, [key], value[key])
        value = before
    return {**config, name: value}
