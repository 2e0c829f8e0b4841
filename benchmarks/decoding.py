"""What constrained decoding does to the scores: entity F1 with and without it, over labelled files.

    python3 benchmarks/decoding.py MODEL_DIR FILE [FILE ...]

With ``--raw`` each sentence is joined by spaces and cut into words again by
`determined_ner.tagging.words.word_offsets`, as raw text is: the entities found are compared with the gold ones by
their characters.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from determined_ner.data.readers.lines import Sentence
from determined_ner.data.readers.open import read_file
from determined_ner.tagging.tagger import Tagger, in_buffers
from determined_ner.tags.decoding import allowed_transitions, best_tags
from determined_ner.tags.entities import TagTable
from determined_ner.tags.schemes import detect_scheme, to_iob2
from determined_ner.tags.scores import evaluate


def score(tagger: Tagger, sentences: list[Sentence]) -> None:
    table = TagTable(tagger.labels)
    ids = {label: i for i, label in enumerate(tagger.labels)}
    scheme = detect_scheme(sentence.tags or [] for sentence in sentences)
    gold = [ids[tag] for sentence in sentences for tag in to_iob2(sentence.tags or [], scheme)[0]]
    tagged = [
        tagger.tag([sentence.words for sentence in some]) for some in in_buffers(sentences, lambda s: len(s.words))
    ]
    logits = np.concatenate([part.logits for part in tagged])
    starts = np.concatenate([[0], np.cumsum([len(sentence.words) for sentence in sentences])])
    allowed = allowed_transitions(tagger.labels, tagger.label_scheme)
    decoded = {"each word by itself": logits.argmax(1), "constrained": best_tags(logits, starts, allowed)}
    for name, chosen in decoded.items():
        scores = evaluate(np.array(gold), chosen, starts, table)
        print(
            f"  {name:<20} F1 {scores['f1']:.4f}  strict {scores['f1_strict']:.4f}  accuracy {scores['accuracy']:.4f}"
        )
    changed = decoded["constrained"] != decoded["each word by itself"]
    print(f"  {int(changed.sum()):,} of {len(gold):,} tags differ")


def score_raw(tagger: Tagger, sentences: list[Sentence]) -> None:
    right = gold_count = found_count = 0
    scheme = detect_scheme(sentence.tags or [] for sentence in sentences)
    found = tagger([" ".join(sentence.words) for sentence in sentences])
    for sentence, entities in zip(sentences, found, strict=True):
        ends = np.cumsum([len(word) + 1 for word in sentence.words]) - 1
        gold: list[tuple[str, int, int]] = []
        for word, tag, end in zip(sentence.words, to_iob2(sentence.tags or [], scheme)[0], ends.tolist(), strict=True):
            if tag.startswith("B-"):
                gold.append((tag[2:], end - len(word), end))
            elif tag.startswith("I-"):
                gold[-1] = (*gold[-1][:2], end)
        spans = {(entity.type, entity.start, entity.end) for entity in entities}
        right += len(spans & set(gold))
        gold_count += len(gold)
        found_count += len(spans)
    print(f"  raw text             F1 {2 * right / (gold_count + found_count):.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", metavar="MODEL_DIR")
    parser.add_argument("files", nargs="+", metavar="FILE", help="with tags, in any format that training reads")
    parser.add_argument("--raw", action="store_true")
    arguments = parser.parse_args()
    tagger = Tagger.from_pretrained(arguments.model_dir)
    for file in arguments.files:
        sentences = list(read_file(file))
        print(file)
        score(tagger, sentences)
        if arguments.raw:
            score_raw(tagger, sentences)


if __name__ == "__main__":
    main()
