"""Raw text cut into words, and entities over words placed back in the text."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tokenizers import Regex, pre_tokenizers

from determined_ner.tagging.tagged import Entity, Tagged


@lru_cache(maxsize=1)
def _splitter() -> Any:
    """The pre-tokenizer that cuts text into words, built once."""
    # In Oniguruma \w is Unicode's letters, marks, decimal digits and connectors (_); the joiners are added to them.
    run = r"[\w\x{200c}\x{200d}&&[^\p{Han}]]+"
    clitic = r"['’](?:[sStTdDmM]|re|ve|ll|RE|VE|LL)(?!\w)"
    return pre_tokenizers.Split(Regex(rf"\p{{Han}}|{run}(?:[-.]{run})*|{clitic}|[^\s\w]"), "removed", invert=True)


def word_offsets(text: str) -> list[tuple[int, int]]:
    """Cut a text into words; white space separates them and belongs to none.

    A word is a run of letters, combining marks, digits and ``_`` of any script, held together across single hyphens and
    full stops inside it (``e-mail``, ``3.5``, ``U.S`` of ``U.S.``); a Chinese character; an English clitic (``'s``,
    ``'ll``); or any one other character. Most corpora are cut much like this. Whoever needs other words gives lists of
    them to `Tagger.tag`.

    Returns:
        (start, end) of each word, in characters.
    """
    return [offsets for _, offsets in _splitter().pre_tokenize_str(text)]


class RawText:
    """A raw text and its words.

    Attributes:
        offsets: (start, end) of each word, in characters.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.offsets = word_offsets(text)

    @property
    def words(self) -> list[str]:
        """The words as strings."""
        return [self.text[start:end] for start, end in self.offsets]

    def entities(self, tagged: Tagged, index: int) -> list[Entity]:
        """The entities of this text.

        Args:
            tagged: what a tagger predicts for the words of many texts.
            index: which of those texts this is.
        """
        found = []
        begin = int(tagged.starts[index])
        for entity_type, first, end in tagged.spans[index]:
            start, stop = self.offsets[first][0], self.offsets[end - 1][1]
            score = float(tagged.scores[begin + first : begin + end].mean())
            found.append(Entity(entity_type, self.text[start:stop], start, stop, score))
        return found
