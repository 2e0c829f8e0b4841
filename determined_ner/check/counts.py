"""What the data check counts, in one pass over a split's text and its windows, a record batch at a time.

Nothing grows with the corpus except 12 bytes a sentence (hash and length) and the distinct words of train.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from determined_ner.check.facts import LONG_ENTITY, Distribution, Example, Finding, SplitFacts
from determined_ner.check.word_kinds import WordKinds
from determined_ner.data.source import Source
from determined_ner.data.split import Split
from determined_ner.data.splitting import kept_as_printed
from determined_ner.data.text_store import StoredText
from determined_ner.data.tokenizer import WordTokenizer
from determined_ner.data.words import WordSplitting, visible
from determined_ner.tags.entities import TagTable, entity_spans
from determined_ner.tags.labels import Labels
from determined_ner.tags.schemes import Scheme

EXAMPLES = 3
"""Examples of a finding."""
_TEXT_SHOWN = 80
"""Characters of an example."""

Ints = NDArray[np.int64]


class SplitCounter:
    """Counts one split."""

    def __init__(
        self,
        split: Split,
        text: StoredText,
        labels: Labels,
        tokenizer: WordTokenizer,
        max_seq_length: int,
        whole_documents: bool,
        word_splitting: WordSplitting,
    ) -> None:
        """
        Args:
            text: of the split.
            whole_documents: whether windows reach over the sentences of a document (``data.context: document``).
            word_splitting: how the model will cut raw text into words.
        """
        self._split, self.text = split, text
        self._tokenizer = tokenizer
        self._capacity = max_seq_length - tokenizer.specials
        self._whole_documents = whole_documents
        self._splitting: WordSplitting = word_splitting
        self._table = TagTable(labels.names, plain=labels.scheme is Scheme.PLAIN)
        self._labels = labels
        sentences = len(split.sentences) - 1
        self.hashes = np.empty(sentences, np.int64)
        """(S,) of the words of each sentence."""
        self._pieces = np.empty(sentences, np.int32)
        self._last_document: int | None = None
        self._longest = 0
        self.facts = SplitFacts(
            files=[],
            sentences=sentences,
            words=len(split.tags),
            windows=len(split.windows) - 1,
            repaired_tags=split.counts["repaired_tags"],
            bad_tags=list(split.bad_tags),
            repairs=[repairs.describe(text.source) for repairs in text.repairs()],
            parted_words=text.parted_words(),
        )

    def count(self, word_kinds: WordKinds | None, progress: Callable[[float], None]) -> SplitFacts:
        """Read the whole split.

        Args:
            word_kinds: also counts the words, if given.
            progress: called with the share that is done, from 0 to 1.
        """
        facts, split = self.facts, self._split
        tags = np.zeros(len(self._labels.names), np.int64)
        entities = np.zeros(len(self._table.types), np.int64)
        row = word = 0
        for batch in self.text.batches():
            part = _Part(batch, self.text.source)
            self._count_documents(batch)
            gold = np.asarray(split.tags[word : word + len(part.words)])
            pieces, seen = self._pieces_of(part, word)
            self._pieces[row : row + batch.num_rows] = np.add.reduceat(pieces, part.starts[:-1])
            self.hashes[row : row + batch.num_rows] = part.hashes()
            tags += np.bincount(gold, minlength=len(tags))
            entities += self._count_entities(part, gold, pieces, seen)
            self._count_cut_otherwise(batch, part, gold)
            if word_kinds is not None:
                word_kinds.add(part.words, gold)
            sizes = np.diff(part.starts)
            if (most := int(sizes.max())) > self._longest:
                self._longest, facts.longest = most, part.sentence(int(sizes.argmax()))
            row, word = row + batch.num_rows, word + len(gold)
            progress(row / facts.sentences)
        facts.tags = dict(zip(self._labels.names, tags.tolist(), strict=True))
        facts.entities = dict(zip(self._table.types, entities.tolist(), strict=True))
        facts.words_per_sentence = _distribution(np.diff(split.sentences))
        facts.pieces_per_sentence = _distribution(self._pieces + self._tokenizer.specials)
        facts.pieces_per_word = float(self._pieces.sum(dtype=np.int64) / facts.words)
        return facts

    def _count_documents(self, batch: pa.RecordBatch) -> None:
        numbers = batch.column("document").to_numpy()
        self.facts.documents += int((np.diff(numbers) != 0).sum()) + int(numbers[0] != self._last_document)
        self._last_document = int(numbers[-1])

    def _pieces_of(self, part: _Part, at: int) -> tuple[Ints, NDArray[np.int16]]:
        """Count the pieces of every word of a record batch, from the windows.

        A word's pieces end where those of the next word begin, or with their window. The windows do not say it for the
        last word that a window owns while it sees more; those words are tokenized again, and so are words that may be
        cut.

        Args:
            at: position of the first word in the split.

        Returns:
            (n,) pieces of each word, and (n,) the label that its window trains it on.
        """
        split, facts, n = self._split, self.facts, len(part.words)
        low, high = np.searchsorted(split.words, [at, at + n])  # windows: none reaches over two record batches
        begin, end = int(split.windows[low]), int(split.windows[high])
        first = np.flatnonzero(split.is_first_piece[begin:end]) + begin
        assert len(first) == n, "a word is owned by no window, or by two"
        owned = np.asarray(split.words[low : high + 1]) - at
        ends = np.append(first[1:], end)
        ends[owned[1:] - 1] = split.windows[low + 1 : high + 1]

        units = part.documents() if self._whole_documents else part.starts
        unit = np.searchsorted(units, owned[:-1], side="right") - 1
        windows = np.bincount(unit, minlength=len(units) - 1)
        several = np.flatnonzero(windows > 1)
        _add(facts.in_several_windows, several, lambda i: part.sentence(int(np.searchsorted(part.starts, units[i]))))

        pieces = ends - first
        unsure = np.union1d(owned[1:][windows[unit] > 1] - 1, np.flatnonzero(pieces >= self._capacity))
        if len(unsure):
            pieces[unsure] = self._tokenizer.pieces([[word] for word in part.take(unsure)])[1]
            _add(facts.words_cut, unsure[pieces[unsure] > self._capacity], part.word)

        found = np.flatnonzero(np.asarray(split.ids[begin:end]) == self._tokenizer.unknown_id) + begin
        owner = np.searchsorted(first, found, side="right") - 1
        self._count_unknown(part, np.unique(owner[(owner >= 0) & (found < ends[owner])]))
        return pieces, np.asarray(split.labels[first])

    def _count_unknown(self, part: _Part, words: Ints) -> None:
        """Count words without any piece, and those that have the vocabulary's own unknown piece."""
        if not len(words):
            return
        backend = self._tokenizer.backend
        texts = part.take(words)
        distinct = sorted(set(map(visible, texts)))
        encodings = backend.encode_batch([[t] for t in distinct], is_pretokenized=True, add_special_tokens=False)
        without = {text for text, encoding in zip(distinct, encodings, strict=True) if not encoding.ids}
        empty = np.array([visible(text) in without for text in texts])
        _add(self.facts.words_without_pieces, words[empty], part.word)
        _add(self.facts.words_unknown, words[~empty], part.word)

    def _count_cut_otherwise(self, batch: pa.RecordBatch, part: _Part, gold: NDArray[np.int16]) -> None:
        """Count the words that tagging raw text would give otherwise: a model cannot find what it is not shown."""
        facts, table = self.facts, self._table
        tagged = np.array([table.plain or prefix != "O" for prefix in table.prefix])[gold]
        sentences = batch.column("words").to_pylist()
        kept = np.concatenate([kept_as_printed(words, self._splitting) for words in sentences])
        otherwise = np.flatnonzero(tagged & ~kept)
        names = self._labels.names if table.plain else table.types
        kinds = gold[otherwise] if table.plain else table.type_id[gold[otherwise]]
        for kind in np.unique(kinds).tolist():
            finding = facts.words_cut_otherwise.setdefault(names[kind], Finding())
            _add(finding, otherwise[kinds == kind], part.word)

    def _count_entities(self, part: _Part, gold: NDArray[np.int16], pieces: Ints, seen: NDArray[np.int16]) -> Ints:
        """Count the entities of each type (returned), those that look odd, and what no window holds."""
        facts = self.facts
        before = np.cumsum(pieces) - pieces
        before -= np.repeat(before[part.starts[:-1]], np.diff(part.starts))  # pieces before each word in its sentence
        losses = ((facts.lost, seen != gold), (facts.lost_by_truncation, before >= self._capacity))
        for loss, lost in losses:
            loss.words += int(lost.sum())
        if self._table.plain:
            return np.zeros(0, np.int64)
        spans = entity_spans(gold, part.starts, self._table)
        sizes = spans.end - spans.begin

        def inside(flags: NDArray[np.bool_]) -> Ints:
            """Number of flagged words in each entity."""
            total = np.concatenate([[0], np.cumsum(flags)])
            counts: Ints = total[spans.end] - total[spans.begin]
            return counts

        for loss, lost in losses:
            loss.entities += int((inside(lost) > 0).sum())
        marks = part.matches(r"^[^\p{L}\p{N}]+$")
        only_marks = inside(marks) == sizes
        for finding, found in (
            (facts.long_entities, sizes >= LONG_ENTITY),
            (facts.punctuation_entities, only_marks),
            (facts.punctuation_first, marks[spans.begin] & ~only_marks),
            (facts.blank_in_entities, inside(part.matches(r"[\s\p{Z}]")) > 0),
        ):
            _add(finding, np.flatnonzero(found), lambda i: part.word(int(spans.begin[i]), int(spans.end[i])))
        return np.bincount(spans.type_id, minlength=len(self._table.types))


