"""WebAnno TSV 3, which INCEpTION exports: a header of layers, then each sentence as its text and a line a token.

    #T_SP=…type.NamedEntity|identifier|value     a layer of spans and its features, a column each
    #Text=Ada Lovelace sings                     the sentence (a further line for each line break in it)
    1-1<TAB>0-3<TAB>Ada<TAB>*[1]<TAB>PER[1]      a token: its place in the document, and what covers it
    1-2<TAB>4-12<TAB>Lovelace<TAB>*[1]<TAB>PER[1]
    1-3<TAB>13-18<TAB>sings<TAB>_<TAB>_

``_`` is nothing, ``*`` an annotation without a value; annotations on one token are joined by ``|``; ``[1]`` names one
that covers several tokens, or shares one; a line ``1-2.1`` is a part of a token. Places count UTF-16 units, or
characters where other programs wrote the file: each sentence tells which, for its tokens have to stand in its text.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from determined_ner.data.readers.lines import BLANK, Line
from determined_ner.data.readers.messages import count_noun, shown
from determined_ner.data.readers.sentences import Choice, Layout, Repair
from determined_ner.data.readers.spans.offsets import Counting, to_characters
from determined_ner.data.readers.spans.text import AnnotatedText, Span
from determined_ner.errors import UserError

_FORMAT = re.compile(r"#FORMAT=WebAnno TSV (\d+)")
_OLD_ID, _OLD_TOKEN = re.compile(r"#id=|\s*# ?webanno\."), re.compile(r"1-1\t")
_LAYER = re.compile(r"#T_(?:SP|CH|RL)=")
_TEXT = "#Text="
_TOKEN = re.compile(r"(\d+)-(\d+)(\.\d+)?")
_PLACE = re.compile(r"(\d+)-(\d+)")
_STACKED = re.compile(r"(?<!\\)\|")
_NAMED = re.compile(r"(.*?)(?<!\\)\[(\d+)\]")
_BRACKET = re.compile(r"(?<!\\)[\[\]]")
_ESCAPE = re.compile(r"\\(.)")
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "b": "\b"}
_NO_ENTITIES = {
    "POS",
    "Lemma",
    "Stem",
    "MorphologicalFeatures",
    "SurfaceForm",
    "Token",
    "Sentence",
    "SofaChangeAnnotation",
}
"""Layers of DKPro Core that say something of every word."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A feature of a layer, which is a column."""

    kind: str
    """SP for spans, CH for chains, RL for relations."""
    name: str
    feature: str
    """ "" where the layer has none."""

    @property
    def title(self) -> str:
        """How it is chosen: NamedEntity.value."""
        short = self.name.rpartition(".")[2]
        return f"{short}.{self.feature}" if self.feature else short

    @property
    def names(self) -> tuple[str, ...]:
        """All that it may be called."""
        return (self.title, self.name.rpartition(".")[2], self.name, self.feature, f"{self.name}|{self.feature}")


@dataclass(slots=True)
class _Sentence:
    """One as it is read, or several that an annotation holds together."""

    line: int
    texts: list[str]
    """Of its #Text lines."""
    rows: list[tuple[int, list[str]]] = field(default_factory=list)
    """Line and cells of each token."""
    parts: list[str] = field(default_factory=list)
    """Its text, or those of the sentences that were joined."""
    length: int = 0
    """Of them, with a line end between each two."""
    spans: list[Span] = field(default_factory=list)
    at_start: dict[str, int] = field(default_factory=dict)
    """Positions in ``spans`` of those with a name that cover the first token; likewise the last."""
    at_end: dict[str, int] = field(default_factory=dict)
    repairs: tuple[Repair, ...] = ()

    def annotated(self, document: int) -> AnnotatedText:
        return AnnotatedText("\n".join(self.parts), tuple(self.spans), self.line, str(document), self.repairs)


def is_webanno(head: list[Line]) -> bool:
    """Whether a file is WebAnno TSV, of whatever version."""
    filled = [text for _, text in head if text.strip(BLANK)]
    if not filled or _FORMAT.match(filled[0]):
        return bool(filled)
    first = next((text for text in filled if not text.lstrip().startswith("#")), "")
    return _OLD_ID.match(filled[0]) is not None and _OLD_TOKEN.match(first) is not None


def find_layer(head: list[Line], choice: Choice, path: Path) -> Layout:
    """The layer of spans whose values are the types of entities.

    Raises:
        UserError: the file is of an old version, or leaves open which layer is meant.
    """
    number, first = next((number, text) for number, text in head if text.strip(BLANK))
    version = _FORMAT.match(first)
    if version is None or version[1] != "3":
        trouble = f"{shown(first)} begins a file of WebAnno TSV {version[1] if version else 'before 3'}"
        raise UserError(f"{path}:{number}", trouble, "export WebAnno TSV 3, or CoNLL 2002")
    layers = list(dict.fromkeys(layer for _, text in head if _LAYER.match(text) for layer in _layers(text)))
    return Layout("webanno", "#Text", _choose(layers, choice, f"{path}:{number}"), "\t", by_spans=True)


