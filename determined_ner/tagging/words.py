"""TODO."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tokenizers import Regex, pre_tokenizers

from determined_ner.tagging.tagged import Entity, Tagged


@lru_cache(maxsize=1)
def _splitter() -> Any:
    # In Oniguruma \w is Unicode's letters, marks, decimal digits and connectors (_); the joiners are added to them.
    run = r"[\w\x{200c}\x{200d}&&[^\p{Han}]]+"
    clitic = r"['’](?:[sStTdDmM]|re|ve|ll|RE|VE|LL)(?!\w)"
    return pre_tokenizers.Split(Regex(rf"\p{{Han}}|{run}(?:[-.]{run})*|{clitic}|[^\s\w]"), "removed", invert=True)


def word_offsets(text: str) -> list[tuple[int, int]]:
    """Cut a text into words, (start, end) in characters each; white space parts them and is in none.

    A word is a run of letters, combining marks, digits and ``_`` of any script, held together across single hyphens and
    full stops inside it (``e-mail``, ``3.5``, ``U.S`` of ``U.S.``); a Chinese character; an English clitic (``'s``,
    ``'ll``); or any one other character. Most corpora are cut much like this (README, «Tag text», has figures). Whoever
    wants other words gives them to `Tagger.tag`.
    """
    return [span for _, span in _splitter().pre_tokenize_str(text)]


class RawText:
    """A raw text and its words."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.spans = word_offsets(text)

    @property
    def words(self) -> list[str]:
        return [self.text[start:end] for start, end in self.spans]

    def entities(self, tagged: Tagged, index: int) -> list[Entity]:
        """The entities of this text, which is number ``index`` of those tagged."""
        found = []
        begin = int(tagged.starts[index])
        for entity_type, first, end in tagged.spans[index]:
            start, stop = self.spans[first][0], self.spans[end - 1][1]
            score = float(tagged.scores[begin + first : begin + end].mean())
            found.append(Entity(entity_type, self.text[start:stop], start, stop, score))
        return found
