"""Files of weights from outside: which there are, how large, how many tensors, and whether they are as written."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from determined_ner.files.cache import hash_file, hash_parts
from determined_ner.files.checksums import CHECKSUMS_FILE, check_files
from determined_ner.model.checkpoint import STATE_FILE


def count_stored_tensors(folder: Path) -> int:
    """Tensors in the files of weights of a directory, by their tables of contents alone; 0 where none can be read."""
    count = 0
    for file in _weights_files(folder):
        try:
            if file.suffix == ".safetensors":
                with file.open("rb") as stream:
                    size = min(int.from_bytes(stream.read(8), "little"), file.stat().st_size)
                    count += len(json.loads(stream.read(size)).keys() - {"__metadata__"})
            else:
                with zipfile.ZipFile(file) as archive:
                    count += sum("/data/" in name for name in archive.namelist())
        except Exception:  # of many kinds; whoever loads the file says what is wrong with it
            continue
    return count


def check_model_files(folder: Path) -> None:
    """Compare the files of a model directory with the checksums beside them, before anything of it is read.

    One without checksums, as others make them, is taken as it is. Weights in the form that is not used may be gone.

    Raises:
        UserError: naming a file that is another.
    """
    if not (folder / CHECKSUMS_FILE).exists():
        return
    remedy = f"copy the model directory again, or remove its {CHECKSUMS_FILE} if you changed it yourself"
    check_files(folder, remedy, may_lack=("*.safetensors", "*.onnx", "*.onnx.data"))


def stored_bytes(folder: Path) -> int:
    """Bytes of a directory's files of weights; 0 where there are none."""
    return sum(file.stat().st_size for file in _weights_files(folder))


def weights_fingerprint(folder: Path) -> str:
    """Equal for directories of the same weights, label map and architecture.

    Raises:
        UserError: a file of them cannot be read.
    """
    files = sorted({*_weights_files(folder), folder / "config.json"})
    return hash_parts([[file.name, hash_file(file)] for file in files])


def _weights_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    patterns = ("*.safetensors", "pytorch_model*.bin", STATE_FILE)
    return [file for pattern in patterns for file in folder.glob(pattern) if file.is_file()]
