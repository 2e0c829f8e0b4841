"""ONNX Runtime training: whether ORTModule can work here, and a model inside it.

Its last release is onnxruntime-training 1.19.2; requirements/cluster.txt is a stack that it works with.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
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
FIRST_PYTHON_TOO_NEW = (3, 12)
"""onnxruntime-training's wheels end with Python 3.11."""
NOT_ON_A_CPU = ("deberta", "deberta-v2")
"""Architectures whose gradient has an operator without a CPU kernel (ScaledSum)."""
EXTENSIONS = {
    "cpu": ("aten_op_executor", "torch_interop_utils"),
    "cuda": ("aten_op_executor", "torch_interop_utils", "torch_gpu_allocator"),
}
"""Those without which ORTModule does not begin. A fourth, fused_ops, has the kernels of a fused optimizer."""
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

    def has_extensions(self, device_type: str) -> bool:
        """Whether ORTModule's C++ extensions for ``cpu`` or ``cuda`` are compiled."""
        return all(map(self.has_extension, EXTENSIONS[device_type]))

    def has_extension(self, name: str) -> bool:
        """Whether one of them is compiled."""
        if self.folder is None:
            return False
        return any(self.extensions_folder.glob(f"{name}*.so"))

    @property
    def extensions_folder(self) -> Path:
        """Where compiled extensions lie; the package has to be there."""
        assert self.folder is not None
        return self.folder / "training" / "ortmodule" / "torch_cpp_extensions"


def check_installation(device_type: str, installation: Installation | None = None) -> None:
    """Check that ORTModule can work in this environment.

    Args:
        device_type: ``cpu`` or ``cuda``, where the model is to be trained.
        installation: to check; None: that of this process.

    Raises:
        UserError: it cannot; the remedy is the command that fixes it.
    """
    found = installation or Installation.of_this_process()
    _check_stack(found)
    others = found.inference_packages
    missing = [name for name in ("onnxruntime-training", "torch-ort") if name not in found.versions]
    if missing:
        first = f"pip uninstall {' '.join(others)}; " if others else ""
        raise UserError(SETTING, f"'ort' needs {' and '.join(missing)}, not installed", f"{first}pip install {PINS}")
    if others:
        raise UserError(
            SETTING,
            f"'ort' cannot work: {' and '.join(others)} and onnxruntime-training are one import package, and both are "
            f"installed",
            f"pip uninstall {' '.join(others)}; pip install --force-reinstall --no-deps {PINS.split()[0]}",
        )
    if not found.has_extensions(device_type):
        raise UserError(
            SETTING, "'ort' needs ORTModule's extensions, not compiled yet", "run determined-ner setup-ort once"
        )
    if device_type == "cuda":
        assert found.folder is not None
        load_cuda_libraries(found.folder, SETTING)


def _check_stack(found: Installation, python: tuple[int, ...] = sys.version_info[:3]) -> None:
    """Check what no package beside it mends: PyTorch and Python."""
    torch_version = found.versions.get("torch", "0")
    problem = None
    if not OLDEST_TORCH <= Version(torch_version).release < FIRST_TORCH_TOO_NEW:
        problem = f"'ort' does not work with torch {torch_version}"
    elif python >= FIRST_PYTHON_TOO_NEW and "onnxruntime-training" not in found.versions:
        problem = f"'ort' cannot be had for Python {'.'.join(map(str, python))}"
    if problem:
        raise UserError(
            SETTING,
            problem,
            "take torch 2.3 to 2.6 and Python 3.10 or 3.11, as in requirements/cluster.txt and "
            "docker/cluster-ort.Dockerfile, or write backend: eager or backend: compile",
        )


def check_fused_adam(installation: Installation | None = None) -> None:
    """Check that ONNX Runtime's fused Adam is compiled.

    Args:
        installation: to check; None: that of this process.

    Raises:
        UserError: it is not.
    """
    found = installation or Installation.of_this_process()
    if not found.has_extension("fused_ops"):
        raise UserError(
            "hyperparameters.optim",
            "'adamw_ort_fused' needs ORTModule's extension fused_ops, which only CUDA's toolkit (nvcc) compiles",
            "take an image that has both, as of docker/cluster-ort.Dockerfile, or write adamw_torch",
        )


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
    _refuse_other_devices()
    return wrapped


@contextlib.contextmanager
def without_its_operators() -> Iterator[None]:
    """Let torch's exporter write what it writes where no ORTModule has been made.

    Each one that is made teaches the exporter operators that run in this process alone (``ATen``), for good.
    """
    registry: Any = sys.modules.get("onnxruntime.training.ortmodule._custom_op_symbolic_registry")
    contrib: Any = sys.modules.get("onnxruntime.tools.pytorch_export_contrib_ops")
    if registry is None or contrib is None:
        yield
        return
    import torch.onnx

    exporter: Any = torch.onnx
    ortmodule = sys.modules["onnxruntime.training.ortmodule"]
    opset = int(os.environ.get("ORTMODULE_ONNX_OPSET_VERSION", ortmodule.ONNX_OPSET_VERSION))
    removed = []
    for name, symbolic in registry.CustomOpSymbolicRegistry._SYMBOLICS.items():
        with warnings.catch_warnings(record=True) as unknown:
            warnings.simplefilter("always")
            exporter.unregister_custom_op_symbolic(name, opset)
        if not unknown:
            removed.append((name, symbolic))
    if removed:
        contrib.unregister()
    try:
        yield
    finally:
        if removed:
            contrib.register()
        for name, symbolic in removed:
            exporter.register_custom_op_symbolic(name, symbolic, opset)


