"""Reading a data set into one validated, tokenized and memory-mapped form.

Two stages, each kept in the cache under a hash of all that it depends on, so that a second start, a second slot or
a second trial finds it ready: text (`text_store`: words and tags as they stand in the files, in Arrow) and windows
(`encode`: pieces and tag ids, as flat arrays). Neither stage holds a whole corpus in Python objects.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from determined_ner.data.corpora import CorpusCounts, count_corpora, window_losses
from determined_ner.data.encode import encode_split
from determined_ner.data.source import WHOLE
from determined_ner.data.sources import find_sources
from determined_ner.data.split import Split
from determined_ner.data.text_store import StoredText, store_text
from determined_ner.data.tokenizer import WordTokenizer
from determined_ner.data.unlabelled import load_unlabelled
from determined_ner.data.window_losses import WindowLosses
from determined_ner.data.words import WordSplitting
from determined_ner.settings.data import DataSettings
from determined_ner.tags.labels import Labels, with_inside, with_kept, with_taught
from determined_ner.tags.schemes import Scheme


@dataclass(frozen=True)
class Corpus:
    """All splits of a data set, by name: train, validation and, where given, test."""

    labels: Labels
    """Those of train, with folds those of all of them; and an I-X of a type that has a B-X alone, where another split
    has one."""
    texts: dict[str, StoredText]
    splits: dict[str, Split]
    word_splitting: WordSplitting
    """How raw text is cut into such words."""
    losses: WindowLosses | None = None
    """How the windows of train count, where not all count alike."""
    unlabelled: Split | None = None
    """Text of which a student learns what its teacher says; its labels mean nothing."""
    unlabelled_text: StoredText | None = None
    """The same as it stands in its files."""

    def count_corpora(self, settings: DataSettings) -> list[CorpusCounts]:
        """What each corpus of train has; nothing where it is a single one."""
        if not self.texts["train"].source.corpora:
            return []
        return count_corpora(settings.corpora, self.labels, self.texts["train"], self.splits["train"], self.losses)


def load_corpus(
    settings: DataSettings,
    task: str,
    tokenizer: WordTokenizer,
    max_seq_length: int,
    cache_dir: Path,
    overwrite: bool = False,
    kept: tuple[str, ...] = (),
    taught: tuple[str, ...] = (),
) -> Corpus:
    """Read, check and tokenize all splits, or take them from the cache.

    Args:
        task: prefix of the label column looked for first, ``ner`` for ``ner_tags``.
        max_seq_length: pieces a window holds, special ones included.
        cache_dir: made if need be.
        kept: labels of the model that goes on, which the training has too where a corpus does not label all types.
        taught: labels of a student's teachers, which the training has too.
        overwrite: read and tokenize again; of processes that share a cache, one asks for it and the others wait.

    Raises:
        UserError: with file and line, whatever is wrong with the data.
        HyperparameterError: stride and max_seq_length that do not go together.
    """
    if settings.preprocessing_num_workers:
        os.environ.setdefault("RAYON_NUM_THREADS", str(settings.preprocessing_num_workers))
    texts = {
        source.split: store_text(source, settings, cache_dir, overwrite) for source in find_sources(settings, task)
    }
    labels = texts.pop(WHOLE, texts["train"]).labels(task)
    if labels.scheme is not Scheme.PLAIN:
        for text in texts.values():
            labels = with_inside(labels, text.tags.iob2(text.spelling_under(labels)))
    if settings.partly_labelled and labels.scheme is not Scheme.PLAIN:
        labels = with_kept(labels, kept)
    labels = with_taught(labels, taught)
    splits = {
        split: encode_split(text, labels, settings, tokenizer, max_seq_length, cache_dir, overwrite)
        for split, text in texts.items()
    }
    chosen = settings.word_splitting
    words = texts["train"].better_splitting() if chosen == "auto" else chosen
    losses = window_losses(settings.corpora, labels, texts["train"], splits["train"])
    unlabelled_text = unlabelled = None
    if settings.unlabelled_file is not None:
        how = (settings, task, words, tokenizer, max_seq_length, cache_dir, overwrite)
        unlabelled_text, unlabelled = load_unlabelled(*how)
    return Corpus(labels, texts, splits, words, losses, unlabelled, unlabelled_text)
