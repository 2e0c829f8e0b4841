"""What a row of a table comes to: its cells as words and tags, each of them checked.

A row is a whole sentence, its words and tags in lists, or one token of a sentence; ``tables`` says which.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from determined_ner.data.readers.label_names import name_tag
from determined_ner.data.readers.lines import BLANK
from determined_ner.data.readers.messages import count_noun, shown
from determined_ner.data.readers.sentences import Layout, Repair, empty_word, invisible_in_tag
from determined_ner.errors import UserError
from determined_ner.tags.spelling import cleaned

if TYPE_CHECKING:
    from determined_ner.data.words import WordSplitting

Row: TypeAlias = tuple[int, dict[str, Any]]
"""1-based line or row number, cells by column name."""

_WORDS = re.compile(f"[^{BLANK}\n]+")
_LIST_ITEM = re.compile(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[+-]?\d+\.?\d*)(\s*,\s*|\s+|\Z)""", re.DOTALL)
_PRINTED_LIST = re.compile(r"""\s*(?:(?:\w+\()?\[\s*['"]|\[.*\]\s*\Z)""", re.DOTALL)  # or a broken one: ['EU', 'rej


def read_sentence(row: Row, layout: Layout, path: Path) -> tuple[list[str], list[str] | None, list[Repair]]:
    """Words and tags of a row that is a sentence, and what was repaired; the tags are None where the layout has none.

    Raises:
        UserError: a cell is missing, is no list or text, or holds what is no word or no tag; not one tag for each word.
    """
    number, cells = row
    place = _Place(path, number, layout.text_column)
    words = [_word(item, place, i) for i, item in enumerate(_items(cells, place, layout), 1)]
    if layout.tag_column is None:
        return words, None, _repairs(words, None, number)
    place = _Place(path, number, layout.tag_column)
    given = [_tag(item, place, i, layout) for i, item in enumerate(_items(cells, place, layout), 1)]
    tags = [cleaned(tag) for tag in given]
    if len(tags) != len(words):
        raise UserError(
            f"{path}:{number}",
            f"{count_noun(len(words), 'word')} but {count_noun(len(tags), 'tag')}, {shown(words)} in column"
            f" {layout.text_column!r} and {shown(tags)} in {layout.tag_column!r}",
            "give every word one tag",
        )
    return words, tags, _repairs(words, given, number)


def read_token(row: Row, layout: Layout, path: Path) -> tuple[str, str | None, list[Repair]]:
    """The word and the tag of a row that is a token, and what was repaired; the tag is None where the layout has none.

    Raises:
        UserError: a cell is missing, or is no word or no tag.
    """
    number, cells = row
    place = _Place(path, number, layout.text_column)
    word = _word(place.cell(cells), place, 1)
    if word.strip() and "\n" in word:
        raise place.error(
            f"has {shown(word)} for a word: a quote swallows the rows up to the next one",
            'put a cell that holds a quote in quotes, and write a quote in it twice ("""" is one)',
        )
    if layout.tag_column is None:
        return word, None, _repairs([word], None, number)
    place = _Place(path, number, layout.tag_column)
    tag = _tag(place.cell(cells), place, 1, layout)
    return word, cleaned(tag), _repairs([word], [tag], number)


def _repairs(words: list[str], tags: list[str] | None, row: int) -> list[Repair]:
    """What is read otherwise than it stands in a row: empty words, and tags with characters that nobody sees.

    Args:
        tags: as they stand there.
    """
    found = []
    if "" in words:
        for i, word in enumerate(words):
            if not word:
                found.append(empty_word(None if tags is None else tags[i], f"row {row}"))
    for tag in tags or ():
        if not tag.isprintable():
            found.append(invisible_in_tag(tag, cleaned(tag), f"row {row}"))
    return found


def holds_several(cell: object) -> bool:
    """Whether a cell holds a list, printed or not, or several words."""
    if isinstance(cell, str):
        return bool(_PRINTED_LIST.match(cell)) or len(_WORDS.findall(cell)) > 1
    return isinstance(cell, list)


