"""Models that read more than the text are found by what they compute."""

from __future__ import annotations

import pytest
import torch
import transformers

from determined_ner import Tagger, cli
from determined_ner.data.pretrained_tokenizer import load_tokenizer
from determined_ner.errors import HyperparameterError, UserError
from determined_ner.hub import Pretrained
from determined_ner.model.build import longest_window
from determined_ner.model.probe import check_behaviour
from tests.conftest import write_config

SIZES = {
    "vocab_size": 85,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}


def make(kind: str, **options):
    torch.manual_seed(0)
    config = transformers.CONFIG_MAPPING[kind](**SIZES | options, num_labels=3)
    return transformers.AutoModelForTokenClassification.from_config(config).eval()


@pytest.fixture
def probe(tiny_encoder):
    tokenizer = load_tokenizer(Pretrained(str(tiny_encoder)))

    def run(model, window: int | None = None) -> None:
        source = Pretrained("x", "pretrained_model_name_or_path")
        check_behaviour(model, tokenizer, window or longest_window(model.config, source, 512), source)

    return run


@pytest.mark.parametrize("kind", ["bert", "roberta", "deberta-v2", "electra", "ibert", "longformer", "mra", "mpnet"])
def test_what_reads_the_text_alone_passes_up_to_its_longest_window(probe, kind, caplog):
    options = {"longformer": {"attention_window": 16}}.get(kind, {})
    model = make(kind, **options).train()
    state = torch.get_rng_state()
    probe(model)
    assert model.training and torch.equal(torch.get_rng_state(), state) and not caplog.messages
    assert all(p.grad is None and not p.is_inference() for p in model.parameters())


@pytest.mark.parametrize(
    ("kind", "options", "problem"),
    [
        ("fnet", {}, "is a model of type 'fnet', which "),  # gives other logits beside a longer text, or takes no mask
        ("bros", {}, "is a model of type 'bros', which cannot compute a text of 3 pieces: You have to specify bbox"),
        ("nystromformer", {"num_landmarks": 8}, "is a model of type 'nystromformer', which cannot compute a text of 3"),
    ],
)
def test_what_reads_more_than_the_text_is_refused_by_name(probe, kind, options, problem):
    with pytest.raises(HyperparameterError) as caught:
        probe(make(kind, **options))
    assert caught.value.problem.startswith(problem) and caught.value.remedy.startswith("choose another model")


def test_what_reads_a_little_more_is_said(probe, caplog):
    probe(make("convbert", embedding_size=32, head_ratio=1))
    assert "a model of type 'convbert', which gives a text other logits beside a longer one" in caplog.text


def test_a_window_that_is_too_long_is_refused(probe):
    with pytest.raises(HyperparameterError, match="which cannot compute a text of 66 pieces"):
        probe(make("bert"), window=66)


@pytest.mark.parametrize("kind", ["yoso", "mra", "ibert"])
def test_the_longest_window_is_what_positions_reach(kind):
    """Where they begin at 2, or are of a class of their own."""
    model = make(kind, pad_token_id=1)
    limit = longest_window(model.config, Pretrained("x"), 512)
    with torch.no_grad():
        assert model(torch.full((1, limit), 5)).logits.shape[1] == limit
        with pytest.raises((RuntimeError, IndexError)):
            model(torch.full((1, limit + 1), 5))


def test_a_short_text_changes_nothing_of_a_long_one(probe):
    """BigBird's attention is sparse until the first short text."""
    model = make("big_bird", block_size=4, num_random_blocks=1)
    probe(model)
    with torch.no_grad():
        long, short = torch.arange(5, 65)[None], torch.arange(5, 12)[None]
        before = model(long).logits
        model(short)
        torch.testing.assert_close(model(long).logits, before, atol=1e-6, rtol=0)


def test_no_command_takes_a_model_that_tags_otherwise_in_a_batch(tiny_encoder, corpus, tmp_path, refuse, capsys):
    folder = tmp_path / "fnet"
    make("fnet").save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(folder)
    config_file = write_config(tmp_path / "fnet.json", folder, corpus, ignore_mismatched_sizes=True)
    assert "is a model of type 'fnet'" in refuse(config=config_file)
    assert cli.main(["check", str(config_file), "--no-timing"]) == 2
    assert "is a model of type 'fnet'" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"is a model of type 'fnet', which .*(beside a longer one|attention_mask)"):
        Tagger.from_pretrained(folder)
