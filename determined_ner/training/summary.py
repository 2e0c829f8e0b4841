"""What a training says of itself before its first step: what was found, and what is going to happen."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import torch

from determined_ner.data.split import Split
from determined_ner.data.text_store import StoredText
from determined_ner.model.distillation import describe
from determined_ner.model.parameter_groups import describe_groups
from determined_ner.training.setup import Training

logger = logging.getLogger("determined_ner")

MANY_PARTED = 0.1
"""Share of the tagged words from which on it is worth a word that tagging raw text gives them otherwise."""


def log_summary(training: Training) -> None:
    """Say what was found and what is going to happen."""
    for warning in (*training.settings.warnings, *training.loop.warnings):
        logger.warning(warning)
    for line in _data_warnings(training):
        logger.warning(line)
    for split in training.corpus.splits.values():
        logger.info(_describe_split(training, split))
    logger.info(
        f"tags: {training.labels.scheme.value}, {len(training.labels.names)} labels: {' '.join(training.labels.names)}"
    )
    for counts in training.corpus.count_corpora(training.data):
        logger.info(f"train: {counts.describe()}")
    for name, text in training.corpus.texts.items():
        if line := text.describe_tags(training.labels):
            logger.info(f"{name}: {line}")
    if splitting := _describe_splitting(training):
        logger.info(splitting)
    hparams, slots, loop = training.settings.hparams, training.slots.size, training.loop
    logger.info(
        f"model: {hparams.pretrained_model_name_or_path}, {training.parameters / 1e6:.1f} M parameters, "
        f"{training.engine.description} on {slots} × {_device(training.device)}"
    )
    for line in describe_distillation(training):
        logger.info(line)
    if lora := hparams.peft:
        logger.info(f"LoRA: adapters of rank {lora.r}, alpha {lora.alpha:g}, dropout {lora.dropout:g}")
    if groups := describe_groups(training.model, hparams):
        logger.info(groups)
    split_up = f" ({slots} slots × {training.accumulation_steps} accumulation steps)"
    order = "of like length" if training.grouped else "in random order"
    logger.info(f"batches: sentences {order}, {'without padding' if training.flat else 'padded'}")
    logger.info(
        f"training: {loop.length} = {training.optimizer_steps:,} optimizer steps of "
        f"{hparams.global_batch_size} windows"
        f"{split_up if slots * training.accumulation_steps > 1 else ''}, seed {training.seed}"
    )
    if not training.teachers and (of_training := describe(training.loss, training.labels.names)):
        logger.info(of_training)
    if training.crf is not None:
        logger.info("loss: the negative log-likelihood of a CRF, of a window's sequence of words, divided by words")
    if ends_early := training.stopping.describe():
        logger.info(ends_early)


def describe_distillation(training: Training) -> list[str]:
    """Whose student it is, and what it learns; nothing of others."""
    if training.teachers is None:
        return []
    lines = [training.teachers.describe()]
    if (unlabelled := training.corpus.unlabelled) is not None:
        text = training.corpus.unlabelled_text
        assert text is not None
        formats = " and ".join(dict.fromkeys(layout.format for layout in text.source.layouts()))
        how = f"read as {formats}, learnt of the teacher alone, with a weight of 1"
        lines.append(f"{_describe_split(training, unlabelled)}, {how}")
    of_loss = describe(training.loss, training.labels.names)
    return [*lines, of_loss] if of_loss else lines


def _describe_split(training: Training, split: Split) -> str:
    return (
        f"{split.name}: {len(split.sentences) - 1:,} sentences, {len(split.tags):,} words, "
        f"{len(split.windows) - 1:,} windows of at most {training.max_seq_length} pieces"
    )


def _describe_splitting(training: Training) -> str | None:
    """How raw text will be cut, where that is worth a line: at white space, or many words come out otherwise."""
    chosen, parted = training.corpus.word_splitting, training.corpus.texts["train"].parted_words()
    ways = {"rules": "by rules", "whitespace": "at white space alone"}
    many = parted[chosen] > MANY_PARTED * parted["tagged"]
    if not many and (chosen == "rules" or training.data.word_splitting != "auto"):
        return None
    line = f"words: raw text will be cut {ways[chosen]}"
    if chosen == "whitespace" and training.data.word_splitting == "auto":
        line += ", as the words of train were"
    if many:
        other = "whitespace" if chosen == "rules" else "rules"
        line += f"; of {parted['tagged']:,} tagged words that parts {parted[chosen]:,} otherwise where text is "
        line += f"written as it is printed ({ways[other]}: {parted[other]:,}): determined-ner check shows them"
    return line


def _device(device: torch.device) -> str:
    """A slot's; the bits of a run depend on its number of threads."""
    threads = torch.get_num_threads()
    return device.type if device.type != "cpu" else f"cpu of {threads} thread{'s' if threads > 1 else ''}"


def _data_warnings(training: Training) -> Iterator[str]:
    corpus = training.corpus
    both = [(split, corpus.texts[split.name]) for split in corpus.splits.values()]
    if corpus.unlabelled is not None and corpus.unlabelled_text is not None:
        both.append((corpus.unlabelled, corpus.unlabelled_text))
        yield from _same_files(corpus.unlabelled_text, both)
    for split, text in both:
        yield from (f"{split.name}: {repairs.describe(text.source)}" for repairs in text.repairs())
        for count, what in (
            ("unknown_words", f"words without a piece of their own are read as {training.tokenizer.unknown}"),
            ("cut_words", "words longer than a window are read by their beginning"),
            ("repaired_tags", f"tags not allowed in {training.labels.scheme.value} were repaired, the first"),
        ):
            if split.counts[count]:
                yield f"{split.name}: {what}: {split.counts[count]:,}"
        for described in split.bad_tags[:5]:
            yield f"  {described}"


def _same_files(unlabelled: StoredText, both: list[tuple[Split, StoredText]]) -> Iterator[str]:
    """Files of text without labels that are scored on, too."""
    files = {os.path.realpath(file) for file in unlabelled.source.files}
    for split, text in both:
        same = [file for file in text.source.files if os.path.realpath(file) in files]
        if split.name in ("validation", "test") and same:
            yield f"{split.name}: {same[0]} is learnt of as text without labels, too: its score is of known text"
