"""Raw text cut into words, and entities over words placed back in the text."""

from __future__ import annotations

from determined_ner.data.words import WordSplitting, word_offsets
from determined_ner.tagging.tagged import Entity, Tagged


class RawText:
    """A raw text and its words.

    Attributes:
        offsets: (start, end) of each word, in characters.
        words: as strings.
    """

    def __init__(self, text: str, splitting: WordSplitting = "rules") -> None:
        self.text = text
        self.offsets = word_offsets(text, splitting)
        self.words = [text[start:end] for start, end in self.offsets]

    def entities(self, tagged: Tagged, index: int) -> list[Entity]:
        """The entities of this text.

        Args:
            tagged: what a tagger predicts for the words of many texts.
            index: which of those texts this is.
        """
        found = []
        for (entity_type, first, end), score in zip(tagged.spans[index], tagged.entity_scores[index], strict=True):
            start, stop = self.offsets[first][0], self.offsets[end - 1][1]
            found.append(Entity(entity_type, self.text[start:stop], start, stop, score))
        return found
