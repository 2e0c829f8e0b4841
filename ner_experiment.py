"""The rest of an experiment config: reading it with overrides, and how long and how often to do what.

On a cluster the master hands the config over, completed with its defaults; off the cluster the same file is read
here, so that one YAML and one override syntax serve both.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ner_errors import UserError
from ner_hparams import Settings

Unit = Literal["batches", "records", "epochs"]
DEFAULT_CONFIG = Path(__file__).with_name("ner_config.yaml")
DEFAULT_SEED = 42
REPORTING_BATCHES = 100
"""Determined's default scheduling unit: training metrics are reported every so many batches."""
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


def read_config(path: Path, overrides: list[str]) -> dict[str, Any]:
    """Read an experiment config and apply ``KEY=VALUE`` overrides, values parsed as YAML.

    Raises:
        UserError: no such file, bad YAML (with its line), or an override without ``=``.
    """
    from determined.common import util
    from ruamel.yaml import YAMLError

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
        raise UserError(f"{path}: holds {config!r}, not the sections of an experiment config")
    config = override_config(config, overrides)
    for section in ("hyperparameters", "data", "searcher", "optimizations", "reproducibility"):
        if not isinstance(config.get(section) or {}, dict):
            raise UserError(f"{path}: {section}: {config[section]!r} is not a section of KEY: VALUE lines")
    return dict(config)


def override_config(config: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Apply ``KEY=VALUE`` overrides as det does.

    Raises:
        UserError: an override without ``=``, or one that does not fit.
    """
    from determined.cli import ntsc  # the syntax of det's own --config
    from ruamel.yaml import YAMLError

    for override in overrides:
        if not override.partition("=")[1] or not override.partition("=")[0]:
            raise UserError(f"--config {override}: write KEY=VALUE, e.g. --config hyperparameters.learning_rate=3e-5")
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
    """What the experiment config asks of the training loop."""

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
    searcher = config.get("searcher") or {}
    aggregation = _number(config, "optimizations.aggregation_frequency", 1, at_least=1)
    policy = config.get("checkpoint_policy") or "best"
    if policy not in ("best", "all", "none"):
        raise UserError(f"checkpoint_policy: {policy!r} is none of best, all, none")
    scheduling_unit = _number(config, "scheduling_unit", 0, at_least=0)
    return Plan(
        length=training_length(config, settings, aggregation, warnings),
        validation_period=_period(config, "min_validation_period"),
        checkpoint_period=_period(config, "min_checkpoint_period"),
        reporting_batches=scheduling_unit or None,
        checkpoint_policy=policy,
        perform_initial_validation=bool(config.get("perform_initial_validation")),
        profiling=bool((config.get("profiling") or {}).get("enabled")),
        aggregation_frequency=aggregation,
        seed=_number(config, "reproducibility.experiment_seed", DEFAULT_SEED, at_least=0),
        metric=str(searcher.get("metric") or "f1"),
        smaller_is_better=bool(searcher.get("smaller_is_better", searcher.get("metric") == "loss")),
        warnings=tuple(warnings),
    )


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
        if isinstance(value, int) and "unit" in searcher:  # the form of Determined before 0.13
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
    value: Any = config
    for key in dotted.split("."):
        value = (value or {}).get(key)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise UserError(f"{dotted}: {value!r} must be a whole number of at least {at_least}")
    return value
