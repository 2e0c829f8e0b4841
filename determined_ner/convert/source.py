"""Where labelled texts come from: texts with spans as they stand, or words and tags as training sees them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from determined_ner.data.readers.messages import empty_file_error
from determined_ner.data.readers.open import read_annotated
from determined_ner.data.readers.sentences import Repair
from determined_ner.data.repairs import BadTag, RepairCounts, RepairsOfAKind
from determined_ner.data.sources import find_labelled, first_file_choice
from determined_ner.data.text_store import store_text
from determined_ner.data.words import word_offsets
from determined_ner.data.writers.labelled import LabelledSpan, LabelledText
from determined_ner.data.writers.open import WORDS
from determined_ner.errors import UserError
from determined_ner.settings.data import DataSettings
from determined_ner.tags.schemes import Scheme, bad_tags, to_iob2


class LabelledFiles:
    """The labelled texts of the files that the settings name.

    Attributes:
        formats: those that the files are found to be of.
        texts: the texts; they can be read once.
    """

    def __init__(self, settings: DataSettings, format_: str, directory: Path) -> None:
        """
        Args:
            format_: that of the output, which has words or spans.
            directory: an empty one, for text in between.

        Raises:
            UserError: the text cannot be read; or, while it is, a tag that its scheme does not allow where
                data.on_bad_tags is error.
        """
        assert isinstance(settings.train_file, str)
        self._source, self._settings = find_labelled(settings, "ner", settings.train_file)
        layouts = self._source.layouts()
        self.formats = list(dict.fromkeys(layout.format for layout in layouts))
        self._remarks: list[str] = []
        by_spans = {layout.by_spans for layout in layouts}
        if format_ not in WORDS and len(by_spans) > 1:
            problem = "some of these files mark spans of texts, others tag words"
            raise UserError(self._source.title, problem, "convert them apart")
        self.texts = self._of_spans() if format_ not in WORDS and by_spans == {True} else self._of_words(directory)
        if format_ not in WORDS and by_spans == {False}:
            self._remarks.append("a text is the words of a sentence with one space between them")

    def remarks(self) -> list[str]:
        """What is written otherwise than it stands in the files, a line each; known when all texts were read."""
        return self._remarks

    def _of_spans(self) -> Iterator[LabelledText]:
        """The texts of files that mark spans, unchanged."""
        choice = first_file_choice(self._settings, "ner")
        repairs = RepairCounts()
        for file, path in enumerate(self._source.files):
            annotated = None
            for annotated in read_annotated(path, choice):
                text = annotated.text
                spans = [LabelledSpan(span.start, span.end, span.type) for span in annotated.spans]
                held = [span for span in spans if span.start < span.end]
                nothing = [
                    Repair("spans without a character, left out", str(span[:3])) for span in spans if span not in held
                ]
                repairs.add(replace(annotated, repairs=(*annotated.repairs, *nothing)), file)
                words = annotated.words or word_offsets(text, choice.splitting)
                yield LabelledText(text, words, held, (), annotated.document)
            if annotated is None:
                raise empty_file_error(Path(path))
        self._add_repairs(RepairCounts.of_json(repairs.as_json()))

    def _of_words(self, directory: Path) -> Iterator[LabelledText]:
        """The sentences that training would see, as texts of words joined by spaces."""
        text = store_text(self._source, self._settings, directory)
        self._add_repairs(text.repairs())
        labels = text.labels()
        scheme = labels.scheme
        if described := text.describe_tags(labels):
            self._remarks.append(described)
        if scheme is Scheme.PLAIN:
            self._remarks.append(f"tags are written as they are, as none of entities: {'; '.join(text.why_plain())}")
        elif scheme is not Scheme.IOB2:
            self._remarks.append(f"tags are {scheme.value}, written as IOB2")
        marked = text.has_documents()
        repaired = 0
        first_bad = ""
        for batch in text.batches():
            columns = (batch.column(name).to_pylist() for name in ("words", "tags", "document", "file", "line"))
            for words, given, document, file, line in zip(*columns, strict=True):
                spelled = given if scheme is Scheme.PLAIN else labels.spelling.respell(given)
                tags, bad = to_iob2(spelled, scheme)
                if bad and not repaired:
                    first_bad = self._first_bad(words, spelled, scheme, file, line)
                repaired += bad
                yield LabelledText.of_words(words, tags, scheme is Scheme.PLAIN, document if marked else None)
        if repaired:
            self._remarks.append(
                f"tags that {scheme.value} does not allow, read as seqeval does: {repaired:,}, {first_bad}"
            )

    def _first_bad(self, words: list[str], tags: list[str], scheme: Scheme, file: int, line: int) -> str:
        """Where the first tag is that the scheme does not allow.

        Raises:
            UserError: data.on_bad_tags is error.
        """
        at = bad_tags(tags, scheme)[0]
        bad = BadTag(file, line, at + 1, words[at], tags[at], tags[at - 1] if at else None)
        if self._settings.on_bad_tags == "error":
            raise bad.refused(self._source, scheme, "correct it, or drop data.on_bad_tags")
        return f"the first at {bad.describe(self._source)}"

    def _add_repairs(self, repairs: list[RepairsOfAKind]) -> None:
        self._remarks.extend(repair.describe(self._source) for repair in repairs)
