"""What the data check finds: the object that ``determined-ner check --json`` prints, as `Report`.

A field is a key, and its docstring gives the unit. A null is something that does not apply or was not asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from determined_ner.data.corpora import CorpusCounts

LONG_ENTITY = 10
"""Words from which on an entity is worth a look."""


@dataclass
class Example:
    """A word, an entity or a sentence of a finding."""

    place: str
    """``file:line`` where its sentence begins (row, where the file or data set has no lines)."""
    word: int
    """Position in that sentence, from 1."""
    text: str
    """At most 80 characters of it."""
    same_as: str | None = None
    """Of a repeated sentence: the place of the first one like it."""


@dataclass
class Finding:
    """How often something was found."""

    count: int = 0
    examples: list[Example] = field(default_factory=list)
    """The first three."""


@dataclass
class Distribution:
    """Of lengths; a quantile is the smallest length that this share of the sentences does not exceed."""

    min: int
    median: int
    p95: int
    p99: int
    max: int


@dataclass
class Loss:
    """What cannot be predicted correctly because it is in no window; an entity is lost with any of its words."""

    words: int = 0
    entities: int = 0


@dataclass
class SplitFacts:
    """What is in a split."""

    files: list[dict[str, str | None]]
    """path, format, the columns found and what it is annotated_by (spans or tags); for a data set of the datasets
    library only path."""
    tags_read: str = ""
    """How its tags are read, where it is not as they stand there."""
    sentences: int = 0
    documents: int = 0
    """As marked in the files; 1 if none are marked."""
    words: int = 0
    tags: dict[str, int] = field(default_factory=dict)
    """Words of each label; labels are in IOB2, or plain."""
    entities: dict[str, int] = field(default_factory=dict)
    """Of each type; empty for plain tags."""
    words_per_sentence: Distribution | None = None
    pieces_per_sentence: Distribution | None = None
    """With the special pieces of a window, so that it compares with data.max_seq_length."""
    pieces_per_word: float = 0.0
    longest: Example | None = None
    """The sentence with the most words."""
    windows: int = 0
    in_several_windows: Finding = field(default_factory=Finding)
    """Sentences (with data.context document: documents) that are longer than a window."""
    lost: Loss = field(default_factory=Loss)
    """Through the windows of training: always 0, and counted all the same."""
    lost_by_truncation: Loss = field(default_factory=Loss)
    """If every sentence were cut at data.max_seq_length, as other trainers do."""
    padding: float = 0.0
    """Share of padding in what the model computes: train in the batches of epoch 0, the others as evaluated."""
    padding_random: float | None = None
    """The same of train with batches in random order."""
    numbers: int = 0
    """Of train: words that are numbers."""
    common_prefix: str = ""
    """Of train: what all words begin with."""
    words_without_pieces: Finding = field(default_factory=Finding)
    """Words that the tokenizer drops (zero-width, control characters); they are read as its unknown piece."""
    words_unknown: Finding = field(default_factory=Finding)
    """Other words that the vocabulary cannot spell, wholly or in part."""
    words_cut: Finding = field(default_factory=Finding)
    """Words longer than a window, which are read by their beginning."""
    words_cut_otherwise: dict[str, Finding] = field(default_factory=dict)
    """By type (of plain tags: by tag), words of entities that do not come out when the text, as it is printed, is cut
    into words again."""
    parted_words: dict[str, int] = field(default_factory=dict)
    """Words of entities (tagged) in the first 20,000 sentences, and how many of them come out otherwise when the
    text, as it is printed, is cut by rules and at white space."""
    repaired_tags: int = 0
    """Tags that the scheme does not allow, read as seqeval's default mode reads them."""
    bad_tags: list[str] = field(default_factory=list)
    """The first 20 of them, each described with its place."""
    repairs: list[str] = field(default_factory=list)
    """What was read otherwise than it stands in the files (spans of characters made words, empty words …): a line for
    each kind, with its count and the first place."""
    long_entities: Finding = field(default_factory=Finding)
    """Entities of 10 words or more."""
    punctuation_entities: Finding = field(default_factory=Finding)
    """Entities without a letter or a digit."""
    punctuation_first: Finding = field(default_factory=Finding)
    """Other entities whose first word has no letter or digit."""
    blank_in_entities: Finding = field(default_factory=Finding)
    """Entities with white space inside a word."""
    repeated: Finding = field(default_factory=Finding)
    """Sentences with exactly the words of an earlier sentence of the same split."""
    in_scored: dict[str, Finding] = field(default_factory=dict)
    """Of text without labels: sentences with exactly the words of one of validation, of test."""
    in_train: Finding | None = None
    """Of validation and test: sentences with exactly the words of a sentence of train."""


@dataclass
class AmbiguousWord:
    """A word of train that is tagged in several ways."""

    word: str
    count: int
    """Occurrences in train."""
    labels: dict[str, int]
    """Occurrences as each type (O: none; for plain tags, as each tag), the most frequent first."""


@dataclass
class Timing:
    """Of training steps only: validation and checkpoints come on top."""

    device: str
    """cpu, or the name of the GPU."""
    threads: int | None
    """CPU threads; null on a GPU."""
    load: float
    """Other programs' load average of the last minute before the check, per core; 0 where the system tells none."""
    steps: int
    """Optimizer steps that were timed."""
    seconds_per_epoch: float
    seconds_total: float
    """Of the whole training."""


@dataclass
class Cost:
    """What the training takes."""

    model: str
    """hyperparameters.pretrained_model_name_or_path."""
    parameters: int
    precision: str
    """hyperparameters.precision."""
    steps_per_epoch: int
    """Optimizer steps."""
    steps_total: int
    epochs: float
    global_batch_size: int
    """Windows of an optimizer step."""
    slots: int
    """resources.slots_per_trial; a run on this machine has one."""
    accumulation_steps: int
    """Micro-batches of an optimizer step, on each slot."""
    timing: Timing | None


@dataclass
class Remark:
    """Something to look at."""

    text: str
    """What it is, and what to do about it."""
    places: list[str] = field(default_factory=list)
    """The first few, each ``file:line: what stands there``."""


@dataclass
class Report:
    """All of it."""

    config: str
    """Path of the experiment config."""
    scheme: str
    """Of the tags in the training files: IOB1, IOB2, BIOES, BILOU, or PLAIN where they spell no entities."""
    labels: list[str]
    """What the model predicts."""
    context: str
    """data.context: sentence or document."""
    max_seq_length: int
    """Pieces of a window, special ones included."""
    model_limit: int
    """Pieces that the model takes at most, a million where nothing limits it."""
    pad_to_max_length: bool
    word_splitting: str
    """How the model will cut raw text into words: rules or whitespace."""
    splits: dict[str, SplitFacts]
    """train, validation and, where given, test."""
    unlabelled: SplitFacts | None
    """Of text without labels; null: there is none. What is of tags means nothing."""
    corpora: list[CorpusCounts]
    """Of train, where it is several."""
    distillation: list[str]
    """Of a student, a line each on its teacher, its unlabelled text, its loss, and how much its teacher reads."""
    ambiguous_words: list[AmbiguousWord]
    """The ten most ambiguous words of train that occur five times or more."""
    cost: Cost
    warnings: list[Remark]
    """What training would warn of in the settings, and what to look at in the data."""

    def texts(self) -> dict[str, SplitFacts]:
        """The splits, and text without labels."""
        return {**self.splits, **({"unlabelled": self.unlabelled} if self.unlabelled else {})}
