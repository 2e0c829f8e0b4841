"""Whether ORTModule can work: each way in which an environment does not fit has its own message and command."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from determined_ner.errors import UserError
from determined_ner.model import ort
from determined_ner.model.ort import Installation, check_installation, compile_extensions

FITTING = {"onnxruntime-training": "1.19.2", "torch-ort": "1.19.2", "torch": "2.3.1+cu121"}


@pytest.fixture
def folder(tmp_path) -> Path:
    """The package onnxruntime with compiled extensions."""
    extensions = tmp_path / "onnxruntime" / "training" / "ortmodule" / "torch_cpp_extensions"
    extensions.mkdir(parents=True)
    for name in ort.EXTENSIONS["cuda"]:
        (extensions / f"{name}.cpython-310-x86_64-linux-gnu.so").touch()
    return tmp_path / "onnxruntime"


def without(*names: str) -> dict[str, str]:
    return {name: version for name, version in FITTING.items() if name not in names}


def test_a_fitting_environment_is_let_pass(folder):
    check_installation("cpu", Installation(FITTING, folder))
    compile_extensions(Installation(FITTING, folder))  # they are there


def test_what_this_process_would_import_is_found_without_importing_it():
    here = Installation.of_this_process()
    assert "torch" in here.versions
    assert (here.folder is None) == (not any(name.startswith("onnxruntime") for name in here.versions))
    assert here.folder is None or (here.folder / "__init__.py").is_file()


@pytest.mark.parametrize("torch_version", ["2.2.2", "2.7.0", "2.13.0+cpu"])
@pytest.mark.parametrize("others", [FITTING, {"onnxruntime": "1.23.0"}, {}])
def test_a_torch_that_it_does_not_work_with_is_said_before_what_pip_can_mend(folder, torch_version, others):
    with pytest.raises(UserError, match=r"does not work with torch .*; take torch 2\.3 to 2\.6") as refusal:
        check_installation("cpu", Installation(others | {"torch": torch_version}, folder))
    assert torch_version in refusal.value.problem and "pip" not in str(refusal.value)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="onnxruntime-training has wheels for this Python")
def test_a_python_that_it_cannot_be_had_for_is_said_before_what_pip_can_mend():
    with pytest.raises(UserError, match=r"cannot be had for Python 3\..*; take .* Python 3\.10 or 3\.11") as refusal:
        check_installation("cpu", Installation({"torch": "2.6.0", "onnxruntime": "1.23.0"}, None))
    assert "pip" not in str(refusal.value)


@pytest.mark.parametrize("missing", ["onnxruntime-training", "torch-ort"])
def test_a_package_is_missing(missing):
    expected = f"backend: 'ort' needs {missing}, not installed.*pip install onnxruntime-training==1.19.2"
    with pytest.raises(UserError, match=expected):
        check_installation("cpu", Installation(without(missing), None))


def test_the_inference_package_is_in_its_place_or_beside_it(folder):
    both = FITTING | {"onnxruntime": "1.23.0"}
    with pytest.raises(UserError, match="are one import package, and both are installed; pip uninstall onnxruntime;"):
        check_installation("cpu", Installation(both, folder))
    alone = without("onnxruntime-training") | {"onnxruntime": "1.23.0"}
    with pytest.raises(UserError, match="; pip uninstall onnxruntime; pip install onnxruntime-training"):
        check_installation("cpu", Installation(alone, folder))


@pytest.mark.parametrize(
    ("device_type", "missing"),
    [(device_type, name) for device_type in ort.EXTENSIONS for name in ort.EXTENSIONS[device_type]],
)
def test_extensions_that_are_not_compiled(folder, device_type, missing):
    next(folder.rglob(f"{missing}.*.so")).unlink()
    with pytest.raises(UserError, match="extensions, not compiled yet; run determined-ner setup-ort once"):
        check_installation(device_type, Installation(FITTING, folder))


def test_what_was_compiled_for_a_cpu_is_enough_for_it(folder):
    next(folder.rglob("torch_gpu_allocator.*.so")).unlink()
    check_installation("cpu", Installation(FITTING, folder))


def test_on_a_gpu_what_its_part_needs_is_loaded_too(folder):
    with pytest.raises(UserError, match=r"^hyperparameters\.backend: the installed onnxruntime is one for CPUs"):
        check_installation("cuda", Installation(FITTING, folder))


def test_compiling_needs_the_package_and_a_compiler(folder, monkeypatch):
    monkeypatch.setenv("PATH", "")
    next(folder.rglob("aten_op_executor*.so")).unlink()
    with pytest.raises(UserError, match=r"^no C\+\+ compiler \(c\+\+ or g\+\+\) is on the PATH; install one"):
        compile_extensions(Installation(FITTING, folder))
    with pytest.raises(UserError) as refusal:
        compile_extensions(Installation({"torch": "2.3.1"}, None))
    assert str(refusal.value) == f"onnxruntime-training: is not installed; pip install {ort.PINS}"


@pytest.mark.parametrize(
    ("cuda", "gpu", "forced", "toolkit", "parts"),
    [
        ("12.1", False, False, True, ["cpu"]),
        (None, True, True, True, ["cpu"]),
        ("12.1", True, False, True, ["toolkit"]),
        ("11.8", False, True, True, ["toolkit"]),
        ("12.1", True, False, False, ["headers", "cpu"]),
    ],
)
def test_what_is_compiled_depends_on_gpu_and_toolkit(folder, monkeypatch, cuda, gpu, forced, toolkit, parts):
    import torch

    for extension in folder.rglob("*.so"):
        extension.unlink()
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(ort, "_has_toolkit", lambda: toolkit)
    monkeypatch.setattr(ort, "_cuda_headers", lambda cuda: [f"headers of {cuda}"])
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setenv("ONNXRUNTIME_FORCE_CUDA", "1" if forced else "")
    run: list[str] = []

    def noted(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        run.append(command[-1])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", noted)
    compile_extensions(Installation(FITTING, folder))
    assert run == ["".join(ort.COMPILE[part].replace("HEADERS", f"['headers of {cuda}']") for part in parts)]


def test_headers_of_cuda_that_no_wheel_has_are_named(monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(UserError, match="needs CUDA's headers") as refusal:
        ort._cuda_headers("12.1")
    wheels = "'nvidia-cuda-runtime-cu12==12.1.*' 'nvidia-cuda-nvcc-cu12==12.1.*'"
    assert refusal.value.remedy == f"pip install {wheels}, or take docker/cluster-ort.Dockerfile"


@pytest.mark.slow
def test_the_extension_for_gpus_compiles_with_the_headers_of_wheels_alone(tmp_path):
    """No GPU is needed to compile and to load it; with them, in a folder: PYTHONPATH=FOLDER."""
    import torch

    here = Installation.of_this_process()
    if here.folder is None or "onnxruntime-training" not in here.versions:
        pytest.skip("onnxruntime-training is not installed")
    try:
        headers = ort._cuda_headers(torch.version.cuda or "0")
    except UserError as missing:
        pytest.skip(missing.remedy)
    extensions = here.folder / "training" / "ortmodule" / "torch_cpp_extensions"
    shutil.copytree(extensions / "cuda", tmp_path / "cuda")
    code = "from onnxruntime.training import ortmodule\n"
    code += f"ortmodule.ORTMODULE_TORCH_CPP_DIR = {str(tmp_path)!r}\n"
    code += ort.COMPILE["headers"].replace("HEADERS", repr(headers))
    code += "import torch, sys\nsys.path.insert(0, ortmodule.ORTMODULE_TORCH_CPP_DIR)\nimport torch_gpu_allocator\n"
    code += "assert torch_gpu_allocator.gpu_caching_allocator_raw_alloc_address() > 0"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.glob("torch_gpu_allocator*.so"))


def test_the_command_compiles_and_says_what_is_missing(monkeypatch, capsys):
    from determined_ner import cli

    monkeypatch.setattr(Installation, "of_this_process", lambda: Installation({}, None))
    assert cli.main(["setup-ort"]) == 2
    assert "error: onnxruntime-training: is not installed; pip install" in capsys.readouterr().err


def test_a_gpu_that_fails_is_not_replaced_by_the_cpu(monkeypatch, capsys):
    pytest.importorskip("onnxruntime.training")
    from onnxruntime import InferenceSession
    from onnxruntime.capi import onnxruntime_inference_collection as collection

    def fails(*arguments: object) -> None:
        raise RuntimeError("CUDA failure 2: out of memory")

    monkeypatch.setattr(collection.C, "InferenceSession", fails)
    monkeypatch.setattr(InferenceSession, "_create_inference_session", InferenceSession._create_inference_session)
    for _ in range(2):  # a second model changes nothing
        ort._refuse_other_devices()
    with pytest.raises(RuntimeError, match="CUDA failure 2"):
        InferenceSession(b"", providers=["CPUExecutionProvider"])
    assert "Falling back" not in capsys.readouterr().out


@pytest.mark.parametrize("model_type", ["deberta", "deberta-v2"])
def test_an_architecture_without_kernels_on_a_cpu(model_type):
    with pytest.raises(UserError, match=f"type '{model_type}' on a CPU: .*ScaledSum; write backend: eager"):
        ort.check_architecture(model_type, "cpu")
    ort.check_architecture(model_type, "cuda")
    ort.check_architecture("bert", "cpu")
