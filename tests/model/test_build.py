"""The model, its head and its limits; what is said where there is none to be had."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers

from determined_ner import cli
from determined_ner.data.pretrained_tokenizer import load_tokenizer
from determined_ner.data.windows import window_size
from determined_ner.errors import HyperparameterError, UserError
from determined_ner.files.checksums import write_checksums
from determined_ner.hub import Pretrained
from determined_ner.model.build import build_model, load_config, longest_window
from determined_ner.settings.hyperparameters import Hyperparameters
from tests.conftest import read_metrics, write_config
from tests.damage import flip_a_bit

LABELS = ("O", "B-PER", "I-PER")
NO_LIMIT = 1_000_000  # for what a tokenizer without a limit is taken


def settings(encoder: Path | str = "x", **others) -> Hyperparameters:
    return Hyperparameters(pretrained_model_name_or_path=str(encoder), **others)


def build(encoder: Path | str, seed: int = 7, labels: tuple[str, ...] = LABELS, **others):
    hparams = settings(encoder, **others)
    source = Pretrained.of_setting(hparams, "config_name")
    config = load_config(source)
    longest_window(config, source, NO_LIMIT)
    return build_model(config, hparams, labels, seed)


@pytest.fixture
def encoder(tiny_encoder, tmp_path) -> Path:
    """One of one's own, to spoil."""
    return Path(shutil.copytree(tiny_encoder, tmp_path / "encoder"))


@pytest.fixture
def tagger(tiny_encoder, tmp_path) -> Path:
    """An encoder with a head for two labels, in an order of its own."""
    config = transformers.BertConfig.from_pretrained(
        tiny_encoder, id2label={1: "B-X", 0: "O"}, label2id={"B-X": 1, "O": 0}
    )
    torch.manual_seed(1)
    transformers.BertForTokenClassification(config).save_pretrained(tmp_path / "tagger")
    return tmp_path / "tagger"


def head(model) -> torch.Tensor:
    return model.classifier.weight.detach()


def same_encoder(model, path: Path) -> bool:
    loaded = transformers.BertModel.from_pretrained(path, add_pooling_layer=False).state_dict()
    mine = model.base_model.state_dict()
    return all(torch.equal(mine[name], loaded[name]) for name in loaded)


# -- The model ---------------------------------------------------------------------------------------------------


def test_a_training_does_not_begin_with_a_damaged_model(tagger):
    write_checksums(tagger)
    build(tagger, labels=("O", "B-X"))
    flip_a_bit(tagger / "model.safetensors")
    with pytest.raises(UserError, match="its checksum is another") as refusal:
        build(tagger, labels=("O", "B-X"))
    assert refusal.value.where == str(tagger / "model.safetensors")


def test_the_encoder_is_loaded_and_the_label_map_is_in_the_config(tiny_encoder):
    model = build(tiny_encoder)
    assert same_encoder(model, tiny_encoder)
    assert model.config.num_labels == 3 and head(model).shape == (3, 16)
    assert model.config.id2label == dict(enumerate(LABELS))
    assert model.config.label2id == {"O": 0, "B-PER": 1, "I-PER": 2}
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_the_head_is_new_and_that_of_its_seed(tiny_encoder):
    first, again, other = (head(build(tiny_encoder, seed)) for seed in (7, 7, 8))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_without_pretrained_weights_everything_is_that_of_the_seed(tiny_encoder):
    first, again, other = (build(tiny_encoder, seed, use_pretrained_weights=False) for seed in (7, 7, 8))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(head(first), head(other))
    assert not same_encoder(first, tiny_encoder)


def test_a_head_for_the_same_labels_is_kept(tagger):
    model = build(tagger, labels=("O", "B-X"))
    assert torch.equal(head(model), head(transformers.BertForTokenClassification.from_pretrained(tagger)))


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(5, 37)[None]).logits


def test_a_head_for_the_same_labels_in_another_order_goes_on(tagger, caplog):
    caplog.set_level("INFO")
    model = build(tagger, labels=("B-X", "O"))
    before = transformers.BertForTokenClassification.from_pretrained(tagger)
    assert torch.equal(logits(model), logits(before)[..., [1, 0]])
    assert model.config.id2label == {0: "B-X", 1: "O"} and same_encoder(model, tagger)
    assert "head: goes on, its labels in the order of this training" in caplog.messages


