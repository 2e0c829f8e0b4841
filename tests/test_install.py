"""The distribution, installed where nothing of the checkout is: each needs a package index, and is slow for it."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT, make_sentences, write_config, write_conll

pytestmark = pytest.mark.slow

PYTHONS = ("3.10", "3.12", "3.13")
"""Of those that pyproject.toml names; the one between is the tests' own."""
NOT_OF_A_TAGGER = ("datasets", "determined", "matplotlib", "onnx", "pyarrow")
OF_WEIGHTS = ("safetensors", "torch", "transformers")
"""What a tagger of an ONNX file does without."""
EXTRAS = {"report": "report", "thresholds": "report", "export": "report", "train": "train", "check": "train"}
"""By verb."""


def interpreter(version: str) -> Path:
    """A Python of that version, on the PATH or among pyenv's."""
    on_path = shutil.which(f"python{version}")
    found = [*([Path(on_path)] if on_path else []), *Path.home().glob(f".pyenv/versions/{version}.*/bin/python3")]
    for python in found:
        if subprocess.run([python, "-c", "import venv, ensurepip"], capture_output=True).returncode == 0:
            return python
    pytest.skip(f"this machine has no Python {version}")


def run(*command: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Outside of the checkout, and without what the environment adds to Python's path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **variables}
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd="/", env=environment)


def succeed(*command: object, **variables: str) -> str:
    done = run(*command, **variables)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@functools.cache
def index_is_there() -> bool:
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "packaging"]
    return run(*command).returncode == 0


def environment(version: str, folder: Path) -> Path:
    """A new virtual environment's Python."""
    python = interpreter(version)
    if not index_is_there():
        pytest.skip("pip reaches no package index")
    succeed(python, "-m", "venv", folder)
    return folder / "bin" / "python"


