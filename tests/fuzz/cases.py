"""The cases: a folder, a command line for it, and what must then hold beside what holds for all."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from determined_ner.cli import OUTPUT_FORMATS, make_parser
from determined_ner.files.checksums import CHECKSUMS_FILE
from determined_ner.settings.data import DataSettings
from determined_ner.settings.hyperparameters import Hyperparameters
from tests.fuzz.damage import PYTHON_TAG, TEXTS, change, damage_files, odd_value, plant_code
from tests.fuzz.material import CHECKED, TRAIN, copy

INPUTS = ["encoder", "train.conll", "validation.conll", TRAIN]
TEXT_FILES = ["texts.txt", "words.jsonl"]
SPANS = '{"text": "Ada went to Oslo 😀 .", "label": [[0, 3, "PER"], [12, 16, "LOC"], [0, 8, "X"]]}\n' * 4

SECTIONS = {"hyperparameters": list(Hyperparameters.model_fields), "data": list(DataSettings.model_fields)}
EXPERIMENT = [
    *("name", "description", "labels", "project", "workspace", "entrypoint", "max_restarts", "scheduling_unit"),
    *("min_validation_period", "min_checkpoint_period", "checkpoint_policy", "perform_initial_validation", "profiling"),
    *("searcher", "searcher.metric", "searcher.smaller_is_better", "searcher.max_length", "searcher.name", "resources"),
    *("resources.slots_per_trial", "optimizations", "optimizations.aggregation_frequency", "reproducibility"),
    *("reproducibility.experiment_seed", "checkpoint_storage", "checkpoint_storage.save_trial_best", "environment"),
    *("hyperparameters", "data", "bind_mounts", "records_per_epoch", "nonsense", ""),
]
SETTINGS = [f"{section}.{name}" for section, names in SECTIONS.items() for name in (*names, "nonsense")] + EXPERIMENT
LENGTHS = ("epochs", "steps", "searcher", "hyperparameters", "scheduling_unit", "period", "optimizations")
"""What is in the names of settings that can make a training long: these are checked, not trained with."""
KNOWN_TEXTS = ["f1", "loss", "document", "linear", "cosine", "bf16", "eager", "ner", "pos", "encoder", "run/model", "1"]
NEW_NAMES = ["out", "a/b/out", "x" * 300, "", " ", "out\ud800", "\0", "train.conll", "encoder", "nowhere/out", "é"]
"""Where a command is told to write; nothing outside of the case's folder is written to."""


@dataclass
class Case:
    """One command in a folder of its own."""

    arguments: list[str]
    """Of ``determined-ner``."""
    outputs: list[str] = field(default_factory=list)
    """What it writes: not there where it ends with status 2, unless it was there before."""
    holds: Callable[[Path, str], None] = lambda folder, output: None
    """Checks the folder and the standard output of a command that ended with status 0."""


def make_case(base: Path, folder: Path, rng: Random) -> Case:
    """Fill the folder of a case and draw its command."""
    kinds = [settings_case, command_line_case, convert_case, model_case, run_case, cache_case]
    return rng.choices(kinds, weights=[30, 20, 5, 20, 15, 15])[0](base, folder, rng)


# -- Settings --------------------------------------------------------------------------------------------------


def settings_case(base: Path, folder: Path, rng: Random) -> Case:
    """Settings of every name with values of every type, in the config and in overrides."""
    copy(base, folder, [*INPUTS, *(["run"] if rng.random() < 0.2 else [])])
    names = [rng.choice(SETTINGS) for _ in range(rng.choice([0, 1, 1, 2, 3]))]
    overrides = [override for name in names for override in ("--config", _argument(f"{name}={_spelled(rng)}"))]
    config = folder / TRAIN
    changed = rng.random() < 0.5
    if changed:
        value = json.loads(config.read_text(encoding="utf-8"))
        for _ in range(rng.choice([1, 1, 2, 3])):
            name = rng.choice(SETTINGS)
            section, _, key = name.rpartition(".")
            place = value.setdefault(section, {}) if section else value
            if isinstance(place, dict):
                place[key] = odd_value(rng)
        if rng.random() < 0.3:
            value = change(value, rng)
        text = json.dumps(value)
        if rng.random() < 0.1:
            text = text.replace('"fuzz"', rng.choice([PYTHON_TAG, "&a [*a]", "!!binary x", "2026-11-25", "!x y"]), 1)
        config.write_text(text, encoding="utf-8")
        if rng.random() < 0.2:
            damage_files(folder, rng, lambda path: path != config)
    if not changed and rng.random() < 0.5 and not any(part in name for name in names for part in LENGTHS):
        return Case(["train", TRAIN, *overrides, "--output-dir", "out"], ["out"], trained)
    return Case(["check", TRAIN, "--no-timing", "--json", *overrides], [], lambda _, output: strict_json(output))


