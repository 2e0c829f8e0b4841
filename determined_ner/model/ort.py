"""ONNX Runtime training: whether ORTModule can work here, and a model inside it.

Its last release is onnxruntime-training 1.19.2; requirements/cluster.txt is a stack that it works with.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.version import Version

from determined_ner.errors import UserError
from determined_ner.model.cuda_libraries import load_cuda_libraries

PINS = "onnxruntime-training==1.19.2 torch-ort==1.19.2 onnx==1.16.2"
"""What pip installs for it; startup-hook.sh and requirements/cluster.txt pin the same."""
OLDEST_TORCH, FIRST_TORCH_TOO_NEW = (2, 3), (2, 7)
"""Tried: 2.3.1, 2.4.1 and 2.6.0 work; 2.8.0 cannot load the compiled extensions, 2.13.0 cannot compile them."""
NOT_ON_A_CPU = ("deberta", "deberta-v2")
"""Architectures whose gradient has an operator without a CPU kernel (ScaledSum)."""
SETTING = "hyperparameters.backend"


@dataclass(frozen=True)
class Installation:
    """What an environment has of ONNX Runtime, found without importing it: that replaces ``torch.manual_seed``."""

    versions: Mapping[str, str]
    """Of the distributions that matter and are installed, by name."""
    folder: Path | None
    """Of the package ``onnxruntime``; None: there is none."""

    @classmethod
    def of_this_process(cls) -> Installation:
        """What an import would find."""
        versions = {}
        for name in ("onnxruntime", "onnxruntime-gpu", "onnxruntime-training", "torch-ort", "torch"):
            try:
                versions[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
        spec = importlib.util.find_spec("onnxruntime")
        locations = spec.submodule_search_locations if spec is not None else None
        return cls(versions, Path(locations[0]) if locations else None)

    @property
    def inference_packages(self) -> list[str]:
        """Distributions whose import package is that of onnxruntime-training."""
        return [name for name in ("onnxruntime", "onnxruntime-gpu") if name in self.versions]

    @property
    def has_extensions(self) -> bool:
        """Whether ORTModule's C++ extensions are compiled."""
        if self.folder is None:
            return False
        return any((self.folder / "training" / "ortmodule" / "torch_cpp_extensions").glob("*.so"))


def check_installation(device_type: str, installation: Installation | None = None) -> None:
    """Check that ORTModule can work in this environment.

    Args:
        device_type: ``cpu`` or ``cuda``, where the model is to be trained.
        installation: to check; None: that of this process.

    Raises:
        UserError: it cannot; the remedy is the command that fixes it.
    """
    found = installation or Installation.of_this_process()
    others = found.inference_packages
    missing = [name for name in ("onnxruntime-training", "torch-ort") if name not in found.versions]
    if missing:
        too_new = " (its wheels end with Python 3.11)" if sys.version_info >= (3, 12) else ""
        first = f"pip uninstall {' '.join(others)}; " if others else ""
        raise UserError(
            SETTING, f"'ort' needs {' and '.join(missing)}, not installed{too_new}", f"{first}pip install {PINS}"
        )
    if others:
        raise UserError(
            SETTING,
            f"'ort' cannot work: {' and '.join(others)} and onnxruntime-training are one import package, and both are "
            f"installed",
            f"pip uninstall {' '.join(others)}; pip install --force-reinstall --no-deps {PINS.split()[0]}",
        )
    torch_version = found.versions.get("torch", "0")
    if not OLDEST_TORCH <= Version(torch_version).release < FIRST_TORCH_TOO_NEW:
        raise UserError(
            SETTING,
            f"'ort' does not work with torch {torch_version}",
            "take torch 2.3 to 2.6, as requirements/cluster.txt does, or write backend: eager or backend: compile",
        )
    if not found.has_extensions:
        raise UserError(
            SETTING, "'ort' needs ORTModule's extensions, not compiled yet", "run determined-ner setup-ort once"
        )
    if device_type == "cuda":
        assert found.folder is not None
        load_cuda_libraries(found.folder, SETTING)


def check_architecture(model_type: str, device_type: str) -> None:
    """Check that ONNX Runtime has a kernel for every operator of the model's gradient.

    Raises:
        UserError: it has not.
    """
    if device_type == "cpu" and model_type in NOT_ON_A_CPU:
        raise UserError(
            SETTING,
            f"'ort' cannot train a model of type {model_type!r} on a CPU: ONNX Runtime has no CPU kernel for ScaledSum",
            "write backend: eager, or train on a GPU",
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


def compile_extensions(installation: Installation | None = None) -> None:
    """Compile ORTModule's extensions unless they are there; those for CUDA only where a GPU is.

    Args:
        installation: to complete; None: that of this process.

    Raises:
        UserError: the package or a compiler is missing, or compiling failed.
    """
    found = installation or Installation.of_this_process()
    if "onnxruntime-training" not in found.versions:
        raise UserError("onnxruntime-training", "is not installed", f"pip install {PINS}")
    if found.has_extensions:
        return
    if not (shutil.which("c++") or shutil.which("g++")):
        raise UserError("", "no C++ compiler (c++ or g++) is on the PATH", "install one, e.g. apt-get install g++")
    # ONNX Runtime's own command tries the CUDA ones wherever torch is a CUDA build, and stops without CUDA's toolkit.
    code = """
import torch
from onnxruntime.training import ortmodule
if not torch.cuda.is_available():
    ortmodule.ONNXRUNTIME_CUDA_VERSION = None
from onnxruntime.training.ortmodule.torch_cpp_extensions import install
install.build_torch_cpp_extensions()
"""
    # ninja, where pip installed it, is beside python3; with it sources compile side by side.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
    )
    if done.returncode:
        output = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise UserError("", f"compiling ORTModule's extensions failed (status {done.returncode}):\n{output}")
