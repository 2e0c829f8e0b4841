#!/usr/bin/env bash
# Runs in the task's container before the trial: installs what the image lacks or has too old, as pinned, and nothing
# else. The image's torch (and its Apex) stay as they are. Quick and silent when there is nothing to do.
#
# Determined sources this file, so it is one command, in Python, that leaves no option and no variable behind.
python3 - <<'PYTHON'
import ctypes
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from glob import glob
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
ORT_IMAGE = "choose an image (environment.image) with torch 2.3 to 2.6 and Python 3.10 or 3.11, such as that of"
ORT_IMAGE += " docker/cluster-ort.Dockerfile or Determined's default"
# On a GPU it is linked with libraries of CUDA 11, which live in one process with those of a torch of CUDA 12.
CUDA_11 = {
    "libcudart.so.11.0": ("nvidia-cuda-runtime-cu11", "11.8.89"),
    "libcublas.so.11": ("nvidia-cublas-cu11", "11.11.3.6"),
    "libcublasLt.so.11": ("nvidia-cublas-cu11", "11.11.3.6"),
    "libcufft.so.10": ("nvidia-cufft-cu11", "10.9.0.58"),
    "libcurand.so.10": ("nvidia-curand-cu11", "10.3.0.86"),
    "libcudnn.so.8": ("nvidia-cudnn-cu11", "8.9.6.50"),
}
# CUDA's headers, with which the extension for GPUs is compiled where there is no toolkit.
CUDA_HEADERS = {"11.8": "11.8.89", "12.1": "12.1.105", "12.4": "12.4.131", "12.6": "12.6.85"}
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


def unmet(needed, there=installed):
    return [name for name, least in needed.items() if number(there(name) or "0") < number(least)]


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
    }


def ort_training(torch, cuda, python, there, has, gpu):
    """What an image lacks for ONNX Runtime training, decided before anything is installed or compiled.

    Takes the versions of torch, of its CUDA (None: a build for CPUs) and of Python; those of the packages that are
    there, by name; of the CUDA libraries, "c++", "nvcc" and "extensions" (compiled already) those that it has; whether
    it has a GPU. Gives the pins to install, by name, and why it cannot be had there, or None.
    """
    if not ORT_TORCH[0] <= number(torch) < ORT_TORCH[1]:
        return {}, f"torch {torch}, and ORTModule works with torch 2.3 to 2.6; {ORT_IMAGE}"
    if python >= (3, 12) and "onnxruntime-training" not in there:
        return {}, f"Python {'.'.join(map(str, python))}, and onnxruntime-training's wheels end with 3.11; {ORT_IMAGE}"
    for name in ("onnxruntime", "onnxruntime-gpu"):
        if name in there:
            return {}, f"{name}, which is the same import package as onnxruntime-training; {ORT_IMAGE}"
    if not {"c++", "extensions"} & has:
        return {}, "no C++ compiler (c++ or g++), and ORTModule's extensions are to be compiled; choose one that has"
    wanted = {name: ORT_TRAINING[name] for name in unmet(ORT_TRAINING, there.get)}
    if not gpu or cuda is None:
        return wanted, None
    for name, pin in dict(wheel for library, wheel in CUDA_11.items() if library not in has).items():
        if name in there and there[name] != pin:  # CUDA 11's torch, from 2.4 on, has cuDNN 9 in it
            return {}, (
                f"torch {torch} of CUDA {cuda}, whose {name} {there[name]} is in the way of {pin}, which ONNX Runtime "
                f"needs; choose an image (environment.image) with torch 2.3, such as docker/cluster-ort.Dockerfile's"
            )
        wanted[name] = pin
    if not {"nvcc", "extensions"} & has:
        if cuda not in CUDA_HEADERS:
            return {}, f"no CUDA toolkit (nvcc) for torch's CUDA {cuda}, and no known headers; {ORT_IMAGE}"
        name = f"nvidia-cuda-nvcc-cu{cuda.split('.')[0]}"
        if there.get(name) != CUDA_HEADERS[cuda]:
            wanted[name] = CUDA_HEADERS[cuda]
    return wanted, None


