"""How the remarks and the table of the data check write counts and text."""

from __future__ import annotations


def format_share(count: int, total: int) -> str:
    """A count, and its share of a total where there is one."""
    if count == 0 or total == 0:
        return f"{count:,}"
    share = count / total
    return f"{count:,} (<0.1%)" if share < 0.0005 else f"{count:,} ({share:.1%})"
