"""The words of a split, each different one counted once: how they are tagged, and what they have in common."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from determined_ner.check.facts import AmbiguousWord, SplitFacts
from determined_ner.tags.entities import TagTable
from determined_ner.tags.labels import Labels
from determined_ner.tags.schemes import Scheme

AMBIGUOUS_FROM = 5
"""Occurrences from which on a word can be ambiguous."""
AMBIGUOUS_SHOWN = 10
"""How many of them are reported."""
MERGE_ROWS = 1 << 20
"""Rows of word counts after which equal ones are added up."""


class WordKinds:
    """Counts how each word is tagged: distinct words × types, in Arrow."""

    def __init__(self, labels: Labels, merge_rows: int = MERGE_ROWS) -> None:
        """
        Args:
            merge_rows: rows of counts after which equal ones are added up.
        """
        self._merge_rows = merge_rows
        table = TagTable(labels.names, plain=labels.scheme is Scheme.PLAIN)
        if table.plain:
            self._names = list(labels.names)
            self._kind = np.arange(len(labels.names), dtype=np.int32)
        else:
            # B- and I- are one kind: a word may stand anywhere in an entity.
            self._names = ["O", *table.types]
            self._kind = np.where(table.prefix == "O", 0, table.type_id + 1).astype(np.int32)
        self._tables: list[pa.Table] = []
        self._rows = 0

    def add(self, words: pa.StringArray, tags: NDArray[np.int16]) -> None:
        """Count words, (n,), with their tag ids, (n,)."""
        counts = pa.table({"word": words, "kind": self._kind[tags], "count": np.ones(len(tags), np.int64)})
        self._tables.append(_add_equal_rows(counts))
        self._rows += self._tables[-1].num_rows
        if self._rows > self._merge_rows:
            self._merge()

    def _merge(self) -> None:
        self._tables = [_add_equal_rows(pa.concat_tables(self._tables))]
        self._rows = 0  # what is new since; so a merge costs at most as much as what it merges

    def describe(self, facts: SplitFacts) -> None:
        """Fill in what all words have in common."""
        self._merge()
        (table,) = self._tables
        are_numbers = pc.match_substring_regex(table["word"], r"^[-+]?[0-9][0-9.,:/%-]*$")
        facts.numbers = pc.sum(table["count"].filter(are_numbers)).as_py() or 0
        words = table["word"].filter(pc.not_equal(table["word"], ""))
        first, last = (pc.min_max(words).as_py() or {}).values()  # by their characters: all others lie between them
        pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first or "", last or "", strict=False))
        facts.common_prefix = "".join(character for character, _ in pairs)

    def ambiguous(self) -> list[AmbiguousWord]:
        """The words of several kinds, most ambiguous first.

        Ambiguity is the entropy of a word's kinds, in bits, times the binary logarithm of its count.
        """
        self._merge()
        (table,) = self._tables
        words = table["word"].combine_chunks().dictionary_encode()
        if isinstance(words, pa.ChunkedArray):
            words = words.combine_chunks()
        codes, kinds, counts = words.indices.to_numpy(), table["kind"].to_numpy(), table["count"].to_numpy()
        totals = np.bincount(codes, weights=counts)
        share = counts / totals[codes]
        scores = np.bincount(codes, weights=-share * np.log2(share)) * np.log2(totals)
        scores[totals < AMBIGUOUS_FROM] = 0
        least = np.sort(scores)[-AMBIGUOUS_SHOWN:][0]
        found = []
        for code in np.flatnonzero((scores > 0) & (scores >= least)).tolist():
            rows = np.flatnonzero(codes == code)
            labels = sorted((-int(counts[i]), self._names[kinds[i]]) for i in rows)
            word = AmbiguousWord(words.dictionary[code].as_py(), int(totals[code]), {k: -n for n, k in labels})
            found.append((-scores[code], word.word, word))
        return [word for *_, word in sorted(found, key=lambda entry: entry[:2])[:AMBIGUOUS_SHOWN]]


def _add_equal_rows(table: pa.Table) -> pa.Table:
    added = table.group_by(["word", "kind"]).aggregate([("count", "sum")])
    return added.select(["word", "kind", "count_sum"]).rename_columns(["word", "kind", "count"])
