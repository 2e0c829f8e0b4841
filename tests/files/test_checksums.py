"""Checksums of a directory: a file that is another is named, and nothing is waited for."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from determined_ner.errors import UserError
from determined_ner.files.checksums import CHECKSUMS_FILE, check_files, write_checksums
from tests.damage import flip_a_bit, in_its_place

REMEDY = "copy it again"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "trial.py").write_text("pass")
    (tmp_path / "weights").write_bytes(bytes(range(256)) * 9000)
    write_checksums(tmp_path)
    return tmp_path


def test_what_is_as_it_was_written_passes_and_so_does_what_came_later(directory: Path) -> None:
    (directory / "code" / "trial.pyc").write_bytes(b"compiled")
    check_files(directory, REMEDY)
    (directory / CHECKSUMS_FILE).unlink()  # of an earlier version
    (directory / "weights").unlink()
    check_files(directory, REMEDY)


@pytest.mark.parametrize("name", ["weights", "code/trial.py"])
@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (flip_a_bit, "its checksum is another"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes were written"),
        (lambda path: path.write_bytes(b""), "bytes were written"),
        (Path.unlink, "is missing"),
        (in_its_place(Path.mkdir), "no file"),
        (in_its_place(os.mkfifo), "is a pipe or a device"),
        (in_its_place(lambda path: path.symlink_to("/dev/zero")), "is a pipe or a device"),
        (in_its_place(lambda path: path.symlink_to("nowhere")), "is missing"),
    ],
)
def test_a_file_that_is_another_is_named(
    directory: Path, name: str, damage: Callable[[Path], None], problem: str
) -> None:
    damage(directory / name)
    with pytest.raises(UserError, match=problem) as raised:
        check_files(directory, REMEDY)
    assert raised.value.where == str(directory / name)
    assert raised.value.remedy == REMEDY


@pytest.mark.parametrize(
    "content",
    [
        *("[]", "null", "{", "[" * 100_000, '{"weights": 5}', '{"weights": [1]}', '{"weights": ["1", 2]}'),
        *('{"../weights": [1, 2]}', '{"/etc/passwd": [1, 2]}'),
    ],
)
def test_damaged_checksums_are_named(directory: Path, content: str) -> None:
    (directory / CHECKSUMS_FILE).write_text(content)
    with pytest.raises(UserError) as raised:
        check_files(directory, REMEDY)
    assert raised.value.where == str(directory / CHECKSUMS_FILE)


def test_checksums_are_of_every_file_there_is(directory: Path) -> None:
    assert sorted(json.loads((directory / CHECKSUMS_FILE).read_text())) == ["code/trial.py", "weights"]
