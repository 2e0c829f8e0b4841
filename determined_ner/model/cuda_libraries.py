"""The libraries of CUDA that ONNX Runtime's GPU part needs, opened before ONNX Runtime looks for them.

The part (``libonnxruntime_providers_cuda.so``) names libraries without folders. They are found where the dynamic loader
finds them, in this process (PyTorch's are open already), or in the ``nvidia-*`` wheels. Those of CUDA 11 and 12 live
in one process: their names and their symbols carry the version. Only cuDNN and cuRAND may be called alike in both; then
PyTorch's are taken, since a process holds one library of a name.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from importlib import metadata
from pathlib import Path

from determined_ner.errors import UserError

DRIVER = "libcuda.so.1"
WHEELS = {
    "libcudart.so.11.0": "nvidia-cuda-runtime-cu11==11.8.89",
    "libcublas.so.11": "nvidia-cublas-cu11==11.11.3.6",
    "libcublasLt.so.11": "nvidia-cublas-cu11==11.11.3.6",
    "libcufft.so.10": "nvidia-cufft-cu11==10.9.0.58",
    "libcurand.so.10": "nvidia-curand-cu11==10.3.0.86",
    "libcudnn.so.8": "nvidia-cudnn-cu11==8.9.6.50",
}
"""What brings a library that onnxruntime-training 1.19.2 needs; startup-hook.sh pins the same."""


def load_cuda_libraries(onnxruntime: Path, where: str) -> None:
    """Load all that ONNX Runtime's GPU part needs; afterwards ONNX Runtime itself can load it.

    The part itself is not: it crashes in any hands but ONNX Runtime's.

    Args:
        onnxruntime: folder of the package.
        where: of the error: the setting or option that asks for a GPU.

    Raises:
        UserError: the package has no such part, or the driver or a library is missing; the remedy is the command that
            brings it. ONNX Runtime would only log it and compute on the CPU, or, without a driver, abort the process.
    """
    provider = onnxruntime / "capi" / "libonnxruntime_providers_cuda.so"
    if not provider.is_file():
        raise UserError(
            where,
            "the installed onnxruntime is one for CPUs",
            "pip uninstall onnxruntime; pip install onnxruntime-gpu",
        )
    if not _opened(DRIVER):
        raise UserError(
            where,
            f"ONNX Runtime cannot compute on a GPU here: there is no NVIDIA driver ({DRIVER})",
            "take a machine, or a container, with a GPU",
        )
    if missing := [name for name in needed_by(provider) if not _opened(name)]:
        raise UserError(
            where,
            f"ONNX Runtime cannot compute on a GPU here: its CUDA part needs {' and '.join(missing)}, not found",
            _remedy(missing),
        )


def needed_by(library: Path) -> list[str]:
    """Names of the libraries that a library is linked with: DT_NEEDED of its dynamic section, in its order.

    Args:
        library: an ELF file of 64 bits, little-endian, as on all machines with CUDA.
    """
    with library.open("rb") as file:

        def read(layout: str, offset: int, count: int = 1) -> list[tuple[int, ...]]:
            file.seek(offset)
            return list(struct.iter_unpack(layout, file.read(struct.calcsize(layout) * count)))

        assert file.read(6) == b"\x7fELF\x02\x01", f"{library} is no such file"
        ((sections_at,),), ((count,),) = read("<Q", 0x28), read("<H", 0x3C)
        # Of a section: name, type, flags, address, offset, size, link, info, alignment, size of an entry.
        sections = read("<IIQQQQIIQQ", sections_at, count)
        dynamic = next(section for section in sections if section[1] == 6)
        names = sections[dynamic[6]]
        file.seek(names[4])
        text = file.read(names[5])
        entries = read("<qQ", dynamic[4], dynamic[5] // 16)
        return [text[at : text.index(b"\0", at)].decode() for tag, at in entries if tag == 1]


def _opened(name: str) -> bool:
    """Open a library, and first what it needs itself; whether that was possible."""
    if _loads(name):
        return True
    in_wheels = (path for entry in sys.path for path in Path(entry, "nvidia").glob(f"*/lib/{name}"))
    path = next(in_wheels, None)
    return path is not None and all(map(_opened, needed_by(path))) and _loads(str(path))


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _remedy(missing: list[str]) -> str:
    if not all(name in WHEELS for name in missing):
        return "pip install 'onnxruntime-gpu[cuda,cudnn]', or take an image with the CUDA that this onnxruntime is for"
    wheels = dict.fromkeys(WHEELS[name] for name in missing)
    for wheel in wheels:
        name, _, version = wheel.partition("==")
        try:
            other = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if other != version:
            return f"{name} {other}, which PyTorch needs, is in the way of {version}: take an older PyTorch (2.3)"
    return f"pip install {' '.join(wheels)}"


def count_gpus() -> int:
    """NVIDIA's GPUs here, as CUDA's driver counts them (``CUDA_VISIBLE_DEVICES`` obeyed); 0 without a driver."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return 0
    count = ctypes.c_int()
    started = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    return count.value if started else 0