def torch_cuda():
    """The CUDA that torch was built for, without importing it."""
    try:
        with open(metadata.distribution("torch").locate_file("torch/version.py"), encoding="utf-8") as file:
            stated = re.search(r"^cuda\b[^=\n]*= *['\"]([\d.]+)", file.read(), re.MULTILINE)
    except OSError:
        return None
    return stated.group(1) if stated else None


def of_this_image():
    """Arguments of ort_training."""
    names = [*ORT_TRAINING, "onnxruntime", "onnxruntime-gpu", *dict(CUDA_11.values())]
    names += ["nvidia-cuda-nvcc-cu11", "nvidia-cuda-nvcc-cu12"]
    there = {name: version for name in names if (version := installed(name))}
    has = {library for library in CUDA_11 if loads(library)}
    if shutil.which("c++") or shutil.which("g++"):
        has.add("c++")
    if shutil.which("nvcc") or os.path.exists("/usr/local/cuda/bin/nvcc"):
        has.add("nvcc")
    gpu = os.path.exists("/dev/nvidiactl")
    extensions = ["aten_op_executor", "torch_interop_utils", *(["torch_gpu_allocator"] if gpu else [])]
    if all(on_path(f"onnxruntime/training/ortmodule/torch_cpp_extensions/{name}*.so") for name in extensions):
        has.add("extensions")
    return there, has, gpu


def on_path(pattern):
    return any(glob(os.path.join(entry, pattern)) for entry in sys.path)


def loads(library):
    try:
        return on_path(f"nvidia/*/lib/{library}") or bool(ctypes.CDLL(library))
    except OSError:
        return False


def main():
    """Why the trial cannot begin, or None."""
    torch = installed("torch")
    if torch is None:
        return "this image has no torch; choose one that has (environment.image), such as Determined's default"
    needed, chosen = dict(MINIMA), pins(torch)
    if asked("backend") == "ort":
        wanted, problem = ort_training(torch, torch_cuda(), sys.version_info[:3], *of_this_image())
        if problem:
            return (
                f"hyperparameters.backend: 'ort', but this image has {problem}, or write backend: eager or backend: "
                f"compile"
            )
        needed.update(wanted)
        chosen.update(wanted)
    elif asked("evaluate_with_ort") and not installed("onnxruntime-training"):
        needed.update(ORT_INFERENCE)
        if installed("onnxruntime-gpu"):  # the same import package: a second one would take the GPU from it
            del needed["onnxruntime"]
    return install(torch, needed, chosen) or (compile_extensions() if asked("backend") == "ort" else None)


def compile_extensions():
    status = subprocess.call(["python3", "-m", "determined_ner", "setup-ort"])  # at once where it was done before
    if status:
        return "ORTModule's extensions could not be compiled; take an image with a C++ compiler, or backend: eager"
    return None


def install(torch, needed, chosen):
    names = unmet(needed)
    if not names:
        return None
    if sys.version_info < (3, 10):
        return f"python3 is {sys.version.split()[0]}; choose an image (environment.image) with Python 3.10 or newer"
    wanted = [f"{name}=={chosen[name]}" for name in names]
    print("startup-hook.sh: installing", *wanted, flush=True)
    pip = ["python3", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    status = subprocess.call([*pip, "--upgrade-strategy", "only-if-needed", *wanted])
    importlib.invalidate_caches()
    if status:
        # It may pass: without "error: " in front, Determined tries again.
        sys.exit(
            f"startup-hook.sh: pip could not install {' '.join(wanted)} (status {status}); give the container a "
            f"package index (PIP_INDEX_URL in environment.environment_variables), or choose an image "
            f"(environment.image) that has them"
        )
    if installed("torch") != torch:
        return (
            f"installing {' '.join(wanted)} changed torch from {torch} to {installed('torch')}; choose an image "
            f"(environment.image) that has these packages, or pin versions for torch {torch} in this file"
        )
    if lacking := unmet(needed):
        return (
            f"{' '.join(lacking)} still missing or older than needed after pip installed {' '.join(wanted)}: an older "
            f"copy stands first on Python's path; remove it, or choose an image (environment.image) without it"
        )
    return None


problem = main()
sys.exit(f"error: startup-hook.sh: {problem}" if problem else 0)
PYTHON
