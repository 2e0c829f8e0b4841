"""startup-hook.sh with stand-ins: an image is a folder of package metadata, and pip writes down what it is asked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT

HOOK = ROOT / "startup-hook.sh"
CURRENT = {
    requirement.name: str(requirement)
    for line in (ROOT / "requirements" / "current.txt").read_text().splitlines()
    if line and not line.startswith("#")
    for requirement in [Requirement(line)]
    if requirement.marker is None or requirement.marker.evaluate()
}
RECENT = {
    "torch": "2.13.0+cpu",
    "transformers": "4.49.0",
    "datasets": "3.0.1",
    "pydantic": "2.8",
    "pyarrow": "15.0.2",
    "tqdm": "4.66.1",
    "tensorboard": "2.14.0",
}
OLD_PINS = {"transformers": "transformers==4.49.0", "datasets": "datasets==3.6.0", "pyarrow": "pyarrow==25.0.1"}

PYTHON = f"""#!/bin/sh
if [ "$1 $2 $3" = "-m determined_ner setup-ort" ]; then echo compiled; exit "$EXTENSIONS"; fi
if [ "$1 $2" = "-m pip" ]; then exec {sys.executable} -S "$STAND_INS/pip.py" "$@"; fi
exec {sys.executable} -S "$@"
"""
PIP = """
import os, pathlib, shutil, sys
stand_ins = pathlib.Path(os.environ["STAND_INS"])
with (stand_ins / "calls").open("a") as calls:
    print(*sys.argv[1:], file=calls)
does = os.environ["PIP_DOES"]
if does == "fail":
    sys.exit(7)
wanted = [argument for argument in sys.argv if "==" in argument]
for pin in {"install": wanted, "nothing": [], "torch": [*wanted, "torch==2.14.0"]}[does]:
    name, version = pin.replace("-", "_").split("==")
    for old in (stand_ins / "image").glob(f"{name}-*.dist-info"):
        shutil.rmtree(old)
    (info := stand_ins / "image" / f"{name}-{version}.dist-info").mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
"""


@dataclass
class Image:
    """A container's packages, without a container."""

    path: Path

    def run(
        self, pip: str = "install", script: str = f"'{HOOK}'", hparams: str = "{}", extensions: int = 0
    ) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.path / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.path / "image"),
            "STAND_INS": str(self.path),
            "PIP_DOES": pip,
            "DET_HPARAMS": hparams,
            "EXTENSIONS": str(extensions),
        }
        return subprocess.run(
            ["bash", "-c", script], capture_output=True, text=True, env=environment, check=False, timeout=60
        )

    def asked(self) -> list[str] | None:
        """What pip was asked to install; None where it was not called."""
        calls = self.path / "calls"
        if not calls.exists():
            return None
        (call,) = calls.read_text().splitlines()
        arguments = call.split()
        assert arguments[:3] == ["-m", "pip", "install"]
        return [argument for argument in arguments if "==" in argument]


@pytest.fixture
def image(tmp_path):
    def make(**changes: str | None) -> Image:
        for name, version in {**RECENT, **changes}.items():
            if version is not None:
                (info := tmp_path / "image" / f"{name}-{version}.dist-info").mkdir(parents=True)
                (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "python3").write_text(PYTHON)
        (tmp_path / "bin" / "python3").chmod(0o755)
        (tmp_path / "pip.py").write_text(PIP)
        return Image(tmp_path)

    return make


def test_an_image_that_has_everything_is_left_alone_in_silence(image):
    made = image()
    done = made.run()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert made.asked() is None


def test_what_is_missing_is_installed_from_the_current_pins(image):
    names = ["transformers", "datasets", "pydantic", "pyarrow", "tensorboard"]
    made = image(**dict.fromkeys(names))
    done = made.run()
    assert done.returncode == 0, done.stderr
    assert made.asked() == [CURRENT[name].split(";")[0].strip() for name in names]
    assert done.stdout.startswith("startup-hook.sh: installing transformers==")


@pytest.mark.parametrize(
    ("name", "old"),
    [("transformers", "4.48.3"), ("datasets", "2.21.0"), ("pydantic", "1.10.17"), ("transformers", "4.5")],
)
def test_what_is_too_old_is_replaced_and_nothing_else(image, name, old):
    made = image(**{name: old})
    assert made.run().returncode == 0
    assert made.asked() == [CURRENT[name].split(";")[0].strip()]


@pytest.mark.parametrize("torch", ["2.3.1+cu121", "2.4.0a0+3bcc3cddb5.nv24.7"])
def test_an_older_torch_gets_the_last_packages_that_know_it(image, torch):
    made = image(torch=torch, transformers="4.40.2", datasets=None, pydantic=None, pyarrow=None)
    assert made.run().returncode == 0
    assert made.asked() == [
        OLD_PINS["transformers"], OLD_PINS["datasets"], "pydantic==2.14.3", OLD_PINS["pyarrow"],
    ]  # fmt: skip


