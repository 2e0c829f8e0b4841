"""Exports of other architectures than BERT: right, or refused by name with nothing left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers

import ner_trial
from determined_ner import cli
from tests.conftest import make_encoder, write_config
from tests.data.tokenizer_families import roberta

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 66,
    "pad_token_id": 1,
}


def train(encoder: Path, corpus: dict[str, Path], folder: Path) -> Path:
    config = write_config(folder / "c.json", encoder, corpus, max_steps=1)
    assert ner_trial.main([str(config), "--output-dir", str(folder / "run")]) == 0
    return folder / "run"


def test_a_longformer_whose_onnx_file_is_right_at_no_other_length_is_refused(corpus, tmp_path, capsys):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    (encoder := tmp_path / "encoder").mkdir()
    make_encoder(encoder)
    torch.manual_seed(0)
    config = transformers.LongformerConfig(vocab_size=85, attention_window=16, **SIZES | {"pad_token_id": 0})
    transformers.LongformerModel(config).save_pretrained(encoder)
    run = train(encoder, corpus, tmp_path)
    output = tmp_path / "out"
    assert cli.main(["export", str(run), "--output", str(output), "--onnx"]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("error: model.onnx: ") and "leave this file out (--onnx" in message
    assert not output.exists()
    assert cli.main(["export", str(run), "--output", str(output)]) == 0


def test_a_longformer_trains_whose_config_pads_with_another_piece_than_its_tokenizer(corpus, tmp_path):
    (encoder := tmp_path / "encoder").mkdir()
    make_encoder(encoder)  # which pads with piece 0
    torch.manual_seed(0)
    config = transformers.LongformerConfig(vocab_size=85, attention_window=16, **SIZES | {"pad_token_id": 1})
    transformers.LongformerModel(config).save_pretrained(encoder)
    train(encoder, corpus, tmp_path)


def test_pipeline_takes_whole_words_from_what_is_saved(corpus, tmp_path):
    """Also of a byte-level tokenizer that the library loads as its generic class."""
    (encoder := tmp_path / "encoder").mkdir()
    roberta(encoder)
    torch.manual_seed(0)
    transformers.RobertaModel(transformers.RobertaConfig(vocab_size=400, **SIZES)).save_pretrained(encoder)
    file = encoder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}))
    run = train(encoder, corpus, tmp_path)
    assert cli.main(["export", str(run), "--output", str(tmp_path / "exported")]) == 0
    text = "Oslo went to Ada"
    for folder in (run / "model", tmp_path / "exported"):
        tagger = transformers.pipeline(
            "token-classification", str(folder), aggregation_strategy="first", ignore_labels=[]
        )
        found = tagger(text)
        assert "".join(text[entity["start"] : entity["end"]] for entity in found).replace(" ", "") == "OslowenttoAda"
