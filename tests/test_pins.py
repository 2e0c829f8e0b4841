"""Each version is decided in one place; where it has to be written twice, both are the same."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import determined_ner
from determined_ner.model import cuda_libraries, ort
from tests.conftest import ROOT
from tests.hook import names_of_the_hook

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
OLD, NEW = "3.10", "3.11"
"""Some libraries' newest releases have left Python 3.10 behind."""


def pins(file: str, python: str) -> dict[str, str]:
    """The exact versions of a requirements file, by name."""
    lines = (ROOT / "requirements" / file).read_text(encoding="utf-8").splitlines()
    parsed = [Requirement(bare) for line in lines if (bare := line.partition("#")[0].strip())]
    environment = {"python_version": python}
    chosen = [one for one in parsed if one.marker is None or one.marker.evaluate(environment)]
    names = [canonicalize_name(one.name) for one in chosen]
    assert len(set(names)) == len(names), f"requirements/{file} names one twice for Python {python}"
    exact = {name: str(one.specifier) for name, one in zip(names, chosen, strict=True)}
    return {name: version.removeprefix("==") for name, version in exact.items() if version.startswith("==")}


def bounds(*extras: str) -> dict[str, SpecifierSet]:
    """What pyproject.toml asks for, by name; "" is the distribution itself."""
    asked: dict[str, SpecifierSet] = {}
    for extra in extras:
        lines = PROJECT["project"]["optional-dependencies"][extra] if extra else PROJECT["project"]["dependencies"]
        for one in map(Requirement, lines):
            if one.name == "determined-ner":
                asked |= bounds(*one.extras)
            else:
                asked[canonicalize_name(one.name)] = one.specifier
    return asked


@pytest.fixture(scope="module")
def hook() -> dict[str, Any]:
    return names_of_the_hook()


@pytest.mark.parametrize(("file", "python"), [("current.txt", OLD), ("current.txt", NEW), ("cluster.txt", OLD)])
def test_what_is_pinned_is_what_the_project_asks_for(file, python):
    pinned, asked = pins(file, python), bounds("", "cluster", "export")
    for name in pinned.keys() & asked.keys():
        assert asked[name].contains(pinned[name]), f"{name}=={pinned[name]}, and pyproject.toml wants {asked[name]}"
    # Those that Determined, datasets, Jinja2 and transformers choose.
    bare = {"fsspec", "markupsafe", "pyzmq", "requests", "tokenizers"}
    if file == "current.txt":
        assert asked.keys() - pinned.keys() == bare


def test_the_development_tools_are_those_of_the_requirements():
    project = bounds("dev").keys() - bounds("", "cluster", "export").keys()
    lines = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8").splitlines()
    assert project == {
        canonicalize_name(Requirement(line.partition("#")[0]).name) for line in lines if not line.startswith("#")
    }
    (builder,) = map(Requirement, PROJECT["build-system"]["requires"])
    assert builder.specifier.contains(pins("dev.txt", NEW)[builder.name])


@pytest.mark.parametrize("python", [OLD, NEW])
def test_the_hook_installs_the_current_pins(hook, python):
    current = pins("current.txt", python)
    installed = hook["pins"]("2.13.0", tuple(map(int, python.split("."))))
    assert installed == {name: current[name] for name in installed}


def test_the_hook_installs_the_cluster_pins_beside_an_older_torch(hook):
    cluster = pins("cluster.txt", OLD)
    installed = hook["pins"]("2.3.1", (3, 10))
    assert {name: installed[name] for name in hook["MINIMA"]} == {name: cluster[name] for name in hook["MINIMA"]}


def test_the_hook_takes_for_good_enough_what_the_project_does(hook):
    asked = bounds("", "cluster")
    assert hook["MINIMA"] == {name: str(asked[name]).removeprefix(">=") for name in hook["MINIMA"]}
    onnx = {"onnx", "onnxruntime"}
    writes_and_runs = {name: str(least).removeprefix(">=") for name, least in bounds("export").items() if name in onnx}
    assert hook["ORT_INFERENCE"] == writes_and_runs and writes_and_runs.keys() == onnx


def test_what_the_hook_does_not_look_for_comes_with_what_it_does(hook):
    """A container has torch, Determined's client, and what these and the hook's packages bring along."""
    there = {"torch", "determined", "transformers", "datasets", "jinja2"}
    brought = {
        canonicalize_name(required.name)
        for name in there
        for required in map(Requirement, metadata.requires(name) or [])
    }
    assert bounds("", "cluster").keys() - hook["MINIMA"].keys() - there <= brought


def test_onnx_runtime_training_is_one_stack(hook):
    cluster = pins("cluster.txt", OLD)
    stack = dict(pin.split("==") for pin in ort.PINS.split())
    assert stack == hook["ORT_TRAINING"] == {name: cluster[name] for name in stack}
    assert hook["ORT_TORCH"] == (ort.OLDEST_TORCH, ort.FIRST_TORCH_TOO_NEW)
    release = tuple(map(int, cluster["torch"].split(".")))
    assert ort.OLDEST_TORCH <= release < ort.FIRST_TORCH_TOO_NEW


def test_the_libraries_of_cuda_11_are_one_set(hook):
    """Those whose names torch 2.3's own have are in no file: pip would write one over the other."""
    wheels = dict(pin.split("==") for pin in cuda_libraries.WHEELS.values())
    assert {name: "==".join(wheel) for name, wheel in hook["CUDA_11"].items()} == cuda_libraries.WHEELS
    of_file = pins("ort-cuda11.txt", OLD)
    assert of_file.pop("nvidia-cuda-nvcc-cu12") in hook["CUDA_HEADERS"].values()
    assert of_file == {
        name: pin for name, pin in wheels.items() if name not in ("nvidia-cudnn-cu11", "nvidia-curand-cu11")
    }


def test_determined_is_one_release():
    determined = str(bounds("cluster")["determined"])
    assert f"=={pins('current.txt', NEW)['determined']}" == determined
    assert re.findall(r"determined(==\S+)", (ROOT / "Makefile").read_text(encoding="utf-8")) == [determined]


def test_the_pythons_are_the_same_everywhere():
    named = "Programming Language :: Python :: 3."
    minors = [int(line.removeprefix(named)) for line in PROJECT["project"]["classifiers"] if line.startswith(named)]
    pythons = [f"3.{minor}" for minor in minors]
    assert PROJECT["project"]["requires-python"] == f">={pythons[0]}"
    assert f"(3, {minors[0]}) <= v <= (3, {minors[-1]})" in (ROOT / "Makefile").read_text(encoding="utf-8")
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    listed = ", ".join(f'"{python}"' for python in pythons)
    assert f"python: [{listed}]" in workflow


def test_the_version_is_the_package_s():
    assert "version" in PROJECT["project"]["dynamic"] and "version" not in PROJECT["project"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "determined_ner/__init__.py"
    assert re.fullmatch(r"\d+\.\d+\.\d+", determined_ner.__version__)
