"""What is right for each folder of shared cases: counts, or the pattern of the refusal."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Counts:
    """What is read of one split."""

    sentences: int
    words: int
    found: dict[str, int]
    """Entities of each type; of plain tags: words of each tag."""


@dataclass(frozen=True)
class Case:
    """A set of files of a folder, read with these settings."""

    folder: str
    right: tuple[Counts, Counts] | str
    """Train and validation; or a pattern that the message of the refusal has."""
    train: str = "train.*"
    validation: str = "valid.*"
    """Patterns of file names; a folder ``data`` is a data set."""
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        plain = self.train == "train.*" and not self.settings
        return self.folder if plain else f"{self.folder}: {self.train} {self.settings or ''}".strip()


def counts(
    train: dict[str, int], validation: dict[str, int], sizes: tuple[int, int, int, int] = (40, 270, 12, 81)
) -> tuple[Counts, Counts]:
    """Of entities, with sentences and words of train and of validation."""
    return Counts(sizes[0], sizes[1], train), Counts(sizes[2], sizes[3], validation)


def entities(per: str, loc: str, org: str, words: tuple[int, int] = (270, 81)) -> tuple[Counts, Counts]:
    """The usual 40 and 12 sentences, with the types under these names."""
    sizes = (40, words[0], 12, words[1])
    return counts({per: 20, loc: 20, org: 10}, {per: 6, loc: 6, org: 3}, sizes)


USUAL = entities("PER", "LOC", "ORG")
SMALL = entities("per", "loc", "org")
NUMBERED = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC"]
ALPHABETIC = {"label_names": ["B-LOC", "B-ORG", "B-PER", "I-ORG", "I-PER", "O"]}
HELD_OUT = {"validation_split_percentage": 30}
SPLIT_OF_40 = counts(
    {"PER": 14, "LOC": 16, "ORG": 6},
    {"PER": 6, "LOC": 4, "ORG": 4},
    (28, 192, 12, 78),
)


def refused(*parts: str) -> str:
    """A pattern for a message that has all of these, in this order."""
    return ".*".join(map(re.escape, parts))


CASES = [
    Case("01-bare-bio", counts({"_": 50}, {"_": 15})),
    Case("02-bmes", entities("PER", "LOC", "ORG", (280, 84))),
    Case("03-germeval", refused("train.tsv:2: ", "column 3 (", "column 4 (", "data.label_column_name")),
    Case("03-germeval", USUAL, settings={"label_column_name": "3"}),
    Case("04-few-nerd", entities("person-other", "location-GPE", "organization-company")),
    Case("05-mit-tag-first", USUAL),
    Case("06-doccano-label", USUAL),
    Case("06c-text-spans-hf", USUAL),
    Case("07-labelstudio-json", USUAL),
    Case("07c-labelstudio-conll", USUAL),
    Case("07d-labelstudio-blank-token", refused("train.conll:4: 3 columns in ' -X- _ O' but 4 in line 2")),
    Case("08-prodigy", USUAL),
    Case("09-spacy", USUAL),
    Case("10-webanno", USUAL),
    Case(
        "10b-brat",
        refused("train.ann: holds brat annotations, but no text train.txt"),
        train="train.ann",
        validation="valid.ann",
    ),
    Case("11-kaggle-latin1", refused("train.csv:203: ", "is not UTF-8", "iconv -f latin1")),
    Case("11b-kaggle-utf8", SMALL),
    Case("11c-kaggle-empty-word", SMALL),
    Case("12a-dataset-save-to-disk", SPLIT_OF_40, settings=HELD_OUT),
    Case("12b-datasetdict-save-to-disk", USUAL),
    Case("12d-datasetdict-valid", USUAL),
    Case("12e-parquet-classlabel", USUAL),
    Case("12f-parquet-ints-pandas", refused("data.label_names")),
    Case("12f-parquet-ints-pandas", USUAL, settings={"label_names": NUMBERED}),
    Case("12g-dir-of-jsonl-dev", refused("data.label_names")),
    Case("12g-dir-of-jsonl-dev", USUAL, settings={"label_names": NUMBERED}),
    Case("12h-dir-dataset_infos", USUAL),
    Case("12i-dir-readme-features", USUAL),
    Case("12j-datasetdict-only-train", SPLIT_OF_40, settings=HELD_OUT),
    Case("12k-minus-100-jsonl", refused("train.jsonl", "-100")),
    Case("13-int-labels", refused("data.label_names")),
    Case("13-int-labels", USUAL, settings=ALPHABETIC),
    Case("14-i-tag-only-in-valid", USUAL),
    Case("15-blanks-crlf-bom", USUAL),
    Case("16-bom-inside", USUAL),
    Case("17-mixed-tab-space", refused("train.conll:3: 1 column in 'moved O' but 2 in line 1", "a tab")),
    Case("17b-trailing-tab", refused("train.conll:3: 3 columns in", "but 2 in line 1", "a tab")),
    Case("17c-all-trailing-tab", USUAL),
    Case("17d-comma", refused("train.conll:1: ", "if commas part columns, name the file .csv")),
    Case("17e-pipe", USUAL),
    Case("18-norne-misc", USUAL),
    Case("20-odd-tokens", entities("PER", "LOC", "ORG", (470, 141))),
    Case("22-multiconer", USUAL),
    Case("23-uner", USUAL),
    Case("24-conll2012", USUAL),
    Case("25-ids-from-0", USUAL),
    Case("26a-underscore", USUAL),
    Case("26c-lower", SMALL),
    Case("26e-zero", USUAL),
    Case("26f-no-prefix", USUAL),
    Case("26i-one-zero-late", refused("train.conll:2602: '0' is not a tag")),
    Case(
        "26j-invisible-in-tag",
        counts({"PER": 20, "LOC": 20, "ORG": 10, "Org": 1}, {"PER": 6, "LOC": 6, "ORG": 3, "Org": 0}),
    ),
    Case("27-spacy-iob", USUAL),
    Case("28-gliner", USUAL),
    Case("29-no-blank-lines", (Counts(1, 270, USUAL[0].found), Counts(1, 81, USUAL[1].found))),
    Case("29-no-blank-lines", refused("one sentence of 270 words", "blank line"), validation="-", settings=HELD_OUT),
    Case("31-empty-rows", refused("train.jsonl:6: column 'tokens' is []")),
    Case("33-line-tsv", USUAL),
    Case(
        "36-hashtag-pos-space",
        counts(
            {"NNP": 110, "NN": 120, ".": 40, "HT": 40, "USR": 40},
            {"NNP": 33, "NN": 36, ".": 12, "HT": 12, "USR": 12},
            (40, 350, 12, 105),
        ),
    ),
    Case("37-wikiann-prefix", USUAL),
    Case("38-csv-no-header", refused("train.csv:1: ['Cosmo', 'B-PER'] is a row of data", "word,tag")),
    Case("38b-csv-raw-quotes", entities("PER", "LOC", "ORG", (298, 89))),
    Case("38c-ids-come-back", refused("train.csv:137: sentence '0'", "goes on here after '39'", "sort")),
    Case("38e-csv-tags-comma", refused("train.csv:2: 8 words but 1 tag")),
    Case("40-europarl", refused("train.conll:1: ", "column 4 (I-VC", "column 5 (O", "data.label_column_name")),
    Case("40-europarl", USUAL, settings={"label_column_name": "5"}),
    Case("44-dutch-docstart", USUAL),
    Case("45-bilou", USUAL),
    Case("45b-bilou-minus", refused("train.conll:27: '-' is not a tag")),
    Case("46-odd-types", entities("work-of-art", "fromloc.city_name", "Facility (old)")),
    Case("47-scripts", counts({"PER": 15, "LOC": 15}, {"PER": 6, "LOC": 6}, (20, 100, 8, 40))),
    Case("48-all-o-valid", counts({"PER": 20, "LOC": 20, "ORG": 10}, {"PER": 0, "LOC": 0, "ORG": 0})),
    Case("48b-all-o-train", counts({}, {})),
    Case("48c-one-word-sentences", counts({"PER": 10}, {"PER": 3}, (40, 40, 12, 12))),
    Case("49-hf-to-csv", refused("data.label_names")),
    Case("49-hf-to-csv", USUAL, settings={"label_names": NUMBERED}),
    Case("50-excel-semicolon", USUAL),
    Case("51-sentence-column-SentenceId", USUAL),
    Case("51-sentence-column-Sentence_Number", USUAL),
    Case("51-sentence-column-doc_id", USUAL),
    Case("51-sentence-column-sent_no", USUAL),
    Case("51-sentence-column-sentence_id", USUAL),
    Case("51-sentence-column-sentence_num", USUAL),
    Case("52-pii-kaggle", entities("PER", "LOC", "ORG", (310, 93))),
    Case("53-no-text", refused("train.xlsx:1: is a spreadsheet (Excel)", "CSV"), "train.xlsx", "train.arrow"),
    Case("53-no-text", refused("train.zip:1: is a ", "not text"), "train.zip", "train.arrow"),
    Case("53-no-text", refused("train.pkl:1: is a Python pickle"), "train.pkl", "train.arrow"),
    Case("53-no-text", refused("train.xml:1: ", "is XML"), "train.xml", "train.arrow"),
    Case("53-no-text", (USUAL[0], USUAL[0]), "train.feather", "train.arrow"),
    Case("53-no-text", (USUAL[0], USUAL[0]), "train.arrow", "data"),
    Case("53-no-text", (USUAL[0], USUAL[0]), "train.utf16.conll", "train.feather"),
    Case("54-seq-in-out", counts(*[{"PER": 20, "LOC": 20, "ORG": 10}] * 2, (40, 270, 40, 270)), "seq.in", "seq.out"),
    Case("56-text-string-tags-string", USUAL),
    Case("57-pubtator", entities("PER", "LOC", "ORG", (540, 162))),  # title and abstract
    Case("58-nbsp-blank-line", USUAL),
    Case("58b-double-cr", USUAL),
    Case("59-header-ne", USUAL),
    Case("59b-header-word-label-space", USUAL),
    Case("60-word-with-space", refused("train.conll:2: 3 columns in 'Do rfler I-PER' but 2 in line 1")),
    Case("61-csv-empty-row-between", USUAL),
    Case("61c-tsv-header-empty-row-between", USUAL),
    Case("63-chemdner", USUAL),
    Case("65-swedish", refused("train.txt:310: 1 column in 'bn' but 2 in line 1")),
    Case("66-spacy-blank-tokens", entities("PER", "LOC", "ORG", (310, 93))),
]
"""One row for each set of files of a folder."""
