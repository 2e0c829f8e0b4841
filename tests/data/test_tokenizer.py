"""Fast tokenizers of every family, built from tiny vocabularies: a piece for each word, wherever the word stands."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.normalizers import Strip
from tokenizers.pre_tokenizers import Sequence
from transformers import PreTrainedTokenizerFast

from determined_ner.data.pretrained_tokenizer import from_fast_tokenizer, load_tokenizer
from determined_ner.data.tokenizer import MAX_WORD, read_tokenizer
from determined_ner.data.words import visible
from determined_ner.errors import UserError, first_line
from determined_ner.hub import Pretrained
from determined_ner.settings.hyperparameters import Hyperparameters
from tests.data.tokenizer_families import FAMILIES, bert, roberta

WORDS = [["Ada", "word", "word", "São"], ["x"], ["state-of-the-art", ",", "Ölüdeniz", "2024"]]
ODD = ["\u200b", "\u200d\u200b", "\x01", "\ufeff", "\u00ad", "\u3000", "日本", "👍🏽", "a\u0301", "\u202e"]


@pytest.fixture(params=FAMILIES, ids=lambda family: family.__name__)
def loaded(request, tmp_path):
    request.param(tmp_path)
    return load_tokenizer(Pretrained(str(tmp_path)))


def test_every_word_has_a_piece_and_the_same_ones_wherever_it_stands(loaded):
    ids, per_word, _ = loaded.pieces(WORDS)
    assert len(per_word) == 9 and per_word.min() >= 1 and per_word.sum() == len(ids)
    starts = np.concatenate([[0], np.cumsum(per_word)])
    pieces = [ids[starts[i] : starts[i + 1]].tolist() for i in range(9)]
    assert pieces[1] == pieces[2]
    alone, _, _ = loaded.pieces([["word"]])
    assert pieces[1] == alone.tolist()
    in_text = loaded.backend.encode("x word", add_special_tokens=False).ids
    assert pieces[1] == in_text[-len(pieces[1]) :]  # as the encoder met it in its pretraining


def test_words_that_vanish_in_the_tokenizer_still_have_a_piece(loaded):
    ids, per_word, unknown = loaded.pieces([["Ada", *ODD, "x"], ODD])
    assert len(per_word) == 2 * len(ODD) + 2 and per_word.min() >= 1 and per_word.sum() == len(ids)
    before, plain, _ = loaded.pieces([["Ada"]])
    assert ids[: plain[0]].tolist() == before.tolist()
    assert unknown == 2 * sum(len(loaded.backend.encode([visible(w)], is_pretokenized=True,
                              add_special_tokens=False).ids) == 0 for w in ODD)  # fmt: skip


def test_hidden_characters_change_no_pieces(loaded):
    """Training and tagging both feed words through here: a soft hyphen or a zero-width mark says nothing."""
    plain = [["Ada", "went", "to", "Lisbon", "❤"]]
    hidden = [["\ufeffAda\u200b", "we\u2060nt\x07", "\u200eto\u202c", "Lis\u00adbon\u200d", "❤\ufe0f"]]
    for ours, expected in zip(loaded.pieces(hidden), loaded.pieces(plain), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_a_word_of_any_length_is_read_by_its_beginning(loaded):
    """What a window could hold is read; megabytes without a space would take minutes."""
    word = "Ab" * (MAX_WORD // 2)
    long, plain = loaded.pieces([["x", word * 3, "y"]]), loaded.pieces([["x", word, "y"]])
    for ours, expected in zip(long, plain, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_pieces_are_those_of_the_library(loaded):
    """With the special pieces around: what ``tokenizer(words, is_split_into_words=True)`` gives."""
    for words in WORDS:
        ids, _, unknown = loaded.pieces([words])
        assert unknown == 0
        expected = loaded.pretrained(words, is_split_into_words=True)["input_ids"]
        assert [*loaded.prefix, *ids.tolist(), *loaded.suffix] == expected


def test_limits_in_the_tokenizers_file_cut_nothing(tmp_path):
    bert(tmp_path)
    backend = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    backend.enable_truncation(4)
    backend.enable_padding(length=4)
    backend.save(str(tmp_path / "tokenizer.json"))
    loaded = load_tokenizer(Pretrained(str(tmp_path)))
    ids, per_word, _ = loaded.pieces([["Ada"] * 50])
    assert len(per_word) == 50 and len(ids) >= 50
    assert loaded.specials == 2


def test_a_slow_tokenizer_is_refused(tmp_path, monkeypatch):
    from transformers import AutoTokenizer

    class Slow:
        is_fast = False

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda *_, **__: Slow())
    with pytest.raises(UserError, match=r"Slow is a slow one.*which piece belongs"):
        load_tokenizer(Pretrained(str(tmp_path)))


def test_a_slow_tokenizer_that_wants_a_package_is_refused_as_slow(tmp_path):
    """It would be refused with the package, too."""
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n")
    kind = {"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "mecab"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(kind))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UserError, match=r"is a slow one, which does not tell") as caught:
        load_tokenizer(Pretrained(str(tmp_path)))
    assert "fugashi" not in str(caught.value)


@pytest.mark.parametrize("kind", [3, ["BertTokenizer"], {}])
def test_a_class_of_tokenizers_that_is_no_name_is_refused_in_words(tmp_path, kind):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind}))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UserError, match="no tokenizer can be loaded"):
        load_tokenizer(Pretrained(str(tmp_path)))


def test_a_tokenizer_that_does_not_tell_words_apart_is_refused(tmp_path, monkeypatch):
    """A stand-in that is deaf to add_prefix_space, and takes a blank away: probed as loaded, and again."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    roberta(tmp_path)
    backend = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    backend.pre_tokenizer = Sequence([backend.pre_tokenizer])
    backend.normalizer = Strip()
    backend.save(str(tmp_path / "tokenizer.json"))
    asked = []

    def deaf(name, add_prefix_space=False, **options):
        asked.append(add_prefix_space)
        return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_file(f"{name}/tokenizer.json"))

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", deaf)
    with pytest.raises(UserError, match=r"pretrained_model_name_or_path: .*other pieces.*choose an encoder") as caught:
        load_tokenizer(Pretrained(str(tmp_path), "pretrained_model_name_or_path"))
    assert asked == [False, True] and "\n" not in str(caught.value)


