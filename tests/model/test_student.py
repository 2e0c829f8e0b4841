"""Students of some of a teacher's layers, of any architecture whose layers can be chosen."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from determined_ner.errors import HyperparameterError
from determined_ner.hub import Pretrained
from determined_ner.model.build import skeleton
from determined_ner.model.parameter_groups import find_layers
from determined_ner.model.student import build_student, choose_layers, student_config

SOURCE = Pretrained("big", "teacher")


@pytest.mark.parametrize(
    ("asked", "count", "expected"),
    [
        (6, 12, [0, 2, 4, 7, 9, 11]),  # DistilBERT's
        (3, 6, [0, 3, 5]),
        (2, 6, [0, 5]),
        (1, 6, [0]),
        (6, 6, [0, 1, 2, 3, 4, 5]),
        (1, 1, [0]),
        ([1, 4, 6], 6, [0, 3, 5]),
    ],
)
def test_layers_are_evenly_spaced_or_those_named(asked, count, expected):
    assert choose_layers(asked, count) == expected


@pytest.mark.parametrize("asked", [7, [1, 7]])
def test_more_layers_than_the_teacher_has_are_refused(asked):
    with pytest.raises(HyperparameterError, match=r"hyperparameters\.student_layers: .* 6"):
        choose_layers(asked, 6)


OLD = int(transformers.__version__.partition(".")[0]) < 5


def config_of(architecture: str, **more: Any) -> Any:
    return getattr(transformers, f"{architecture}Config")(
        **more, architectures=[f"{architecture}ForTokenClassification"], num_labels=3
    )


@pytest.mark.parametrize(
    ("architecture", "entry"),
    [
        ("Bert", "num_hidden_layers"),  # as many as attention heads
        ("DistilBert", "n_layers"),
        ("DebertaV2", "num_hidden_layers"),
        pytest.param("XLM", "n_layers", marks=pytest.mark.skipif(OLD, reason="layers are numbered through all models")),
        ("MPNet", "num_hidden_layers"),
        ("Longformer", "num_hidden_layers"),
        ("GPT2", "n_layer"),
    ],
)
def test_the_entry_of_a_config_that_says_how_many_is_found(architecture, entry):
    config = config_of(architecture)
    count = getattr(config, entry)
    student, layers = student_config(config, SOURCE, 3)
    assert (len(find_layers(skeleton(student, SOURCE))), len(layers)) == (3, 3)
    changed = {name for name, value in student.to_dict().items() if config.to_dict()[name] != value}
    assert changed - {"attention_window"} == {entry} and getattr(config, entry) == count


@pytest.mark.parametrize(
    ("architecture", "asked", "said"),
    [
        ("Funnel", 3, "no entry of its config.json says how many there are"),
        ("Albert", 2, "2 is more than the 1 layers of the teacher"),
        ("Bert", 13, "13 is more than the 12 layers of the teacher"),
        ("Bert", [1, 13], "names layer 13, and the teacher has 12"),
    ],
)
def test_what_cannot_be_chosen_is_refused(architecture, asked, said):
    with pytest.raises(HyperparameterError, match=r"^hyperparameters\.student_layers: .*") as refused:
        student_config(config_of(architecture), SOURCE, asked)
    assert said in str(refused.value)


@pytest.mark.skipif(not hasattr(transformers, "ModernBertConfig"), reason="this transformers has no ModernBERT")
def test_a_layer_that_would_compute_otherwise_in_its_new_place_is_refused():
    """ModernBERT's first layer has no norm before its attention; which of the others see all text is by their place."""
    config = config_of("ModernBert")
    with pytest.raises(HyperparameterError, match=r"as layer 1, layer 2 would have Identity|would be other than"):
        student_config(config, SOURCE, [2, 3])


SMALL = {"vocab_size": 60, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 32}


@pytest.mark.parametrize("labels", [("O", "B-X", "I-X"), ("I-X", "O", "B-X")])
@pytest.mark.parametrize("asked", [4, 2, [2, 3]])
def test_embeddings_layers_and_head_are_the_teachers(asked, labels):
    torch.manual_seed(0)
    config = config_of("Bert", num_hidden_layers=4, **SMALL)
    teacher, names = transformers.BertForTokenClassification(config).eval(), ("O", "B-X", "I-X")
    changed, layers = student_config(config, SOURCE, asked)
    student = build_student(teacher, names, changed, layers, labels, SOURCE, {}).eval()
    assert len(student.bert.encoder.layer) == len(layers) == student.config.num_hidden_layers
    teacher.bert.encoder.layer = torch.nn.ModuleList([teacher.bert.encoder.layer[i] for i in layers])
    ids = torch.arange(5, 25)[None]
    expected = teacher(ids).logits[..., [names.index(name) for name in labels]]
    assert torch.equal(student(ids).logits, expected)
    assert [student.config.id2label[i] for i in range(3)] == list(labels)
