"""The Dockerfiles, without a container engine: what they pin, what they copy, and their commands, run in order."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_install import environment, run

FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
NOT_HERE = re.compile(r"apt-get|download\.pytorch\.org|ONNXRUNTIME_FORCE_CUDA|useradd")
"""Commands for a distribution's packages, PyTorch's own index, CUDA's compiler and users: they need the image."""


@dataclass
class Stage:
    """One FROM and what follows it: (instruction, rest) in order."""

    name: str
    image: str
    steps: list[tuple[str, str]] = field(default_factory=list)


def stages(file: Path) -> list[Stage]:
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    made: list[Stage] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        instruction, _, rest = " ".join(line.split()).partition(" ")
        if instruction == "FROM":
            image, _, name = rest.partition(" AS ")
            made.append(Stage(name, image))
        elif instruction:
            made[-1].steps.append((instruction, rest))
    return made


def pinned(file: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / file).read_text(encoding="utf-8").splitlines()
    return dict(line.split(";")[0].split()[0].split("==") for line in lines if "==" in line.split("#")[0])


def test_there_is_one_for_each_stack():
    assert [file.name for file in FILES] == ["cluster-ort.Dockerfile", "current.Dockerfile"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_everything_is_pinned_and_as_the_requirements_say(file):
    text = file.read_text(encoding="utf-8")
    known = {**pinned("cluster.txt"), **pinned("dev.txt"), "determined": pinned("current.txt")["determined"]}
    for name, version in re.findall(r"([\w-]+)==([\w.]+)", text):
        assert version == known[name], name
    for stage in stages(file):
        assert re.fullmatch(r"[\w/-]+:[\w.-]*\d[\w.-]*", stage.image), stage.image
        for command in re.findall(r"pip install ([^&]*)", " & ".join(rest for _, rest in stage.steps)):
            assert "==" in command or "--requirement" in command or "--no-index" in command, command


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_changes_more_often_comes_later_and_nobody_is_root(file):
    *_, last = stages(file)
    text = " ".join(f"{instruction} {rest}\n" for instruction, rest in last.steps)
    order = [text.index(part) for part in ("apt-get", "packages" if "ort" in file.stem else "--requirement", "wheels")]
    assert order == sorted(order)
    assert [rest for instruction, rest in last.steps if instruction == "USER"] == ["1000"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_is_copied_is_let_into_the_context(file):
    let_in = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for stage in stages(file):
        for instruction, rest in stage.steps:
            if instruction == "COPY" and "--from=" not in rest:
                for source in rest.split()[:-1]:
                    assert f"!/{source.split('/')[0]}" in let_in, source
                    assert (ROOT / source).exists()


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_its_commands_run_in_order_in_a_clean_directory(file, tmp_path):
    """A virtual environment stands for each image's Python; a stage's directory for its WORKDIR."""
    left_out = []
    for stage in stages(file):
        version = "3.10" if "ubuntu22.04" in stage.image else "3.11"
        home = tmp_path / (stage.name or "last")
        python = environment(version, tmp_path / f"venv-{home.name}")
        home.mkdir()
        for instruction, rest in stage.steps:
            *sources, target = rest.split()
            if instruction == "COPY" and sources[0].startswith("--from="):
                copied(tmp_path, sources, home / target, python)
            elif instruction == "COPY":
                for source in sources:
                    copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
                    copy(ROOT / source, home / target)
            elif instruction == "RUN" and NOT_HERE.search(rest):
                left_out.append(rest)
            elif instruction == "RUN":
                # Gigabytes, which `make venv` and `make venv-ort` install: here they have to be there together.
                tried = ["PIP_DRY_RUN=1"] * ("--requirement" in rest)
                done = run("env", "-C", home, f"PATH={python.parent}:/usr/bin:/bin", *tried, "bash", "-euc", rest)
                assert done.returncode == 0, f"{rest}\n{done.stdout}\n{done.stderr}"
    assert len(left_out) == (5 if "ort" in file.stem else 2)
    done = run(python, "-m", "determined_ner", "--version")
    assert done.returncode == 0, done.stderr
    for venv in tmp_path.glob("venv-*"):  # gigabytes, which pytest would keep
        shutil.rmtree(venv)


def copied(root: Path, sources: list[str], target: Path, python: Path) -> None:
    """COPY --from: a stage's files; its packages are put on the path."""
    name, (source,) = sources[0].removeprefix("--from="), sources[1:]
    if source.endswith("dist-packages"):
        command = [root / f"venv-{name}" / "bin" / "python", "-c", "import site; print(site.getsitepackages()[0])"]
        packages = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        (site,) = python.parents[1].glob("lib/python3.*/site-packages")
        (site / "stage.pth").write_text(packages)
    elif not source.endswith("/bin"):
        shutil.copytree(root / name / Path(source).name, target)
