"""A tokenizer of every family that is fine-tuned for tagging, trained on a few sentences, saved as models are."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AlbertTokenizerFast,
    BertTokenizerFast,
    DebertaV2TokenizerFast,
    ElectraTokenizerFast,
    PreTrainedTokenizerFast,
    RobertaTokenizerFast,
    XLMRobertaTokenizerFast,
)

TEXT = [
    "Ada went to Oslo.",
    "the word is x word",
    "São Paulo, naïve café",
    "state-of-the-art e-mail 2024",
    "Ölüdeniz",
] * 5


def bert(path: Path) -> None:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    train(tokenizer, trainers.WordPieceTrainer, ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    save(BertTokenizerFast, tokenizer, path)


def electra(path: Path) -> None:
    bert(path)
    save(ElectraTokenizerFast, Tokenizer.from_file(str(path / "tokenizer.json")), path)


def roberta(path: Path, add_prefix_space: bool = False) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    train(tokenizer, trainers.BpeTrainer, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], initial_alphabet=alphabet)
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), add_prefix_space=add_prefix_space, trim_offsets=True
    )
    save(RobertaTokenizerFast, tokenizer, path)


def roberta_with_prefix(path: Path) -> None:
    roberta(path, add_prefix_space=True)


def unigram(path: Path, specials: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("\u200b", "")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    train(tokenizer, trainers.UnigramTrainer, specials, unk_token="<unk>")
    return tokenizer


def xlm_roberta(path: Path) -> None:
    tokenizer = unigram(path, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", None, [("<s>", 0), ("</s>", 2)])
    save(XLMRobertaTokenizerFast, tokenizer, path)


def albert(path: Path) -> None:
    tokenizer = unigram(path, ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    save(AlbertTokenizerFast, tokenizer, path)


def deberta(path: Path) -> None:
    tokenizer = unigram(path, ["[PAD]", "[CLS]", "[SEP]", "<unk>", "[MASK]"])
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 1), ("[SEP]", 2)])
    save(DebertaV2TokenizerFast, tokenizer, path)


def gpt_like(path: Path) -> None:
    """No special pieces around a text, no padding piece."""
    roberta(path)
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    tokenizer.post_processor = processors.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>").save_pretrained(path)


def byte_level_after(path: Path, *steps: pre_tokenizers.PreTokenizer) -> None:
    """No piece of its own for a word that begins a text, and no option for it."""
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*steps, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    train(tokenizer, trainers.BpeTrainer, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], initial_alphabet=alphabet)
    template = processors.TemplateProcessing("<s> $A </s>", None, [("<s>", 0), ("</s>", 2)])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), template])
    save(PreTrainedTokenizerFast, tokenizer, path)


def llama_3(path: Path) -> None:
    pattern = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
    byte_level_after(path, pre_tokenizers.Split(pattern, "isolated"))


def digits(path: Path) -> None:
    byte_level_after(
        path, pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Split(Regex(r" ?\S+"), "isolated")
    )


def gemma(path: Path) -> None:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    train(tokenizer, trainers.BpeTrainer, ["<pad>", "<s>", "</s>", "<unk>", "<mask>"])
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", None, [("<s>", 1), ("</s>", 2)])
    save(PreTrainedTokenizerFast, tokenizer, path)


def metaspace_never(path: Path) -> None:
    tokenizer = unigram(path, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", None, [("<s>", 0), ("</s>", 2)])
    save(PreTrainedTokenizerFast, tokenizer, path)


def train(tokenizer: Tokenizer, trainer: type, specials: list[str], **options: object) -> None:
    tokenizer.train_from_iterator(
        TEXT, trainer(vocab_size=400, special_tokens=specials, show_progress=False, **options)
    )


def save(kind: type, tokenizer: Tokenizer, path: Path) -> None:
    """As a published model has it: tokenizer.json with the pipeline, tokenizer_config.json with the class."""
    specials = [t for t in tokenizer.get_vocab() if t.startswith(("[", "<")) and t.endswith(("]", ">")) and len(t) > 2]
    roles = {"pad": "pad", "unk": "unk", "cls": "cls", "sep": "sep", "mask": "mask", "s": "cls", "/s": "sep"}
    named = {f"{roles[t[1:-1].lower()]}_token": t for t in specials}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named).save_pretrained(path)
    config = json.loads((path / "tokenizer_config.json").read_text())
    config["tokenizer_class"] = kind.__name__.removesuffix("Fast")
    (path / "tokenizer_config.json").write_text(json.dumps(config))


FAMILIES = [
    bert,
    electra,
    roberta,
    roberta_with_prefix,
    xlm_roberta,
    albert,
    deberta,
    gpt_like,
    llama_3,
    digits,
    gemma,
    metaspace_never,
]