@pytest.mark.parametrize("setting", ["pretrained_model_name_or_path", "tokenizer_name"])
def test_a_damaged_tokenizer_is_refused_under_the_name_of_its_setting(tmp_path, setting):
    bert(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0", "model": 7}')
    settings = {"pretrained_model_name_or_path": "bert-base-cased", setting: str(tmp_path)}
    with pytest.raises(UserError) as caught:
        load_tokenizer(Pretrained.of_setting(Hyperparameters(**settings), "tokenizer_name"))
    message = str(caught.value)
    assert message.startswith(f"hyperparameters.{setting}: {str(tmp_path)!r}: no tokenizer can be loaded: ")
    assert "\n" not in message and "set hyperparameters.tokenizer_name" in message
    assert caught.value.__cause__ is not None


def test_a_tokenizer_in_the_home_directory_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "encoder").mkdir()
    bert(tmp_path / "encoder")
    source = Pretrained("~/encoder", cache_dir="~/cache")
    assert load_tokenizer(source).specials == 2
    assert source.options()["cache_dir"] == str(tmp_path / "cache")


def test_a_name_that_can_only_be_a_directory_is_not_asked_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Pretrained("bert-base-cased", "config_name").location() == "bert-base-cased"
    assert Pretrained("~", "config_name").location() == str(tmp_path)
    for name in ("~/nowhere", "./nowhere", "/no/where", "~nobody-of-this-name/x"):
        with pytest.raises(UserError, match=rf"^hyperparameters.config_name: '{name}': is not a directory; write"):
            Pretrained(name, "config_name").location()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("one thing.\nand a page of others"), "one thing"),
        (ValueError("in field 'x':\n    expected int"), "in field 'x': expected int"),
        (EOFError(), "EOFError"),
        (KeyError("x"), "KeyError: 'x'"),
        (ValueError("\n"), "ValueError"),
    ],
)
def test_what_a_library_says_first(error, said):
    assert first_line(error) == said


