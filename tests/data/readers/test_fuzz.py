"""Whatever the bytes of a file, sentences come out of it, or one ``UserError``."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

import pytest

from determined_ner.data.readers.open import read_file
from determined_ner.data.readers.sentences import Choice
from determined_ner.errors import UserError
from tests.data.readers.files import KAGGLE, PACK, ROWS, TWO_CONLL, TWO_JSONL, write_parquet

CONLLU = "# newdoc\n# sent_id = 1\n1\tJá\tO\t-\n2-3\tda\t_\t_\n2\tRio\tB-LOC\tx\n\n# text = x\n1\tSim\tO\t-\n"


SEEDS: list[tuple[str, str]] = [
    ("conll", TWO_CONLL),
    ("txt", "-DOCSTART- O\n\n# O\nPeter B-PER\n\t\nthe O\n" * 3),
    ("conllu", CONLLU),
    ("tsv", "token\tner_tags\nEU\tB-ORG\n\n#WNUT\tO\n"),
    ("tsv", 'tokens\ttags\n["a", "b"]\tO O\n"say ""a"""\tO O\n'),
    ("csv", KAGGLE),
    ("csv", 'tokens,ner_tags\n"[\'EU\' \'is\']",[0 1]\n"[""EU"", ""is""]","[\'B-X\', \'O\']"\n'),
    ("jsonl", TWO_JSONL),
    ("json", json.dumps({"data": ROWS})),
    ("json", json.dumps({"tokens": [["a", "b"]], "ner_tags": [[0, 1]]}, indent=1)),
    ("strange", TWO_CONLL),
]


SHARDS = [bytes([byte]) for byte in b"\x00\xff\xe9\r\n\t\"'[]{}(,#\\-"] + [
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"\r\n", b"\n\n", b"# ", b"-DOCSTART-", b"\xe2\x80\xa8", b"\xc2\x85", b"O", b"B-X"),
    *(b"\\ud800", b"\\x", b"null", b"NaN", b"1e999", b"-1", b"true", b"...", b" " * 70),
    *(b"(" * 300, b"[" * 3000, b"9" * 5000, b"x" * 1_000_000),
]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One to four small wrongs: a byte changed, a shard put in, a piece lost, doubled, moved or cut off."""
    for _ in range(rng.randint(1, 4)):
        a, b = sorted(rng.randint(0, len(data)) for _ in range(2))
        b = min(b, a + 40)
        kind = rng.randrange(7)
        if kind == 0 and data:
            data = data[: a - 1] + rng.randbytes(1) + data[a:]
        elif kind <= 2:
            shard = rng.choice(SHARDS if rng.random() < 0.1 else SHARDS[:-1])
            data = data[:a] + shard + data[a:]
        elif kind == 3:
            data = data[:a] + data[b:]
        elif kind == 4:
            data = data[:b] + data[a:]
        elif kind == 5:
            data = data[:a] + data[a:b].decode("latin1").encode(rng.choice(["utf-8", "utf-16"])) + data[b:]
        else:
            data = data[:a]
    return data


def fuzz_case(rng: random.Random, parquet: bytes) -> tuple[str, bytes]:
    """A file's name and content, wrong inside, wrong in its compression, or by chance still right."""
    suffix, text = rng.choice(SEEDS)
    data = text.encode() * rng.choice([1, 1, 1, 30])
    if rng.random() < 0.1:
        suffix, data = "parquet", parquet
    if rng.random() < 0.05:
        data = rng.randbytes(rng.randint(0, 300))
    packing = rng.choice(list(PACK)) if rng.random() < 0.3 else ""
    data = mutated(data, rng) if rng.random() < 0.9 else data
    data = PACK[packing](data)
    if packing and rng.random() < 0.3:
        data = mutated(data, rng)
    if rng.random() < 0.1:
        suffix = rng.choice(["conll", "tsv", "csv", "jsonl", "json", "parquet", "odd"])
    return f"f.{suffix}{packing}", data


@pytest.mark.filterwarnings("error")
def test_fuzz(tmp_path: Path) -> None:
    """Whatever the bytes, sentences come out, or one UserError. NER_FUZZ_CASES sets how many files are tried."""
    rng = random.Random(0)
    columns = {"tokens": [["a", "b"]] * 9, "tags": [["O", "B-X"]] * 9}
    seed = write_parquet(tmp_path / "seed.parquet", columns).read_bytes()
    outcomes = {"read": 0, "refused": 0}
    options = [None, None, None, "ner_tags", "2", "-1", "nonsense"]
    for case in range(int(os.environ.get("NER_FUZZ_CASES", "5000"))):
        name, data = fuzz_case(rng, seed)
        path = tmp_path / name
        path.write_bytes(data)
        started = time.monotonic()
        try:
            choice = {"label_column": rng.choice(options), "need_tags": rng.random() < 0.7}
            for sentence in read_file(path, Choice(**choice)):
                empty = [repair for repair in sentence.repairs if repair.kind == "words that are empty"]
                assert sentence.words and sentence.words.count("") == len(empty), (case, name, sentence)
                assert sentence.tags is None or len(sentence.tags) == len(sentence.words), (case, name, sentence)
                assert sentence.tags is not None or not choice["need_tags"], (case, name, sentence)
                "".join(sentence.words + (sentence.tags or [])).encode()
            outcomes["read"] += 1
        except UserError as error:
            assert str(path) in str(error) and len(str(error)) < 1000 and "\n" not in str(error), (case, str(error))
            outcomes["refused"] += 1
        except Exception as error:
            (Path(os.environ.get("NER_FUZZ_KEEP", tmp_path)) / f"case-{case}-{name}").write_bytes(data)
            raise AssertionError(f"case {case}, {name}: {error!r}") from error
        finally:
            path.unlink()
        assert time.monotonic() - started < 10, (case, name)
    assert min(outcomes.values()) > sum(outcomes.values()) / 10, outcomes