class _Part:
    """One record batch of a split's text, its n words end to end."""

    def __init__(self, batch: pa.RecordBatch, source: Source) -> None:
        self._batch, self._source = batch, source
        lists = batch.column("words")
        offsets = lists.offsets.to_numpy().astype(np.int64)
        self.starts = offsets - offsets[0]
        """First word of each sentence, and n."""
        self.words: pa.StringArray = lists.flatten()

    def documents(self) -> Ints:
        """First word of each document, and n."""
        changes = np.flatnonzero(np.diff(self._batch.column("document").to_numpy())) + 1
        starts: Ints = self.starts[np.concatenate([[0], changes, [self._batch.num_rows]])]
        return starts

    def take(self, words: Ints) -> list[str]:
        return list(self.words.take(pa.array(words)).to_pylist())

    def matches(self, pattern: str) -> NDArray[np.bool_]:
        """(n,) whether each word matches an RE2 pattern."""
        return np.asarray(pc.match_substring_regex(self.words, pattern))

    def hashes(self) -> Ints:
        """(S,) a hash of each sentence: of the bytes and the lengths of its words, straight from Arrow's buffers."""
        _, offsets_buffer, data = self.words.buffers()
        offsets = np.frombuffer(offsets_buffer, np.int32)[self.words.offset :][: len(self.words) + 1]
        lengths, bytes_ = np.diff(offsets), memoryview(data)
        digests = bytearray()
        starts = self.starts.tolist()
        at = offsets[self.starts].tolist()
        for i in range(len(starts) - 1):
            digest = hashlib.blake2b(bytes_[at[i] : at[i + 1]], digest_size=8)
            digest.update(lengths[starts[i] : starts[i + 1]].data)
            digests += digest.digest()
        return np.frombuffer(bytes(digests), np.int64)

    def word(self, begin: int, end: int | None = None) -> Example:
        """The words ``begin`` to ``end`` of the batch with their place; None: one word."""
        row = int(np.searchsorted(self.starts, begin, side="right")) - 1
        text = " ".join(self.words.slice(begin, (end or begin + 1) - begin).to_pylist())
        return Example(self._place(row), begin - int(self.starts[row]) + 1, _shortened(text))

    def sentence(self, row: int) -> Example:
        """A sentence of the batch with its place."""
        return Example(self._place(row), 1, _shortened(" ".join(self._batch.column("words")[row].as_py())))

    def _place(self, row: int) -> str:
        file, line = (self._batch.column(name)[row].as_py() for name in ("file", "line"))
        return f"{self._source.files[file]}:{line}"


