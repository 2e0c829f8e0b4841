"""Several corpora as one training text, each read by its own columns, spelling and label map.

Words that a corpus calls O where it labels only some of the types may be entities of the others; their loss is that of
a partial label, -log of the sum of the probabilities of all labels that are possible there (the marginal likelihood of
Tsuboi et al. 2008 for partial annotations, and of Greenberg et al. 2018 for corpora with different sets of types). It
still says that such a word is none of the types that the corpus labels, which leaving the word out would not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from determined_ner.data.label_maps import MappedText, Survey, check_map
from determined_ner.data.source import HeldOut, Numbered, hold_out
from determined_ner.data.split import Split
from determined_ner.data.text_store import StoredText
from determined_ner.data.window_losses import WindowLosses
from determined_ner.errors import UserError
from determined_ner.settings.corpora import CorpusSettings
from determined_ner.tags.labels import Labels
from determined_ner.tags.schemes import Scheme, split_tag


@dataclass(frozen=True)
class NamedCorpus:
    """One corpus of the training data."""

    name: str
    settings: CorpusSettings
    text: MappedText
    marked: Callable[[], bool]
    """Whether it marks documents."""
    paths: tuple[str, ...]
    contents: list[Any]
    """What names the content of its files, and how they are read."""

    @property
    def setting(self) -> str:
        """Its dotted name in the settings."""
        return f"data.train_file.{self.name}"


class Corpora:
    """The corpora of a training, as one text; files are numbered through all of them."""

    def __init__(self, corpora: list[NamedCorpus], label_map: dict[str, str] | None, others: list[MappedText]) -> None:
        """
        Args:
            label_map: ``data.label_map``.
            others: the texts of the other splits, for which it is, too.
        """
        self._corpora, self._map, self._others = corpora, label_map, others
        self.paths = tuple(path for corpus in corpora for path in corpus.paths)
        self.of_files = tuple(number for number, corpus in enumerate(corpora) for _ in corpus.paths)
        """Number of the corpus of each file."""
        self._check = functools.cache(self._checked)

    @property
    def contents(self) -> list[Any]:
        """What names all of it."""
        return [
            [c.name, c.contents, c.settings.model_dump(include={"label_map", "annotated_types"})] for c in self._corpora
        ]

    def chosen(self, split: str, held_out: HeldOut | None) -> Callable[[], Iterable[Numbered]]:
        """The sentences of a split; what is held out is held out of each corpus.

        Args:
            split: train, or validation where it is held out of the training data.
            held_out: what of it validates; None: all is trained on.
        """
        return functools.partial(self._sentences, split, held_out)

    def _sentences(self, split: str, held_out: HeldOut | None) -> Iterator[Numbered]:
        self._check()
        document = files = 0
        for corpus in self._corpora:
            sentences: Callable[[], Iterable[Numbered]] = corpus.text.sentences
            if held_out is not None:
                sentences = hold_out(sentences, corpus.marked, split, held_out, ", ".join(corpus.paths))
            offset = document
            for file, sentence in sentences():
                document = offset + sentence.document + 1
                yield files + file, replace(sentence, document=offset + sentence.document)
            files += len(corpus.paths)

    # -- Whether they go together ----------------------------------------------------------------------------------

    def _checked(self) -> None:
        """
        Raises:
            UserError: they do not go together.
        """
        for corpus in self._corpora:
            if corpus.settings.label_map:
                check_map(f"{corpus.setting}.label_map", corpus.settings.label_map, [corpus.text])
        if self._map:
            mapped = [corpus.text for corpus in self._corpora if not corpus.settings.label_map]
            check_map("data.label_map", self._map, [*mapped, *self._others])
        self._check_schemes()
        self._check_types()
        if len(self._corpora) > 1:
            self._check_repeats()

    def _check_schemes(self) -> None:
        first: tuple[NamedCorpus, Survey] | None = None
        for corpus in self._corpora:
            survey = corpus.text.survey()
            if not survey.types:
                continue
            if first is None:
                first = corpus, survey
            elif survey.read_as is not first[1].read_as:
                here, there = _evidence(corpus, survey), _evidence(*first)
                raise UserError(
                    here[0],
                    f"the tags of corpus {corpus.name} are {survey.scheme.value} ({here[1]}), those of corpus "
                    f"{first[0].name} {first[1].scheme.value} ({there[1]} at {there[0]})",
                    "bring them to one scheme: determined-ner convert writes IOB2",
                )

    def _check_types(self) -> None:
        everywhere = {name for corpus in self._corpora for name in corpus.text.types()}
        for corpus in self._corpora:
            labelled = corpus.settings.annotated_types
            if not labelled:
                continue
            where = f"{corpus.setting}.annotated_types"
            if corpus.text.survey().scheme is Scheme.PLAIN:
                raise UserError(where, "its tags are plain, and name no entity types", "drop the setting")
            for name, place in corpus.text.types().items():
                if name not in labelled:
                    raise UserError(
                        place,
                        f"corpus {corpus.name} has the type {name!r} here, which {where} does not name",
                        "name it there, or have its label_map read it as another, or as O",
                    )
            if unknown := [name for name in labelled if name not in everywhere]:
                known = ", ".join(sorted(everywhere))
                raise UserError(where, f"{unknown[0]!r} is a type of no corpus; they have {known}", "correct it")

    def _check_repeats(self) -> None:
        """Check that no file is in two corpora, and no sentence labelled in two ways that cannot both be right."""
        seen: dict[str, tuple[str, str]] = {}
        for corpus in self._corpora:
            for path, content in zip(corpus.paths, corpus.contents[0], strict=True):
                there, name = seen.setdefault(str(content), (path, corpus.name))
                if name != corpus.name:
                    problem = (
                        f"is in corpus {corpus.name} what {there} is in corpus {name}: it would be trained on twice"
                    )
                    raise UserError(path, problem, "leave it out of one")
        hashes = [np.unique(np.frombuffer(corpus.text.survey().hashes, np.int64)) for corpus in self._corpora]
        values, counts = np.unique(np.concatenate(hashes), return_counts=True)
        shared = set(values[counts > 1].tolist())
        if not shared:
            return
        first: dict[tuple[str, ...], tuple[NamedCorpus, str, list[str]]] = {}
        for corpus in self._corpora:
            for file, sentence in corpus.text.sentences():
                words = tuple(sentence.words)
                if hash(words) not in shared:
                    continue
                tags, place = sentence.tags or [], f"{corpus.paths[file]}:{sentence.line}"
                other, other_place, other_tags = first.setdefault(words, (corpus, place, tags))
                if other is corpus:
                    continue
                at = next(
                    (
                        i
                        for i, pair in enumerate(zip(tags, other_tags, strict=True))
                        if not _compatible(*pair, corpus, other)
                    ),
                    None,
                )
                if at is not None:
                    raise UserError(
                        place,
                        f"the sentence that begins here stands in corpus {other.name} too, at {other_place}, with "
                        f"other tags: word {at + 1} ({words[at]!r}) is {tags[at]} here and {other_tags[at]} there",
                        "leave it out of one, or correct one",
                    )


def _evidence(corpus: NamedCorpus, survey: Survey) -> tuple[str, str]:
    """Place and text of a tag that shows a corpus's scheme."""

    def shows(tag: str) -> bool:
        parts = survey.spelling.split(tag) if survey.spelling else None
        if survey.scheme is Scheme.PLAIN:
            return split_tag(tag) is None
        return parts is not None and parts[0] in {Scheme.BIOES: "ES", Scheme.BILOU: "LU"}.get(survey.scheme, "BI")

    tag = next(filter(shows, survey.places), next(iter(survey.places)))
    return corpus.text.place(survey.places[tag]), repr(tag)


