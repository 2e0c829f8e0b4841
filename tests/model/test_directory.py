"""Everything that can be a model directory, and everything that only looks like one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from determined_ner.errors import UserError
from determined_ner.model.calls import replaced
from determined_ner.model.cpu.products import fast_products
from determined_ner.model.directory import ONNX_FILE, REMEDY, SETTINGS_FILE, ModelDirectory
from determined_ner.model.torch_model import find_window, load_model, torch_model, untrained_model
from determined_ner.model.weights import STATE_FILE
from determined_ner.tags.labels import Labels
from determined_ner.tags.schemes import Scheme

LABELS = ("O", "B-PER", "I-PER")
IDS = np.array([[2, 7, 9, 3], [2, 8, 3, 0]])
MASK = (IDS != 0).astype(np.int64)
SETTINGS = {
    "labels": list(LABELS),
    "scheme": "BIOES",
    "max_seq_length": 48,
    "data": {"stride": 8, "context": "document"},
}


def make_model(tiny_encoder: Path, labels: tuple[str, ...] = LABELS, **config: Any):
    id2label = dict(enumerate(labels))
    made = transformers.BertConfig.from_pretrained(
        tiny_encoder, id2label=id2label, label2id={name: i for i, name in id2label.items()}, **config
    )
    torch.manual_seed(3)
    return transformers.BertForTokenClassification(made).eval()


@pytest.fixture
def model(tiny_encoder):
    return make_model(tiny_encoder)


@pytest.fixture
def directory(tiny_encoder, model, tmp_path) -> Path:
    """As another trainer leaves it."""
    return save(model, tiny_encoder, tmp_path / "model")


def save(model, tiny_encoder: Path, folder: Path) -> Path:
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(folder)
    return folder


def add_settings(folder: Path, **changes: Any) -> Path:
    (folder / SETTINGS_FILE).write_text(json.dumps(SETTINGS | changes))
    return folder


def change_config(folder: Path, **changes: Any) -> Path:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder


def as_checkpoint(folder: Path) -> Path:
    """The same model as Determined's loop leaves it, whose config is still the encoder's."""
    weights = transformers.BertForTokenClassification.from_pretrained(folder).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save({"models_state_dict": [weights]}, folder / STATE_FILE)
    return change_config(folder, architectures=["BertModel"])


def logits_of(model) -> np.ndarray:
    with torch.no_grad():
        return model(input_ids=torch.from_numpy(IDS), attention_mask=torch.from_numpy(MASK)).logits.numpy()


def test_its_linear_layers_are_computed_as_those_of_validation(directory, model, onednn_products):
    computed = torch_model(ModelDirectory(directory))
    np.testing.assert_allclose(computed(IDS, MASK), logits_of(model), atol=1e-6)
    assert onednn_products
    onednn_products.clear()
    lengths = [3, 4, 5, computed.max_seq_length - 1, computed.max_seq_length]
    ids = np.full((1, computed.max_seq_length), 7)
    found = [computed(ids[:, :length], np.ones((1, length), np.int64)) for length in lengths]
    assert [logits.shape[1] for logits in found] == lengths
    assert {rows for rows, _, _ in onednn_products} == {4, 8, computed.max_seq_length}


def refusal(folder: Path) -> UserError:
    with pytest.raises(UserError) as caught:
        ModelDirectory(folder)
    return caught.value


# -- What it is ----------------------------------------------------------------------------------------------------


def test_a_directory_of_another_trainer_is_read_by_its_config(directory, model):
    read = ModelDirectory(directory)
    assert read.labels == LABELS and read.described is None and not read.is_checkpoint
    assert read.scheme is read.label_scheme is Scheme.IOB2
    assert read.named_labels() == Labels(LABELS, Scheme.IOB2)
    assert (read.max_seq_length, read.stride, read.whole_documents) == (None, None, False)
    assert find_window(read) == torch_model(read).max_seq_length == 64
    with replaced(fast_products(torch.device("cpu"))):
        expected = logits_of(model)
    np.testing.assert_allclose(torch_model(read)(IDS, MASK), expected, atol=1e-7)


def test_a_directory_of_a_training_is_read_as_the_training_was_set_up(directory):
    read = ModelDirectory(add_settings(directory))
    assert read.described == SETTINGS
    assert (read.scheme, read.label_scheme) == (Scheme.BIOES, Scheme.IOB2)
    assert read.named_labels() == Labels(LABELS, Scheme.BIOES)
    assert (read.max_seq_length, read.stride, read.whole_documents) == (48, 8, True)
    assert find_window(read) == 48


def test_plain_tags_stay_plain(tiny_encoder, tmp_path):
    labels = ("NOUN", "VERB")
    folder = save(make_model(tiny_encoder, labels), tiny_encoder, tmp_path / "model")
    assert ModelDirectory(folder).scheme is Scheme.PLAIN
    read = ModelDirectory(add_settings(folder, labels=labels, scheme="PLAIN"))
    assert read.scheme is read.label_scheme is Scheme.PLAIN


def test_a_checkpoint_gives_the_same_model(directory, model):
    checkpoint = ModelDirectory(as_checkpoint(add_settings(directory)))
    assert checkpoint.is_checkpoint and checkpoint.labels == LABELS
    loaded = load_model(checkpoint)
    assert not loaded.training and {p.dtype for p in loaded.parameters()} == {torch.float32}
    np.testing.assert_allclose(logits_of(loaded), logits_of(model), atol=1e-7)


def test_a_model_in_half_precision_is_loaded_in_full(tiny_encoder, model, tmp_path):
    folder = save(model.to(torch.bfloat16), tiny_encoder, tmp_path / "half")
    assert {p.dtype for p in load_model(ModelDirectory(folder)).parameters()} == {torch.float32}


def test_run_and_checkpoint_of_a_training_are_the_same_model(train):
    run = train("hyperparameters.max_steps=2")
    checkpoint = max((run / "checkpoints").iterdir())
    models = [ModelDirectory(folder) for folder in (run / "model", checkpoint)]
    assert [read.is_checkpoint for read in models] == [False, True]
    assert models[0].described == models[1].described and models[0].labels == models[1].labels
    weights = [load_model(read).state_dict() for read in models]
    assert list(weights[0]) == list(weights[1])
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_weights_are_not_read_before_they_are_asked_for(directory):
    (directory / "model.safetensors").unlink()
    read = ModelDirectory(directory)
    assert untrained_model(read).config.num_labels == 3
    with pytest.raises(UserError, match="its weights cannot be loaded: ") as caught:
        load_model(read)
    assert caught.value.remedy == f"copy it again, or {REMEDY}"
    (directory / ONNX_FILE).touch()
    with pytest.raises(UserError, match="or take its ONNX file: --backend onnx"):
        load_model(read)


def test_a_damaged_checkpoint_is_refused(directory):
    folder = as_checkpoint(directory)
    (folder / STATE_FILE).write_bytes(b"PK")
    with pytest.raises(UserError, match=r"state_dict\.pth: is damaged, or of another model: "):
        load_model(ModelDirectory(folder))


# -- ONNX ----------------------------------------------------------------------------------------------------------


def test_its_onnx_file_gives_the_same_logits(directory, model):
    pytest.importorskip("onnx")
    from determined_ner.model.onnx_export import export_onnx

    export_onnx(model, directory / ONNX_FILE, LABELS, max_seq_length=32)
    run = ModelDirectory(directory).onnx_model(threads=1)
    assert run.max_seq_length == 32
    np.testing.assert_allclose(run(IDS, MASK), logits_of(model), atol=1e-6)
    export_onnx(model, directory / "other.onnx", ("O", "B-LOC", "I-LOC"))
    with pytest.raises(
        UserError, match=r"other\.onnx: its labels O B-LOC I-LOC are not those of config\.json, O B-PER"
    ):
        ModelDirectory(directory).onnx_model("other.onnx")


def test_an_onnx_file_is_for_windows_of_its_size(directory, model):
    pytest.importorskip("onnx")
    from determined_ner.model.onnx_export import export_onnx

    export_onnx(model, directory / ONNX_FILE, LABELS)
    with pytest.raises(UserError, match="does not say how many pieces a window has"):
        ModelDirectory(directory).onnx_model()
    add_settings(directory)
    assert ModelDirectory(directory).onnx_model().max_seq_length is None
    export_onnx(model, directory / ONNX_FILE, LABELS, max_seq_length=32)
    with pytest.raises(UserError, match=r"was exported for windows of 32 pieces, and ner_settings\.json asks for 48"):
        ModelDirectory(directory).onnx_model()


def test_an_onnx_file_that_is_not_there(directory):
    with pytest.raises(UserError) as caught:
        ModelDirectory(directory).onnx_model()
    assert caught.value.where == str(directory / ONNX_FILE) and "determined-ner export --onnx" in caught.value.remedy


# -- What it is not ------------------------------------------------------------------------------------------------


def test_a_path_that_is_no_directory(directory, tmp_path):
    assert str(refusal(tmp_path / "none")) == f"{tmp_path / 'none'}: no such directory; {REMEDY}"
    assert refusal(directory / "config.json").problem == "is a file"
    with pytest.raises(UserError, match="no such directory; ask somebody"):
        ModelDirectory(tmp_path / "none", remedy="ask somebody")


def test_the_folder_of_a_run_is_not_its_model(directory, tmp_path):
    (tmp_path / "config.json").write_text('{"name": "an experiment"}')
    found = refusal(tmp_path)
    assert found.problem == "no model directory, it has no config.json of a model"
    assert found.remedy == f"did you mean {directory}?"
    shutil.rmtree(directory)
    assert refusal(tmp_path).remedy == REMEDY


def test_a_model_of_another_task(tiny_encoder):
    assert refusal(tiny_encoder).problem == "a BertModel, which is no token classifier"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "not readable ("),
        ("[]", "not a JSON object"),
        ('{"model_type": "nothing", "id2label": {}}', "not readable ("),
    ],
)
def test_a_config_that_cannot_be_read(directory, content, problem):
    """Whether the library knows an architecture, it is asked where weights are loaded."""
    add_settings(directory)
    labels = json.loads((directory / "config.json").read_text())["id2label"]
    (directory / "config.json").write_text(content.replace("{}", json.dumps(labels)))
    with pytest.raises(UserError) as caught:
        load_model(ModelDirectory(directory))
    found = caught.value
    assert found.where == str(directory / "config.json") and found.problem.startswith(problem)
    assert found.remedy == "copy the model directory again"


@pytest.mark.parametrize("labels", [{"0": "O", "2": "B-X"}, {"0": "O", "1": "O"}], ids=["gap", "twice"])
def test_labels_that_are_not_named_once_each(directory, labels):
    found = refusal(change_config(directory, id2label=labels))
    assert found.problem == "id2label does not name each label once, from 0"


@pytest.mark.parametrize(
    "changes", [{"scheme": "IOB7"}, {"max_seq_length": "long"}, {"data": {}}, {"labels": None}], ids=str
)
def test_settings_that_cannot_be_read(directory, changes):
    found = refusal(add_settings(directory, **changes))
    assert found.where == str(directory / SETTINGS_FILE) and found.problem.startswith("not readable (")


def test_settings_of_another_model(directory):
    found = refusal(add_settings(directory, labels=["O", "B-LOC", "I-LOC"]))
    assert found.where == str(directory / SETTINGS_FILE)
    assert "its labels O B-LOC I-LOC are not those of config.json, O B-PER I-PER: the files are" in found.problem
    assert found.remedy == "copy a whole model directory"