def test_labels_that_are_added_to_a_head_get_rows_of_their_own(tagger, caplog):
    caplog.set_level("INFO")
    labels = ("B-W", "B-X", "I-X", "O")
    model, again, other = (build(tagger, seed, labels=labels) for seed in (7, 7, 8))
    before = transformers.BertForTokenClassification.from_pretrained(tagger)
    # A product with a matrix of another shape may be summed up in another order; row by row it is the same to the bit.
    torch.testing.assert_close(logits(model)[..., [3, 1]], logits(before), atol=1e-6, rtol=0)
    with torch.no_grad():
        for old, new in ((0, 3), (1, 1)):
            mine, its = (
                torch.nn.functional.linear(
                    trained.eval().base_model(torch.arange(5, 37)[None]).last_hidden_state,
                    trained.classifier.weight[row : row + 1].clone(),
                    trained.classifier.bias[row : row + 1].clone(),
                )
                for trained, row in ((model, new), (before, old))
            )
            assert torch.equal(mine, its)
    assert torch.equal(head(model), head(again))
    assert torch.equal(head(model)[[1, 3]], head(other)[[1, 3]])
    assert not torch.equal(head(model)[[0, 2]], head(other)[[0, 2]])
    assert head(model)[[0, 2]].std() == pytest.approx(0.02, rel=0.5)  # as BERT's heads begin
    assert "head: goes on, with new rows for the labels B-W I-X" in caplog.messages


def test_labels_are_dropped_from_a_head_on_request_alone(tagger, caplog):
    caplog.set_level("INFO")
    labels = ("B-Y", "O")
    with pytest.raises(HyperparameterError, match=r"a head for the labels O B-X, of which the data lacks B-X; set dr"):
        build(tagger, labels=labels)
    model = build(tagger, labels=labels, drop_unused_labels=True)
    before = transformers.BertForTokenClassification.from_pretrained(tagger)
    torch.testing.assert_close(logits(model)[..., 1], logits(before)[..., 0], atol=1e-6, rtol=0)
    assert torch.equal(head(model)[1], head(before)[0])
    assert "head: goes on without the labels B-X, which the data lacks" in caplog.messages


@pytest.mark.parametrize("labels", [("O", "B-Y"), ("B-X", "O"), LABELS], ids=["names", "order", "number"])
def test_a_head_is_replaced_on_request(tagger, labels):
    first, again, other = (
        build(tagger, seed, labels=labels, ignore_mismatched_sizes=True, trust_remote_code=True) for seed in (7, 7, 8)
    )
    before = transformers.BertForTokenClassification.from_pretrained(tagger)
    assert torch.equal(head(first), head(again)) and not torch.equal(head(first), head(other))
    assert head(first).shape == (len(labels), 16)
    assert head(first).shape != head(before).shape or not torch.equal(head(first), head(before))
    assert same_encoder(first, tagger)


@pytest.mark.parametrize("drop", [True, False])
def test_a_head_without_a_label_of_the_data_is_refused(tagger, drop):
    with pytest.raises(HyperparameterError, match=r"of which the data has none: B-Y I-Y; set ignore_mismatched_sizes"):
        build(tagger, labels=("B-Y", "I-Y"), drop_unused_labels=drop)


def test_a_run_goes_on_with_the_head_of_another_that_knew_fewer_labels(train, config_file, tmp_path, corpus):
    """The model of one training as the encoder of the next, whose data has a type more."""
    first = train("hyperparameters.num_train_epochs=6", "hyperparameters.learning_rate=2e-2", output="first")
    known = json.loads((first / "summary.json").read_text())["best"]
    for file in corpus.values():
        file.write_text(file.read_text().replace("went\tO", "went\tB-ACT"))
    second = train(
        f"hyperparameters.pretrained_model_name_or_path={first / 'model'}",
        "hyperparameters.max_steps=1",
        "perform_initial_validation=true",
        output="second",
    )
    assert json.loads((second / "summary.json").read_text())["labels"] == ["B-ACT", "B-LOC", "B-PER", "I-PER", "O"]
    begun = read_metrics(second, "validation")[0]
    assert begun["batches"] == 0 and begun["f1_PER"] > 0.9 * known["f1_PER"] > 0.8


def test_every_call_of_the_library_knows_whether_to_trust_code(tagger, monkeypatch):
    trusted = []

    def spy(kind, method):
        real = getattr(kind, method)

        def call(*arguments, **options):
            trusted.append(options.get("trust_remote_code"))
            return real(*arguments, **options)

        monkeypatch.setattr(kind, method, call)

    spy(transformers.AutoConfig, "from_pretrained")
    spy(transformers.AutoModel, "from_config")
    spy(transformers.AutoModelForTokenClassification, "from_pretrained")
    spy(transformers.AutoModelForTokenClassification, "from_config")
    build(tagger, ignore_mismatched_sizes=True, trust_remote_code=True)
    assert trusted == [True] * 5


def test_an_encoder_in_the_home_directory_is_found(encoder, monkeypatch):
    monkeypatch.setenv("HOME", str(encoder.parent))
    assert same_encoder(build("~/encoder", config_name="~/encoder"), encoder)


# -- What is refused ---------------------------------------------------------------------------------------------