def _compatible(tag: str, other_tag: str, corpus: NamedCorpus, other: NamedCorpus) -> bool:
    """Whether a word may be labelled both ways: O leaves open what a corpus does not label."""
    if tag == other_tag:
        return True
    for here, there, of in ((tag, other_tag, corpus), (other_tag, tag, other)):
        labelled, parts = of.settings.annotated_types, split_tag(there)
        if here == "O" and labelled and parts is not None and parts[1] not in labelled:
            return True
    return False


# -- What it means for the loss ---------------------------------------------------------------------------------------


def window_losses(
    corpora: dict[str, CorpusSettings], labels: Labels, text: StoredText, split: Split
) -> WindowLosses | None:
    """How the windows of train count; None: all alike, and labels are what they say.

    Args:
        corpora: by name, in the order of the settings.
        text: of train.
        split: of train.
    """
    settings = list(corpora.values())
    raw = np.array([corpus.loss_weight for corpus in settings])
    partial = [corpus.annotated_types for corpus in settings]
    if len(set(raw)) < 2 and not any(partial):
        return None
    corpus = corpus_of_windows(text, split)
    weights = None
    if (raw != raw[0]).any():
        words = np.bincount(corpus, weights=split.counted_pieces(), minlength=len(settings))
        weights = (raw * (words.sum() / (raw * words).sum())).astype(np.float32)[corpus]
    rows, group_of = [], np.zeros(len(settings), np.int64)
    for number, labelled in enumerate(partial):
        if labelled:
            types = [(split_tag(name) or ("", ""))[1] for name in labels.names]
            rows.append([name == "O" or kind not in labelled for name, kind in zip(labels.names, types, strict=True)])
            group_of[number] = len(rows)
    possible = np.array(rows, np.bool_).reshape(len(rows), len(labels.names))
    return WindowLosses(weights, group_of[corpus], possible, labels.ids()["O"] if rows else -1)


