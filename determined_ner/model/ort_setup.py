"""The command ``determined-ner setup-ort``: ORTModule's extensions, compiled once for all that share a cache.

Compiling takes minutes, and a container of a cluster is always a fresh one. Where the experiment has ``data.cache_dir``
in a mounted directory, what was compiled is kept there, under the versions that it depends on.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import time
from pathlib import Path

from determined_ner.files.atomic import replacing
from determined_ner.files.cache import build_once, hash_parts
from determined_ner.model.ort import Installation, compile_extensions, cuda_to_compile_for


def run() -> None:
    """Have the extensions of this installation: compile them, or take those that are kept.

    Raises:
        UserError: as `compile_extensions`, and where the cache cannot be written.
    """
    set_up(Installation.of_this_process(), cache_of_experiment())


def cache_of_experiment() -> Path | None:
    """``data.cache_dir`` of the experiment whose task this is; None: it has none, or this is no task."""
    config = json.loads(os.environ.get("DET_EXPERIMENT_CONFIG") or "{}")
    cache = (config.get("data") or {}).get("cache_dir")
    return Path(cache).expanduser() if isinstance(cache, str) else None


def set_up(installation: Installation, cache: Path | None) -> None:
    """
    Args:
        installation: gets its extensions, unless it has them.
        cache: where compiled extensions are kept; None: nowhere.
    """
    if "onnxruntime-training" not in installation.versions or installation.has_extensions(_device_type()):
        compile_extensions(installation)  # says what is missing, or has nothing to do
        return
    what = "the extensions of ONNX Runtime training, which takes about three minutes"
    if cache is None:
        _say(f"compiling {what}, once per installation")
        _compile(installation)
        return

    def build(partial: Path) -> None:
        _compile(installation)
        for file in installation.extensions_folder.glob("*.so"):
            shutil.copy2(file, partial)

    name = f"ortmodule-{_key(installation)}"
    if not (cache / name).exists():  # of containers that begin together one compiles, and the others wait
        _say(f"compiling {what}, and keeping them in {cache}")
    for file in build_once(cache, name, build).glob("*.so"):
        target = installation.extensions_folder / file.name
        if not target.exists():
            with replacing(target) as partial:
                shutil.copy2(file, partial)


def _compile(installation: Installation) -> None:
    began = time.monotonic()
    compile_extensions(installation)
    _say(f"compiled in {time.monotonic() - began:.0f} s")


def _say(what: str) -> None:
    print(f"setup-ort: {what}", file=sys.stderr, flush=True)


def _device_type() -> str:
    return "cuda" if cuda_to_compile_for() else "cpu"


def _key(installation: Installation) -> str:
    """Of all that compiled extensions depend on."""
    versions = [installation.versions.get(name) for name in ("onnxruntime-training", "torch")]
    system = [sys.implementation.cache_tag, platform.machine(), *platform.libc_ver()]
    return hash_parts([versions, system, cuda_to_compile_for()])[:16]
