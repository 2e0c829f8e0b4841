"""The rest of an experiment config: reading it with overrides, and how long and how often to do what.

On a cluster the master hands the config over, completed with its defaults; off the cluster the same file is read
here, so that one YAML and one override syntax serve both.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from determined_ner.errors import UserError
from determined_ner.settings.hyperparameters import DataSettings, Hyperparameters, Settings

Unit = Literal["batches", "records", "epochs"]
DEFAULT_CONFIG = Path(__file__).parents[2] / "ner_config.yaml"
DEFAULT_SEED = 42
REPORTING_BATCHES = 100
"""Determined's default scheduling unit: training metrics are reported every so many batches."""
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
_OBSOLETE = {"records_per_epoch": "an epoch is what the training data holds", "data_layer": "data is read from data:"}
LEGACY_METRICS = {"accuracy_score": "accuracy"}
"""Names under which Determined's earlier example reported what we report otherwise."""


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line of ``ner_trial.py``."""
    parser = argparse.ArgumentParser(
        prog="ner_trial.py",
        description="Fine-tune a Hugging Face encoder for token classification: here, or, unchanged, as the entrypoint "
        "of a Determined experiment (where everything is taken from the cluster).",
    )
    add_config_arguments(parser)
    parser.add_argument(
        "--output-dir", type=Path, metavar="DIR", help="folder of this run (default: runs/NAME, numbered if it exists)"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue the newest checkpoint of the run folder, bit for bit, with its settings",
    )
    return parser.parse_args(argv)


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """``[CONFIG] [--config KEY=VALUE ...]``, as every command takes them."""
    parser.add_argument(
        "config_file",
        nargs="?",
        type=Path,
        metavar="CONFIG",
        help="experiment config (default: ner_config.yaml)",
    )
    parser.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="override one setting, as det does: hyperparameters.learning_rate=3e-5, data.train_file=my.conll",
    )


def read_config(path: Path | None, overrides: list[str]) -> dict[str, Any]:
    """Read an experiment config and apply ``KEY=VALUE`` overrides, values parsed as YAML.

    Args:
        path: None for the default config; own files then take the place of its data set without a word.

    Raises:
        UserError: no such file, bad YAML (with its line), or an override without ``=``.
    """
    from determined.common import util
    from ruamel.yaml import YAMLError

    default, path = path is None, path or DEFAULT_CONFIG

    try:
        config = util.yaml_safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such config file; write the path of an experiment YAML") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a config file: {error}") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(config, dict):
        held = "is empty" if config is None else f"holds {config!r}"
        raise UserError(f"{path}: {held}: write the sections of an experiment config")
    config = override_config(_without_nulls(config), overrides)
    problems = list(_unknown_names(config))
    if problems:
        raise UserError("\n".join(f"{path}: {problem}" for problem in problems))
    data = config.get("data", {})
    if default and data.get("train_file"):
        for name in ("dataset_name", "dataset_config_name", "dataset_revision"):
            data.pop(name, None)
    return dict(config)


def _without_nulls(config: dict[Any, Any]) -> dict[Any, Any]:
    """A null means «not set», as the master treats it; det's override syntax would stumble over it."""
    return {
        key: _without_nulls(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if value is not None
    }


def _unknown_names(config: dict[str, Any]) -> Iterator[str]:
    """What the master would refuse: misspelt sections and settings outside of hyperparameters: and data:."""
    for section, known in _SECTIONS.items():
        part = config if section == "" else config.get(section, {})
        if not isinstance(part, dict):
            yield f"{section}: {part!r} is not a section of KEY: VALUE lines"
            continue
        for name in part if known else ():
            if name in known:
                continue
            where = f"{section}.{name}" if section else str(name)
            ours = [f"hyperparameters.{name}"] * (name in Hyperparameters.model_fields)
            ours += [f"data.{name}"] * (name in DataSettings.model_fields)
            close = ours or difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(known))}"
            yield f"{where}: unknown setting (value {part[name]!r}); {hint}"