def install(python: Path, *arguments: object) -> str:
    return succeed(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", *arguments)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, so that what that lacks is missing here, too."""
    if importlib.util.find_spec("build") is None or importlib.util.find_spec("hatchling") is None:
        pytest.skip("build and hatchling (requirements/dev.txt) are not installed")
    folder = tmp_path_factory.mktemp("dist")
    succeed(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def model_dir(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A token classifier with random weights and a label map, as transformers writes it."""
    from transformers import AutoTokenizer, BertForTokenClassification

    path = tmp_path_factory.mktemp("model")
    labels = dict(enumerate(["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]))
    options = {"id2label": labels, "label2id": {label: i for i, label in labels.items()}}
    BertForTokenClassification.from_pretrained(tiny_encoder, **options).save_pretrained(path)
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(path)
    return path


def test_the_wheel_holds_the_package_the_root_modules_and_the_default_config(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        (scripts,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "determined-ner = determined_ner.__main__:main" in archive.read(scripts).decode()
        assert archive.read("determined_ner/ner_config.yaml") == (ROOT / "ner_config.yaml").read_bytes()
    files = {
        path for path in (ROOT / "determined_ner").rglob("*") if path.is_file() and path.parent.name != "__pycache__"
    }
    package = {path.relative_to(ROOT).as_posix() for path in files}
    assert "determined_ner/py.typed" in package
    assert held == package | {"determined_ner/ner_config.yaml", "ner_trial.py", "ner_utils.py"}


@pytest.fixture(scope="module")
def onnx_dir(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a training leaves it, with an ONNX file and without its weights."""
    from transformers import AutoModelForTokenClassification

    from determined_ner.model.directory import ONNX_FILE, SETTINGS_FILE
    from determined_ner.model.onnx_export import export_onnx

    path = tmp_path_factory.mktemp("exported") / "model"
    shutil.copytree(model_dir, path)
    model = AutoModelForTokenClassification.from_pretrained(path)
    labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
    data = {"stride": None, "context": "sentence"}
    described = {"labels": labels, "scheme": "IOB2", "max_seq_length": 32, "data": data}
    (path / SETTINGS_FILE).write_text(json.dumps(described), encoding="utf-8")
    export_onnx(model, path / ONNX_FILE, labels, max_seq_length=32)
    (path / "model.safetensors").unlink()
    return path


TAG = """
import importlib.util, sys
from determined_ner import Tagger
there = [name for name in sys.argv[3:] if importlib.util.find_spec(name)]
assert not there, there
tagger = Tagger.from_pretrained(sys.argv[1], backend=sys.argv[2])
print(len(tagger(["Ada Lovelace went to Oslo."])), *tagger.labels)
"""
TEXT = "Ada Lovelace went to Oslo.\n" + "Bo went to Lima, where Dee was. " * 20 + "\n"


def check_extras(command: Path, model_dir: Path, verbs: list[str]) -> None:
    """Each verb says which extra brings what it lacks."""
    for verb in verbs:
        arguments = [] if EXTRAS[verb] == "train" else [model_dir]
        arguments += {"export": ["--output=x"], "thresholds": ["--precision=0.9"]}.get(verb, [])
        done = run(command, verb, *arguments)
        assert done.returncode == 2, done.stderr
        assert done.stderr.endswith(f" is not installed; pip install 'determined-ner[{EXTRAS[verb]}]'\n"), done.stderr


def test_the_newest_python_tags_by_weights_with_the_extra_torch(wheel, model_dir, tmp_path):
    """Neither Determined nor what reads training data nor what draws is there."""
    python = environment(PYTHONS[-1], tmp_path / "venv")
    install(python, f"{wheel}[torch]")
    install(python, "--dry-run", f"{wheel}[cluster,export]")
    tagged = succeed(python, "-c", TAG, model_dir, "torch", *NOT_OF_A_TAGGER, "onnxruntime")
    assert tagged == "1 O B-LOC I-LOC B-PER I-PER\n"
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    command = python.with_name("determined-ner")
    assert '"text"' in succeed(command, "predict", model_dir, tmp_path / "text.txt")
    check_extras(command, model_dir, list(EXTRAS))


@pytest.mark.parametrize("version", PYTHONS)
def test_an_onnx_file_is_tagged_by_with_the_extra_onnx_without_pytorch(wheel, model_dir, onnx_dir, version, tmp_path):
    python = environment(version, tmp_path / "venv")
    install(python, f"{wheel}[onnx]")
    tagged = succeed(python, "-c", TAG, onnx_dir, "onnx", *NOT_OF_A_TAGGER, *OF_WEIGHTS)
    assert tagged == "1 O B-LOC I-LOC B-PER I-PER\n"
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    command = python.with_name("determined-ner")
    given = ["predict", onnx_dir, tmp_path / "text.txt", "--backend", "onnx"]
    found, expected = (
        [json.loads(line)["predicted_entities"] for line in succeed(*start, *given).splitlines()]
        for start in ([command], ["env", "-C", ROOT, sys.executable, "-m", "determined_ner"])
    )
    assert len(found) == 2 and all(found)
    for ours, theirs in zip(found, expected, strict=True):
        scores, expected_scores = ([entity.pop("score") for entity in one] for one in (ours, theirs))
        assert ours == theirs and scores == pytest.approx(expected_scores, abs=1e-5)  # another ONNX Runtime
    done = run(command, "predict", model_dir, tmp_path / "text.txt")
    assert done.returncode == 2 and "pip install 'determined-ner[torch]'" in done.stderr, done.stderr
    check_extras(command, onnx_dir, list(EXTRAS))
    shutil.rmtree(python.parents[1])


ALONE = """
import determined_ner, ner_utils
from determined_ner import cli, UserError
from determined_ner.predict import command
assert ner_utils.entity_spans and cli.make_parser()
print(determined_ner.__version__)
"""


@pytest.mark.parametrize("version", PYTHONS[:-1])
def test_each_older_python_installs_and_imports(wheel, version, tmp_path):
    """The extras resolve; torch itself, gigabytes of it, is installed for the newest Python alone."""
    import determined_ner

    python = environment(version, tmp_path / "venv")
    install(python, "--dry-run", f"{wheel}[cluster,export]")
    install(python, wheel)
    assert succeed(python, "-c", ALONE) == f"{determined_ner.__version__}\n"
    (package,) = python.parents[1].glob("lib/python*/site-packages/determined_ner")
    succeed(python, "-m", "compileall", "-q", package, package.with_name("ner_trial.py"))
    assert "train as an experiment config says" in succeed(python.with_name("determined-ner"), "--help")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the distribution; the libraries are those of the running Python."""
    folder = tmp_path_factory.mktemp("installed")
    install(Path(sys.executable), "--no-deps", "--no-index", "--target", folder, wheel)
    return folder


def test_it_trains_outside_of_a_checkout(installed, tiny_encoder, tmp_path):
    files = {"train": write_conll(tmp_path / "train.conll", make_sentences(16))}
    files["validation"] = write_conll(tmp_path / "validation.conll", make_sentences(8, 100))
    config = write_config(tmp_path / "experiment.yaml", tiny_encoder, files, max_steps=2)
    train = [sys.executable, "-m", "determined_ner", "train", config, "--output-dir", tmp_path / "run"]
    succeed(*train, PYTHONPATH=str(installed))
    assert (tmp_path / "run" / "summary.json").is_file() and (tmp_path / "run" / "model" / "config.json").is_file()


WHERE = """
import determined_ner, ner_trial
from determined_ner.settings.experiment import DEFAULT_CONFIG
print(determined_ner.__file__, ner_trial.__file__, DEFAULT_CONFIG, sep="\\n")
"""


def test_the_default_config_and_the_trial_are_those_of_the_installation(installed):
    places = [Path(line) for line in succeed(sys.executable, "-c", WHERE, PYTHONPATH=str(installed)).splitlines()]
    names = ["determined_ner/__init__.py", "ner_trial.py", "determined_ner/ner_config.yaml"]
    assert places == [installed / name for name in names]
    assert all(place.is_file() for place in places)


def test_a_checkout_s_scripts_take_its_own_package_whatever_is_installed(installed):
    """Python puts the script's folder first on its path, the installation after it."""
    assert "usage: ner_trial.py" in succeed(sys.executable, ROOT / "ner_trial.py", "--help", PYTHONPATH=str(installed))


def test_a_trial_beside_another_package_is_refused(installed):
    """As where a checkpoint, which brings its own ner_trial.py, is loaded beside an installed package."""
    code = f"import determined_ner, sys; sys.path.insert(0, {str(ROOT)!r}); import ner_trial"
    done = run(sys.executable, "-c", code, PYTHONPATH=str(installed))
    assert done.returncode == 1
    assert "load this checkpoint in a process that has not imported determined_ner" in done.stderr
