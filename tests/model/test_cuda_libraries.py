"""What ONNX Runtime's GPU part needs is loaded before it, or named with the line that brings it."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import markupsafe
import pytest

from determined_ner.errors import UserError
from determined_ner.model import cuda_libraries
from determined_ner.model.cuda_libraries import load_cuda_libraries, needed_by
from determined_ner.model.ort import Installation
from tests.conftest import ROOT

ON_A_CPU = "libm.so.6"
"""Stands for the driver: always there."""
CUDA_11 = ["libcublas.so.11", "libcudnn.so.8", "libcurand.so.10", "libcufft.so.10", "libcudart.so.11.0"]


def library(*needed: str) -> bytes:
    """An ELF file that is linked with the libraries; nothing of it can run."""
    names, text = [], b"\0"
    for name in needed:
        names.append(len(text))
        text += name.encode() + b"\0"
    dynamic = b"".join(struct.pack("<qQ", 1, at) for at in names) + bytes(16)
    sections = [(0, 0, 0), (6, 64, len(dynamic)), (3, 64 + len(dynamic), len(text))]
    table = b"".join(struct.pack("<IIQQQQIIQQ", 0, kind, 0, 0, at, size, 2, 0, 1, 16) for kind, at, size in sections)
    header = struct.pack(
        "<6s10xHHIQQQIHHHHHH", b"\x7fELF\x02\x01", 3, 62, 1, 0, 0, 64 + len(dynamic + text), 0, 64, 0, 0, 64, 3, 0
    )
    return header + dynamic + text + table


@pytest.fixture
def onnxruntime(tmp_path, monkeypatch):
    """The package, of which the GPU part needs what it is told."""
    monkeypatch.setattr(cuda_libraries, "DRIVER", ON_A_CPU)

    def make(*needed: str) -> Path:
        (capi := tmp_path / "onnxruntime" / "capi").mkdir(parents=True)
        (capi / "libonnxruntime_providers_cuda.so").write_bytes(library(*needed, "libc.so.6"))
        return tmp_path / "onnxruntime"

    return make


def test_what_a_library_is_linked_with_is_read_from_it(tmp_path):
    assert "libc.so.6" in needed_by(Path(markupsafe._speedups.__file__))
    (made := tmp_path / "made.so").write_bytes(library(*CUDA_11))
    assert needed_by(made) == CUDA_11


@pytest.fixture
def no_cuda(monkeypatch):
    """An environment without PyTorch's libraries."""
    monkeypatch.setattr(cuda_libraries, "_loads", lambda name: name in ("libc.so.6", ON_A_CPU))
    monkeypatch.setattr(sys, "path", [])


@pytest.mark.usefixtures("no_cuda")
@pytest.mark.parametrize("missing", CUDA_11)
def test_the_missing_library_is_named_with_its_wheel(onnxruntime, missing):
    wheel = cuda_libraries.WHEELS[missing]
    expected = rf"^here: .*its CUDA part needs {missing}, not found; pip install {wheel}$"
    with pytest.raises(UserError, match=expected):
        load_cuda_libraries(onnxruntime(missing), "here")


@pytest.mark.usefixtures("no_cuda")
def test_wheels_that_are_missing_are_one_command(onnxruntime):
    with pytest.raises(UserError) as refusal:
        load_cuda_libraries(onnxruntime("libcublasLt.so.11", "libcublas.so.11", "libcufft.so.10"), "here")
    assert refusal.value.remedy == "pip install nvidia-cublas-cu11==11.11.3.6 nvidia-cufft-cu11==10.9.0.58"


def test_of_another_cuda_onnx_runtime_itself_knows_the_wheels(onnxruntime):
    with pytest.raises(
        UserError, match=r"needs libcublas\.so\.99, not found; pip install 'onnxruntime-gpu\[cuda,cudnn\]'"
    ):
        load_cuda_libraries(onnxruntime("libcublas.so.99"), "here")


@pytest.mark.usefixtures("no_cuda")
def test_a_wheel_that_pytorch_has_in_another_version_is_not_exchanged(onnxruntime, monkeypatch, tmp_path):
    """A torch of CUDA 11.8 from 2.4 on keeps cuDNN 9 in the package that has cuDNN 8."""
    (info := tmp_path / "nvidia_cudnn_cu11-9.1.0.70.dist-info").mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nvidia-cudnn-cu11\nVersion: 9.1.0.70\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(UserError) as refusal:
        load_cuda_libraries(onnxruntime("libcudnn.so.8"), "here")
    assert refusal.value.remedy.startswith("nvidia-cudnn-cu11 9.1.0.70, which PyTorch needs, is in the way of 8.9.6.50")


def test_a_library_in_a_wheel_is_found_and_loaded(onnxruntime, monkeypatch, tmp_path):
    package = onnxruntime("libours.so.1")
    (folder := tmp_path / "site" / "nvidia" / "ours" / "lib").mkdir(parents=True)
    shutil.copy(markupsafe._speedups.__file__, folder / "libours.so.1")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "site")])
    load_cuda_libraries(package, "here")
    assert str(folder / "libours.so.1") in Path("/proc/self/maps").read_text()