def read_webanno(lines: Iterator[Line], layout: Layout, path: Path) -> Iterator[AnnotatedText]:
    """Yield the sentences; the file is a document, or each of the files that it was joined from.

    Sentences that an annotation reaches across are one.

    Raises:
        UserError: at a line with other columns, numbers out of order, a token that does not stand in its sentence where
            it says, or an annotation without a value.
    """
    layers: list[Layer] = []
    column: int | None = None
    told = False
    document = 0
    before: _Sentence | None = None
    sentence: _Sentence | None = None
    for number, text in itertools.chain(lines, [(0, "")]):  # a last blank line ends the last sentence
        where, is_token = f"{path}:{number}", text.strip(BLANK) and not text.startswith("#")
        if sentence is not None and sentence.rows and not is_token:
            _finish(sentence, layers, column, path)
            if before is not None and not _join(before, sentence):
                yield before.annotated(document)
                before = None
            before, sentence = before or sentence, None
        if _FORMAT.match(text):
            if before is not None:
                yield before.annotated(document)
                document, before = document + 1, None
            layers, column, told = [], None, False
        elif _LAYER.match(text):
            layers += _layers(text)
            column = next((i for i, layer in enumerate(layers) if layer.title == layout.tag_column), None)
        elif text.startswith(_TEXT):
            sentence = sentence or _Sentence(number, [])
            if column is None and (others := _candidates(layers)) and not told:
                # A document in which nothing is marked does not list the layer; the other layer may be meant, though.
                sentence.repairs = (
                    Repair(f"documents without {layout.tag_column}, read as without entities", others[0]),
                )
                told = True
            sentence.texts.append(text.removeprefix(_TEXT))
        elif is_token:
            if sentence is None:
                raise UserError(where, f"no #Text= line before the token {shown(text)}", "put the sentence there")
            sentence.rows.append((number, _checked(text, sentence, len(layers), where)))
    if sentence is not None:
        raise UserError(f"{path}:{sentence.line}", "no tokens follow the sentence", "export the file again")
    if before is not None:
        yield before.annotated(document)


def _layers(text: str) -> list[Layer]:
    """The columns that a line of the header announces."""
    kind, name, *features = text.removeprefix("#T_").replace("=", "|", 1).split("|")
    return [Layer(kind, name, feature) for feature in features or [""]]


def _candidates(layers: list[Layer]) -> list[str]:
    """The titles of the layers of spans that may hold entities."""
    return [
        layer.title
        for before, layer in zip([None, *layers], layers, strict=False)
        if layer.kind == "SP"
        and layer.title.partition(".")[0] not in _NO_ENTITIES
        and not layer.feature.startswith("ROLE_")
        and not (before is not None and before.feature.startswith("ROLE_"))
    ]


def _choose(layers: list[Layer], choice: Choice, where: str) -> str | None:
    """The title of the column with the types of entities; None where the file marks nothing of the kind."""
    wanted = choice.label_column
    if wanted is not None:
        named = [layer.title for layer in layers if layer.kind == "SP" and wanted in layer.names]
        if len(named) == 1:
            return named[0]
    elif choice.like is not None and choice.like.format == "webanno":
        return choice.like.tag_column  # a document in which nothing is marked does not list the layer
    candidates = _candidates(layers)
    entities = next((title for title in candidates if title == "NamedEntity.value"), None)
    known = [title for title in candidates if not title.endswith(".identifier")] or candidates
    if wanted is None and (entities is not None or len(known) == 1):
        return entities or known[0]
    if not candidates and (choice.like is not None or not choice.need_tags):
        return wanted
    listing = ", ".join(candidates) if candidates else "none"
    if wanted is not None:
        problem = f"no single layer of spans is called {shown(wanted)}, asked for by {choice.label_option}"
        raise UserError(where, f"{problem}; there are: {listing}", "name one of them, as Layer.feature")
    problem = "several layers of spans may hold the entities" if candidates else "no layer of spans holds entities"
    raise UserError(where, f"{problem}: {listing}", f"choose one with {choice.label_option}, as Layer.feature")


def _checked(text: str, sentence: _Sentence, columns: int, where: str) -> list[str]:
    """The cells of a token, or of a part of one, that follows those of ``sentence``."""
    cells = text.split("\t")
    if len(cells) == 4 + columns and cells[-1] == "":
        cells.pop()
    if len(cells) != 3 + columns or not _PLACE.fullmatch(cells[1]):
        wanted = f"a token, its place, its text and {count_noun(columns, 'column')} of layers"
        raise UserError(where, f"{shown(text)} is not {wanted}, separated by tabs", "export the file again")
    match = _TOKEN.fullmatch(cells[0])
    last = _TOKEN.fullmatch(sentence.rows[-1][1][0]) if sentence.rows else None
    follows = match is not None and (
        int(match[2]) == 1 and match[3] is None
        if last is None
        else match[1] == last[1] and int(match[2]) == int(last[2]) + (match[3] is None)
    )
    if not follows:
        trouble = f"follows {last[0]}" if last else "begins a sentence"
        raise UserError(
            where,
            f"token {shown(cells[0])} {trouble}",
            "number the tokens of sentence 2 as 2-1, 2-2, …, and put a blank line and #Text= before each sentence",
        )
    return cells