def cut_short(path: Path) -> None:
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])


def lfs_pointer(path: Path) -> None:
    (path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


def no_weights(path: Path) -> None:
    (path / "model.safetensors").unlink()


def junk(data: bytes):
    def spoil(path: Path) -> None:
        no_weights(path)
        (path / "pytorch_model.bin").write_bytes(data)

    return spoil


def config(**values):
    def spoil(path: Path) -> None:
        read = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps(read | values))

    return spoil


def no_json(path: Path) -> None:
    (path / "config.json").write_text("{")


def no_config(path: Path) -> None:
    (path / "config.json").unlink()


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (cut_short, "no weights can be loaded: .*fetch its files again.*use_pretrained_weights: false"),
        (lfs_pointer, "no weights can be loaded: .*git-lfs"),
        (no_weights, "no weights can be loaded: .*model.safetensors"),
        (junk(b"junk"), "no weights can be loaded: "),
        (junk(b""), "no weights can be loaded: (EOFError; |Unable to load weights)"),
        (junk(b"\x80\x02junk"), "no weights can be loaded: "),
        (junk(b"PK\x03\x04junk"), "no weights can be loaded: "),
        (config(hidden_size="big"), "no model .*'?str'?.*config.json"),
        (config(model_type="nothing"), "no model config can be loaded: .*`nothing`.*another encoder"),
        (config(num_attention_heads=3), r"no model can be built from its config: .*\(3\).*correct the sizes"),
        (config(num_attention_heads=0), "no model can be built from its config: ZeroDivisionError"),
        (no_json, "no model config can be loaded: .*config.json"),
        (no_config, "no model config can be loaded: .*config.json"),
    ],
)
def test_an_encoder_that_does_not_load_is_refused(encoder, spoil, expected, trained):
    spoil(encoder)
    if not trained and "weights" in expected:
        build(encoder, use_pretrained_weights=False)  # nobody looks at them
        return
    with pytest.raises(UserError, match=expected) as caught:
        build(encoder, use_pretrained_weights=trained)
    message = str(caught.value)
    assert message.startswith(f"hyperparameters.pretrained_model_name_or_path: {str(encoder)!r}: ")
    assert "\n" not in message and "; " in message
    assert caught.value.__cause__ is not None  # the library's own error, for debugging


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("kind", ["BartConfig", "ViTConfig", "EncoderDecoderConfig"])
def test_an_architecture_without_token_classification_is_refused(tmp_path, kind, trained):
    parts = ("encoder", "decoder") if kind == "EncoderDecoderConfig" else ()
    options = {part: {"model_type": "bert"} for part in parts}
    getattr(transformers, kind)(**options).save_pretrained(tmp_path)
    expected = r"is a model of type '\S+', for which transformers \S+ has no token classification head; choose an"
    with pytest.raises(UserError, match=expected):
        build(tmp_path, use_pretrained_weights=trained)


def test_weights_of_another_architecture_are_refused(encoder):
    transformers.ElectraConfig(
        vocab_size=85, embedding_size=16, hidden_size=16, num_hidden_layers=1, num_attention_heads=2
    ).save_pretrained(encoder)
    with pytest.raises(UserError, match=r"lacks \d+ weights of the encoder ElectraForTokenClassification.*config_name"):
        build(encoder)


@pytest.mark.parametrize("name", ["no-such/model", "no such model!"])
@pytest.mark.parametrize("setting", ["pretrained_model_name_or_path", "config_name"])
def test_a_hub_model_that_cannot_be_had_gives_one_plain_message(tiny_encoder, name, setting):
    given = {"pretrained_model_name_or_path": str(tiny_encoder), setting: name}
    with pytest.raises(UserError) as caught:
        load_config(Pretrained.of_setting(Hyperparameters(**given), "config_name"))
    message = str(caught.value)
    assert message.startswith(f"hyperparameters.{setting}: {name!r}: no model config can be loaded, as it is not a dir")
    assert "the Hugging Face hub does not give it" in message
    assert "local model directory, or check the name" in message and "\n" not in message


# -- The longest window ------------------------------------------------------------------------------------------

SMALL = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


@pytest.mark.parametrize("limit", ["x", None, [512], {}, 0, -1, float("nan")])
def test_a_tokenizer_whose_limit_is_no_number_of_pieces_is_refused(encoder, limit):
    with pytest.raises(UserError, match=f"model_max_length of its tokenizer is {re.escape(repr(limit))}"):
        replace(load_tokenizer(Pretrained(str(encoder))), limit=limit).stated_limit(Pretrained(str(encoder)))


def test_a_tokenizer_without_a_limit_is_taken_for_one_of_a_million_pieces(encoder):
    tokenizer = load_tokenizer(Pretrained(str(encoder)))
    assert replace(tokenizer, limit=10**30).stated_limit(Pretrained("x")) == NO_LIMIT
    assert replace(tokenizer, limit=64).stated_limit(Pretrained("x")) == 64