def _add(finding: Finding, positions: Ints, example: Callable[[int], Example]) -> None:
    finding.count += len(positions)
    finding.examples += [example(int(i)) for i in positions[: EXAMPLES - len(finding.examples)]]


def _distribution(lengths: NDArray[Any]) -> Distribution:
    quantiles = np.quantile(lengths, [0, 0.5, 0.95, 0.99, 1], method="inverted_cdf")
    return Distribution(*(int(q) for q in quantiles))


def _shortened(text: str) -> str:
    return text if len(text) <= _TEXT_SHOWN else text[: _TEXT_SHOWN - 1] + "…"


def sentences_at(text: StoredText, rows: Iterable[int]) -> Iterator[Example]:
    """The sentences at these rows of a split, in the order of ``rows``."""
    rows = list(rows)
    wanted = sorted(set(rows))
    found, begin = {}, 0
    for batch in text.batches():
        part = _Part(batch, text.source)
        while wanted and wanted[0] < begin + batch.num_rows:
            found[wanted[0]] = part.sentence(wanted[0] - begin)
            wanted.pop(0)
        if not wanted:
            break
        begin += batch.num_rows
    return (found[row] for row in rows)


def find_repeats(counters: dict[str, SplitCounter], texts: dict[str, StoredText]) -> None:
    """Fill in ``repeated`` and ``in_train`` of every split."""
    train = counters["train"].hashes
    order = np.argsort(train, kind="stable")  # equal ones by row, so that the first is found first
    ordered = train[order]

    for name, counter in counters.items():
        hashes = counter.hashes
        own_order = order if name == "train" else np.argsort(hashes, kind="stable")
        own = hashes[own_order]
        again = np.flatnonzero(own[1:] == own[:-1]) + 1
        rows = np.sort(own_order[again])
        firsts = own_order[np.searchsorted(own, hashes[rows[:EXAMPLES]])]
        counter.facts.repeated = _repeats(rows, firsts, texts[name], texts[name])
        if name != "train":
            at = np.minimum(np.searchsorted(ordered, hashes), len(ordered) - 1)
            rows = np.flatnonzero(ordered[at] == hashes)
            firsts = order[at[rows[:EXAMPLES]]]
            counter.facts.in_train = _repeats(rows, firsts, texts[name], texts["train"])


def find_scored(unlabelled: SplitCounter, counters: dict[str, SplitCounter]) -> None:
    """Fill in ``in_scored`` of text without labels."""
    for name, there in counters.items():
        if name == "train":
            continue
        order = np.argsort(there.hashes, kind="stable")
        at = np.searchsorted(there.hashes, unlabelled.hashes, sorter=order)
        firsts = order[np.minimum(at, len(order) - 1)]
        rows = np.flatnonzero(there.hashes[firsts] == unlabelled.hashes)
        unlabelled.facts.in_scored[name] = _repeats(rows, firsts[rows[:EXAMPLES]], unlabelled.text, there.text)


def _repeats(rows: Ints, firsts: Ints, here: StoredText, there: StoredText) -> Finding:
    """
    Args:
        rows: all sentences that repeat another.
        firsts: the sentences that the first few of them repeat.
    """
    examples = list(sentences_at(here, rows[:EXAMPLES].tolist()))
    for example, first in zip(examples, sentences_at(there, firsts.tolist()), strict=True):
        example.same_as = first.place
    return Finding(len(rows), examples)
