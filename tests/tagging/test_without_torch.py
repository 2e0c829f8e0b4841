"""An ONNX file tags where PyTorch and transformers are absent: same pieces, same tags, the same bits of every score."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from determined_ner import cli
from determined_ner.model.directory import CALIBRATION_FILE, ONNX_FILE, SETTINGS_FILE, THRESHOLDS_FILE
from determined_ner.tagging.tagger import Tagger
from determined_ner.tags.calibration import Calibration
from determined_ner.tags.guarantees import Promise, Threshold
from tests.conftest import NAMES, PLACES, ROOT, make_sentences, write_config, write_conll
from tests.damage import own_copy
from tests.data.tokenizer_families import roberta, xlm_roberta

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

ABSENT = ("torch", "transformers", "safetensors", "onnx", "datasets", "determined", "pydantic", "pyarrow")
INT8_FILE = "model_quantized.onnx"
TEXTS = [
    "Ada Bo went to Oslo.",
    "",
    "São Paulo, Ölüdeniz: state-of-the-art e-mail 2024 \u200b日本",
    " ".join(f"{NAMES[i % 6]} went to {PLACES[i % 4]} ." for i in range(40)),  # several windows
]
WORDS = [["Ada", "went"], [], ["Oslo", "x" * 500, "\u00ad"], ["Bo", "to", "Rome"] * 30]
DOCUMENTS = [0, 0, 0, 1]

TAG = """
import json, sys

def tag(asked):
    from determined_ner import Tagger

    tagger = Tagger.from_pretrained(asked["directory"], **asked["options"])
    tagged = tagger.tag(asked["words"], asked["documents"])
    return {
        "tags": tagged.tags,
        "logits": tagged.logits.tobytes().hex(),
        "scores": [[score.hex() for score in scores] for scores in tagged.entity_scores],
        "withheld": tagged.withheld,
        "entities": [[(e.type, e.text, e.start, e.end, e.score.hex()) for e in one] for one in tagger(asked["texts"])],
    }
"""
WITHOUT = """
absent, asked, commands = json.load(sys.stdin)
for name in absent:
    sys.modules[name] = None  # whoever imports it is told that there is no such module
results = []
for one in asked:
    try:
        results.append(tag(one))
    except Exception as error:
        results.append({"error": type(error).__name__, "message": str(error)})
from determined_ner import cli

