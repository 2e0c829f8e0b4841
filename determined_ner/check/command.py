"""The data check: finds trouble before a GPU is paid for, and trains nothing.

    python ner_data.py [CONFIG] [--config KEY=VALUE ...] [--json] [--no-timing]

It builds what training builds (settings, data, model, schedule) by the trial itself, so that it fails where training
would, with the same message and exit status 2; then it tells what is in the data, what looks wrong, and what the
training will cost. It leaves nothing behind but ``data.cache_dir``, where that is set.

Its rooms: `ner_check_report`, what is found, which is what ``--json`` prints; `ner_check_counts`, which reads text and
windows; `ner_check_cost`, which looks at the batch plan and times steps; `ner_check_table`, what the terminal shows.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from determined_ner.check.counts import SplitCounter, WordKinds, find_repeats
from determined_ner.check.facts import AmbiguousWord, Remark, Report, SplitFacts
from determined_ner.check.table import find_warnings, show
from determined_ner.data.corpus import cached_text
from determined_ner.errors import UserError
from determined_ner.settings.experiment import DEFAULT_CONFIG, add_config_arguments, make_plan, read_config
from determined_ner.settings.hyperparameters import parse_settings
from determined_ner.local.progress import log_readably
from determined_ner.data.sources import Source, find_sources


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line of ``ner_data.py``."""
    parser = argparse.ArgumentParser(
        prog="ner_data.py",
        description="Check the data of an experiment and train nothing: what is in it, what looks wrong, how long "
        "training will take. Exit status 2, with one message, where training would fail.",
    )
    add_config_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object (its keys: ner_check_report.py)")
    parser.add_argument(
        "--no-timing", action="store_true", help="time no training steps (saves up to 20 seconds; nothing else changes)"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Check, and print what was found.

    Returns:
        exit status: 0, however suspicious the data; 2 where training would fail; 130 when interrupted.
    """
    arguments = parse_arguments(argv)
    try:
        report = check(arguments.config_file, arguments.overrides, timing=not arguments.no_timing)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    if arguments.json:
        print(json.dumps(asdict(report)))
        return 0
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a word that the terminal cannot show must not end the check
    print(show(report))
    return 0


def check(config_file: Path | None, overrides: list[str], timing: bool) -> Report:
    """Everything that there is to tell.

    Raises:
        UserError: where training would fail.
    """
    load = _load()
    config = read_config(config_file, overrides)
    settings = parse_settings(config.get("hyperparameters"), config.get("data"))
    make_plan(config, settings)
    slots = _slots(config)

    # Torch is imported from here on: it takes seconds, and --help or a slip in the settings need not wait for it.
    from determined_ner.check.cost import count_padding, find_cost
    from determined_ner.model.build import longest_window
    from ner_trial import check_batch_size

    check_batch_size(settings.hparams.global_batch_size, slots)
    log_readably(chief=False)  # the report tells what the trial would
    data = settings.data
    with (
        tempfile.TemporaryDirectory(prefix="ner-check-") as directory,
        tqdm(total=1, bar_format="{desc} {percentage:3.0f} %", leave=False, disable=None, file=sys.stderr) as bar,
    ):
        bar.set_description("reading, tokenizing, loading the model")
        with _trial(config, Path(directory)) as trial:
            splits, ambiguous = _count(
                trial, Path(data.cache_dir).expanduser() if data.cache_dir else Path(directory), bar
            )
            count_padding(trial, splits, slots)
            report = Report(
                config=str(config_file or DEFAULT_CONFIG),
                scheme=trial.labels.scheme.value,
                labels=list(trial.labels.names),
                context=data.context,
                max_seq_length=trial.max_seq_length,
                model_limit=longest_window(
                    trial.bare.config, settings.hparams, trial.tokenizer.tokenizer.model_max_length
                ),
                pad_to_max_length=data.pad_to_max_length,
                splits=splits,
                ambiguous_words=ambiguous,
                cost=find_cost(trial, slots, load, bar if timing else None),
                warnings=[Remark(note) for note in (*trial.settings.warnings, *trial.plan.warnings)],
            )
    report.warnings += find_warnings(report)
    return report


def _load() -> float:
    """Load average of the last minute, per core; 0 where the system tells none."""
    return os.getloadavg()[0] / (os.cpu_count() or 1) if hasattr(os, "getloadavg") else 0.0


def _slots(config: dict[str, Any]) -> int:
    resources = config.get("resources") or {}
    slots = resources.get("slots_per_trial") if isinstance(resources, dict) else resources
    if slots is None:
        return 1
    if not isinstance(slots, int) or isinstance(slots, bool) or slots < 0:
        raise UserError(f"resources.slots_per_trial: {slots!r} must be a whole number of at least 0")
    return max(1, slots)  # 0 is Determined's word for one slot without a GPU


@contextlib.contextmanager
def _trial(config: dict[str, Any], directory: Path) -> Iterator[Any]:
    """The trial as a run on this machine with one process builds it, with all that this checks."""
    import determined as det
    import torch
    from determined import core, pytorch
    from determined.common import storage

    from ner_trial import NERTrial

    class CheckedTrial(NERTrial):
        cache_dir = directory

    settings = parse_settings(config.get("hyperparameters"), config.get("data"))
    plan = make_plan(config, settings)
    hparams = {**config["hyperparameters"], "global_batch_size": settings.hparams.global_batch_size}
    distributed = core.DummyDistributedContext()
    with core.Context(
        distributed=distributed,
        checkpoint=core.DummyCheckpointContext(distributed, storage.SharedFSStorageManager(str(directory))),
        preempt=core.DummyPreemptContext(distributed, core.PreemptMode.WorkersAskChief),
        train=core.DummyTrainContext(),
        searcher=core.DummySearcherContext(distributed),
        profiler=core.DummyProfilerContext(),
    ) as core_context:
        context = pytorch.PyTorchTrialContext(
            core_context=core_context,
            trial_seed=plan.seed,
            hparams=hparams,
            slots_per_trial=1,
            num_gpus=torch.cuda.device_count(),
            exp_conf={**config, "hyperparameters": hparams},
            aggregation_frequency=plan.aggregation_frequency,
            steps_completed=0,
            managed_training=True,
            debug_enabled=False,
            enable_tensorboard_logging=False,
        )
        try:
            yield CheckedTrial(context)
        except det.InvalidHP as error:
            raise UserError(str(error)) from error


def _count(trial: Any, cache: Path, bar: tqdm) -> tuple[dict[str, SplitFacts], list[AmbiguousWord]]:
    data = trial.data
    task = trial.settings.hparams.finetuning_task
    sources = {source.split: source for source in find_sources(data, task)}
    texts = {name: cached_text(source, data, cache) for name, source in sources.items()}
    word_kinds = WordKinds(trial.labels)
    counters: dict[str, SplitCounter] = {}
    for name, source in sources.items():
        counters[name] = SplitCounter(
            trial.corpus.splits[name],
            source,
            texts[name],
            trial.labels,
            trial.tokenizer,
            trial.max_seq_length,
            data.context == "document",
        )

        def show(share: float, name: str = name) -> None:
            bar.n = share
            bar.set_description(f"counting {name}")

        counters[name].count(word_kinds if name == "train" else None, show).files = _layouts(source)
    find_repeats(counters, texts, sources)
    return {name: counter.facts for name, counter in counters.items()}, word_kinds.ambiguous()


def _layouts(source: Source) -> list[dict[str, str | None]]:
    layouts = source.layouts()
    if not layouts:  # a data set of the datasets library
        return [{"path": path} for path in source.files]
    found: list[dict[str, str | None]] = []
    for path, layout in zip(source.files, layouts, strict=True):
        found.append(
            {
                "path": path,
                "format": layout.format,
                "text_column": layout.text_column,
                "tag_column": layout.tag_column,
                "sentence_column": layout.sentence_column,
                "document_column": layout.document_column,
            }
        )
    return found
