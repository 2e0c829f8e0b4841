"""brat standoff: a text in ``X.txt``, its annotations in ``X.ann``.

A span is a line ``T1<TAB>TYPE 0 5<TAB>covered text``; notes, relations, events, attributes and normalizations are not
about spans and passed over. The covered text is compared with the document's, which finds offsets that count something
else than characters: bytes, UTF-16 units, lines without their \\r.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from determined_ner.data.readers.first_bytes import in_utf8, look_ahead
from determined_ner.data.readers.lines import BLANK, BROKEN, MAX_LINE, open_unpacked, read_lines, read_whole_lines
from determined_ner.data.readers.messages import shown
from determined_ner.data.readers.sentences import Choice, Layout, Repair
from determined_ner.data.readers.spans.offsets import describe_mismatch, gives, to_characters
from determined_ner.data.readers.spans.text import AnnotatedText, Span
from determined_ner.errors import UserError

BRAT = Layout("brat", "text", "type", by_spans=True)

_TEXT, _ANNOTATIONS = ".txt", ".ann"
_SPAN = re.compile(r"(T\S*)\t([^\t ]+) (\d+ \d+(?:;\d+ \d+)*)\t(.*)")
_OTHER = re.compile(r"[REAMNW]\S*\t|#\S*\t|\*\t")
_BEGINS = re.compile(r"T\d+\s+\S|[REAMNW]\d+\t\S+[ \t]|#\d*\t\S+[ \t]|\*\t\S+ T\d")


@dataclass(frozen=True, slots=True)
class _Covered:
    """A span as its line has it."""

    line: int
    ident: str
    type: str
    fragments: tuple[tuple[int, int], ...]
    text: str


def is_brat(path: Path) -> bool:
    """Whether a file is the text or the annotations of a brat document, by the content of the latter.

    An empty ``.ann`` beside a text is what brat writes where nothing is marked.
    """
    annotations = path.with_suffix(_ANNOTATIONS)
    if path.suffix not in (_TEXT, _ANNOTATIONS) or not annotations.is_file():
        return False
    try:
        with annotations.open("rb") as stream:
            lines = io.TextIOWrapper(in_utf8(stream, look_ahead(stream)), encoding="utf-8", errors="replace")
            first = next((line for line in lines if line.strip()), "")
    except BROKEN:
        return False
    return bool(_BEGINS.match(first.removeprefix("\ufeff"))) or (not first and path.with_suffix(_TEXT).is_file())


def brat_files(path: Path) -> list[Path]:
    """The text and the annotations of the document that ``path`` is one of.

    Raises:
        UserError: the text is not there.
    """
    text, annotations = path.with_suffix(_TEXT), path.with_suffix(_ANNOTATIONS)
    if not text.is_file():
        raise UserError(
            annotations,
            f"holds brat annotations, but no text {text.name} is beside it",
            "put the text there, as brat exports it",
        )
    return [text, annotations]


def read_brat(path: Path, choice: Choice) -> Iterator[AnnotatedText]:
    """Yield the one text of a brat document.

    A discontinuous span is read from its first character to its last, as its parts are where white space alone lies
    between them.

    Raises:
        UserError: no text, a line that is no annotation, offsets that do not give the covered text.
    """
    text_path, annotations_path = brat_files(path)
    covered = _read_annotations(annotations_path)
    text = _read_text(text_path)
    # What writes \r\n, or a mark of the encoding, may have come after the offsets were counted, or have gone before.
    changed = (
        text.replace("\r\n", "\n"),
        text.removeprefix("\ufeff"),
        text.replace("\r\n", "\n").removeprefix("\ufeff"),
    )
    fitting = (other for other in dict.fromkeys((text, *changed)) if _first_wrong(other, covered, choice) is None)
    fit = next(fitting, None)
    if fit is None:
        wrong = _first_wrong(text, covered, choice)
        assert wrong is not None
        problem, remedy = describe_mismatch(text, wrong.fragments, choice.span_offsets, wrong.text)
        raise UserError(f"{annotations_path}:{wrong.line}", f"{wrong.ident} {problem}", remedy)
    spans: list[Span] = []
    repairs: list[Repair] = []
    position = to_characters(fit, choice.span_offsets)
    for one in covered:
        fragments = [(position(start), position(end)) for start, end in one.fragments]
        span = Span(fragments[0][0], fragments[-1][1], one.type)
        gaps = [fit[end:start] for (_, end), (start, _) in itertools.pairwise(fragments)]
        if any(map(str.strip, gaps)):
            whole = shown(fit[span.start : span.end])
            if choice.on_bad_spans == "error":
                problem = (
                    f"{one.ident} {shown(one.text)} is discontinuous: from its first character to its last, {whole}"
                )
                raise UserError(
                    f"{annotations_path}:{one.line}", problem, "mark it whole, or set data.on_bad_spans=snap"
                )
            repairs.append(Repair("discontinuous spans", f"{one.type} {shown(one.text)} as {whole}"))
        spans.append(span)
    yield AnnotatedText(fit, tuple(spans), 1, repairs=tuple(repairs))


def _read_annotations(path: Path) -> list[_Covered]:
    """The spans of an ``.ann`` file.

    Raises:
        UserError: at a line that is no annotation, or one whose name another has.
    """
    found: dict[str, _Covered] = {}
    with open_unpacked(path, "") as stream:
        for number, line in read_lines(stream, path):
            if not line.strip(BLANK) or _OTHER.match(line):
                continue
            where, match = f"{path}:{number}", _SPAN.fullmatch(line)
            if match is None:
                raise UserError(
                    where, f"{shown(line)} is no annotation of brat", "write T1<TAB>TYPE 0 5<TAB>the text it covers"
                )
            ident, type_, places, text = match.groups()
            fragments = tuple((int(start), int(end)) for start, end in re.findall(r"(\d+) (\d+)", places))
            for start, end in fragments:
                if end < start:
                    raise UserError(where, f"{ident} ends at {end}, before its start, {start}", "correct the offsets")
            if ident in found:
                raise UserError(
                    where,
                    f"{ident} is in line {found[ident].line} already",
                    "keep one, or number them anew (files joined into one do not belong to one text)",
                )
            found[ident] = _Covered(number, ident, type_, tuple(sorted(fragments)), text)
    return list(found.values())


def _read_text(path: Path) -> str:
    """The text as it stands, line ends included, and a byte order mark of UTF-8, which offsets may count.

    Raises:
        UserError: it is huge, or no text.
    """
    with open_unpacked(path, "") as stream:
        raw = stream.read(MAX_LINE + 1)
    if len(raw) > MAX_LINE:
        raise UserError(path, f"a text of over {MAX_LINE:,} bytes", "cut it into documents")
    return "".join(line for _, line in read_whole_lines(io.BytesIO(raw), path))


def _first_wrong(text: str, covered: list[_Covered], choice: Choice) -> _Covered | None:
    """The first span whose offsets do not give the text that it covers."""
    position = to_characters(text, choice.span_offsets)
    for one in covered:
        if not gives(text, [(position(start), position(end)) for start, end in one.fragments], one.text):
            return one
    return None
