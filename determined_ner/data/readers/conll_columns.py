"""Which column of a CoNLL file is which: told from all of its rows (``evidence``); what that leaves open is refused."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from determined_ner.data.readers.conll import COMMENT, DOCSTART, NOT_A_WORD, Columns, is_blank, is_tag, split_cells
from determined_ner.data.readers.evidence import MOST_CLASSES, Evidence, Rows, gather, gather_from_file, merged, of_row
from determined_ner.data.readers.lines import BLANK, Line, is_whole
from determined_ner.data.readers.messages import count_noun, empty_file_error, shown
from determined_ner.data.readers.sentences import DOCUMENT_NAMES, TEXT_NAMES, Choice, known_name
from determined_ner.data.readers.tables import sentence_name
from determined_ner.errors import UserError
from determined_ner.tags.spelling import Form, Spelling

_ROWS_A_CLASS, _MORE_WORDS = 8, 4
"""A column of few different cells, each standing in so many rows, may be one of classes, where another has so many
times as many."""

_NUMBER = re.compile(r"-?[0-9]{1,6}")  # a column given by number
_COLUMN_NAMES = re.compile(r"#\s*global\.columns\s*=\s*(.+)")


def find_columns(head: list[Line], choice: Choice, path: Path, packing: str | None = None) -> Columns:
    """Detect the columns of a CoNLL file.

    Args:
        head: the first lines of the file.
        packing: how the file is packed, so that all of it can be looked at; None: ``head`` is all there is to see.

    Raises:
        UserError: the file has no columns, or leaves open which column is meant.
    """
    return _Detection(head, choice, path, packing).columns()


class _Detection:
    """What a file says of its columns; each method answers one question or raises ``UserError``."""

    def __init__(self, head: list[Line], choice: Choice, path: Path, packing: str | None) -> None:
        self.head, self.choice, self.path = head, choice, path
        data = _data_lines(head)
        if not data:
            raise empty_file_error(path)
        _refuse_other_formats(len(head), data[0], path)
        self.separator = "\t" if 2 * sum("\t" in text for _, text in data) >= len(data) else " "
        self.first = data[0][0]
        self.example = split_cells(data[0][1], self.separator)
        """Cells of the row that sets the number of columns."""
        self.where = f"{path}:{self.first}"
        known = Rows(self.separator, len(self.example), self.first, hashes=data[0][1].startswith("#"))
        chosen = choice.text_column is not None and choice.label_column is not None
        if packing is None or chosen or is_whole(head):
            found = gather(head, known)
        else:
            found = gather_from_file(path, packing, known)
        self.names, self.header = self._names(found.words)
        self.like_word, self.like_tag = self._columns_of_like()
        self.ident = self._ident()
        self.evidence = found.words if self.ident is not None else merged(found.words, found.ranges)
        if not self.header and (self.ident is None or not NOT_A_WORD.fullmatch(self.example[0])):
            self.evidence = merged(self.evidence, of_row(self.first, self.example))

    def columns(self) -> Columns:
        ident = self.ident
        fixed = self._fixed_word()
        spelled = self._spelled([i for i in range(len(self.names)) if i not in (fixed, ident)])
        word = self._word(spelled) if fixed is None else fixed
        if ident == word:
            ident = None
        tag = self._tag([column for column in range(len(self.names)) if column not in (word, ident)], spelled)
        seen, hash_tags, empty = self._cells_of_tags(tag)
        others = [column for column in range(len(self.names)) if column not in (word, tag)]
        document = self._document(others)
        sentence = self._sentence([column for column in others if column != document])
        numbers = (word, tag, ident, document, self.header)
        return Columns(self.names, self.first, self.separator, *numbers, seen, hash_tags, empty, sentence)

    def _names(self, rows: Evidence) -> tuple[list[str], int]:
        """Names of the columns ("" where unknown), and the line of the header row (0: none).

        Args:
            rows: all but the first.
        """
        titles = [cell.strip() for cell in self.example]
        wanted = {
            name for name in (self.choice.text_column, self.choice.label_column) if name and not _NUMBER.fullmatch(name)
        }
        if wanted & set(titles) or (known_name(titles, TEXT_NAMES) and known_name(titles, self.choice.tag_names)):
            return titles, self.first
        if known_name(titles, TEXT_NAMES) and _stand_above_tags(titles, rows):
            return titles, self.first
        for line, text in self.head:
            if match := _COLUMN_NAMES.match(text):
                names = match[1].split()
                if len(names) != len(titles):
                    counts = f"{count_noun(len(names), 'column')} but line {self.first} has {len(titles)}"
                    raise UserError(f"{self.path}:{line}", f"{shown(text)} names {counts}", "make them agree")
                return names, 0
        return [""] * len(titles), 0

    def _columns_of_like(self) -> tuple[int | None, int | None]:
        """0-based columns of words and tags in the layout to follow, which must have as many columns; None: unknown.

        A file that names its columns is followed by name, for its order may be another.
        """
        like = self.choice.like
        numbers = None if like is None else like.numbers
        if like is None or numbers is None or numbers.columns != len(self.names):
            return None, None

        def same(name: str | None, number: int | None) -> int | None:
            if any(self.names):
                return self.names.index(name) if name is not None and self.names.count(name) == 1 else None
            return None if number is None else number - 1

        return same(like.text_column, numbers.text), same(like.tag_column, numbers.tag)

    def _ident(self) -> int | None:
        """CoNLL-U's ID column: the first, if it counts 1, 2, 3, … in every sentence and leaves a column for words."""
        width = len(self.names)
        if width < 2:
            return None
        rows = [(number, split_cells(text, self.separator)) for number, text in self.head if text[:1] != "#"]
        rows = [row for row in rows if len(row[1]) == width and row[0] != self.header and not DOCSTART.match(row[1][0])]
        if not rows or (width == 2 and all(is_tag(cells[1]) for _, cells in rows)):
            return None  # words that are numbers, and their tags
        cell_of = {number: cells[0] for number, cells in rows}
        expected, counted = 1, False
        for number, text in self.head:
            cell = cell_of.get(number)
            if is_blank(text, width, self.separator) or DOCSTART.match(text):
                expected = 1
            elif cell == str(expected):
                expected, counted = expected + 1, True
            elif cell is not None and not NOT_A_WORD.fullmatch(cell):
                return None
        return 0 if counted else None

    def _fixed_word(self) -> int | None:
        """The column of words that the user, the layout to follow or its name says."""
        if self.choice.text_column is None and self.like_word is not None:
            return self.like_word
        name = self.choice.text_column or known_name(self.names, ("form", *TEXT_NAMES))
        return None if name is None else self._chosen(name, self.choice.text_option, range(len(self.names)))

    def _spelled(self, candidates: Iterable[int]) -> dict[int, Spelling]:
        """The columns that spell entity tags, strays or not, and how."""
        spellings = {column: self.evidence.columns[column].spelling() for column in candidates}
        found = {column: spelling for column, spelling in spellings.items() if spelling is not None}
        usual = any(how.form is Form.PREFIX and self.evidence.columns[i].types(how) for i, how in found.items())
        # Beside B-X, a name here and there (of an annotator, say) is no type of entity.
        return {i: how for i, how in found.items() if not (usual and how.form is Form.TYPE and how.outside in "-_")}

    def _word(self, spelled: dict[int, Spelling]) -> int:
        """The first column, except for ids and tags; of the others it must not be one of a few classes.

        Args:
            spelled: the columns of tags.
        """
        default = 0 if self.ident is None else 1
        columns = self.evidence.columns
        tags = {column for column, how in spelled.items() if columns[column].types(how)}
        candidates = [column for column in range(len(columns)) if column not in tags and column != self.ident]
        if not candidates or (len(columns) == 2 and not tags and self.choice.need_tags):
            return self._refuse_classes(default, [default, *candidates[-1:]])
        words = [column for column in candidates if not self.evidence.is_id(column)]
        if not words:
            return candidates[0]
        most = max(columns[column].distinct for column in words)
        if words[0] != candidates[0] and most < 2:
            return candidates[0]
        return self._refuse_classes(words[0], words)

    def _refuse_classes(self, word: int, candidates: Sequence[int]) -> int:
        """The column ``word``, unless it has few different cells and another of the ``candidates`` has many.

        Raises:
            UserError: that is so.
        """
        few = self.evidence.columns[word].distinct
        most = max(candidates, key=lambda column: self.evidence.columns[column].distinct)
        if few > MOST_CLASSES or word == most or self.evidence.rows < _ROWS_A_CLASS * few:
            return word
        if self.evidence.columns[most].distinct < _MORE_WORDS * few or self.evidence.is_id(most):
            return word
        raise UserError(
            self.where,
            f"the words may be in column {word + 1}, which has {count_noun(few, 'different cell')}, or in column"
            f" {most + 1}, which has many, of {self._listing()}",
            f"choose with {self.choice.text_option}, by name or number",
        )

    def _document(self, others: list[int]) -> int | None:
        """The column of documents that the user, or the name of one of ``others``, says."""
        name = self.choice.document_column or known_name([self.names[column] for column in others], DOCUMENT_NAMES)
        return None if name is None else self._chosen(name, self.choice.document_option, range(len(self.names)))

    def _sentence(self, others: list[int]) -> int | None:
        """The column of sentences that the user, or the name of one of ``others``, says.

        A column of such a name may count the words instead (``S.No``): then hardly two words in a row have the same.
        """
        name = self.choice.sentence_column or sentence_name([self.names[column] for column in others])
        if name is None:
            return None
        column = self._chosen(name, self.choice.sentence_option, range(len(self.names)))
        return column if self.choice.sentence_column is not None or self._stays(column) else None

    def _stays(self, column: int) -> bool:
        """Whether rows of the head have the cell of the row right above them, or none: not one of them by mistake."""
        width = len(self.names)
        rows = [
            [] if number == self.header or is_blank(text, width, self.separator) else split_cells(text, self.separator)
            for number, text in self.head
        ]
        stay = [
            row[column] in ("", above[column])
            for above, row in itertools.pairwise(rows)
            if len(above) == len(row) == width
        ]
        return 4 * sum(stay) > len(stay)

    def _cells_of_tags(self, tag: int | None) -> tuple[frozenset[str], frozenset[str], bool]:
        """Tags of the file; those of words that begin with #, where tags spell no entities; whether nothing is O."""
        if tag is None:
            return frozenset(), frozenset(), False
        column, hashes = self.evidence.columns[tag], self.evidence.hash_cells[tag]
        spelling = column.spelling()
        seen = frozenset(column.counts) - {""}
        if spelling is not None:
            return seen, frozenset(cell for cell in hashes if spelling.split(cell)), spelling.outside == ""
        # #fun HT, but not: #a comment.
        return seen, frozenset(cell for cell, count in hashes.items() if count > 1 or cell == cell.upper()), False

    def _tag(self, candidates: list[int], spelled: dict[int, Spelling]) -> int | None:
        label, option, need_tags = self.choice.label_column, self.choice.label_option, self.choice.need_tags
        if label is not None:
            wanted = need_tags or self._index(label) in candidates
            return self._chosen(label, option, candidates) if wanted else None
        if self.like_tag in candidates:
            self._refuse_strays(self.like_tag, spelled)
            return self.like_tag
        if self.names.count(f"{self.choice.task}_tags") == 1:
            return self._chosen(f"{self.choice.task}_tags", option, candidates)
        tag = self._detected_tag(candidates, spelled)
        if tag is not None:
            return tag
        name = known_name([self.names[column] for column in candidates], self.choice.tag_names)
        if name is not None:
            return self._chosen(name, option, candidates)
        # Two columns are a word and a plain tag (POS), unless the file may be plain text that has two words a line.
        two = len(self.names) == 2 and self.ident is None
        if two and candidates and (need_tags or self.separator == "\t"):
            return candidates[-1]
        if need_tags:
            raise UserError(
                self.where,
                f"no column holds tags (O, B-X, I-X, …) among {self._listing()}",
                f"choose it with {option}, by name or number" + self._commas(),
            )
        if len(self.names) > 1 and self.separator == " " and self.ident is None and self.choice.text_column is None:
            raise UserError(
                self.where,
                f"{shown(' '.join(self.example))} may be columns or plain text",
                f"choose the column of the words with {self.choice.text_option} (1 is the first), or write one word a"
                ' line; text as JSON Lines, {"text": …}',
            )
        return None

    def _commas(self) -> str:
        """What else to do where commas or semicolons part the columns."""
        found = len(self.names) == 1 and any(mark in self.example[0][1:-1] for mark in ",;")
        return "; if commas part columns, name the file .csv and write a first row, word,tag" if found else ""

    def _detected_tag(self, candidates: list[int], spelled: dict[int, Spelling]) -> int | None:
        """The rightmost column of tags, some of them not O; else the rightmost of O alone.

        Another column of tags may be meant as well, unless it is surely one of chunks. Columns of O alone to the right
        can only be told apart by their names: chunks and then entities, none of them so far, look just like entities
        and then nothing.
        """
        typed: list[int] = []
        outside: list[int] = []
        for column in reversed(candidates):
            if not typed:
                self._refuse_strays(column, spelled)
            if column in spelled and self.evidence.columns[column].types(spelled[column]):
                if not typed or self._may_be_meant(column, typed[0], spelled):
                    typed.append(column)
            elif column in spelled and not typed:
                outside.append(column)
        columns = self.evidence.columns
        if typed and columns[typed[0]].has_chunks(spelled[typed[0]]):
            typed = [*(c for c in reversed(candidates) if c > typed[0] and columns[c].has_marks()), *typed]
        if len(typed) + len(outside) > 1 and typed:
            return self._choose_by_name(typed, outside)
        return next(iter((*typed, *outside)), None)

    def _may_be_meant(self, left: int, right: int, spelled: dict[int, Spelling]) -> bool:
        """Whether a column of tags may be the one that is meant though another stands to the right of it.

        It is not where it has chunks and the other spells entities, other types than these, the usual way.
        """
        one, other = self.evidence.columns[left], self.evidence.columns[right]
        if not spelled[right].standard or one.types(spelled[left]) & other.types(spelled[right]):
            return True
        if other.names_chunks(spelled[right]):
            return not one.names_chunks(spelled[left])
        return not one.has_chunks(spelled[left])

    def _refuse_strays(self, column: int, spelled: dict[int, Spelling]) -> None:
        """Refuse a column of tags with a stranger in it: that is a slip or a header, and either would be learned as
        one more tag.
        """
        known = self.evidence.columns[column]
        if not known.complete or not known.counts:
            return
        if column in spelled:
            strays = spelled[column].strays(known.counts)
        else:
            strays = [cell for cell in known.counts if not is_tag(cell)]
            odd = sum(known.counts[cell] for cell in strays)
            typed = any(cell != "O" for cell in known.counts if is_tag(cell))
            if not typed or odd * 2 >= sum(known.counts.values()):
                return
        strays = [stray for stray in strays if stray]  # a tag that is missing is refused with its word
        if not strays:
            return
        stray = min(strays, key=lambda cell: known.lines[cell])
        raise UserError(
            f"{self.path}:{known.lines[stray]}",
            f"{shown(stray)} is not a tag (O, B-X) as most of column {column + 1} are",
            f"fix it; or choose the column with {self.choice.label_option}, by its name if this is a header row,"
            " else by number",
        )

    def _choose_by_name(self, typed: list[int], outside: list[int]) -> int:
        """
        Args:
            typed: columns of tags, from the right.
            outside: those of O alone, to the right of them.
        """
        columns = [*typed, *outside]
        name = known_name([self.names[column] for column in columns], self.choice.tag_names)
        if name is not None:
            return self._chosen(name, self.choice.label_option, columns)
        places = [f"column {column + 1} ({self._most_frequent(column)})" for column in reversed(typed)]
        places += [
            f"O alone in the first {count_noun(self.evidence.rows, 'word')}, in column {column + 1}"
            for column in reversed(outside)
        ]
        raise UserError(
            self.where,
            f"the tags may be in {' or '.join(places[:4])}, of {self._listing()}",
            f"choose with {self.choice.label_option}, by name or number",
        )

    def _most_frequent(self, column: int) -> str:
        cells = [cell for cell, _ in self.evidence.columns[column].counts.most_common(3)]
        return ", ".join(cell[:20] or "nothing" for cell in cells) + " …"

    def _index(self, wanted: str) -> int | None:
        """0-based index of a column given by name, by number ("3") or from the end ("-1"); None: no such column."""
        if self.names.count(wanted) == 1:
            return self.names.index(wanted)
        if _NUMBER.fullmatch(wanted) and int(wanted):
            return int(wanted) - 1 if int(wanted) > 0 else len(self.names) + int(wanted)
        return None

    def _chosen(self, wanted: str, option: str, candidates: Sequence[int]) -> int:
        """The column of ``candidates`` that ``wanted`` names, which the user could have said with ``option``."""
        column = self._index(wanted)
        if column is not None and column in candidates:
            return column
        trouble = "more than one column is" if self.names.count(wanted) > 1 else "there is no column"
        if column is not None and 0 <= column < len(self.names):
            trouble = "the words or their numbers are in"
        raise UserError(
            self.where,
            f"{trouble} {shown(wanted)}, asked for by {option}",
            f"choose by name or number among {self._listing()}",
        )

    def _listing(self) -> str:
        names = list(zip(self.names, self.example, strict=True))[:12]
        titles = [f"{i} {name + ' ' if name else ''}({shown(cell)})" for i, (name, cell) in enumerate(names, 1)]
        return "the columns " + ", ".join(titles) + (", …" if len(self.names) > 12 else "")