statuses = [cli.main(command) for command in commands]
print(json.dumps({"results": results, "statuses": statuses}))
"""
BESIDE = """
absent, asked = json.load(sys.stdin)
results = [tag(one) for one in asked]
print(json.dumps([name for name in absent if name in sys.modules]))
"""


def asked(directory: Path, **options: Any) -> dict[str, Any]:
    wanted = {"backend": "onnx", "threads": 1, **options}
    return {"directory": str(directory), "options": wanted, "texts": TEXTS, "words": WORDS, "documents": DOCUMENTS}


def without_torch(questions: list[dict[str, Any]], commands: list[list[str]]) -> tuple[dict[str, Any], str]:
    """What a process without these packages answers, and what it says on standard error."""
    done = subprocess.run(
        [sys.executable, "-c", TAG + WITHOUT],
        input=json.dumps([ABSENT, questions, commands]),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found, done.stderr


def with_torch(question: dict[str, Any]) -> Any:
    names: dict[str, Any] = {}
    exec(TAG, names)
    return json.loads(json.dumps(names["tag"](question)))


# -- Model directories of several architectures, exported by the command --------------------------------------------


def make_roberta(path: Path) -> Path:
    """Byte-level BPE whose first word of a text has no blank before it, until training gives it one."""
    from transformers import RobertaConfig, RobertaModel

    roberta(path)
    save_encoder(RobertaModel, RobertaConfig, path, type_vocab_size=1)
    return path


def make_xlm_roberta(path: Path) -> Path:
    from transformers import XLMRobertaConfig, XLMRobertaModel

    xlm_roberta(path)
    save_encoder(XLMRobertaModel, XLMRobertaConfig, path, type_vocab_size=1)
    return path


def save_encoder(model: Any, config: Any, path: Path, **options: Any) -> None:
    import torch
    from transformers import AutoTokenizer

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    rows = len(AutoTokenizer.from_pretrained(path))
    made = config(vocab_size=rows, max_position_embeddings=66, pad_token_id=1, **sizes, **options)
    model(made, add_pooling_layer=False).save_pretrained(path)


def in_documents(sentences: list[list[tuple[str, str]]]) -> list[list[tuple[str, str]]]:
    """Every fifth begins one."""
    marked = [[[("-DOCSTART-", "O")], *sentences[i : i + 5]] for i in range(0, len(sentences), 5)]
    return [sentence for document in marked for sentence in document]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_encoder) -> Callable[..., Path]:
    """Trains, exports and returns the exported directory."""
    import ner_trial

    def make(name: str, encoder: Path, *overrides: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        corpus = {
            "train": write_conll(folder / "train.conll", in_documents(make_sentences(60))),
            "validation": write_conll(folder / "validation.conll", in_documents(make_sentences(30, 100))),
        }
        config = write_config(folder / "c.json", encoder, corpus, num_train_epochs=3, learning_rate=0.01)
        options = [word for override in ("data.max_seq_length=24", *overrides) for word in ("--config", override)]
        assert ner_trial.main([str(config), "--output-dir", str(folder / "run"), *options]) == 0
        assert cli.main(["export", str(folder / "run"), "--output", str(folder / "exported"), "--onnx"]) == 0
        return folder / "exported"

    return make


@pytest.fixture(scope="module")
def directories(trained, tiny_encoder, tmp_path_factory) -> dict[str, Path]:
    from determined_ner.model.onnx_export import quantize_onnx

    encoders = tmp_path_factory.mktemp("encoders")
    (encoders / "roberta").mkdir()
    (encoders / "xlm-roberta").mkdir()
    made = {
        "bert": trained("bert", tiny_encoder),
        "roberta": trained("roberta", make_roberta(encoders / "roberta"), "data.context=document"),
        "xlm-roberta": trained("xlm", make_xlm_roberta(encoders / "xlm-roberta"), "hyperparameters.head=crf"),
    }
    quantize_onnx(made["bert"] / ONNX_FILE, made["bert"] / INT8_FILE)
    made["bert, uncalibrated"] = own_copy(made["bert"], tmp_path_factory.mktemp("copies") / "uncalibrated")
    (made["bert, uncalibrated"] / CALIBRATION_FILE).unlink()
    forget_checksums(made["bert, uncalibrated"])
    promise(made["bert"])
    return made


def forget_checksums(folder: Path) -> None:
    """The directory is changed on purpose."""
    from determined_ner.files.checksums import CHECKSUMS_FILE

    (folder / CHECKSUMS_FILE).unlink(missing_ok=True)


def promise(folder: Path) -> None:
    """Thresholds between the scores that the model gives, of both of its files."""
    calibration = Calibration.of_json(json.loads((folder / CALIBRATION_FILE).read_text()))
    promises = []
    for name in (ONNX_FILE, INT8_FILE):
        tagged = Tagger.from_pretrained(folder, backend="onnx", onnx_file=name).tag(WORDS)
        scores = np.array([score for scores in tagged.entity_scores for score in scores])
        threshold = Threshold(float(np.median(scores)), len(scores))
        own = None if name == ONNX_FILE else name
        promises.append(Promise(0.9, 0.9, "sentences", 4, "v.conll", threshold, onnx_file=own).as_json())
    kept = {"calibration": calibration.as_json(), "promises": promises}
    (folder / THRESHOLDS_FILE).write_text(json.dumps(kept))


QUESTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", {}),
    "bert, uncalibrated": ("bert, uncalibrated", {}),
    "bert, int8": ("bert", {"onnx_file": INT8_FILE}),
    "bert, precision": ("bert", {"min_precision": 0.9}),
    "bert, int8, precision": ("bert", {"onnx_file": INT8_FILE, "min_precision": 0.9}),
    "bert, unconstrained": ("bert", {"constrained": False, "batch_size": 2}),
    "roberta, whole documents": ("roberta", {}),
    "xlm-roberta, crf": ("xlm-roberta", {}),
}


@pytest.fixture(scope="module")
def answers(directories, tmp_path_factory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("predicted")
    (folder / "a.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    questions = [asked(directories[name], **options) for name, options in QUESTIONS.values()]
    questions.append(asked(directories["bert"], backend="torch"))
    (foreign := own_copy(directories["bert"], folder / "foreign")).joinpath(SETTINGS_FILE).unlink()
    forget_checksums(foreign)
    (weights := own_copy(directories["bert"], folder / "weights")).joinpath(ONNX_FILE).unlink()
    questions += [asked(foreign), asked(weights, backend="torch"), asked(directories["bert"], device="cuda:77")]
    outputs = {name: folder / f"{name}.jsonl" for name in ("float32", "int8")}
    command = ["predict", str(directories["bert"]), str(folder / "a.txt")]
    onnx = [*command, "--backend", "onnx"]
    commands = [
        [*onnx, "--output", str(outputs["float32"]), "--precision", "0.9"],
        [*onnx, "--output", str(outputs["int8"]), "--onnx-file", INT8_FILE, "--to", "spans"],
        command,
        [*onnx, "--device", "cuda:77"],
        ["bench", str(directories["bert"]), str(folder / "a.txt")],
    ]
    found, said = without_torch(questions, commands)
    return {
        **found,
        "by_name": dict(zip(QUESTIONS, found["results"], strict=False)),
        "refused": found["results"][len(QUESTIONS) :],
        "said": said,
        "outputs": outputs,
        "commands": commands,
    }


@pytest.mark.parametrize("name", QUESTIONS)
def test_tags_and_scores_are_those_of_an_ordinary_process_to_the_bit(answers, directories, name):
    directory, options = QUESTIONS[name]
    found = answers["by_name"][name]
    assert found == with_torch(asked(directories[directory], **options))
    assert sum(map(len, found["entities"])) > 0
    assert found["withheld"] > 0 if "min_precision" in options else found["withheld"] == 0


@pytest.mark.parametrize("name", ["bert", "bert, unconstrained", "roberta, whole documents", "xlm-roberta, crf"])
def test_tags_are_those_of_the_weights(answers, directories, name):
    """Whose tokenizer, for one, is the training's."""
    directory, options = QUESTIONS[name]
    found, tagger = answers["by_name"][name], Tagger.from_pretrained(directories[directory], **options)
    tagged = tagger.tag(WORDS, DOCUMENTS)
    logits = np.frombuffer(bytes.fromhex(found["logits"]), np.float32).reshape(tagged.logits.shape)
    np.testing.assert_allclose(logits, tagged.logits, atol=1e-4)
    assert found["tags"] == tagged.tags


@pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime.training") is not None, reason="onnxruntime-training loads PyTorch itself"
)
def test_nothing_of_pytorch_is_loaded_where_it_is_installed(directories):
    questions = [asked(directories[name], **options) for name, options in QUESTIONS.values()]
    done = subprocess.run(
        [sys.executable, "-c", TAG + BESIDE],
        input=json.dumps([ABSENT, questions]),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_commands_that_need_no_pytorch_run(answers):
    assert answers["statuses"] == [0, 0, 2, 2, 0]


def test_predict_writes_what_it_writes_beside_pytorch(answers):
    for name, command in zip(answers["outputs"], answers["commands"], strict=False):
        output = answers["outputs"][name]
        again = output.with_suffix(".again")
        assert cli.main([str(again) if part == str(output) else part for part in command]) == 0
        assert again.read_bytes() == output.read_bytes() and output.stat().st_size > 200


def test_what_needs_pytorch_says_how_to_install_it(answers, directories):
    weights, foreign, without_onnx, device = answers["refused"]
    install = "torch is not installed; pip install 'determined-ner[torch]'"
    backend = f"{directories['bert']}: the backend torch needs PyTorch and transformers, and {install}"
    assert weights["message"] == f"{backend}, or take its ONNX file: --backend onnx, in Python backend='onnx'"
    of_int8 = f"--backend onnx --onnx-file {INT8_FILE}, in Python backend='onnx', onnx_file='{INT8_FILE}'"
    assert without_onnx["message"].endswith(f"{install}, or take its ONNX file: {of_int8}")
    tokenizer = "its tokenizer, which no training of ours wrote, needs PyTorch and transformers"
    assert f"{tokenizer}, and transformers is not installed; pip install 'determined-ner[torch]'" in foreign["message"]
    assert {answer["error"] for answer in (weights, foreign, without_onnx)} == {"UserError"}
    assert device == {"error": "DeviceError", "message": "device 'cuda:77' is not here; there is cpu"}
    errors = [line for line in answers["said"].splitlines() if line.startswith("error: ")]
    assert errors[0] == f"error: {weights['message']}"
    assert errors[1:] == [
        "error: --device: device 'cuda:77' is not here; there is cpu; name one of them, or leave it out"
    ]
    assert "Traceback" not in answers["said"]


def test_a_pickle_tags_without_pytorch_too(directories):
    """Pickled beside it, read without."""
    import pickle

    tagger = Tagger.from_pretrained(directories["roberta"], backend="onnx", threads=1)
    code = (
        f"import pickle, sys\nfor name in {ABSENT!r}: sys.modules[name] = None\n"
        "tagger = pickle.load(sys.stdin.buffer)\n"
        "print([[e.text for e in found] for found in tagger(['Ada went to Oslo.'])])"
    )
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(tagger), capture_output=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().strip() == str([[e.text for e in f] for f in tagger(["Ada went to Oslo."])])
