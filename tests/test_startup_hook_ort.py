"""Whether an image can hold ONNX Runtime training, and what it lacks: decided before anything is installed."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

import pytest

from tests.hook import names_of_the_hook

HOOK = names_of_the_hook()
COLUMNS = list(product(["3.10", "3.12"], ["without", "with"]))
"""Python, and whether onnxruntime-training is there."""
TABLE = """
2.3.1   none | ort             | nothing    | python! | nothing
2.3.1   11.8 | ort             | nothing    | python! | nothing
2.3.1   12.1 | ort cuda        | cuda       | python! | cuda
2.6.0   none | ort             | nothing    | python! | nothing
2.6.0   11.8 | cudnn!          | cudnn!     | python! | cudnn!
2.6.0   12.4 | ort cuda cudnn  | cuda cudnn | python! | cuda cudnn
2.11.0  none | torch!          | torch!     | torch!  | torch!
2.11.0  11.8 | torch!          | torch!     | torch!  | torch!
2.11.0  12.8 | torch!          | torch!     | torch!  | torch!
2.13.0  none | torch!          | torch!     | torch!  | torch!
2.13.0  11.8 | torch!          | torch!     | torch!  | torch!
2.13.0  12.9 | torch!          | torch!     | torch!  | torch!
"""
"""Torch, its CUDA, and for each column what is installed on a GPU, or (!) why it is refused."""
ROWS = [[part.split() for part in line.split("|")] for line in TABLE.strip().splitlines()]
CASES = [
    (torch, cuda, *column, said) for (torch, cuda), *cells in ROWS for column, said in zip(COLUMNS, cells, strict=True)
]
INSTALLED = {
    "nothing": {},
    "ort": HOOK["ORT_TRAINING"],
    "cuda": {
        "nvidia-cuda-runtime-cu11": "11.8.89",
        "nvidia-cublas-cu11": "11.11.3.6",
        "nvidia-cufft-cu11": "10.9.0.58",
    },
    "cudnn": {"nvidia-cudnn-cu11": "8.9.6.50"},
}
REFUSED = {
    "torch!": r"^torch {torch}, and ORTModule works with torch 2\.3 to 2\.6; choose an image .* torch 2\.3 to 2\.6",
    "python!": r"^Python 3\.12\.0, and onnxruntime-training's wheels end with 3\.11; choose an image .* 3\.10 or 3\.11",
    "cudnn!": r"^torch {torch} of CUDA 11\.8, whose nvidia-cudnn-cu11 9.* is in the way of 8.*; choose .* torch 2\.3",
}


def bare_image(torch: str, cuda: str) -> tuple[dict[str, str], set[str]]:
    """Packages and libraries that PyTorch's own wheels bring, with a compiler and CUDA's toolkit."""
    cudnn_8 = torch.startswith("2.3")
    libraries = set()
    there = {}
    if cuda.startswith("11"):
        there = dict(HOOK["CUDA_11"].values()) | {"nvidia-cudnn-cu11": "8.7.0.84" if cudnn_8 else "9.1.0.70"}
        libraries = set(HOOK["CUDA_11"])
    elif cuda.startswith("12"):
        libraries = {"libcurand.so.10", "libcudnn.so.8"}
    return there, {"c++", "nvcc"} | (libraries if cudnn_8 else libraries - {"libcudnn.so.8"})


def decide(torch: str, cuda: str, python: str = "3.10", gpu: bool = True, **changes: Any) -> tuple[dict[str, str], Any]:
    there, has = bare_image(torch, cuda)
    there, has = there | changes.get("more", {}), (has | changes.get("also", set())) - changes.get("without", set())
    major, minor = map(int, python.split("."))
    pins, problem = HOOK["ort_training"](torch, None if cuda == "none" else cuda, (major, minor, 0), there, has, gpu)
    assert not (pins and problem)
    return pins, problem


def test_the_table_has_each_combination():
    assert len({case[:4] for case in CASES}) == len(CASES) == 4 * 3 * 2 * 2


@pytest.mark.parametrize(("torch", "cuda", "python", "wheel", "said"), CASES)
def test_each_image_gets_its_word_before_anything_is_installed(torch, cuda, python, wheel, said):
    pins, problem = decide(torch, cuda, python, more=HOOK["ORT_TRAINING"] if wheel == "with" else {})
    if said[0] in REFUSED:
        assert re.search(REFUSED[said[0]].format(torch=torch), problem), problem
    else:
        assert problem is None
        assert pins == {name: pin for word in said for name, pin in INSTALLED[word].items()}


@pytest.mark.parametrize("cuda", ["none", "11.8", "12.1"])
@pytest.mark.parametrize("torch", ["2.3.1", "2.6.0"])
def test_without_a_gpu_nothing_of_cuda_is_wanted(torch, cuda):
    assert decide(torch, cuda, gpu=False, without={"nvcc"}) == (HOOK["ORT_TRAINING"], None)


def test_the_image_of_nvidia_gets_every_library():
    """NGC's torch is no wheel: cuDNN 9 and the rest of CUDA 12 are the system's."""
    pins, problem = decide("2.3.0a0+40ec155e58.nv24.3", "12.4", without={"libcurand.so.10", "libcudnn.so.8"})
    assert problem is None
    assert pins == HOOK["ORT_TRAINING"] | dict(HOOK["CUDA_11"].values())


@pytest.mark.parametrize(
    ("cuda", "headers"),
    [("11.8", {"nvidia-cuda-nvcc-cu11": "11.8.89"}), ("12.1", {"nvidia-cuda-nvcc-cu12": "12.1.105"}), ("12.3", None)],
)
def test_without_a_toolkit_the_headers_are_those_of_torch(cuda, headers):
    pins, problem = decide("2.3.1", cuda, without={"nvcc"})
    if headers is None:
        assert pins == {} and "no CUDA toolkit (nvcc) for torch's CUDA 12.3" in problem
    else:
        assert problem is None and headers.items() <= pins.items()


def test_what_is_compiled_already_needs_neither_compiler_nor_toolkit():
    pins, problem = decide("2.3.1", "11.8", without={"nvcc", "c++"}, also={"extensions"}, more=HOOK["ORT_TRAINING"])
    assert (pins, problem) == ({}, None)


def test_without_a_compiler_nothing_is_installed():
    pins, problem = decide("2.3.1", "12.1", without={"c++"})
    assert pins == {} and problem.startswith("no C++ compiler")


@pytest.mark.parametrize("name", ["onnxruntime", "onnxruntime-gpu"])
@pytest.mark.parametrize(
    ("torch", "said"), [("2.3.1", "is the same import package"), ("2.13.0", "ORTModule works with")]
)
def test_the_inference_package_is_refused_after_what_no_package_mends(name, torch, said):
    assert said in decide(torch, "12.1", more={name: "1.23.0"})[1]


@pytest.mark.parametrize(
    ("text", "cuda"),
    [
        ("__version__ = '2.3.1+cu121'\ncuda: Optional[str] = '12.1'\nhip: Optional[str] = None\n", "12.1"),
        ("__version__ = '2.3.0a0+40ec155e58.nv24.03'\ncuda = '12.4'\n", "12.4"),
        ("__version__ = '2.13.0+cpu'\ncuda: _Optional[str] = None\n", None),
        (None, None),
    ],
)
def test_the_cuda_of_torch_is_read_without_importing_it(monkeypatch, tmp_path, text, cuda):
    (info := tmp_path / "torch-2.3.1.dist-info").mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.3.1\n")
    if text is not None:
        (tmp_path / "torch").mkdir()
        (tmp_path / "torch" / "version.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert HOOK["torch_cuda"]() == cuda


def test_the_cuda_of_the_torch_that_is_installed():
    import torch

    assert HOOK["torch_cuda"]() == torch.version.cuda
