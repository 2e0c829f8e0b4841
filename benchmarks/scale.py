"""How reading, tokenizing and planning grow with the corpus: seconds and peak memory, cold and warm.

    python3 benchmarks/scale.py --encoder DIR [--sentences 100000 1000000] [--workers 2]

A corpus of generated sentences is written to a temporary directory as JSON Lines; each measurement is a process of its
own, so that its peak memory (resident set) is its own too.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))


def write_corpus(path: Path, sentences: int) -> None:
    """Sentences of 3 to 40 words, of a vocabulary of 50,000, a tenth of them in entities of four types."""
    rng = random.Random(0)
    syllables = [a + b for a in "bcdfglmnprstvz" for b in "aeiou"]
    vocabulary = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(50_000)]
    with path.open("w", encoding="utf-8") as file:
        for _ in range(sentences):
            words = rng.choices(vocabulary, k=rng.randint(3, 40))
            tags = ["O"] * len(words)
            for _ in range(len(words) // 15):
                at, kind = rng.randrange(len(words) - 1), rng.choice(("PER", "LOC", "ORG", "MISC"))
                tags[at : at + 2] = [f"B-{kind}", f"I-{kind}"]
            file.write(json.dumps({"tokens": words, "ner_tags": tags}) + "\n")


def measure(corpus: str, validation: str, cache: str, encoder: str, workers: int) -> None:
    """In a process of its own: load, plan an epoch, print the seconds and the peak memory."""
    started = time.perf_counter()
    from determined_ner.data.batches import TrainingBatches
    from determined_ner.data.corpus import load_corpus
    from determined_ner.data.pretrained_tokenizer import load_tokenizer
    from determined_ner.hub import Pretrained
    from determined_ner.settings.data import DataSettings

    import_for = time.perf_counter()
    tokenizer = load_tokenizer(Pretrained(encoder))
    data = DataSettings(train_file=corpus, validation_file=validation, preprocessing_num_workers=workers)
    split = load_corpus(data, "ner", tokenizer, 512, Path(cache)).splits["train"]
    loaded = time.perf_counter()
    TrainingBatches(split, tokenizer.specials, 32, 1, seed=0, group_by_length=True).plan(0)
    planned = time.perf_counter()
    TrainingBatches(split, tokenizer.specials, 32, 8, seed=0, group_by_length=True).plan(0)
    cut = time.perf_counter()
    print(
        json.dumps(
            {
                "words": len(split.tags),
                "imports_s": round(import_for - started, 2),
                "load_s": round(loaded - import_for, 2),
                "plan_s": round(planned - loaded, 2),
                "plan_8_slots_s": round(cut - planned, 2),
                "peak_MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", required=True, help="directory with a fast tokenizer")
    parser.add_argument("--sentences", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--workers", type=int, default=2, help="threads that tokenize")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        corpus, validation, cache = arguments.measure
        measure(corpus, validation, cache, arguments.encoder, arguments.workers)
        return
    with tempfile.TemporaryDirectory() as folder:
        held_out = Path(folder) / "validation.jsonl"
        write_corpus(held_out, 1000)
        for sentences in arguments.sentences:
            training = Path(folder) / f"{sentences}.jsonl"
            write_corpus(training, sentences)
            for start in ("cold", "warm"):
                command = [
                    sys.executable,
                    __file__,
                    "--encoder",
                    arguments.encoder,
                    "--workers",
                    str(arguments.workers),
                ]
                command += ["--measure", str(training), str(held_out), str(Path(folder) / f"cache-{sentences}")]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                print(f"{sentences:>9,} sentences, {start}: {done.stdout.strip()}", flush=True)
    print(machine.line())


if __name__ == "__main__":
    main()