def test_every_pin_is_exact_and_none_is_torch(image):
    made = image(**dict.fromkeys(set(RECENT) - {"torch"}))
    assert made.run().returncode == 0
    asked = made.asked()
    assert asked is not None and len(asked) == len(RECENT) - 1
    assert "torch" not in {pin.split("==")[0] for pin in asked}


@pytest.mark.parametrize(
    ("pip", "expected"),
    [
        ("fail", r"^startup-hook\.sh: pip could not install datasets==.* \(status 7\); give .* a package index"),
        ("torch", r"^error: startup-hook\.sh: .*changed torch from 2\.13\.0\+cpu to 2.14.0; choose an image"),
        ("nothing", r"^error: startup-hook\.sh: datasets still missing or older than needed.*; remove it"),
    ],
)
@pytest.mark.parametrize("how", ["'{}'", "set -e; test -f '{0}' && source '{0}'; echo went on"])
def test_what_goes_wrong_ends_the_task_and_is_an_error_only_where_a_new_try_is_in_vain(image, pip, expected, how):
    done = image(datasets=None).run(pip, how.format(HOOK))
    assert done.returncode == 1
    assert re.search(expected, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert "went on" not in done.stdout


def test_an_image_without_torch_is_refused(image):
    made = image(torch=None)
    done = made.run()
    assert done.returncode == 1 and done.stderr.startswith("error: startup-hook.sh: this image ")
    assert "has no torch; choose one that has (environment.image)" in done.stderr
    assert made.asked() is None


@pytest.mark.parametrize("missing", [{}, {"datasets": None}])
def test_sourcing_it_leaves_nothing_behind(image, missing):
    """Determined sources it under set -e: options, variables, functions and directory are afterwards as before."""
    state = "{ set +o; shopt -p; declare -p; declare -F; trap; pwd; } | grep -v -e ' BASH' -e ' _=' -e PIPESTATUS"
    script = f"set -e; before=; after=; before=$({state}); source '{HOOK}' >&2; after=$({state})\n"
    script += (
        'diff <(echo "$before") <(echo "$after" | grep -v " before=") | grep -v -e "^[0-9]" -e " before=" || echo same'
    )
    done = image(**missing).run(script=script)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "same\n"


ORT = ["onnxruntime-training==1.19.2", "torch-ort==1.19.2", "onnx==1.16.2"]
USES_ORT = '{"backend": "ort", "global_batch_size": 8}'
needs_old_python = pytest.mark.skipif(sys.version_info >= (3, 12), reason="onnxruntime-training ends with Python 3.11")


@needs_old_python
def test_ort_training_is_installed_and_compiled_where_it_is_asked_for_alone(image):
    made = image(torch="2.3.1")
    done = made.run(hparams=USES_ORT)
    assert (done.returncode, made.asked()) == (0, ORT), done.stderr
    assert done.stdout.splitlines()[-1] == "compiled"
    again = made.run(hparams=USES_ORT)  # a second task of the same container
    assert (again.returncode, again.stdout, made.asked()) == (0, "compiled\n", ORT)


def test_without_ort_in_the_hyperparameters_it_is_not_touched(image):
    made = image(torch="2.3.1")
    done = made.run(hparams='{"backend": "eager"}')
    assert (done.returncode, done.stdout, made.asked()) == (0, "", None)


@needs_old_python
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"torch": "2.13.0+cpu"}, r"this image has torch 2\.13\.0\+cpu, and ORTModule works with torch 2\.3 to 2\.6"),
        ({"torch": "2.3.1", "onnxruntime": "1.23.0"}, "this image has onnxruntime, which is the same import package"),
    ],
)
def test_an_image_in_which_ort_cannot_train_is_refused(image, changes, told):
    made = image(**changes)
    done = made.run(hparams=USES_ORT)
    assert done.returncode == 1 and re.search(told, done.stderr), done.stderr
    assert "choose an image (environment.image)" in done.stderr
    assert made.asked() is None


@needs_old_python
def test_extensions_that_do_not_compile_end_the_task(image):
    done = image(torch="2.3.1").run(hparams=USES_ORT, extensions=2)
    assert done.returncode == 1
    assert "extensions could not be compiled; take an image with a C++ compiler" in done.stderr


def test_validation_by_onnx_runtime_brings_its_packages(image):
    made = image()
    assert made.run(hparams='{"evaluate_with_ort": true}').returncode == 0
    assert made.asked() == [CURRENT[name].split(";")[0].strip() for name in ("onnx", "onnxruntime")]


def test_onnx_runtime_of_an_image_for_gpus_stays_the_only_one(image):
    made = image(onnxruntime_gpu="1.20.1")
    assert made.run(hparams='{"evaluate_with_ort": true}').returncode == 0
    assert made.asked() == [CURRENT["onnx"].split(";")[0].strip()]


def test_onnx_runtime_training_validates_too(image):
    made = image(onnxruntime_training="1.19.2")
    assert made.run(hparams='{"evaluate_with_ort": true}').returncode == 0
    assert made.asked() is None
