"""How many of the errors that were put into labels `determined-ner audit` lists first, beside two other rankings.

    python3 benchmarks/audit.py --encoder MODEL --data FOLDER --work DIR [--seeds 42 43 44] [--corpora wikigold]

Into 5 % of the entities errors are put, as many of each kind: dropped (no entity any more), retyped, shifted (one
border by one word). The recall is the share of them among the first K of a list, K being their number. An entry finds
an error where they have a word in common; an error counts once. The rankings, all on the same probabilities:

    entities   ours
    regions    the same entries by their least-believed word alone: what the rest of our ranking adds
    cleanlab   words, by cleanlab.token_classification (where cleanlab is installed)
    words      words, by the probability of the given tag, least first

What was trained stays in DIR, so that a second call ranks at once.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from determined_ner.audit.ranking import Doubt, rank
from determined_ner.data.readers.open import read_file
from determined_ner.data.readers.sentences import DETECTED
from determined_ner.report.out_of_fold import OutOfFold, read_predictions
from determined_ner.tags.schemes import detect_scheme, iob2_entities, to_iob2

KINDS = ("dropped", "retyped", "shifted")
SHARE = 0.05
CORPORA = {"wikigold": ("wikigold/wikigold.conll.txt", None), "ncbi": ("ncbi-disease/train.tsv", 600)}
"""File, and how many of its first sentences are taken."""
FOLDS = 4
SETTINGS = {
    "hyperparameters.global_batch_size": 16,
    "hyperparameters.learning_rate": 3e-4,
    "hyperparameters.warmup_ratio": 0.1,
    "hyperparameters.num_train_epochs": 3,
    "hyperparameters.precision": "bf16",
    "min_validation_period": "{epochs: 3}",
}


@dataclass(frozen=True)
class Planted:
    """An error that was put in: the words of the old entity and of the new one."""

    kind: str
    sentence: int
    begin: int
    end: int


def plant(sentences: list[list[str]], seed: int) -> list[Planted]:
    """Put errors into IOB2 tags, in place; no entity has two of them."""
    random = np.random.default_rng(seed)
    entities = [(s, *entity) for s, tags in enumerate(sentences) for entity in iob2_entities(tags)]
    types = sorted({entity[1] for entity in entities})
    kinds = [kind for kind in KINDS if kind != "retyped" or len(types) > 1]
    wanted = round(SHARE * len(entities))
    planted: list[Planted] = []
    for at in random.permutation(len(entities)):
        if len(planted) == wanted:
            break
        s, type_, begin, end = entities[at]
        kind, tags = kinds[len(planted) % len(kinds)], sentences[s]
        if kind == "dropped":
            tags[begin:end] = ["O"] * (end - begin)
            planted.append(Planted(kind, s, begin, end))
        elif kind == "retyped":
            _write(tags, begin, end, str(random.choice([other for other in types if other != type_])))
            planted.append(Planted(kind, s, begin, end))
        else:
            moves = []
            if begin > 0 and tags[begin - 1] == "O":
                moves.append((begin - 1, end))
            if end < len(tags) and tags[end] == "O":
                moves.append((begin, end + 1))
            if end - begin > 1:
                moves += [(begin + 1, end), (begin, end - 1)]
            if not moves:
                continue
            new = moves[random.integers(len(moves))]
            tags[begin:end] = ["O"] * (end - begin)
            _write(tags, *new, type_)
            planted.append(Planted(kind, s, min(begin, new[0]), max(end, new[1])))
    return planted


def _write(tags: list[str], begin: int, end: int, type_: str) -> None:
    tags[begin:end] = [f"B-{type_}", *[f"I-{type_}"] * (end - begin - 1)]
    if end < len(tags) and tags[end] == f"I-{type_}":  # an entity that touches stays one of its own
        tags[end] = f"B-{type_}"


def prepare(source: Path, limit: int | None, seed: int, folder: Path) -> list[Planted]:
    """Write the text with errors, ``noisy.conll``, and what they are."""
    sentences = list(read_file(source, DETECTED))[:limit]
    scheme = detect_scheme(sentence.tags or [] for sentence in sentences)
    tags = [to_iob2(sentence.tags or [], scheme)[0] for sentence in sentences]
    planted = plant(tags, seed)
    lines, document = [], -1
    marked = sentences[-1].document > 0
    for sentence, given in zip(sentences, tags, strict=True):
        if marked and sentence.document != document:
            lines.append("-DOCSTART-\tO\n\n")
            document = sentence.document
        lines += [f"{word}\t{tag}\n" for word, tag in zip(sentence.words, given, strict=True)]
        lines.append("\n")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "noisy.conll").write_text("".join(lines), encoding="utf-8")
    (folder / "planted.json").write_text(json.dumps([asdict(error) for error in planted]), encoding="utf-8")
    return planted


def train(folder: Path, encoder: str) -> OutOfFold:
    """The predictions of the folds, trained where that is yet to be done."""
    out = folder / "folds"
    if not (out / "summary.json").exists():
        import ner_trial

        settings = {"hyperparameters.pretrained_model_name_or_path": encoder, **SETTINGS}
        settings["data.train_file"] = folder / "noisy.conll"
        arguments = ["--folds", str(FOLDS), "--output-dir", str(out), *(["--resume"] if out.exists() else [])]
        for name, value in settings.items():
            arguments += ["--config", f"{name}={value}"]
        if ner_trial.main(arguments):
            sys.exit(2)
    return read_predictions([out / "predictions" / f"fold-{fold}.parquet" for fold in range(1, FOLDS + 1)])


# -- Rankings --------------------------------------------------------------------------------------------------


Entry = tuple[int, int, int]
"""Sentence, first word, and one past the last word."""


def of_words(text: OutOfFold, words: Iterable[int]) -> list[Entry]:
    """Single words as entries."""
    sentence_of = np.repeat(np.arange(len(text.words)), np.diff(text.sentences))
    found = []
    for word in words:
        sentence = int(sentence_of[word])
        at = int(word - text.sentences[sentence])
        found.append((sentence, at, at + 1))
    return found


def rankings(text: OutOfFold) -> dict[str, list[Entry]]:
    """Entries, most doubtful first, by ranking."""
    doubts = rank(text)
    own = text.probabilities[np.arange(len(text.given)), text.given]

    def least_believed(doubt: Doubt) -> float:
        first = int(text.sentences[doubt.sentence])
        return float(own[first + doubt.begin : first + doubt.end].min())

    def entries(chosen: Iterable[Doubt]) -> list[Entry]:
        return [(doubt.sentence, doubt.begin, doubt.end) for doubt in chosen]

    found = {"entities": entries(doubts), "regions": entries(sorted(doubts, key=least_believed))}
    try:
        from cleanlab.token_classification.rank import get_label_quality_scores
    except ImportError:
        print("cleanlab is not installed: left out")
    else:
        borders = text.sentences[1:-1]
        parts = np.split(text.given, borders), np.split(text.probabilities, borders)
        _, scores = get_label_quality_scores(
            [part.tolist() for part in parts[0]], parts[1], token_score_method="normalized_margin"
        )
        flat = np.concatenate([np.asarray(part, float) for part in scores])
        found["cleanlab"] = of_words(text, np.argsort(flat, kind="stable"))
    found["words"] = of_words(text, np.argsort(own, kind="stable"))
    return found


def found_first(entries: list[Entry], planted: list[Planted]) -> Counter[str]:
    """How many errors of each kind are among the first entries, as many as errors were put in."""
    found = set()
    by_sentence: dict[int, list[int]] = {}
    for i, error in enumerate(planted):
        by_sentence.setdefault(error.sentence, []).append(i)
    for sentence, begin, end in entries[: len(planted)]:
        for i in by_sentence.get(sentence, ()):
            if planted[i].begin < end and begin < planted[i].end:
                found.add(i)
    return Counter(planted[i].kind for i in found)


def main() -> None:
    parser = argparse.ArgumentParser(description="How many planted errors an audit lists first.")
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of wikigold/ and ncbi-disease/")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--corpora", nargs="+", choices=list(CORPORA), default=list(CORPORA))
    arguments = parser.parse_args()
    for corpus in arguments.corpora:
        source, limit = CORPORA[corpus]
        for seed in arguments.seeds:
            folder = arguments.work / f"{corpus}-{seed}"
            planted = prepare(arguments.data / source, limit, seed, folder)
            text = train(folder, arguments.encoder)
            of_kind = Counter(error.kind for error in planted)
            print(f"{corpus}, seed {seed}, {len(planted)} errors")
            for name, entries in rankings(text).items():
                found = found_first(entries, planted)
                kinds = "  ".join(f"{kind} {found[kind]}/{of_kind[kind]}" for kind in KINDS if of_kind[kind])
                print(f"  {name:<10} {found.total() / len(planted):.3f}  {kinds}")


if __name__ == "__main__":
    main()