def cut_texts(rows: Iterable[Row], layout: Layout, splitting: WordSplitting) -> Iterator[Row]:
    """Rows with each string of their text column, raw text, made a list of its words."""
    from determined_ner.data.words import word_offsets  # takes a while, which a mistyped path need not wait for

    for number, cells in rows:
        text = cells.get(layout.text_column)
        if isinstance(text, str) and not _is_printed_list(text, layout):
            words = [text[start:end] for start, end in word_offsets(text, splitting)]
            cells = {**cells, layout.text_column: words or text}
        yield number, cells


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a cell stands, for messages."""

    path: Path
    row: int
    column: str

    def cell(self, cells: dict[str, Any]) -> Any:
        if self.column not in cells:
            raise self.error(f"is missing in this row, which has {shown(list(cells))}", "fill it in")
        return cells[self.column]

    def error(self, problem: str, remedy: str) -> UserError:
        return UserError(f"{self.path}:{self.row}", f"column {self.column!r} {problem}", remedy)

    def bad_item(self, kind: str, position: int, value: object, remedy: str) -> UserError:
        return self.error(f"has {_typed(value)} for {kind} {position}", remedy)


def _items(cells: dict[str, Any], place: _Place, layout: Layout) -> list[Any]:
    """The items of a cell: a list as it is, text split at white space, in CSV and TSV also a printed list."""
    cell = place.cell(cells)
    if isinstance(cell, str):
        items = _parse_list(cell, place) if _is_printed_list(cell, layout) else _WORDS.findall(cell)
    elif isinstance(cell, list):
        items = cell
    else:
        raise place.error(f"has {_typed(cell)} instead of a list", "write a list, one item a word")
    if not items:
        raise place.error(f"is {shown(cell)}, without a single item", "remove the row or fill it in")
    return items


def _is_printed_list(cell: str, layout: Layout) -> bool:
    return layout.format in ("csv", "tsv") and _PRINTED_LIST.match(cell) is not None


def _typed(value: object) -> str:
    return "null" if value is None else f"{shown(value)} ({type(value).__name__})"


def _parse_list(cell: str, place: _Place) -> list[Any]:
    """A list as JSON (["a", "b"]), Python (['a', 'b']) or NumPy (['a' 'b'], [0 1]) print it.

    Python itself would take what NumPy prints for one word, 'ab'; so items are read one by one, and either all or none
    must have a comma between them.
    """
    try:
        return list(json.loads(cell))
    except (ValueError, RecursionError):
        body, at = cell.strip().removeprefix("[").removesuffix("]").strip(), 0
    items: list[Any] = []
    commas = set()
    while match := _LIST_ITEM.match(body, at):
        items.append(_literal(match[1]))
        at = match.end()
        if at < len(body):
            commas.add("," in match[2])
    if at < len(body) or len(commas) > 1 or None in items or not cell.rstrip().endswith("]"):
        raise place.error(f"is {shown(cell)}, a broken list near {shown(body[at:])}", "print lists with json.dumps")
    return items


def _literal(text: str) -> str | int | float | None:
    """The string or number that Python text stands for; None where it is none ('\\x', 007)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # '\d' is odd Python but clear
        try:
            value: str | int | float = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    return value


def _word(value: object, place: _Place, position: int) -> str:
    if not isinstance(value, str):
        raise place.bad_item("word", position, value, 'words are text, so write it in quotes ("7")')
    return _encodable(value, place)


def _tag(value: object, place: _Place, position: int, layout: Layout) -> str:
    if isinstance(value, str):
        tag = value.strip()
        if not cleaned(tag):
            raise place.bad_item("tag", position, value, "write one ('O' where the word is no entity)")
        return _encodable(tag if layout.tag_names is None else _named(tag, place, position, layout.tag_names), place)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if layout.tag_names is None else _named(value, place, position, layout.tag_names)
    if isinstance(value, float) and value.is_integer():
        remedy = f"write whole numbers ({shown(int(value))}) or names ('B-PER')"
        raise place.bad_item("tag", position, value, remedy)
    raise place.bad_item("tag", position, value, "write one tag a word, as text ('B-PER') or as a whole number")


def _named(tag: int | str, place: _Place, position: int, names: tuple[str, ...]) -> str:
    try:
        return name_tag(tag, names)
    except ValueError as error:
        problem, remedy = error.args
        raise place.error(f"has {_typed(tag)} for tag {position}, which {problem}", remedy) from None


def _encodable(text: str, place: _Place) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise place.error(f"has half a surrogate pair in {ascii(text)[:60]}", "write the whole character") from None
    return text