def _data_lines(head: list[Line]) -> list[Line]:
    """Lines that are surely data; where all begin with #, those that end in a tag."""
    filled = [line for line in head if line[1].strip(BLANK) and not DOCSTART.match(line[1])]
    plain = [line for line in filled if not line[1].startswith("#")]
    return plain or [line for line in filled if not COMMENT.match(line[1]) and is_tag(re.split("[\t ]", line[1])[-1])]


def _stand_above_tags(titles: list[str], rows: Evidence) -> bool:
    """Whether titles stand above columns of nothing but tags, and each of these is none itself.

    Where types alone are tags (``PER``), any word could be one: it is where it stands among them.

    Args:
        rows: all but that of the titles.
    """
    above = False
    for title, column in zip(titles, rows.columns, strict=True):
        spelling = column.spelling()
        if spelling is None or spelling.strays(column.counts):
            continue
        tag = title in column.counts if spelling.form is Form.TYPE else spelling.split(title) is not None
        if tag or is_tag(title):
            return False
        above = True
    return above


def _refuse_other_formats(lines: int, line: Line, path: Path) -> None:
    """Refuse what would be read as nonsense: old Mac line ends, JSON under a name that promises columns."""
    number, text = line
    where = f"{path}:{number}"
    if lines == 1 and "\r" in text:
        raise UserError(where, rf"old Mac line ends (\r) in {shown(text)}", rf"run tr '\r' '\n' < {path} > NEW")
    try:
        value = json.loads(text) if text[0] in "[{" else None
    except (ValueError, RecursionError):
        return
    if value:
        raise UserError(where, f"{shown(text)} is JSON, not columns", "rename the file to .jsonl or .json")
