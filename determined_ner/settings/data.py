"""The ``data:`` section: where the text comes from and how it is cut into pieces."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

import pydantic
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from pydantic import Field

from determined_ner.settings.corpora import CorpusSettings, LabelMap, read_train_file
from determined_ner.settings.hyperparameters import Positive
from determined_ner.settings.sections import Directory, Section


def _column_name(value: Any) -> Any:
    """A CoNLL column may be given by number, which YAML makes one."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


ColumnName = Annotated[str, pydantic.BeforeValidator(_column_name)]


def _model_name(value: str) -> str:
    """What a registry takes for a name, and not for a number or a path."""
    if not re.fullmatch(r"(?=.*\D)[^\s/\\%?#]+(?: [^\s/\\%?#]+)*", value):
        raise ValueError("a model's name is no number, without / \\ % ? #, and has single spaces inside alone")
    return value


ModelName = Annotated[str, pydantic.AfterValidator(_model_name)]


def _repository(value: str) -> str:
    """What the Hugging Face hub takes for the name of a repository."""
    validate_repo_id(value)
    return value


RepositoryName = Annotated[str, pydantic.AfterValidator(_repository)]


TrackerName = Literal["tensorboard", "mlflow", "wandb"]


def _names_of_trackers(value: Any) -> Any:
    """``report_to`` as ``run_ner.py`` takes it: a name, a list, none, all."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list):
        raise ValueError("write none, tensorboard, mlflow, wandb, or a list of them")
    if names == ["none"]:
        return []
    if "none" in names:
        raise ValueError("none goes with no other")
    return list(get_args(TrackerName)) if names == ["all"] else list(dict.fromkeys(names))


class DataSettings(Section):
    """Where the text comes from and how it is cut into pieces."""

    dataset_name: str | None = None
    """A hub dataset, or a local directory of one (as written by ``save_to_disk``, or of data files)."""
    dataset_config_name: str | None = None
    """Configuration (subset) of a hub dataset that has several."""
    dataset_revision: str | None = None
    """Branch, tag or commit of a hub dataset; ``refs/convert/parquet`` for datasets that were scripts."""
    train_file: Annotated[str | dict[str, CorpusSettings] | None, pydantic.BeforeValidator(read_train_file)] = None
    """CoNLL columns, CSV, TSV, JSON, JSON Lines or Parquet, or what annotation tools write (brat, WebAnno, PubTator …);
    a glob takes several files. Several corpora: a list of files, or a mapping NAME: {file, label_map, loss_weight,
    annotated_types}."""
    label_map: LabelMap | None = None
    """What the entity types of all files are read as: {person: PER, misc: O}; O drops one. Others stay as they are."""
    validation_file: str | None = None
    """Scored once an epoch, unless min_validation_period says otherwise; read by the columns of train_file."""
    validation_split_percentage: Annotated[float, Field(gt=0, lt=100)] | None = None
    """Without validation data: per cent of the training documents that are held out, the same ones each time."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """Without validation data: into how many parts the training documents are cut, the same ones each time."""
    fold: Positive | None = None
    """Which of the folds is held out, from 1; ``determined-ner train --folds K`` trains with each in turn."""
    test_file: str | None = None
    """Scored once with the best model, at the end of a training."""
    unlabelled_file: str | None = None
    """More text for a student (hyperparameters.teacher), of which it learns what its teacher says: a text a line
    (.txt), or what train_file may be, whose labels are not looked at; a glob takes several."""
    text_column_name: ColumnName | None = None
    """Column of the words, by name or (CoNLL) number; default: found."""
    label_column_name: ColumnName | None = None
    """Column of the tags, by name or (CoNLL) number; of WebAnno a layer (NamedEntity.value), of CoNLL-U a key of the
    last column; default: found."""
    document_column_name: ColumnName | None = None
    """Column that tells which document a sentence belongs to; default: found (-DOCSTART- and # newdoc tell it too)."""
    sentence_column_name: ColumnName | None = None
    """Column that tells which sentence a token belongs to, of a table with one row a token or of CoNLL columns;
    default: found (blank lines tell it too)."""
    label_names: Annotated[list[str], Field(min_length=1)] | None = None
    """What whole-number tags mean, in their order from 0, where the data does not say it itself."""
    on_bad_spans: Literal["snap", "error"] = "snap"
    """Spans of characters that do not begin and end with words, or overlap: read them by the rule of the docs and say
    how many, or refuse the data."""
    span_offsets: Literal["characters", "utf16"] = "characters"
    """What spans of characters count in: Unicode characters, as Python does, or the UTF-16 units of Java and
    JavaScript, which are two for an emoji."""
    word_splitting: Literal["auto", "whitespace", "rules"] = "auto"
    """How the trained model cuts raw text into words: at white space alone, by rules that part marks from words, or as
    gives back more of the training data's words."""
    on_bad_tags: Literal["repair", "error"] = "repair"
    """Tags that their scheme does not allow, such as an I- that continues nothing: read them as seqeval's default mode
    does (it begins an entity) and say how many, or refuse the data."""
    context: Literal["sentence", "document"] = "sentence"
    """What a window may see around a sentence: nothing, or its neighbours in the document, up to max_seq_length."""
    max_seq_length: Annotated[int, Field(ge=4)] | None = None
    """Pieces per window, special ones included; default: what the model takes, at most 512."""
    stride: Annotated[int, Field(ge=0)] | None = None
    """Pieces by which the windows of a longer text overlap; default: a quarter of max_seq_length."""
    label_all_tokens: bool = False
    """Train on all pieces of a word, the later ones labelled I-, not on its first piece alone."""
    pad_to_max_length: bool = False
    """Pad every batch to max_seq_length (for hardware that wants one shape)."""
    max_train_samples: Positive | None = None
    """Use the first sentences of the training data only."""
    max_eval_samples: Positive | None = None
    """Use the first sentences of the validation data only."""
    max_predict_samples: Positive | None = None
    """Use the first sentences of the test data only."""
    preprocessing_num_workers: Positive | None = None
    """Threads that tokenize; default: one a core."""
    cache_dir: Directory | None = None
    """Where tokenized data is kept (default: the run's folder; on a cluster ``~/.cache/determined_ner``)."""
    overwrite_cache: bool = False
    """Read and tokenize again even if the cache holds the same data."""
    report_examples: bool = False
    """Show sentences of the validation data in the reports that leave the run's folder: in the best checkpoint of a
    cluster's trial, at trackers, on the Hugging Face hub."""
    report_to: Annotated[list[TrackerName], pydantic.BeforeValidator(_names_of_trackers)] = Field(
        default=["tensorboard"]
    )
    """Where a run tells of itself: tensorboard (without a cluster, events in its folder), mlflow, wandb, several of
    them in a list, or none. On a cluster Determined has the curves, whatever else is named."""
    registry_model: ModelName | None = None
    """On a cluster: a model of the registry, made if need be. The best checkpoint of a trial becomes a version of it
    where it beats those of its experiment."""
    push_to_hub: bool = False
    """At the end, upload model, card and report to the Hugging Face hub, as hub_model_id."""
    hub_model_id: RepositoryName | None = None
    """NAME or NAMESPACE/NAME of the repository, made if need be."""
    hub_private_repo: bool = True
    """Whether the repository may be read only by those who are given the right; a public one is refused then."""

    @property
    def corpora(self) -> dict[str, CorpusSettings]:
        """The corpora of the training files by name; that of a single file has none."""
        if self.train_file is None:
            return {}
        return {"": CorpusSettings(file=self.train_file)} if isinstance(self.train_file, str) else self.train_file

    @property
    def partly_labelled(self) -> bool:
        """Whether a corpus labels some of the types alone."""
        return any(corpus.annotated_types for corpus in self.corpora.values())

    @pydantic.model_validator(mode="after")
    def _whole_validation(self) -> DataSettings:
        if self.partly_labelled and not self.validation_file:
            raise ValueError(
                "a corpus with annotated_types cannot be validated on, since an entity of another type that is found "
                "in it would count as wrong: give a validation_file that labels all types"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _named_upload(self) -> DataSettings:
        if self.push_to_hub and self.hub_model_id is None:
            raise ValueError("push_to_hub needs a name to upload to: write hub_model_id: NAMESPACE/NAME")
        if self.hub_model_id and "push_to_hub" not in self.model_fields_set:
            raise ValueError("hub_model_id has no meaning without push_to_hub: write push_to_hub: true, or drop it")
        return self

    @pydantic.model_validator(mode="after")
    def _one_source(self) -> DataSettings:
        if not self.dataset_name and not self.train_file:
            raise ValueError("give either dataset_name or train_file (and validation_file); got neither")
        if (self.folds is None) != (self.fold is None) or (self.folds and self.fold and self.fold > self.folds):
            raise ValueError(f"folds ({self.folds}) and fold ({self.fold}) go together: write fold as 1 to folds")
        if self.folds and (self.validation_file or self.validation_split_percentage):
            given = "validation_file" if self.validation_file else "validation_split_percentage"
            raise ValueError(
                f"{given} and folds exclude each other, since each fold is validated on what it does not train on: set "
                f"{given}=null; a glob in train_file takes several files"
            )
        if self.train_file and not (self.validation_file or self.validation_split_percentage or self.folds):
            raise ValueError("train_file needs a validation_file, or validation_split_percentage to hold some out")
        if self.validation_file and self.validation_split_percentage:
            raise ValueError("validation_file and validation_split_percentage exclude each other: drop one")
        if self.dataset_name and (self.validation_file or self.test_file):
            raise ValueError(
                "dataset_name has splits of its own: drop validation_file and test_file, or use train_file"
            )
        return self
