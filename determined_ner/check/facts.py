"""What the data check finds: the object that ``ner_data.py --json`` prints, as `Report`.

A field is a key, and its docstring gives the unit. A null is something that does not apply or was not asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field

LONG_ENTITY = 10
"""Words from which on an entity is looked at."""


@dataclass
class Example:
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
    count: int = 0
    examples: list[Example] = field(default_factory=list)
    """The first three."""


@dataclass
class Distribution:
    """Of lengths; a quantile is the least length that so many sentences do not exceed."""

    min: int
    median: int
    p95: int
    p99: int
    max: int


@dataclass
class Loss:
    """What no prediction can be right on, because no window holds it; an entity is lost with any of its words."""

    words: int = 0
    entities: int = 0


@dataclass
class SplitFacts:
    files: list[dict[str, str | None]]
    """path, format and the columns found; for a data set of the datasets library path alone."""
    sentences: int = 0
    documents: int = 0
    """As marked in the files; 1 where nothing is."""
    words: int = 0
    tags: dict[str, int] = field(default_factory=dict)
    """Words of each label, in IOB2 (or plain)."""
    entities: dict[str, int] = field(default_factory=dict)
    """Of each type; empty for plain tags."""
    words_per_sentence: Distribution | None = None
    pieces_per_sentence: Distribution | None = None
    """With the special pieces of a window, so that it compares with data.max_seq_length."""
    pieces_per_word: float = 0.0
    longest: Example | None = None
    """The sentence of most words."""
    windows: int = 0
    in_several_windows: Finding = field(default_factory=Finding)
    """Sentences (with data.context document: documents) that are longer than a window."""
    lost: Loss = field(default_factory=Loss)
    """By our windows: always 0, and counted all the same."""
    lost_by_truncation: Loss = field(default_factory=Loss)
    """If every sentence were cut at data.max_seq_length, as other trainers do."""
    padding: float = 0.0
    """Share of padding in what the model computes: train in the batches of epoch 0, the others as evaluated."""
    padding_random: float | None = None
    """The same of train with batches in random order."""
    words_without_pieces: Finding = field(default_factory=Finding)
    """The tokenizer drops them (zero-width, control characters); they are read as its unknown piece."""
    words_unknown: Finding = field(default_factory=Finding)
    """Others that the vocabulary cannot spell, wholly or in part."""
    words_cut: Finding = field(default_factory=Finding)
    """Longer than a whole window; read by their beginning."""
    repaired_tags: int = 0
    bad_tags: list[str] = field(default_factory=list)
    """The first 20 of them, each told with its place."""
    long_entities: Finding = field(default_factory=Finding)
    """Of 10 words or more."""
    punctuation_entities: Finding = field(default_factory=Finding)
    """Without a letter or a digit."""
    punctuation_first: Finding = field(default_factory=Finding)
    """Other entities whose first word has no letter or digit."""
    blank_in_entities: Finding = field(default_factory=Finding)
    """Entities with white space inside a word."""
    repeated: Finding = field(default_factory=Finding)
    """Sentences whose words, all of them, stand earlier in the same split."""
    in_train: Finding | None = None
    """Validation, test: sentences whose words, all of them, stand in train."""


@dataclass
class AmbiguousWord:
    word: str
    count: int
    """Occurrences in train."""
    labels: dict[str, int]
    """Occurrences as each type (O: none; for plain tags, as each tag), the most frequent first."""


@dataclass
class Timing:
    """Of training steps alone: validation and checkpoints come on top."""

    device: str
    """cpu, or the name of the GPU."""
    threads: int | None
    """Of the CPU; null on a GPU."""
    load: float
    """Other programs' load average of the last minute before the check, per core; 0 where the system tells none."""
    steps: int
    """How many were timed."""
    seconds_per_epoch: float
    seconds_total: float


@dataclass
class Cost:
    model: str
    parameters: int
    precision: str
    steps_per_epoch: int
    """Optimizer steps."""
    steps_total: int
    epochs: float
    global_batch_size: int
    """Windows of an optimizer step."""
    slots: int
    """resources.slots_per_trial; a run on this machine has one."""
    accumulation_steps: int
    timing: Timing | None


@dataclass
class Remark:
    text: str
    """What it is, and what to do about it."""
    places: list[str] = field(default_factory=list)
    """The first few, each ``file:line: what stands there``."""


@dataclass
class Report:
    config: str
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
    splits: dict[str, SplitFacts]
    """train, validation and, where given, test."""
    ambiguous_words: list[AmbiguousWord]
    """The ten most ambiguous words of train that occur five times or more."""
    cost: Cost
    warnings: list[Remark]
    """What training would say of the settings, and what to look at in the data."""