def _spelled(rng: Random) -> str:
    """A value as it is written behind ``=``."""
    value = rng.choice([rng.choice(KNOWN_TEXTS), odd_value(rng), odd_value(rng)])
    return value if isinstance(value, str) else json.dumps(value)


def _argument(text: str) -> str:
    """A text as an operating system can hand it to a command: no NUL, odd bytes as Python stands them."""
    return text.replace("\0", "").encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")


# -- Command lines ---------------------------------------------------------------------------------------------


def command_line_case(base: Path, folder: Path, rng: Random) -> Case:
    """Verbs with options of theirs and of others, in any order, with values that fit and that do not."""
    copy(base, folder, [*INPUTS, *TEXT_FILES, "run"])
    parser = make_parser()
    verbs = next(action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    verb = rng.choice(
        ["train", "check", "predict", "predict", "convert", "convert", "report", "export", "infer", "nonsense", ""]
    )
    if verb not in verbs:
        return Case([_argument(verb), *(_value(rng) for _ in range(rng.randint(0, 3)))])
    slow = ("onnx", "fp16", "quantize")  # half a minute
    actions = [action for action in verbs[verb]._actions if action.dest not in slow]
    options = [action for action in actions if action.option_strings]
    pieces: list[list[str]] = []
    for action in actions:
        if not action.option_strings and (action.nargs != "?" or rng.random() < 0.5):
            written = action.dest == "output"
            value = _option_value(action, rng) if written else _value(rng)
            pieces += [[value]] * rng.choice([1, 1, 1, 1, 1, 1, 0, 2])
    for _ in range(rng.choice([0, 0, 1, 2, 3])):
        action = rng.choice(options)
        if action.dest in ("help", "version") and rng.random() < 0.9:
            continue
        name = rng.choice(action.option_strings)
        name = name[: rng.randint(2, len(name))] if rng.random() < 0.1 else name
        pieces.append([name, *([] if action.nargs == 0 or rng.random() < 0.05 else [_option_value(action, rng)])])
    if verb in ("check", "train"):
        pieces.append(["--no-timing"] if verb == "check" else ["--output-dir", "out"])
    if verb == "export":
        pieces.append(["--output", "out"])
    rng.shuffle(pieces)
    if rng.random() < 0.05:
        pieces.append([rng.choice(["--nonsense", "--do_train", "-x", "--", "--=x", "--config"])])
    return Case([verb, *(part for piece in pieces for part in piece)], holds=lambda _, output: None)


def _value(rng: Random) -> str:
    fitting = ["run", "run/model", "run/checkpoints/step-00000001", "encoder", TRAIN, "texts.txt", "words.jsonl", "-"]
    fitting += ["train.conll", "validation.conll"]
    value = rng.choice(fitting) if rng.random() < 0.85 else rng.choice(TEXTS)
    return _argument(value)


def _option_value(action: argparse.Action, rng: Random) -> str:
    if action.choices and rng.random() < 0.7:
        return str(rng.choice(list(action.choices)))
    if action.dest in ("output", "output_dir"):
        return _argument(rng.choice(NEW_NAMES))
    if action.dest == "overrides":
        name = rng.choice([name for name in SETTINGS if not any(part in name for part in LENGTHS)])
        return _argument(f"{name}={_spelled(rng)}")
    return _value(rng)


# -- Conversions -----------------------------------------------------------------------------------------------


def convert_case(base: Path, folder: Path, rng: Random) -> Case:
    """Labelled text, damaged or not, to any format and from there to another one."""
    copy(base, folder, INPUTS)
    (folder / "spans.jsonl").write_text(SPANS, encoding="utf-8")
    if rng.random() < 0.7:
        damage_files(folder, rng, lambda path: path.suffix not in (".conll", ".jsonl"))
    source = rng.choice(["train.conll", "spans.jsonl", "*.jsonl", "*.conll"])
    return Case(["convert", source, "out", "--to", rng.choice(OUTPUT_FORMATS)], ["out"])


# -- Model directories -----------------------------------------------------------------------------------------


def model_case(base: Path, folder: Path, rng: Random) -> Case:
    """A model directory or a checkpoint that is damaged, odd or hostile, under every command that reads one."""
    copy(base, folder, [*INPUTS, *TEXT_FILES, "run"])
    name = rng.choice(["run/model", "run/model", "run/model", "run/checkpoints/step-00000001", "encoder"])
    code = f"{os.sep}code{os.sep}"
    if rng.random() < 0.8:  # else they tell of each damage before what was damaged is read
        (folder / name / CHECKSUMS_FILE).unlink(missing_ok=True)
    if rng.random() < 0.15:
        plant_code(folder / name, rng)
    if rng.random() < 0.9:
        damage_files(folder / name, rng, lambda path: code in str(path))
    command = rng.choices(["predict", "export", "report", "check"], weights=[14, 4, 1, 4])[0]
    if command == "check" or name == "encoder":
        setting = f"hyperparameters.pretrained_model_name_or_path={name}"
        more = ["--config", "hyperparameters.ignore_mismatched_sizes=true"] if rng.random() < 0.5 else []
        if rng.random() < 0.5:
            return Case(["check", TRAIN, "--no-timing", "--config", setting, *more])
        return Case(["train", TRAIN, "--config", setting, *more, "--output-dir", "out"], ["out"], trained)
    if command == "predict":
        return prediction(name, rng)
    if command == "export":
        return Case(["export", name, "--data", "validation.conll", "--output", "out"], ["out"])
    return Case(["report", name, "--data", "validation.conll", "--output", "out"], ["out"])


def prediction(model: str, rng: Random) -> Case:
    """A tag for every word, in a file, on standard output or out of standard input."""
    if rng.random() < 0.3:
        return Case(["predict", model, "-"], [], as_many_lines(20))
    source, count = rng.choice([("texts.txt", 4), ("words.jsonl", 4)])
    if rng.random() < 0.5:
        return Case(["predict", model, source], [], as_many_lines(count))

    def written(folder: Path, _: str) -> None:
        as_many_lines(count)(folder, (folder / "out").read_text(encoding="utf-8"))

    return Case(["predict", model, source, "--output", "out"], ["out"], written)


# -- Run folders -----------------------------------------------------------------------------------------------


def run_case(base: Path, folder: Path, rng: Random) -> Case:
    """A run's folder that is damaged, gone on with and read."""
    run = rng.choice(["run", "half", "half"])
    copy(base, folder, [*INPUTS, *TEXT_FILES, run])
    code = f"{os.sep}code{os.sep}"
    damage_files(folder / run, rng, lambda path: code in str(path) or "tensorboard" in str(path))
    command = rng.choices(["resume", "export", "report", "again"], weights=[8, 5, 1, 2])[0]
    if command == "resume":
        return Case(["train", *([TRAIN] if rng.random() < 0.5 else []), "--output-dir", run, "--resume"])
    if command == "again":
        return Case(["train", TRAIN, "--output-dir", run])
    return Case([command, run, "--output", "out"], ["out"])


# -- Caches ----------------------------------------------------------------------------------------------------


def cache_case(base: Path, folder: Path, rng: Random) -> Case:
    """A damaged cache is made again: the data, and the weights, are those of an undamaged one."""
    copy(base, folder, [*INPUTS, "cache"])
    damage_files(folder / "cache", rng)
    if rng.random() < 0.75:

        def same_data(_: Path, output: str) -> None:
            assert json.loads(output) == json.loads((base / CHECKED).read_text(encoding="utf-8"))

        return Case(["check", TRAIN, "--no-timing", "--json"], [], same_data)

    def same_weights(folder: Path, output: str) -> None:
        trained(folder, output)
        weights = "model/model.safetensors"
        assert (folder / "out" / weights).read_bytes() == (base / "run" / weights).read_bytes(), "other weights"

    return Case(["train", TRAIN, "--output-dir", "out"], ["out"], same_weights)


# -- What holds ------------------------------------------------------------------------------------------------


def strict_json(text: str) -> Any:
    """JSON as others read it: no NaN in it."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def trained(folder: Path, _: str) -> None:
    """A run is complete."""
    run = folder / "out"
    strict_json((run / "summary.json").read_text(encoding="utf-8"))
    for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        strict_json(line)
    for name in ("config.json", "ner_settings.json", "model.safetensors"):
        assert (run / "model" / name).is_file(), name


def as_many_lines(count: int) -> Callable[[Path, str], None]:
    """Of predictions: as many texts, and in each as many tags as words."""

    def check(_: Path, output: str) -> None:
        rows = [strict_json(line) for line in output.splitlines()]
        assert len(rows) == count, f"{len(rows)} lines, not {count}"
        for row in rows:
            assert ("predicted_entities" in row) if "text" in row else len(row["predicted_tags"]) == len(row["tokens"])

    return check