def _finish(sentence: _Sentence, layers: list[Layer], column: int | None, path: Path) -> None:
    """Find the text of a sentence, and its spans, from its lines."""
    text, places = _place(sentence, path)
    sentence.parts, sentence.length = [text], len(text)
    layer = None if column is None else layers[column]
    named: dict[str, tuple[int, int]] = {}  # position in spans, and the last token
    last = sentence.rows[-1][1][0].partition(".")[0]
    for (number, cells), (start, end) in zip(sentence.rows, places, strict=True):
        where, token = f"{path}:{number}", int(re.split("[-.]", cells[0])[1])
        for item in _STACKED.split("_" if column is None else cells[3 + column]):
            if item == "_":
                continue
            assert layer is not None
            match = _NAMED.fullmatch(item)
            type_ = _value(match[1] if match else item, layer, where)
            at = len(sentence.spans)
            if match is None:
                sentence.spans.append(Span(start, end, type_))
                continue
            if match[2] not in named:
                sentence.spans.append(Span(start, end, type_))
            else:
                at, before = named[match[2]]
                span = sentence.spans[at]
                if span.type != type_ or token > before + 1:
                    problem = f"{shown(item)} goes on with an annotation of that number, {span.type}, that has ended"
                    raise UserError(where, problem, "give every annotation a number of its own")
                sentence.spans[at] = replace(span, start=min(span.start, start), end=max(span.end, end))
            named[match[2]] = (at, token)
            if token == 1:
                sentence.at_start[match[2]] = at
            if cells[0].partition(".")[0] == last:
                sentence.at_end[match[2]] = at


def _place(sentence: _Sentence, path: Path) -> tuple[str, list[tuple[int, int]]]:
    """The text of a sentence and where in it, in characters, its tokens are.

    Raises:
        UserError: a token does not stand where it says, whatever is counted and whether or not there are escapes.
    """
    raw = "\n".join(sentence.texts)
    bounds = [_PLACE.fullmatch(cells[1]) for _, cells in sentence.rows]
    offsets = [(int(match[1]), int(match[2])) for match in bounds if match]
    wrong: tuple[int, str] | None = None
    countings: tuple[Counting, ...] = ("utf16", "characters")
    readings: tuple[Callable[[str], str], ...] = (_unescape, str)
    for read in readings:
        whole = read(raw)
        for text, counting in itertools.product((whole, whole.lstrip()), countings):
            position = to_characters(text, counting)
            base = offsets[0][0]
            places = [(position(start - base), position(end - base)) for start, end in offsets]
            tokens = zip(sentence.rows, places, strict=True)
            bad = ((number, read(cells[2])) for (number, cells), (a, b) in tokens if text[a:b] != read(cells[2]))
            first = next(bad, None)
            if first is None:
                return text, places
            wrong = wrong or first
    assert wrong is not None
    problem = f"the token {shown(wrong[1])} does not stand in {shown(raw)} at its place"
    raise UserError(f"{path}:{wrong[0]}", problem, "export the file again; places count from the start of the document")


def _value(item: str, layer: Layer, where: str) -> str:
    """The type of an annotation."""
    if item == "":
        raise UserError(where, f"the column of {layer.title} is empty", "write _ where nothing is marked")
    if _BRACKET.search(item):
        raise UserError(where, f"{shown(item)} is not like PER or PER[1]", "export the file again")
    if item == "*" and layer.feature:
        problem = f"an annotation of {layer.title} has no value"
        raise UserError(where, problem, "give it one in the tool, or delete it there")
    return layer.title if item == "*" else _unescape(item)


def _join(before: _Sentence, sentence: _Sentence) -> bool:
    """Add a sentence to the one before where an annotation goes from the last token of that to the first of this."""
    shared = {
        name: (at, before.at_end[name])
        for name, at in sentence.at_start.items()
        if name in before.at_end and before.spans[before.at_end[name]].type == sentence.spans[at].type
    }
    if not shared:
        return False
    shift = before.length + 1
    moved = dict(shared.values())
    index: dict[int, int] = {}
    for at, span in enumerate(sentence.spans):
        if at in moved:
            index[at] = moved[at]
            before.spans[moved[at]] = replace(before.spans[moved[at]], end=span.end + shift)
        else:
            index[at] = len(before.spans)
            before.spans.append(Span(span.start + shift, span.end + shift, span.type))
    before.parts += sentence.parts
    before.length = shift + sentence.length
    before.at_end = {name: index[at] for name, at in sentence.at_end.items()}
    return True


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: _CONTROLS.get(match[1], match[1]), text)