@pytest.mark.parametrize(
    ("kind", "options", "limit"),
    [
        ("BertConfig", SMALL | {"max_position_embeddings": 64}, 64),
        ("RobertaConfig", SMALL | {"max_position_embeddings": 66, "pad_token_id": 1}, 64),
        ("ElectraConfig", SMALL | {"embedding_size": 8, "max_position_embeddings": 64}, 64),
        ("DebertaV2Config", SMALL | {"max_position_embeddings": 64, "relative_attention": True}, 64),
        ("DebertaV2Config", SMALL | {"max_position_embeddings": 64, "position_biased_input": False}, 64),
        (
            "DistilBertConfig",
            {"vocab_size": 50, "dim": 16, "hidden_dim": 32, "n_layers": 1, "n_heads": 2, "max_position_embeddings": 64},
            64,
        ),
        ("XLNetConfig", {"vocab_size": 50, "d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32}, 1_000_000),
    ],
)
def test_the_longest_window_is_what_the_model_takes(kind, options, limit):
    made = getattr(transformers, kind)(**options)
    assert longest_window(made, Pretrained("x"), NO_LIMIT) == limit
    assert longest_window(made, Pretrained("x"), 30) == 30  # the tokenizer's limit counts too
    model = transformers.AutoModelForTokenClassification.from_config(made).eval()
    length = min(limit, 600)
    with torch.no_grad():
        assert model(torch.full((1, length), 5)).logits.shape[1] == length


def test_the_window_is_as_asked_or_what_the_model_takes():
    assert window_size(None, 1_000_000) == 512 and window_size(None, 64) == 64
    assert window_size(64, 64) == 64
    with pytest.raises(
        HyperparameterError, match=r"data.max_seq_length: 65 is more than the 64 pieces.*write at most 64"
    ):
        window_size(65, 64)


def test_a_tokenizer_with_more_pieces_than_the_encoder_is_refused(tiny_encoder):
    config = transformers.BertConfig.from_pretrained(tiny_encoder)
    tokenizer = load_tokenizer(Pretrained(str(tiny_encoder)))
    tokenizer.check_rows(config.vocab_size, Pretrained("x"))
    tokenizer.check_rows(None, Pretrained("x"))
    with pytest.raises(HyperparameterError) as caught:
        tokenizer.check_rows(config.vocab_size - 2, Pretrained("x", "tokenizer_name"))
    assert caught.value.where == "hyperparameters.tokenizer_name: 'x'"
    assert 'the piece "##\'" (id 83) and 1 more, and the model vectors for 83 pieces only' in caught.value.problem


def added(encoder: Path, **tokens: str) -> None:
    """As ``tokenizer.add_special_tokens`` leaves it, without ``model.resize_token_embeddings``."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder)
    tokenizer.add_special_tokens(tokens)
    tokenizer.save_pretrained(encoder)


def renumbered(encoder: Path, piece: str) -> None:
    backend = json.loads((encoder / "tokenizer.json").read_text())
    backend["model"]["vocab"][piece] = 99_999
    (encoder / "tokenizer.json").write_text(json.dumps(backend))


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda encoder: added(encoder, pad_token="[PADDING]"), r"\[PADDING\]"),
        (lambda encoder: added(encoder, unk_token="[UNKNOWN]"), r"\[UNKNOWN\]|does not know"),
        (lambda encoder: added(encoder, cls_token="[BEGIN]"), r"\[BEGIN\]"),
        (lambda encoder: transformers_add(encoder, ["Atlantis"]), "Atlantis"),
        (lambda encoder: renumbered(encoder, "z"), r"'z' \(id 99999\)"),
    ],
    ids=["padding", "unknown", "special", "word", "number"],
)
def test_a_piece_without_a_word_vector_is_refused_by_train_check_and_predict(
    encoder, tmp_path, corpus, refuse, capsys, spoil, named
):
    """Whether the data has it or not; and nothing is left that blocks the run's name."""
    transformers.BertForTokenClassification.from_pretrained(encoder).save_pretrained(encoder)
    spoil(encoder)
    config_file = write_config(tmp_path / "config.json", encoder, corpus)
    assert re.search(named, refuse(config=config_file))
    (tmp_path / "a.txt").write_text("Ada")
    for arguments in (["check", config_file], ["predict", encoder, tmp_path / "a.txt"]):
        assert cli.main([str(argument) for argument in arguments]) == 2
        message = capsys.readouterr().err
        assert re.search(named, message) and message.count("error: ") == 1


def transformers_add(encoder: Path, words: list[str]) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder)
    tokenizer.add_tokens(words)
    tokenizer.save_pretrained(encoder)
