"""What may happen to a file behind a program's back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from determined_ner.files.checksums import CHECKSUMS_FILE


def own_copy(model_dir: Path, to: Path) -> Path:
    """A copy of a model directory that its owner changes: without its checksums."""
    return Path(shutil.copytree(model_dir, to, ignore=shutil.ignore_patterns(CHECKSUMS_FILE)))


def flip_a_bit(file: Path) -> None:
    """Change a bit in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def in_its_place(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Have something else under the file's name."""

    def damage(file: Path) -> None:
        file.unlink()
        make(file)

    return damage
