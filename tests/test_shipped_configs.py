"""The shipped configs are what the code reads and what Determined takes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.shipped import a_point, why_not_offered

CONFIGS = sorted({*ROOT.glob("[!.]*.yaml"), *ROOT.glob("configs/*.yaml"), *ROOT.glob("quickstart/*.yaml")})


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.name)
def test_a_shipped_config_is_what_the_code_reads(config: Path) -> None:
    from determined_ner.settings.experiment import read_config
    from determined_ner.settings.loop import parse_loop
    from determined_ner.settings.parsing import parse_settings

    experiment = read_config(config, [])
    slots = experiment["resources"]["slots_per_trial"]
    if experiment["entrypoint"] == "python3 -m determined_ner infer":
        from determined_ner.cluster.batch_inference import InferenceData, InferenceHyperparameters

        InferenceHyperparameters(**experiment["hyperparameters"])
        InferenceData(**experiment["data"])
        return
    assert experiment["entrypoint"] == "python3 ner_trial.py"  # starts a process for each of any number of slots
    if reason := why_not_offered(experiment):
        pytest.skip(reason)
    settings = parse_settings(a_point(experiment["hyperparameters"]), experiment["data"])
    plan = parse_loop(experiment, settings)
    assert not settings.warnings and not plan.warnings
    assert settings.hparams.global_batch_size >= slots


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.name)
def test_a_shipped_config_is_what_determined_takes(config: Path) -> None:
    checker = ROOT.parent / "shared" / "determined" / "check_expconf.py"
    if not checker.is_file():
        pytest.skip(f"Determined's schemas are not here: {checker}")
    import yaml

    spec = importlib.util.spec_from_file_location("check_expconf", checker)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    experiment = yaml.safe_load(config.read_text(encoding="utf-8"))
    assert list(module.faults(experiment)) == []
    for dotted in module.DEPRECATED:
        at = experiment
        for part in dotted.split("."):
            at = at.get(part) if isinstance(at, dict) else None
        assert at is None, f"{dotted} is deprecated"
