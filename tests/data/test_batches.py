"""The batch plan: every window once, one gradient however a step is cut, orders that only seed and epoch decide."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from determined_ner.data.batches import EVALUATION_PIECES, EvaluationBatches, TrainingBatches, plan_epoch
from determined_ner.data.corpus import load_corpus
from determined_ner.data.pretrained_tokenizer import load_tokenizer
from determined_ner.hub import Pretrained
from determined_ner.settings.data import DataSettings
from tests.data.corpora import make_split

plans = st.fixed_dictionaries(
    {
        "seed_of_lengths": st.integers(0, 10_000),
        "count": st.integers(1, 200),
        "global_batch_size": st.integers(1, 40),
        "micro_batches": st.integers(1, 6),
        "seed": st.integers(0, 5),
        "epoch": st.integers(0, 3),
        "group_by_length": st.booleans(),
        "padded": st.booleans(),
    }
)


def plan_of(case):
    rng = np.random.default_rng(case["seed_of_lengths"])
    lengths = rng.integers(3, 60, case["count"])
    words = rng.integers(1, 50, case["count"])
    names = ("global_batch_size", "micro_batches", "seed", "epoch", "group_by_length", "padded")
    return lengths, words, plan_epoch(lengths, words, **{name: case[name] for name in names})


@given(plans)
@settings(max_examples=300, deadline=None)
def test_every_window_is_trained_once_an_epoch(case):
    lengths, _, plan = plan_of(case)
    seen = [w for micro_batch in plan for w in micro_batch.windows]
    assert sorted(seen) == list(range(len(lengths)))


@given(plans)
@settings(max_examples=300, deadline=None)
def test_every_step_has_as_many_micro_batches_and_none_is_empty_without_need(case):
    lengths, _, plan = plan_of(case)
    sizes = [len(m.windows) for m in plan]
    parts, size = case["micro_batches"], case["global_batch_size"]
    steps = -(-len(lengths) // size)
    assert len(sizes) == steps * parts
    totals = [sum(sizes[i : i + parts]) for i in range(0, len(sizes), parts)]
    assert sorted(totals, reverse=True)[: steps - 1] == [size] * (steps - 1)
    for i, total in enumerate(totals):
        assert sum(s > 0 for s in sizes[i * parts : (i + 1) * parts]) == min(parts, total)


@given(plans)
@settings(max_examples=200, deadline=None)
def test_the_weighted_loss_does_not_depend_on_how_a_step_is_cut(case):
    """Mean over M micro-batches of weight × sum of word losses, for word losses of the window's own number."""
    _, words, plan = plan_of(case)
    _, _, whole = plan_of({**case, "micro_batches": 1})
    loss = words * np.random.default_rng(1).random(len(words))

    def steps(plan):
        batches = list(plan)
        parts = plan.micro_batches
        values = [m.loss_weight * loss[list(m.windows)].sum() / parts for m in batches]
        return [sum(values[i : i + parts]) for i in range(0, len(values), parts)]

    np.testing.assert_allclose(steps(plan), steps(whole), rtol=1e-12)


@given(plans)
@settings(max_examples=200, deadline=None)
def test_in_random_order_the_loss_is_the_mean_over_the_words_of_the_step(case):
    _, words, plan = plan_of({**case, "group_by_length": False, "micro_batches": 1})
    for micro_batch in plan:
        assert micro_batch.loss_weight == pytest.approx(1 / words[list(micro_batch.windows)].sum())


@given(plans)
@settings(max_examples=100, deadline=None)
def test_grouped_by_length_every_word_of_the_epoch_weighs_the_same(case):
    _, words, plan = plan_of({**case, "group_by_length": True})
    weights = {m.loss_weight for m in plan}
    steps = len(list(plan)) // case["micro_batches"]
    assert weights == {case["micro_batches"] / (words.sum() / steps)}


def test_the_order_is_a_function_of_seed_and_epoch():
    lengths = np.random.default_rng(0).integers(3, 60, 500)

    def order(seed, epoch, grouped):
        return plan_epoch(lengths, lengths, 8, 1, seed, epoch, grouped).order.tolist()

    for grouped in (False, True):
        assert order(1, 2, grouped) == order(1, 2, grouped)
        assert order(1, 2, grouped) != order(1, 3, grouped)
        assert order(1, 2, grouped) != order(2, 2, grouped)


