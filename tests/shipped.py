"""The shipped experiments, as tests look at them."""

from __future__ import annotations

from typing import Any, get_args

from tests.conftest import ROOT

SHIPPED = sorted((ROOT / "configs").glob("*.yaml"))


def a_point(hyperparameters: dict[str, Any]) -> dict[str, Any]:
    """A point of a search space, as a searcher would sample it; without ranges the hyperparameters themselves."""

    def value(given: Any) -> Any:
        if not isinstance(given, dict) or "type" not in given:
            return given
        if given["type"] == "categorical":
            return given["vals"][0]
        if given["type"] == "log":
            return given["base"] ** given["minval"]
        return given["val"] if given["type"] == "const" else given["minval"]

    return {name: value(given) for name, given in hyperparameters.items()}


def why_not_offered(config: dict[str, Any]) -> str | None:
    """What of a config this version of the trial cannot compute with, if anything."""
    from determined_ner.settings.hyperparameters import Hyperparameters

    fields = Hyperparameters.model_fields
    backend = config["hyperparameters"].get("backend", "eager")
    if backend not in get_args(fields["backend"].annotation):
        return f"hyperparameters.backend: {backend} is not offered"
    if config["hyperparameters"].get("use_apex_amp") and "apex_opt_level" not in fields:
        return "hyperparameters.use_apex_amp is not offered"
    return None