def _refuse_other_devices() -> None:
    """Have a session that cannot compute on the GPU end with its error: by itself it prints it and takes the CPU."""
    from onnxruntime import InferenceSession

    create = InferenceSession._create_inference_session

    @functools.wraps(create)
    def create_there(session: Any, *arguments: Any) -> None:
        session.disable_fallback()
        create(session, *arguments)

    if not hasattr(create, "__wrapped__"):
        InferenceSession._create_inference_session = create_there


def compile_extensions(installation: Installation | None = None) -> None:
    """Compile ORTModule's extensions unless they are there: those for CUDA where a GPU is.

    With ``ONNXRUNTIME_FORCE_CUDA=1`` (ONNX Runtime's own variable) those for CUDA without a GPU too, as an image is
    built. CUDA's toolkit (nvcc), where there is one, compiles all; else the headers in PyTorch's wheels do for what
    ORTModule needs, and ``fused_ops`` is left out.

    Args:
        installation: to complete; None: that of this process.

    Raises:
        UserError: the package, a compiler or headers are missing, or compiling failed.
    """
    found = installation or Installation.of_this_process()
    if "onnxruntime-training" not in found.versions:
        raise UserError("onnxruntime-training", "is not installed", f"pip install {PINS}")
    cuda = cuda_to_compile_for()
    if found.has_extensions("cuda") or (cuda is None and found.has_extensions("cpu")):
        return
    if not (shutil.which("c++") or shutil.which("g++")):
        raise UserError("", "no C++ compiler (c++ or g++) is on the PATH", "install one, e.g. apt-get install g++")
    if cuda is None:
        code = COMPILE["cpu"]
    elif _has_toolkit():
        code = COMPILE["toolkit"]
    else:
        code = COMPILE["headers"].replace("HEADERS", repr(_cuda_headers(cuda))) + COMPILE["cpu"]
    # ninja, where pip installed it, is beside python3; with it sources compile side by side.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
    )
    if done.returncode:
        output = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise UserError("", f"compiling ORTModule's extensions failed (status {done.returncode}):\n{output}")


def cuda_to_compile_for() -> str | None:
    """PyTorch's version of CUDA where extensions for it are wanted; None: those for the CPU alone."""
    import torch

    wants_cuda = torch.cuda.is_available() or bool(os.environ.get("ONNXRUNTIME_FORCE_CUDA"))
    return torch.version.cuda if wants_cuda else None


COMPILE = {
    # ONNX Runtime's own command: all, wherever torch is a CUDA build.
    "toolkit": """
from onnxruntime.training.ortmodule.torch_cpp_extensions import install
install.build_torch_cpp_extensions()
""",
    # The same without those for CUDA.
    "cpu": """
import os
os.environ.pop("ONNXRUNTIME_FORCE_CUDA", None)
from onnxruntime.training import ortmodule
ortmodule.ONNXRUNTIME_CUDA_VERSION = None
from onnxruntime.training.ortmodule.torch_cpp_extensions import install
install.build_torch_cpp_extensions()
""",
    # torch_gpu_allocator, from a source in which its own setup.py fills in two names.
    "headers": """
import os
import tempfile
from pathlib import Path
from onnxruntime.training import ortmodule
from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CppExtension
name = "torch_gpu_allocator"
os.chdir(ortmodule.ORTMODULE_TORCH_CPP_DIR)  # away from a pyproject.toml, which setup would read
template = Path("cuda", name, f"{name}.cc").read_text()
with tempfile.TemporaryDirectory() as folder:
    source = Path(folder, f"{name}.cc")
    filled = template.replace("___gpu_identifier___", "cuda")
    source.write_text(filled.replace("___gpu_allocator_header___", "CUDACachingAllocator"))
    setup(
        name=name,
        ext_modules=[CppExtension(name, [str(source)], include_dirs=HEADERS, libraries=["c10_cuda"])],
        cmdclass={"build_ext": BuildExtension},
        script_args=["build_ext", "--build-temp", folder, "--build-lib", "."],
    )
""",
}
"""What is run in a process of its own."""


def _has_toolkit() -> bool:
    from torch.utils import cpp_extension

    return cpp_extension.CUDA_HOME is not None and Path(cpp_extension.CUDA_HOME, "bin", "nvcc").is_file()


def _cuda_headers(cuda: str) -> list[str]:
    """Folders of CUDA's headers in the wheels beside PyTorch.

    Args:
        cuda: PyTorch's version of it.

    Raises:
        UserError: there are none.
    """
    series = f"cu{cuda.partition('.')[0]}"
    wheels = {"cuda_runtime_api.h": f"nvidia-cuda-runtime-{series}", "crt/host_defines.h": f"nvidia-cuda-nvcc-{series}"}
    found = {
        header: path
        for header in wheels
        for entry in sys.path
        for path in Path(entry, "nvidia").glob(f"*/include/{header}")
    }
    if missing := [f"'{wheel}=={cuda}.*'" for header, wheel in wheels.items() if header not in found]:
        raise UserError(
            "",
            "ORTModule's extension for GPUs needs CUDA's headers, and there is neither a toolkit (nvcc, CUDA_HOME) nor "
            "a wheel with them",
            f"pip install {' '.join(missing)}, or take docker/cluster-ort.Dockerfile",
        )
    return [str(path.parents[header.count("/")]) for header, path in found.items()]
