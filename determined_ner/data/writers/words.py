"""Words with a tag each: two columns, or lists in JSON Lines."""

from __future__ import annotations

from determined_ner.data.readers.conll import COMMENT, DOCSTART
from determined_ner.data.writers.labelled import LabelledText
from determined_ner.data.writers.writer import Writer, json_line

_BREAKS = str.maketrans(dict.fromkeys("\t\n\v\f\r", " ") | {"\0": "\N{REPLACEMENT CHARACTER}"})


class _WordsWriter(Writer):
    """A text without a word is nothing here."""

    by_spans = False

    def format_text(self, text: LabelledText) -> str:
        if not text.words:
            self.lost["texts without a word, which are left out"] += 1
            return ""
        return self.format_words([text.text[start:end] for start, end in text.words], text)

    def format_words(self, words: list[str], text: LabelledText) -> str:
        """A text that has words."""
        raise NotImplementedError


class ConllWriter(_WordsWriter):
    """A word, a tab and its tag in each line, a blank line after each text, -DOCSTART- between documents."""

    title = "CoNLL"

    _document: int | str | None = None

    def format_words(self, words: list[str], text: LabelledText) -> str:
        begins = text.document is not None and self.texts > 0 and text.document != self._document
        self._document = text.document
        lines = [f"{self._word(word)}\t{tag.translate(_BREAKS)}\n" for word, tag in zip(words, text.tags, strict=True)]
        return ("-DOCSTART-\tO\n\n" if begins else "") + "".join(lines) + "\n"

    def _word(self, word: str) -> str:
        """The word, or the nearest one that is read as a word in a column."""
        held = word.translate(_BREAKS).lstrip("\ufeff")
        if DOCSTART.match(held) or COMMENT.match(held):
            held = f"_{held}"
        if held != word:
            self.lost["words that a column cannot hold, which are written otherwise"] += 1
        return held


class TokensWriter(_WordsWriter):
    """Objects with ``tokens`` and ``tags``, and ``doc_id`` where documents are known."""

    title = "JSON Lines"

    def format_words(self, words: list[str], text: LabelledText) -> str:
        row: dict[str, object] = {"tokens": words, "tags": list(text.tags)}
        if text.document is not None:
            row["doc_id"] = text.document
        return json_line(row) + "\n"
