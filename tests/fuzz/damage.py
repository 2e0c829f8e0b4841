"""What can become of a file."""

from __future__ import annotations

import copy
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

CANARY = "CANARY"
"""A file of this name in a case's folder: something that was read has been run."""
CODE = f"open({CANARY!r}, 'w').close()\n"
PYTHON_TAG = f"!!python/object/apply:os.system ['touch {CANARY}']"

NUMBERS: list[Any] = [0, 1, -1, 2, 3, 0.5, -0.5, 1e-9, 1e308, 10**9, 10**30, 2**31, 2**63, float("nan"), float("inf")]
TEXTS: list[Any] = [
    *("", " ", "x", "O", "nan", "NaN", "1e-3", "true", "null", "2026-11-25", "é", "\u202e\u200b", "\x1b[31m", "\0"),
    *("\ud800", "x" * 300, "x" * 5000, "a,b", "a: b", "{a: 1}", "[1", "a/b/c", "nowhere/model", "~nobody/x", "$HOME"),
    *("kernels-community/attention", "http://me:secret@127.0.0.1:9/x.conll?key=secret", "file:///dev/zero", "%2e", "*"),
]
OTHERS: list[Any] = [None, True, False, [], [1, 2], [None], ["a", "a"], {}, {"a": {"b": []}}, {"type": "int"}, [[[[]]]]]


def odd_value(rng: Random) -> Any:
    """Of any type that JSON has."""
    return copy.deepcopy(rng.choice(rng.choice([NUMBERS, TEXTS, OTHERS])))  # one may be put into another


class _Exploding:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (CODE,)


def _flip(path: Path, rng: Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 4)):
        if content:
            at = rng.randrange(min(len(content), rng.choice([300, 1 << 30])))
            content[at] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def _shorten(path: Path, rng: Random) -> None:
    os.truncate(path, rng.randint(0, path.stat().st_size))


def _put_in(path: Path, rng: Random) -> None:
    content = path.read_bytes()
    at = rng.choice([0, len(content), rng.randint(0, len(content))])
    shards = [b"\xff", b"\0", b"\xef\xbb\xbf", b"[" * 100_000, b'{"a":' * 50_000, b"9" * 5000, b"NaN", b"\n\n", b"O"]
    path.write_bytes(content[:at] + rng.choice(shards) + content[at:])


def _another_encoding(path: Path, rng: Random) -> None:
    text = path.read_bytes().decode("latin-1")
    path.write_bytes(text.encode(rng.choice(["utf-16", "utf-32", "utf-7"])))


def _in_place_of_it(make: Callable[[Path], object]) -> Callable[[Path, Random], None]:
    def damage(path: Path, rng: Random) -> None:
        path.unlink()
        make(path)

    return damage


def _other_content(path: Path, rng: Random) -> None:
    contents = [b"", b"[]", b"{}", b"null", b"3", b'"x"', b"[1, 2]", b"\x80\x04N.", b"[" * 100_000, b"{" * 100_000]
    path.write_bytes(rng.choice(contents))


def _pickle(path: Path, rng: Random) -> None:
    path.write_bytes(pickle.dumps(rng.choice([_Exploding(), {"a": _Exploding()}, [1], {}, None])))


def _json_value(path: Path, rng: Random) -> None:
    """Another value somewhere in a JSON file; of a file that is none, its bytes."""
    try:
        value = json.loads(path.read_bytes())
    except ValueError:
        _flip(path, rng)
        return
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        value = change(value, rng)
    path.write_text(json.dumps(value), encoding="utf-8")


def change(value: Any, rng: Random) -> Any:
    """A value of JSON with one part of it replaced, removed, added or doubled."""
    inner = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not inner or rng.random() < 0.15:
        return odd_value(rng)
    key = rng.choice(inner)
    if rng.random() < 0.15:
        del value[key]
    elif rng.random() < 0.1 and isinstance(value, dict):
        value[rng.choice(["trust_remote_code", "auto_map", "_attn_implementation", "", "x"])] = odd_value(rng)
    else:
        value[key] = change(value[key], rng)
    return value


DAMAGES: list[Callable[[Path, Random], None]] = [
    *[_json_value] * 8,
    *[_flip] * 3,
    *[_shorten] * 2,
    *[_put_in] * 2,
    _another_encoding,
    _other_content,
    _pickle,
    _in_place_of_it(lambda path: None),
    _in_place_of_it(Path.mkdir),
    _in_place_of_it(os.mkfifo),
    _in_place_of_it(lambda path: path.symlink_to("nowhere")),
    _in_place_of_it(lambda path: path.symlink_to(path.name)),
    _in_place_of_it(lambda path: path.symlink_to("/dev/zero")),
]


def damage_files(folder: Path, rng: Random, ignore: Callable[[Path], bool] = lambda _: False) -> None:
    """One to three files or directories of a folder are no longer what they were.

    Args:
        ignore: whether a path is left alone.
    """
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        paths = sorted(path for path in folder.rglob("*") if not ignore(path))
        files = [path for path in paths if path.is_file() and not path.is_symlink()]
        directories = [path for path in paths if path.is_dir() and not path.is_symlink()]
        if directories and rng.random() < 0.1:
            directory = rng.choice(directories)
            other = rng.choice([None, "file", "link", "fifo", "name"])
            if other == "name":
                directory.rename(directory.with_name(rng.choice(["step-00000001", "step-9" * 5, "x", "step-"])))
                continue
            shutil.rmtree(directory)
            if other == "file":
                directory.touch()
            elif other == "link":
                directory.symlink_to("nowhere")
            elif other == "fifo":
                os.mkfifo(directory)
        elif files:
            rng.choice(DAMAGES)(rng.choice(files), rng)


def plant_code(model: Path, rng: Random) -> None:
    """A model directory that asks for code of its own to be run."""
    (model / "evil.py").write_text(CODE, encoding="utf-8")
    for name in ("config.json", "tokenizer_config.json", "ner_settings.json"):
        file = model / name
        if rng.random() < 0.5 or not file.is_file():
            continue
        value = json.loads(file.read_text(encoding="utf-8"))
        if name == "ner_settings.json":
            value["hyperparameters"]["trust_remote_code"] = True
        else:
            value["auto_map"] = dict.fromkeys(("AutoConfig", "AutoModel", "AutoModelForTokenClassification"), "evil.C")
            value["auto_map"]["AutoTokenizer"] = ["evil.C", "evil.C"]
            value[rng.choice(["model_type", "tokenizer_class", "x"])] = rng.choice(["evil", "bert", "Evil"])
        file.write_text(json.dumps(value), encoding="utf-8")
