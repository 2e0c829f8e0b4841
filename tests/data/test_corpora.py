"""Several corpora as one training text: label maps, weights, partial labels, and what does not go together."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch

from determined_ner.data.batches import MicroBatch, plan_epoch
from determined_ner.data.collate import BatchDataset
from determined_ner.data.split import IGNORED
from determined_ner.errors import UserError
from determined_ner.model.loss import WordLoss
from tests.conftest import make_sentences, write_conll
from tests.data.corpora import save_dataset, tags_of

NEWS = [[("Ada", "B-person"), ("Bo", "I-person"), ("ran", "O")], [("Rome", "B-place"), (".", "O")]]
CHEM = [[("gold", "B-CHEM"), ("of", "O"), ("Cy", "O")], [("Oslo", "O")]]
GOLD = [[("Ada", "B-PER"), ("in", "O"), ("Rome", "B-LOC")], [("tin", "B-CHEM")]]
MAP = {"person": "PER", "place": "LOC"}


@pytest.fixture
def corpora(tmp_path):
    """Paths of two corpora and of validation data."""
    names = {"news": NEWS, "chem": CHEM, "gold": GOLD}
    return {name: str(write_conll(tmp_path / f"{name}.conll", rows)) for name, rows in names.items()}


def refused(load, **settings) -> str:
    with pytest.raises(UserError) as raised:
        load(**settings)
    return str(raised.value)


def test_a_label_map_reads_types_as_others_in_every_split(load, corpora):
    loaded = load(train_file=corpora["news"], validation_file=corpora["news"], label_map=MAP)
    assert loaded.labels.names == ("B-LOC", "B-PER", "I-PER", "O")
    for split in loaded.splits.values():
        assert tags_of(split, loaded.labels) == [["B-PER", "I-PER", "O"], ["B-LOC", "O"]]


@pytest.mark.parametrize("dropped", [None, "O"])
def test_a_type_that_is_mapped_to_o_or_null_is_dropped(load, corpora, dropped):
    loaded = load(train_file=corpora["news"], validation_file=corpora["news"], label_map={**MAP, "place": dropped})
    assert tags_of(loaded.splits["train"], loaded.labels) == [["B-PER", "I-PER", "O"], ["O", "O"]]


@pytest.mark.parametrize("tags", [["I-a", "I-b"], ["B-a", "B-b"], ["S-a", "S-b"], ["a-B", "b-B"], ["I-a", "B-b"]])
def test_two_types_that_become_one_stay_two_entities(load, tmp_path, tags):
    """In every scheme and spelling; the last is not allowed in IOB2 but read as two all the same."""
    file = str(write_conll(tmp_path / "a.conll", [[("x", tags[0]), ("y", tags[1]), ("z", "O")]] * 3))
    loaded = load(train_file=file, validation_file=file, label_map={"a": "T", "b": "T"})
    found = [tag[0] for tag in tags_of(loaded.splits["train"], loaded.labels)[0]]
    assert found == ["B", "B", "O"]


def test_tags_that_a_map_would_hide_are_repaired_and_told_or_refused(load, tmp_path):
    rows = [[("w", "B-a"), ("x", "O"), ("y", "B-a"), ("z", "I-b")]]
    file = str(write_conll(tmp_path / "a.conll", rows))
    settings = {"train_file": file, "validation_file": file, "label_map": {"a": "T", "b": "T"}}
    loaded = load(**settings)
    assert tags_of(loaded.splits["train"], loaded.labels) == [["B-T", "O", "B-T", "B-T"]]
    (repairs,) = loaded.texts["train"].repairs()
    assert "a.conll:1" in repairs.describe(loaded.texts["train"].source)
    message = refused(load, **settings, on_bad_tags="error")
    assert "a.conll:1" in message and "'I-b'" in message


def test_a_label_map_is_for_data_sets_too(load, tmp_path):
    rows = [(["Ada", "ran"], [1, 0])]
    name = save_dataset(tmp_path / "data", names=["O", "B-person"], train=rows, validation=rows)
    loaded = load(dataset_name=name, label_map={"person": "PER"})
    assert loaded.labels.names == ("B-PER", "O")
    assert "'people': no file has this type" in refused(load, dataset_name=name, label_map={"people": "PER"})


@pytest.mark.parametrize("as_list", [True, False])
def test_several_corpora_are_one_text_in_their_order(load, corpora, as_list):
    chosen = [corpora["news"], corpora["chem"]]
    loaded = load(
        train_file=chosen if as_list else dict(zip("nc", chosen, strict=True)), validation_file=corpora["news"]
    )
    assert [len(tags) for tags in tags_of(loaded.splits["train"], loaded.labels)] == [3, 2, 3, 1]
    assert loaded.texts["train"].source.corpora == (0, 1)
    assert loaded.losses is None


def test_every_corpus_has_its_own_columns_spelling_and_map(load, tmp_path, corpora):
    table = tmp_path / "t.jsonl"
    table.write_text(json.dumps({"tokens": ["Ada", "Bo", "ran"], "ner_tags": ["human_B", "human_I", "O"]}))
    table_of = {"file": str(table), "label_map": {"human": "PER"}}
    settings = {"news": corpora["news"], "table": table_of, "chem": corpora["chem"]}
    loaded = load(train_file=settings, validation_file=corpora["gold"], label_map=MAP)
    assert tags_of(loaded.splits["train"], loaded.labels)[2] == ["B-PER", "I-PER", "O"]


def test_each_corpus_is_held_out_from_by_itself(load, tmp_path):
    files = [str(write_conll(tmp_path / f"{n}.conll", make_sentences(20, 20 * n))) for n in range(2)]
    loaded = load(train_file=files, validation_split_percentage=10)
    assert len(loaded.splits["validation"].sentences) - 1 == 4
    numbers = [batch.column("file").to_pylist() for batch in loaded.texts["validation"].batches()]
    assert sorted(itertools.chain(*numbers)) == [0, 0, 1, 1]


# -- Weights ---------------------------------------------------------------------------------------------------


def weighted(corpora):
    return {"news": {"file": corpora["news"], "label_map": MAP, "loss_weight": 3}, "chem": {"file": corpora["chem"]}}


def test_weights_are_of_mean_1_over_the_training_words(load, corpora):
    loaded = load(train_file=weighted(corpora), validation_file=corpora["gold"])
    weights = loaded.losses.weights  # windows: 3 + 2 words of news, 3 + 1 of chem
    np.testing.assert_allclose(weights, np.array([3, 3, 1, 1]) * 9 / (3 * 5 + 1 * 4), rtol=1e-6)
    words = loaded.splits["train"].counted_pieces()
    assert abs((weights * words).sum() - words.sum()) < 1e-5


def test_with_weights_every_window_is_still_trained_on_once_and_w_is_the_word_count(load, corpora, tokenizer):
    split = load(train_file=weighted(corpora), validation_file=corpora["gold"]).splits["train"]
    plain = load(train_file=[corpora["news"], corpora["chem"]], validation_file=corpora["news"]).splits["train"]
    plans = [plan_epoch(s.lengths(tokenizer.specials), s.counted_pieces(), 2, 1, 7, 0, False) for s in (split, plain)]
    assert sorted(plans[0].order) == [0, 1, 2, 3]
    np.testing.assert_array_equal(plans[0].order, plans[1].order)
    np.testing.assert_array_equal(plans[0].loss_weights, plans[1].loss_weights)


def test_the_loss_of_a_window_is_multiplied_by_its_weight():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4), torch.tensor([[0, 1, -100], [3, -100, 2]])
    rows = [WordLoss()(logits[i : i + 1], labels[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(WordLoss()(logits, labels, torch.tensor([0.5, 2.0])), 0.5 * rows[0] + 2 * rows[1])


# -- Partial labels --------------------------------------------------------------------------------------------


def partial(corpora):
    news = {"file": corpora["news"], "label_map": MAP, "annotated_types": ["PER", "LOC"]}
    return {"news": news, "chem": {"file": corpora["chem"], "annotated_types": ["CHEM"]}}


def test_o_of_a_corpus_that_labels_some_types_may_be_any_of_the_others(load, corpora, tokenizer):
    loaded = load(train_file=partial(corpora), validation_file=corpora["gold"])
    names = loaded.labels.names
    assert names == ("B-CHEM", "B-LOC", "B-PER", "I-PER", "O")
    batch = BatchDataset(loaded.splits["train"], tokenizer, losses=loaded.losses)[MicroBatch((0, 2))]
    labelled = [[int(i) for i in row if i != IGNORED] for row in batch["labels"]]
    assert labelled == [[names.index("B-PER"), names.index("I-PER"), 5], [names.index("B-CHEM"), 6, 6]]
    allowed = [{name for name, may in zip(names, row, strict=True) if may} for row in batch["possible"].tolist()]
    assert allowed == [{"O", "B-CHEM"}, {"O", "B-LOC", "B-PER", "I-PER"}]


def test_the_loss_of_a_partial_label_is_minus_log_of_the_sum_of_what_is_possible():
    torch.manual_seed(1)
    logits = torch.randn(1, 2, 4, dtype=torch.float64).float().requires_grad_()
    possible = torch.tensor([[True, False, True, False]])
    loss = WordLoss()(logits, torch.tensor([[1, 4]]), possible=possible)
    probabilities = logits.softmax(-1)[0]
    torch.testing.assert_close(loss, -(probabilities[0, 1].log() + (probabilities[1, 0] + probabilities[1, 2]).log()))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.isfinite(gradient).all()
    expected = probabilities[1].detach().clone()
    expected[[0, 2]] -= expected[[0, 2]] / expected[[0, 2]].sum()
    torch.testing.assert_close(gradient[0, 1], expected)


def test_without_weights_and_partial_labels_batches_and_losses_are_what_they_were(load, corpora, tokenizer):
    loaded = load(train_file=corpora["news"], validation_file=corpora["news"])
    batch = BatchDataset(loaded.splits["train"], tokenizer, losses=loaded.losses)[MicroBatch((0,))]
    assert set(batch) == {"input_ids", "attention_mask", "labels", "is_first_piece", "windows", "loss_weight"}


# -- What does not go together -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "remedy"), [("persom", "did you mean person"), ("B-person", "write the type alone")])
def test_a_label_map_that_names_a_type_that_no_file_has_is_refused(load, corpora, name, remedy):
    settings = {"validation_file": corpora["gold"], "train_file": corpora["news"]}
    message = refused(load, **settings, label_map={name: "PER"})
    assert f"data.label_map: '{name}': no file has this type" in message and remedy in message
    assert f"person ({corpora['news']}:1)" in message
    message = refused(load, **{**settings, "train_file": {"n": {"file": corpora["news"], "label_map": {name: "PER"}}}})
    assert "data.train_file.n.label_map" in message


def test_a_label_map_may_name_a_type_of_the_validation_data_alone(load, tmp_path, corpora):
    other = str(write_conll(tmp_path / "v.conll", [[("Ada", "B-human")]]))
    loaded = load(train_file=corpora["news"], validation_file=other, label_map={**MAP, "human": "PER"})
    assert tags_of(loaded.splits["validation"], loaded.labels) == [["B-PER"]]


def test_corpora_of_two_schemes_are_refused(load, tmp_path, corpora):
    file = str(write_conll(tmp_path / "bioes.conll", [[("x", "O"), ("tin", "S-CHEM")]]))
    message = refused(load, train_file=[corpora["news"], file], validation_file=corpora["news"])
    assert (
        message.startswith(f"{file}:1: ")
        and "BIOES ('S-CHEM')" in message
        and f"IOB2 ('B-person' at {corpora['news']}:1" in message
    )


def test_corpora_of_iob1_and_iob2_go_together(load, tmp_path, corpora):
    file = str(write_conll(tmp_path / "iob1.conll", [[("x", "I-person"), ("y", "B-person"), ("z", "O")]]))
    loaded = load(train_file=[corpora["news"], file], validation_file=corpora["news"])
    assert tags_of(loaded.splits["train"], loaded.labels)[2] == ["B-person", "B-person", "O"]


def test_plain_tags_beside_entities_are_refused(load, tmp_path, corpora):
    file = str(write_conll(tmp_path / "pos.conll", [[("dogs", "NOUN"), ("bark", "VERB")]]))
    message = refused(load, train_file=[corpora["news"], file], validation_file=corpora["news"])
    assert f"{file}:1" in message and "PLAIN" in message


def test_a_sentence_that_two_corpora_label_otherwise_is_refused_with_both_places(load, tmp_path, corpora):
    file = str(write_conll(tmp_path / "other.conll", [[("x", "O")], [("Rome", "B-person"), (".", "O")]]))
    message = refused(load, train_file=[corpora["news"], file], validation_file=corpora["news"])
    assert message.startswith(f"{file}:3: ") and f"{corpora['news']}:5" in message
    assert "word 1 ('Rome') is B-person here and B-place there" in message


def test_a_sentence_in_two_corpora_that_label_other_types_of_it_is_read(load, tmp_path, corpora):
    file = str(write_conll(tmp_path / "other.conll", [[("Rome", "O"), (".", "B-MARK")]]))
    both = {
        "news": {"file": corpora["news"], "annotated_types": ["person", "place"]},
        "marks": {"file": file, "annotated_types": ["MARK"]},
    }
    assert len(load(train_file=both, validation_file=corpora["news"]).splits["train"].sentences) - 1 == 3


def test_a_file_in_two_corpora_is_refused(load, tmp_path, corpora):
    copy = write_conll(tmp_path / "copy.conll", NEWS)
    message = refused(load, train_file=[corpora["news"], str(copy)], validation_file=corpora["news"])
    assert message.startswith(f"{copy}: ") and corpora["news"] in message


def test_types_that_a_corpus_does_not_label_but_has_are_refused_with_their_place(load, corpora):
    news = {"file": corpora["news"], "annotated_types": ["person"]}
    message = refused(load, train_file={"n": news}, validation_file=corpora["news"])
    assert message.startswith(f"{corpora['news']}:5: ") and "'place'" in message


def test_a_type_that_no_corpus_has_is_refused_as_annotated(load, corpora):
    news = {"file": corpora["news"], "annotated_types": ["person", "place", "pet"]}
    message = refused(load, train_file={"n": news}, validation_file=corpora["news"])
    assert "data.train_file.n.annotated_types: 'pet'" in message
