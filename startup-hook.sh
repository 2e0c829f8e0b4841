#!/usr/bin/env bash
# Runs in the task's container before the trial: installs what the image lacks or has too old, as pinned, and nothing
# else. The image's torch (and its Apex) stay as they are. Quick and silent when there is nothing to do.
#
# Determined sources this file, so it is one command, in Python, that leaves no option and no variable behind.
python3 - <<'PYTHON'
import importlib
import json
import os
import re
import subprocess
import sys
from importlib import metadata

# Versions stand here because nothing else is sure to be in the container; tests/test_pins.py holds minima equal to those
# of pyproject.toml, and pins to those of requirements/.
MINIMA = {
    "transformers": "4.49",
    "datasets": "3.0",
    "pydantic": "2.8",
    "pyarrow": "15",
    "tqdm": "4",
    "tensorboard": "2",
}

# Only where hyperparameters ask for it. onnxruntime-training ended with this release.
ORT_TRAINING = {"onnxruntime-training": "1.19.2", "torch-ort": "1.19.2", "onnx": "1.16.2"}
ORT_TORCH = ((2, 3), (2, 7))
ORT_INFERENCE = {"onnx": "1.16", "onnxruntime": "1.18"}


def installed(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def number(version):
    """4.49.0.dev0 is (4, 49, 0)."""
    return tuple(int(part) for part in re.match(r"\d+(\.\d+)*", version).group().split("."))


def asked(name):
    return json.loads(os.environ.get("DET_HPARAMS") or "{}").get(name)


def trains_with_ort():
    return asked("backend") == "ort"


def unmet():
    needed = dict(MINIMA)
    if trains_with_ort():
        needed.update(ORT_TRAINING)
    elif asked("evaluate_with_ort") and not installed("onnxruntime-training"):
        needed.update(ORT_INFERENCE)
    return [name for name, least in needed.items() if number(installed(name) or "0") < number(least)]


def pins(torch, python=sys.version_info):
    """What is known to work together: requirements/cluster.txt before torch 2.5, else requirements/current.txt."""
    old_torch = number(torch) < (2, 5)
    old_python = python < (3, 11)
    return {
        "transformers": "4.49.0" if old_torch else "5.20.2" if old_python else "5.23.0",
        "datasets": "3.6.0" if old_torch else "5.2.0",
        "pydantic": "2.14.3",
        "pyarrow": "25.0.1" if old_torch or old_python else "26.0.1",
        "tqdm": "4.70.1",
        "tensorboard": "2.21.0",
        "onnx": "1.23.2",
        "onnxruntime": "1.23.2" if old_python else "1.31.1",
        **(ORT_TRAINING if trains_with_ort() else {}),
    }


def ort_problem(torch):
    """Why ORTModule cannot be had in this image."""
    if not ORT_TORCH[0] <= number(torch) < ORT_TORCH[1]:
        return f"torch {torch}, and ORTModule works with torch 2.3 to 2.6"
    if sys.version_info >= (3, 12):
        return f"Python {sys.version.split()[0]}, and onnxruntime-training has wheels up to Python 3.11"
    for name in ("onnxruntime", "onnxruntime-gpu"):
        if installed(name):
            return f"{name}, which is the same import package as onnxruntime-training"
    return None


def main():
    torch = installed("torch")
    if torch is None:
        return "this image has no torch; choose one that has (environment.image), such as Determined's default"
    if trains_with_ort() and (problem := ort_problem(torch)):
        return (
            f"hyperparameters.backend: 'ort', but this image has {problem}; choose an image (environment.image) that "
            f"fits, such as Determined's default, or write backend: eager or backend: compile"
        )
    return install(torch, unmet()) or (compile_extensions() if trains_with_ort() else None)


def compile_extensions():
    status = subprocess.call(["python3", "-m", "determined_ner", "setup-ort"])  # at once where it was done before
    if status:
        return "ORTModule's extensions could not be compiled; take an image with a C++ compiler, or backend: eager"
    return None


def install(torch, names):
    if not names:
        return None
    if sys.version_info < (3, 10):
        return f"python3 is {sys.version.split()[0]}; choose an image (environment.image) with Python 3.10 or newer"
    wanted = [f"{name}=={pins(torch)[name]}" for name in names]
    print("startup-hook.sh: installing", *wanted, flush=True)
    pip = ["python3", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    status = subprocess.call([*pip, "--upgrade-strategy", "only-if-needed", *wanted])
    importlib.invalidate_caches()
    if status:
        return (
            f"pip could not install {' '.join(wanted)} (status {status}); give the container a package index "
            f"(PIP_INDEX_URL in environment.environment_variables), or choose an image (environment.image) that has them"
        )
    if installed("torch") != torch:
        return (
            f"installing {' '.join(wanted)} changed torch from {torch} to {installed('torch')}; choose an image "
            f"(environment.image) that has these packages, or pin versions for torch {torch} in this file"
        )
    if unmet():
        return (
            f"{' '.join(unmet())} still missing or older than needed after pip installed {' '.join(wanted)}: an older "
            f"copy stands first on Python's path; remove it, or choose an image (environment.image) without it"
        )
    return None


problem = main()
sys.exit(f"startup-hook.sh: {problem}" if problem else 0)
PYTHON