def test_grouped_batches_are_shuffled_and_hold_little_padding():
    lengths = np.random.default_rng(0).integers(3, 120, 4000)
    plan = plan_epoch(lengths, lengths, 16, 1, 0, 0, True)
    batches = [lengths[list(m.windows)] for m in plan]
    padded = sum(len(b) * b.max() for b in batches)
    assert 1 - lengths.sum() / padded < 0.05
    means = np.array([b.mean() for b in batches])
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.2


def test_micro_batches_are_balanced():
    lengths = np.random.default_rng(0).integers(3, 120, 1024)
    plans = [plan_epoch(lengths, lengths, 64, 4, 0, 0, False, padded) for padded in (True, False)]
    padded = np.array([len(m.windows) * lengths[list(m.windows)].max() for m in plans[0]]).reshape(-1, 4)
    assert (padded.max(1) / padded.mean(1)).mean() < 1.1
    pieces = [np.array([lengths[list(m.windows)].sum() for m in plan]).reshape(-1, 4) for plan in plans]
    skews = [(sizes.max(1) / sizes.mean(1)).mean() for sizes in pieces]
    assert skews[1] < 1.05 < skews[0]


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_evaluation_takes_every_window_once_and_gives_every_slot_a_batch(slots):
    split = make_split([3, 5, 2])
    batches = [b[0] for b in EvaluationBatches(split, 3, slots)]
    assert sorted(w for b in batches for w in b.windows) == [0, 1, 2]
    assert len(batches) >= slots


def test_evaluation_batches_are_the_same_for_any_number_of_slots():
    split = make_split(np.random.default_rng(0).integers(1, 400, 300).tolist())
    one, four = ([b[0].windows for b in EvaluationBatches(split, 3, slots)] for slots in (1, 4))
    assert one == four and len(one) > 4


CORPORA = {
    "wnut17": ("train.json", "validation.json", "test.json"),
    "ncbi-disease": ("train.tsv", "validation.tsv", "test.tsv"),
    "wikigold": ("train.json", "validation.json", "test.json"),
    "uner-pt-bosque": ("pt_bosque-ud-train.iob2", "pt_bosque-ud-dev.iob2", "pt_bosque-ud-test.iob2"),
}


@pytest.fixture(scope="module", params=CORPORA)
def real_splits(request, shared_data, pretrained_encoder, tmp_path_factory):
    """Splits of a real corpus, and how many special pieces a window has."""
    files = (str(shared_data / request.param / name) for name in CORPORA[request.param])
    data = DataSettings(**dict(zip(("train_file", "validation_file", "test_file"), files, strict=True)))
    tokenizer = load_tokenizer(Pretrained(str(pretrained_encoder)))
    return load_corpus(data, "ner", tokenizer, 512, tmp_path_factory.mktemp("cache")).splits, tokenizer.specials


def padding(lengths, batches):
    return 1 - lengths.sum() / sum(len(b) * lengths[list(b)].max() for b in batches)


@pytest.mark.parametrize("size", [8, 16, 32, 64])
def test_real_corpora_are_trained_with_little_padding(real_splits, size):
    """Under 5 %, but where an epoch has so few steps that no order of batches of this size does better than 5 %."""
    splits, specials = real_splits
    lengths = splits["train"].lengths(specials)
    plan = TrainingBatches(splits["train"], specials, size, 1, seed=0, group_by_length=True).plan(0)
    found = padding(lengths, [m.windows for m in plan])
    ordered = np.argsort(lengths)
    least = padding(lengths, [ordered[at : at + size] for at in range(0, len(ordered), size)])
    assert found == pytest.approx(least)
    assert found < 0.05 or len(lengths) / size < 60, found


def test_real_corpora_are_evaluated_with_little_padding(real_splits):
    splits, specials = real_splits
    for name in ("validation", "test"):
        lengths = splits[name].lengths(specials)
        batches = [b[0].windows for b in EvaluationBatches(splits[name], specials, 1)]
        assert padding(lengths, batches) < 0.08, name
        assert all(len(b) * lengths[list(b)].max() <= EVALUATION_PIECES for b in batches)