def override_config(config: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Apply ``KEY=VALUE`` overrides as det does.

    Raises:
        UserError: an override without ``=``, or one that does not fit.
    """
    from determined.cli import ntsc  # the syntax of det's own --config
    from ruamel.yaml import YAMLError

    for override in overrides:
        key, equals, value = override.partition("=")
        if not key or not equals:
            raise UserError(f"--config {override}: write KEY=VALUE, e.g. --config hyperparameters.learning_rate=3e-5")
        if " #" in value and value[:1] not in ("'", '"'):
            raise UserError(f"--config {override}: what follows « #» is a comment in YAML; write {key}='\"{value}\"'")
        try:
            config = ntsc.parse_config_overrides(config, [override])
        except (YAMLError, AttributeError, TypeError, ValueError) as error:
            reason = getattr(error, "problem", None) or error
            raise UserError(f"--config {override}: does not fit the config: {reason}") from None
    return config


@dataclass(frozen=True)
class Span:
    """A length of training, or the distance between two events of it."""

    value: int
    unit: Unit

    def batches(self, epoch_batches: int, global_batch_size: int, micro_steps: int) -> int:
        """This span in batches as Determined counts them: calls of ``train_batch`` on each slot.

        Args:
            epoch_batches: such batches in an epoch.
            global_batch_size: records of an optimizer step.
            micro_steps: batches of an optimizer step (``aggregation_frequency``).
        """
        if self.unit == "epochs":
            return self.value * epoch_batches
        if self.unit == "records":
            return max(1, self.value * micro_steps // global_batch_size)
        return self.value


@dataclass(frozen=True)
class Plan:
    """What the experiment config asks of the training loop, and of the folder of a local run."""

    length: Span
    validation_period: Span
    checkpoint_period: Span
    reporting_batches: int | None
    checkpoint_policy: str
    perform_initial_validation: bool
    profiling: bool
    aggregation_frequency: int
    seed: int
    metric: str
    smaller_is_better: bool
    keep_best: int
    """Checkpoints kept for their score, and, next, for being the newest."""
    keep_latest: int
    warnings: tuple[str, ...] = ()


def make_plan(config: dict[str, Any], settings: Settings) -> Plan:
    """Read what steers the loop; without a word in the config: validate and checkpoint once an epoch, keep the best.

    Raises:
        UserError: a length, period or policy that means nothing, with its place.
    """
    warnings = [
        f"{key}: {config[key]!r} has no meaning here and is ignored: {instead}"
        for key, instead in _OBSOLETE.items()
        if config.get(key) not in (None, 0, {"type": "shared_fs"})  # 0 and this are older masters' own defaults
    ]
    aggregation = _number(config, "optimizations.aggregation_frequency", 1, at_least=1)
    policy = config.get("checkpoint_policy") or "best"
    if policy not in ("best", "all", "none"):
        raise UserError(f"checkpoint_policy: {policy!r} is none of best, all, none")
    metric = _value(config, "searcher.metric") or "f1"
    if not isinstance(metric, str):
        raise UserError(f"searcher.metric: {metric!r} is not the name of a metric")
    scheduling_unit = _number(config, "scheduling_unit", 0, at_least=0)
    return Plan(
        length=training_length(config, settings, aggregation, warnings),
        validation_period=_period(config, "min_validation_period"),
        checkpoint_period=_period(config, "min_checkpoint_period"),
        reporting_batches=scheduling_unit or None,
        checkpoint_policy=policy,
        perform_initial_validation=bool(_flag(config, "perform_initial_validation")),
        profiling=bool(_flag(config, "profiling.enabled")),
        aggregation_frequency=aggregation,
        seed=_number(config, "reproducibility.experiment_seed", DEFAULT_SEED, at_least=0),
        metric=metric,
        smaller_is_better=_direction(config, metric, warnings),
        keep_best=_number(config, "checkpoint_storage.save_trial_best", 1, at_least=0),
        keep_latest=max(1, _number(config, "checkpoint_storage.save_trial_latest", 1, at_least=0)),
        warnings=tuple(warnings),
    )


def _direction(config: dict[str, Any], metric: str, warnings: list[str]) -> bool:
    """Whether a smaller searcher.metric is better, which Determined takes for granted unless told otherwise.

    Raises:
        UserError: told the wrong way round: the worst model would be kept.
    """
    right = metric == "loss"
    told = _flag(config, "searcher.smaller_is_better")
    if told is None:
        if not right:
            warnings.append(
                f"searcher.smaller_is_better is not set: a larger {metric} is taken for better here, "
                f"but a cluster takes a smaller one; write smaller_is_better: false"
            )
    elif told != right:
        raise UserError(
            f"searcher.smaller_is_better: {str(told).lower()} keeps the model with the worst {metric}; "
            f"write smaller_is_better: {str(right).lower()}"
        )
    return right


def training_length(config: dict[str, Any], settings: Settings, aggregation: int, warnings: list[str]) -> Span:
    """``searcher.max_time`` or (deprecated) ``searcher.max_length``, else ``max_steps``, else ``num_train_epochs``."""
    searcher = config.get("searcher") or {}
    hparams = settings.hparams
    if hparams.max_steps > 0:
        own, own_name = Span(hparams.max_steps * aggregation, "batches"), f"max_steps: {hparams.max_steps}"
    else:
        own, own_name = Span(hparams.num_train_epochs, "epochs"), f"num_train_epochs: {hparams.num_train_epochs}"
    asked, asked_name = None, ""
    if searcher.get("max_time") is not None:
        unit = searcher.get("time_metric")
        if unit not in ("batches", "epochs"):
            raise UserError(f"searcher.time_metric: {unit!r} must be batches or epochs, the units of searcher.max_time")
        asked, asked_name = _span({unit: searcher["max_time"]}, "searcher.max_time"), "searcher.max_time"
    elif searcher.get("max_length") is not None:
        value = searcher["max_length"]
        if isinstance(value, int) and isinstance(searcher.get("unit"), str):  # the form of Determined before 0.13
            value = {searcher["unit"]: value}
        asked, asked_name = _span(value, "searcher.max_length"), "searcher.max_length"
    if asked is None:
        return own
    stated = {"max_steps", "num_train_epochs"} & settings.given
    if stated and asked != own:
        warnings.append(
            f"{asked_name} trains {asked.value} {asked.unit}; hyperparameters.{own_name} is overruled by it: "
            f"drop one of the two"
        )
    return asked


def _period(config: dict[str, Any], name: str) -> Span:
    """A ``{batches|records|epochs: n}`` of the config; 0, the master's default, means that none was asked for."""
    value = config.get(name)
    if not value or not any((value if isinstance(value, dict) else {"": value}).values()):
        return Span(1, "epochs")
    return _span(value, name)


def _span(value: Any, name: str) -> Span:
    if isinstance(value, dict) and len(value) == 1:
        unit, count = next(iter(value.items()))
        whole = isinstance(count, int) and not isinstance(count, bool) and count >= 1
        if unit in ("batches", "records", "epochs") and whole:
            return Span(count, unit)
    raise UserError(f"{name}: {value!r} is no length; write e.g. {name}: {{epochs: 3}} (or batches, or records)")


def _number(config: dict[str, Any], dotted: str, default: int, at_least: int) -> int:
    value = _value(config, dotted)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise UserError(f"{dotted}: {value!r} must be a whole number of at least {at_least}")
    return value


def _flag(config: dict[str, Any], dotted: str) -> bool | None:
    value = _value(config, dotted)
    if value is not None and not isinstance(value, bool):
        # YAML 1.2, as Determined reads it, knows no yes and no.
        raise UserError(f"{dotted}: {value!r} is neither true nor false")
    return value


def _value(config: dict[str, Any], dotted: str) -> Any:
    value: Any = config
    for key in dotted.split("."):
        if value is not None and not isinstance(value, dict):
            raise UserError(f"{dotted.rpartition('.')[0]}: {value!r} is not a section of KEY: VALUE lines")
        value = (value or {}).get(key)
    return value