@dataclass
class CorpusCounts:
    """What a corpus of train has."""

    name: str
    sentences: int
    words: int
    entities: dict[str, int]
    """Of each type, as the label map reads it."""
    weight: float
    """Factor of the loss of its words, of mean 1 over all."""
    annotated_types: list[str] | None
    """The types that it labels; None: all."""

    def describe(self) -> str:
        """One line for a person."""
        line = f"corpus {self.name}: {self.sentences:,} sentences, {self.words:,} words"
        if self.weight != 1:
            line += f", each weighing {self.weight:.3g}"
        if self.annotated_types:
            line += f", labelled with {', '.join(self.annotated_types)} alone: O may be any other type"
        return line


def count_corpora(
    corpora: dict[str, CorpusSettings], labels: Labels, text: StoredText, split: Split, losses: WindowLosses | None
) -> list[CorpusCounts]:
    """Count what each corpus has; arguments as of `window_losses`.

    Args:
        losses: of the windows.
    """
    of_sentences, of_windows = corpus_of_sentences(text), corpus_of_windows(text, split)
    sizes = np.diff(split.sentences)
    tags, of_words = np.asarray(split.tags), np.repeat(of_sentences, sizes)
    begins = {i: parts[1] for i, name in enumerate(labels.names) if (parts := split_tag(name)) and parts[0] == "B"}
    found = []
    for number, (name, corpus) in enumerate(corpora.items()):
        counts = np.bincount(tags[of_words == number], minlength=len(labels.names))
        weight = 1.0
        if losses is not None and losses.weights is not None and (of_windows == number).any():
            weight = float(losses.weights[of_windows == number][0])
        entities = {kind: int(counts[i]) for i, kind in begins.items() if counts[i]}
        here = of_sentences == number
        found.append(
            CorpusCounts(name, int(here.sum()), int(sizes[here].sum()), entities, weight, corpus.annotated_types)
        )
    return found


def corpus_of_sentences(text: StoredText) -> NDArray[np.int64]:
    """(S,) number of the corpus of each sentence."""
    of_files = np.array(text.source.corpora, np.int64)
    return np.concatenate([of_files[batch.column("file").to_numpy()] for batch in text.batches()])


def corpus_of_windows(text: StoredText, split: Split) -> NDArray[np.int64]:
    """(W,) number of the corpus of each window, none of which reaches over two."""
    sentence = np.searchsorted(split.sentences, split.words[:-1], side="right") - 1
    return corpus_of_sentences(text)[sentence]