def test_a_tokenizer_without_vocabulary_is_refused(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    with pytest.raises(UserError, match="no vocabulary"):
        load_tokenizer(Pretrained(str(tmp_path)))


def test_the_fingerprint_tells_tokenizers_apart(tmp_path):
    prints = []
    for family in (bert, roberta):
        (folder := tmp_path / family.__name__).mkdir()
        family(folder)
        prints += [load_tokenizer(Pretrained(str(folder))).fingerprint() for _ in range(2)]
    assert prints[0] == prints[1] != prints[2] == prints[3]


def test_tokenizers_that_read_otherwise_are_told_apart_in_words(tmp_path):
    bert(tmp_path)
    file = tmp_path / "tokenizer.json"
    content = json.loads(file.read_text())

    def loaded():
        file.write_text(json.dumps(content))
        return from_fast_tokenizer(PreTrainedTokenizerFast(tokenizer_file=str(file), unk_token="[UNK]"))

    one = loaded()
    assert one.unlike(loaded()) is None
    assert replace(one, prefix=()).unlike(one) == "other special pieces stand around a text"
    content["normalizer"]["lowercase"] = not content["normalizer"]["lowercase"]
    assert loaded().unlike(one) == "its normalizer is another"
    pieces = content["model"]["vocab"]
    first, second = sorted(piece for piece in pieces if piece.isalpha())[:2]
    pieces[first], pieces[second] = pieces[second], pieces[first]
    here, there = (f"{pieces[piece]} of {len(pieces)}" for piece in (first, second))
    assert loaded().unlike(one) == f"the piece {first!r} is number {here} here and {there} there"


def test_the_fingerprint_is_that_of_the_librarys_own_text(loaded):
    """Which enters the fingerprints of splits, so that a run resumes only with the tokenizer it began with."""
    text = loaded.backend.to_str()
    assert loaded.fingerprint() == hashlib.sha256(text.encode()).hexdigest()


def test_a_saved_tokenizer_reads_as_it_did(loaded, tmp_path):
    folder = tmp_path / "saved"
    loaded.pretrained.save_pretrained(folder)
    again = load_tokenizer(Pretrained(str(folder)))
    for one, two in zip(loaded.pieces(WORDS), again.pieces(WORDS), strict=True):
        np.testing.assert_array_equal(one, two)
    assert from_fast_tokenizer(again.pretrained).prefix == loaded.prefix
    assert loaded.unlike(again) is None  # a student of the encoder's own, and a teacher that was trained from it


def test_a_saved_tokenizer_is_read_without_transformers_to_the_piece(loaded, tmp_path):
    """Its special pieces, its limit and whatever else `WordTokenizer` knows of it, too."""
    folder = tmp_path / "saved"
    loaded.pretrained.save_pretrained(folder)
    again = read_tokenizer(Pretrained(str(folder)))
    assert again.fingerprint() == loaded.fingerprint()
    for field in ("prefix", "suffix", "pad_id", "unknown_id", "limit", "unknown"):
        assert getattr(again, field) == getattr(loaded, field), field
    for texts in (WORDS, [["Ada", *ODD, "x"], ODD]):
        for one, two in zip(loaded.pieces(texts), again.pieces(texts), strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("content", ["{", "[]", '{"version": "1.0", "model": 7}', "[" * 100_000, ""])
def test_a_damaged_tokenizer_is_refused_without_transformers(tmp_path, content):
    bert(tmp_path)
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(UserError, match=r"no tokenizer can be loaded: .*; copy the model directory again") as caught:
        read_tokenizer(Pretrained(str(tmp_path)))
    assert caught.value.where == str(tmp_path) and "\n" not in str(caught.value)


def test_a_tokenizer_that_no_training_gave_blanks_is_refused_without_transformers(tmp_path):
    """A training's own has them; another's is not made one without its library."""
    roberta(tmp_path)
    with pytest.raises(UserError, match="gives a word other pieces by where it stands; copy the model directory again"):
        read_tokenizer(Pretrained(str(tmp_path)))


def test_a_saved_tokenizer_reads_alike_without_us(loaded, tmp_path):
    """In the library, whose pipelines load it: the same pieces, and offsets that are those of the words."""
    from transformers import AutoTokenizer

    folder = tmp_path / "saved"
    loaded.pretrained.save_pretrained(folder)
    theirs = AutoTokenizer.from_pretrained(folder)
    for words in WORDS:
        assert theirs(words, is_split_into_words=True)["input_ids"] == [
            *loaded.prefix, *loaded.pieces([words])[0].tolist(), *loaded.suffix
        ]  # fmt: skip
    text = "word went word"
    encoded = theirs(text, return_offsets_mapping=True, add_special_tokens=False)
    assert encoded["input_ids"] == loaded.pieces([text.split()])[0].tolist()
    starts = [start for start, _ in encoded["offset_mapping"]]
    assert encoded["offset_mapping"][0][0] == 0
    assert {text[: starts[i]].rstrip() for i in range(len(starts))} >= {"word", "word went"}


@pytest.mark.parametrize("unknown", ["[MISSING]", None])
def test_a_tokenizer_that_fails_at_an_unknown_word_is_refused(tmp_path, unknown):
    bert(tmp_path)
    described = json.loads((tmp_path / "tokenizer.json").read_text())
    if unknown is None:
        del described["model"]["vocab"]["[UNK]"]
        described["added_tokens"] = [token for token in described["added_tokens"] if token["content"] != "[UNK]"]
    else:
        described["model"]["unk_token"] = unknown
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config.pop("unk_token", None)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"tokenizer_class": "PreTrainedTokenizerFast"}))
    with pytest.raises(UserError, match="its tokenizer fails at words that it does not know: Missing"):
        load_tokenizer(Pretrained(str(tmp_path)))


@pytest.mark.parametrize("kind", ["RobertaTokenizer", "PreTrainedTokenizerFast"])
@pytest.mark.parametrize("prefix", [False, True])
def test_a_saved_tokenizer_gives_the_library_the_offsets_of_the_first_word(tmp_path, kind, prefix):
    """Of each class that it may be loaded as: ``pipeline`` takes entities from the text by them."""
    from transformers import AutoTokenizer, RobertaConfig

    roberta(tmp_path, add_prefix_space=prefix)
    RobertaConfig().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"tokenizer_class": kind}))
    load_tokenizer(Pretrained(str(tmp_path))).pretrained.save_pretrained(tmp_path / "saved")
    text = "Oslo is a word. Ada went"
    encoded = AutoTokenizer.from_pretrained(tmp_path / "saved")(text, return_offsets_mapping=True)
    pieces = [text[begin:end] for begin, end in encoded["offset_mapping"] if end > begin]
    assert pieces[0].startswith("O") and "".join(pieces) == text.replace(" ", "")