def test_a_wheel_whose_own_needs_are_missing_does_not_count(onnxruntime, monkeypatch, tmp_path):
    package = onnxruntime("libours.so.1")
    (folder := tmp_path / "site" / "nvidia" / "ours" / "lib").mkdir(parents=True)
    (folder / "libours.so.1").write_bytes(library("libtheirs.so.1"))
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "site")])
    with pytest.raises(UserError, match=r"needs libours\.so\.1, not found"):
        load_cuda_libraries(package, "here")


def test_without_a_driver_nothing_is_loaded(onnxruntime, monkeypatch):
    """ONNX Runtime's part aborts the process where it finds no driver."""
    monkeypatch.setattr(cuda_libraries, "DRIVER", "libcuda.so.0")
    with pytest.raises(UserError, match=r"no NVIDIA driver \(libcuda\.so\.0\); take a machine, or a container, with"):
        load_cuda_libraries(onnxruntime("libcublas.so.11"), "here")


def test_an_onnxruntime_for_cpus_is_told(tmp_path):
    with pytest.raises(UserError, match="is one for CPUs; pip uninstall onnxruntime; pip install onnxruntime-gpu"):
        load_cuda_libraries(tmp_path, "here")


DRIVER_CALLS = (
    "cuDeviceGetAttribute cuFuncSetAttribute cuFuncSetCacheConfig cuGetErrorName cuLaunchCooperativeKernel "
    "cuLaunchKernel cuLinkAddData_v2 cuLinkAddFile_v2 cuLinkComplete cuLinkCreate_v2 cuLinkDestroy cuModuleGetFunction "
    "cuModuleLoadData cuModuleUnload"
)
"""What the GPU part looks up as it is loaded."""
OPEN_A_SESSION = """
import sys
from pathlib import Path
import torch
from determined_ner.model.cuda_libraries import load_cuda_libraries, needed_by
from determined_ner.model.ort import Installation
folder = Installation.of_this_process().folder
load_cuda_libraries(folder, "here")
import onnxruntime
from onnx import TensorProto, helper
x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")
graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "graph", [x], [y])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnxruntime.InferenceSession(model.SerializeToString(), providers=["CUDAExecutionProvider"])
loaded = Path("/proc/self/maps").read_text()
part = folder / "capi" / "libonnxruntime_providers_cuda.so"
assert all(name in loaded for name in [part.name, *needed_by(part)]), loaded
assert torch.version.cuda is None or f"libcudart.so.{torch.version.cuda.partition('.')[0]}" in loaded
print("two CUDAs:", "libcudart.so.11.0" in loaded and "libcudart.so.12" in loaded)
"""


def open_a_session(folder: Path, wheels: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own, with a stand-in for the driver, which knows of no GPU."""
    source = "".join(f"int {call}(void) {{ return 100; }}\n" for call in DRIVER_CALLS.split())
    compiler = [shutil.which("cc") or "c++", "-shared", "-fPIC", "-x", "c", "-", "-o", str(folder / "libcuda.so.1")]
    subprocess.run(compiler, input=source, text=True, check=True)
    places = {"LD_LIBRARY_PATH": str(folder), "PYTHONPATH": f"{ROOT}:{wheels}"}
    command = [sys.executable, "-c", OPEN_A_SESSION]
    return subprocess.run(
        command, env={**os.environ, **places}, cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture
def wheels() -> Path:
    """The folder in which the wheels of requirements/ort-cuda11.txt are, beside onnxruntime-training."""
    if "onnxruntime-training" not in Installation.of_this_process().versions:
        pytest.skip("onnxruntime-training is not installed")
    found = [Path(entry) for entry in sys.path if Path(entry, "nvidia/cublas/lib/libcublas.so.11").is_file()]
    if not found:
        pytest.skip("pip install --target FOLDER -r requirements/ort-cuda11.txt; PYTHONPATH=FOLDER")
    return found[0]


@pytest.mark.slow
def test_onnx_runtime_loads_its_gpu_part_with_the_wheels(tmp_path, wheels):
    """Each library and symbol is found; then the driver, a stand-in, is asked for a GPU."""
    done = open_a_session(tmp_path, wheels)
    assert done.returncode == 0, done.stderr
    assert "CUDA failure" in done.stdout and "cudaSetDevice" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "library"),
    [("cuda_runtime", "libcudart.so.11.0"), ("cublas", "libcublas.so.11"), ("cufft", "libcufft.so.10")],
)
def test_without_one_of_the_wheels_its_library_is_named(tmp_path, wheels, part, library):
    (tmp_path / "site" / "nvidia").mkdir(parents=True)
    for folder in (wheels / "nvidia").iterdir():
        if folder.name != part:
            (tmp_path / "site" / "nvidia" / folder.name).symlink_to(folder)
    done = open_a_session(tmp_path, tmp_path / "site")
    assert done.returncode == 1
    assert f"{library}, not found; pip install {cuda_libraries.WHEELS[library]}" in done.stderr
