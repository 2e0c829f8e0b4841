"""Teachers, students and settings that cannot be, and what is refused before a teacher is asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from determined_ner.data.pretrained_tokenizer import load_tokenizer
from determined_ner.data.tokenizer import read_tokenizer
from determined_ner.hub import Pretrained
from determined_ner.model.directory import ModelDirectory
from determined_ner.training import teacher as teachers
from tests.conftest import (
    make_encoder,
    make_sentences,
    write_conll,
)
from tests.distillation.conftest import asked, run
from tests.training.test_setup import make_training


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher": "nowhere"}, "hyperparameters.teacher: 'nowhere' is no directory; write a model directory or"),
        ({"teacher": "x" * 5000}, "is no directory; write a model directory or a run"),
        ({"teacher": "~nobody/model"}, "hyperparameters.teacher: '~nobody/model' is no directory"),
        ({"teacher": "[]"}, "hyperparameters.teacher: [] is wrong: write a model directory or a run's folder, or a"),
        ({"teacher": "[T, T]"}, "stands twice"),
        ({"teacher": "s3://bucket/model"}, "a URL is no directory of this machine"),
        ({"student_layers": 2}, "student_layers: 2 has no meaning without a teacher"),
        ({"distillation_weight": 0.5}, "distillation_weight: 0.5 has no meaning without a teacher"),
        ({"distillation_temperature": 3}, "distillation_temperature: 3.0 has no meaning without a teacher"),
        (
            {"teacher": "T", "distillation_weight": 0},
            "hyperparameters.distillation_weight: 0 has nothing learnt of the",
        ),
        ({"teacher": "T", "distillation_weight": 1.5}, "hyperparameters.distillation_weight: 1.5 is wrong"),
        ({"teacher": "T", "distillation_temperature": 0}, "hyperparameters.distillation_temperature: 0 is wrong"),
        ({"teacher": "T", "student_layers": 4}, "4 is more than the 3 layers of the teacher; write at most 3"),
        (
            {"teacher": "T", "student_layers": "[2,4]"},
            "[2, 4] names layer 4, and the teacher has 3; name layers from 1",
        ),
        ({"teacher": "T", "student_layers": "[3,1]"}, "write how many, or which, ascending from 1, the lowest"),
        ({"teacher": "T", "student_layers": 0}, "write how many, or which, ascending from 1, the lowest"),
        (
            {"teacher": "T", "student_layers": 2, "use_pretrained_weights": "false"},
            "use_pretrained_weights: false asks",
        ),
        ({"teacher": "T", "student_layers": 2, "config_name": "x"}, "config_name: x asks for others; drop one"),
        ({"teacher": "T", "student_layers": 2, "freeze": 3}, "3 is more than the 2 layers of this encoder"),
        ({"teacher": "T", "head": "crf"}, "hyperparameters.head: 'crf' excludes teacher: its loss is of sequences"),
    ],
)
def test_what_cannot_be_is_refused_before_data_is_read(refuse, config, teacher, settings, message):
    data = json.loads(config.read_text())["data"]
    Path(data["train_file"]).write_text("\0 no text\n")  # which would be refused, too
    given = {name: str(value).replace("T", str(teacher)) for name, value in settings.items()}
    assert message in refuse(*asked(**given), config=config)


def test_text_without_labels_needs_a_teacher_and_a_file(refuse, config, teacher, more):
    message = refuse(f"data.unlabelled_file={more}", config=config)
    assert "data.unlabelled_file: " in message and "is learnt of a teacher, and there is none; write hyper" in message
    message = refuse(*asked(teacher=teacher), f"data.unlabelled_file={more}.gz", config=config)
    assert f"{more}.gz: no such file" in message


def test_labels_of_all_pieces_are_refused(refuse, config, teacher):
    message = refuse(*asked(teacher=teacher), "data.label_all_tokens=true", config=config)
    assert "hyperparameters.teacher: teaches words, and data.label_all_tokens: true" in message


def test_a_teacher_that_lacks_a_label_is_refused(refuse, config, tmp_path, teacher):
    rows = [[(word, tag.replace("PER", "HUMAN")) for word, tag in row] for row in make_sentences(44)]
    message = refuse(
        *asked(teacher=teacher),
        f"data.train_file={write_conll(tmp_path / 'renamed.conll', rows)}",
        f"data.validation_file={write_conll(tmp_path / 'also.conll', rows)}",
        "data.test_file=null",
        config=config,
    )
    assert "has other labels than the training: it lacks B-HUMAN I-HUMAN; take a teacher" in message


@pytest.mark.parametrize("weights", ["null", "balanced", "{PER: 2}"])
def test_a_student_has_labels_of_its_teacher_that_the_data_lacks(config, tmp_path, teacher, weights):
    rows = [[(word, tag if "PER" not in tag else "O") for word, tag in row] for row in make_sentences(44)]
    few = f"data.train_file={write_conll(tmp_path / 'few.conll', rows)}"
    folder = tmp_path / "run"
    run(config, folder, *asked(teacher=teacher, distillation_weight=1, class_weights=weights), few)
    expected = ModelDirectory(teacher / "model").labels
    assert ModelDirectory(folder / "model").labels == expected and "B-PER" in expected


def test_students_of_another_tokenizer_or_longer_windows_are_refused(refuse, config, tmp_path, teacher):
    strange, longer = tmp_path / "strange", tmp_path / "longer"
    for folder, positions in ((strange, 64), (longer, 128)):
        folder.mkdir()
        make_encoder(folder, positions=positions)
    vocabulary = json.loads((strange / "tokenizer.json").read_text())
    pieces = vocabulary["model"]["vocab"]
    pieces["a"], pieces["b"] = pieces["b"], pieces["a"]
    (strange / "tokenizer.json").write_text(json.dumps(vocabulary))
    (strange / "vocab.txt").unlink(missing_ok=True)
    message = refuse(*asked(teacher=teacher, pretrained_model_name_or_path=strange), config=config)
    assert (
        "reads text by another tokenizer than the student: the piece 'a' is number 5 of 85 here and 6 of 85" in message
    )
    message = refuse(*asked(teacher=teacher, pretrained_model_name_or_path=longer), config=config)
    assert "takes 64 pieces, and the windows of the student have up to 128; write data.max_seq_length: 64" in message
    message = refuse(*asked(teacher=teacher, student_layers=2, tokenizer_name=strange), config=config)
    assert f"; drop tokenizer_name: {strange}" in message
    shutil.copytree(teacher / "model", tmp_path / "odd")
    shutil.copyfile(strange / "tokenizer.json", tmp_path / "odd" / "tokenizer.json")
    (tmp_path / "odd" / "checksums.json").unlink()
    message = refuse(*asked(teacher=f"[{teacher},{tmp_path / 'odd'}]", student_layers=2), config=config)
    assert message.endswith("; name teachers of one tokenizer\n")


def test_tokenizers_of_teacher_and_student_are_compared_as_they_are_loaded(config, tmp_path, teacher):
    """Transformers may make a tokenizer of its config that is another than its tokenizer.json."""
    folder = tmp_path / "cased"
    shutil.copytree(teacher / "model", folder)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "do_lower_case": False}))
    (folder / "checksums.json").unlink()
    source = Pretrained(str(folder))
    if not read_tokenizer(source).unlike(load_tokenizer(source)):
        pytest.skip("this version of transformers reads tokenizer.json alone")
    make_training(config, tmp_path, *asked(teacher=folder, student_layers=2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("hyperparameters.class_weights={ORG: 2}", "hyperparameters.class_weights"),
        ("hyperparameters.early_stopping_patience=2", "hyperparameters.early_stopping_patience: 2 has"),
        ("hyperparameters.num_warmup_steps=9999", "9999 is more than the"),
    ],
)
def test_what_cannot_be_is_refused_before_teachers_are_asked(refuse, config, teacher, monkeypatch, settings, message):
    monkeypatch.setattr(teachers, "_mean", None)
    options = (*asked(teacher=teacher, student_layers=2, num_train_epochs=3), "min_validation_period={batches: 18}")
    assert message in refuse(*options, settings, config=config)
