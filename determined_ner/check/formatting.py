"""How the remarks and the table of the data check write counts and text."""

from __future__ import annotations

import unicodedata


def format_share(count: int, total: int) -> str:
    """A count, and its share of a total where there is one."""
    if count == 0 or total == 0:
        return f"{count:,}"
    share = count / total
    return f"{count:,} (<0.1%)" if share < 0.0005 else f"{count:,} ({share:.1%})"


def printable(text: str) -> str:
    """The text with escapes in place of what a terminal would not show, or would obey."""
    seen = any(unicodedata.category(c)[0] in "LNPS" for c in text)  # else marks have nothing to stand on
    return "".join(c if c.isprintable() and seen else c.encode("unicode_escape").decode() for c in text)
