"""ONNX Runtime training: whether ORTModule can work here, and a model inside it.

Its last release is onnxruntime-training 1.19.2; requirements/cluster.txt is a stack that it works with.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.version import Version

from determined_ner.errors import UserError

PINS = "onnxruntime-training==1.19.2 torch-ort==1.19.2 onnx==1.16.2"
OLDEST_TORCH, FIRST_TORCH_TOO_NEW = (2, 3), (2, 7)
"""Tried: 2.3.1, 2.4.1 and 2.6.0 work; 2.8.0 cannot load the compiled extensions, 2.13.0 cannot compile them."""
# PyTorch imports onnxruntime wherever it is installed, and a CUDA build tells a machine without CUDA so.
warnings.filterwarnings("ignore", "WARNING: failed to get cudart_version")
NOT_ON_A_CPU = ("deberta", "deberta-v2")
"""Architectures whose gradient has operators without a CPU kernel (ScaledSum)."""


def check_installation(device_type: str) -> None:
    """
    Args:
        device_type: ``cpu`` or ``cuda``, where the model is to be trained.

    Raises:
        UserError: ORTModule cannot work in this environment; the message is the command that mends it.
    """
    asked = "hyperparameters.backend: 'ort'"
    others = [name for name in ("onnxruntime", "onnxruntime-gpu") if _version(name)]
    if not _version("onnxruntime-training") or not _version("torch-ort"):
        missing = " and ".join(name for name in ("onnxruntime-training", "torch-ort") if not _version(name))
        first = f"pip uninstall {' '.join(others)}; " if others else ""
        too_new = " (its wheels end with Python 3.11)" if sys.version_info >= (3, 12) else ""
        raise UserError(f"{asked} needs {missing}, not installed{too_new}; {first}pip install {PINS}")
    if others:
        raise UserError(
            f"{asked}: {' and '.join(others)} and onnxruntime-training are one import package and both are installed; "
            f"pip uninstall {' '.join(others)}; pip install --force-reinstall --no-deps {PINS.split()[0]}"
        )
    torch_version = _version("torch") or "0"
    if not OLDEST_TORCH <= Version(torch_version).release < FIRST_TORCH_TOO_NEW:
        raise UserError(
            f"{asked}: ORTModule does not work with torch {torch_version}; take torch 2.3 to 2.6, as "
            f"requirements/cluster.txt does, or write backend: eager or backend: compile"
        )
    if not _compiled():
        raise UserError(f"{asked}: ORTModule's extensions are not compiled yet; run python3 ner_ort.py once")
    if device_type == "cuda":
        _check_cuda_provider(asked)


def _check_cuda_provider(asked: str) -> None:
    """ONNX Runtime itself leaves out a provider that does not load, and computes on the CPU."""
    import torch  # noqa: F401  (loads the CUDA libraries that it brings along)

    library = _package() / "capi" / "libonnxruntime_providers_cuda.so"
    try:
        ctypes.CDLL(str(library.with_name("libonnxruntime_providers_shared.so")), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(library))
    except OSError as error:
        raise UserError(
            f"{asked}: ONNX Runtime's CUDA part does not load: {error}; the wheel of the package index is built for "
            f"CUDA 11.8: take an image with CUDA 11.8 (environment.image), or a build for the image's CUDA"
        ) from error


def check_architecture(model_type: str, device_type: str) -> None:
    """
    Raises:
        UserError: ONNX Runtime has no kernel for some operator of the model's gradient.
    """
    if device_type == "cpu" and model_type in NOT_ON_A_CPU:
        raise UserError(
            f"hyperparameters.backend: 'ort' cannot train a model of type {model_type!r} on a CPU: "
            f"ONNX Runtime has no CPU kernel for ScaledSum; write backend: eager, or train on a GPU"
        )


def wrap(model: Any) -> Any:
    """The model computed by ONNX Runtime, forward and backward; its parameters and their names stay its own."""
    # Without it ORTModule goes on with PyTorch, and nobody notices.
    os.environ["ORTMODULE_FALLBACK_POLICY"] = "FALLBACK_DISABLE"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch_ort import DebugOptions, LogLevel, ORTModule

        wrapped = ORTModule(model, DebugOptions(log_level=LogLevel.ERROR))
    assert type(wrapped) is ORTModule
    return wrapped


def compile_extensions() -> None:
    """Compile ORTModule's extensions, if not done yet; those for CUDA where a GPU is.

    Raises:
        UserError: no compiler, or it failed.
    """
    if not _version("onnxruntime-training"):
        raise UserError(f"onnxruntime-training is not installed; pip install {PINS}")
    if _compiled():
        return
    if not (shutil.which("c++") or shutil.which("g++")):
        raise UserError("no C++ compiler (c++ or g++) is on the PATH; install one, e.g. apt-get install g++")
    # ONNX Runtime's own command tries the CUDA ones wherever torch is a CUDA build, and stops without CUDA's toolkit.
    code = """
import torch
from onnxruntime.training import ortmodule
if not torch.cuda.is_available():
    ortmodule.ONNXRUNTIME_CUDA_VERSION = None
from onnxruntime.training.ortmodule.torch_cpp_extensions import install
install.build_torch_cpp_extensions()
"""
    # ninja, where pip installed it, stands beside python3; with it sources compile side by side.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
    )
    if done.returncode:
        told = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise UserError(f"compiling ORTModule's extensions failed (status {done.returncode}):\n{told}")


def _compiled() -> bool:
    return any((_package() / "training" / "ortmodule" / "torch_cpp_extensions").glob("*.so"))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _package() -> Path:
    """onnxruntime's directory, found without importing it: that replaces torch.manual_seed."""
    spec = importlib.util.find_spec("onnxruntime")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])
