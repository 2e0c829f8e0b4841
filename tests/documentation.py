"""The README and the pages of docs/, as tests look at them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

README = ROOT / "README.md"
GUIDES = sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)
PAGES = [README, *GUIDES]
"""What is documentation for users: every command in it is executed."""
OTHERS = [ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "quickstart/README.md", "benchmarks/README.md")]
_BLOCK = re.compile(r"^```([a-z]+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    """Of its first line of content, from 1."""
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """The blocks of all pages in these languages."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in _BLOCK.finditer(text):
            if match[1] in languages:
                found.append(Block(page, text.count("\n", 0, match.start(2)) + 1, match[1], match[2]))
    return found


def commands() -> list[str]:
    """Each line of the ``sh`` blocks of all pages once, less its comment; ``console`` blocks are shown only."""
    lines = [re.split(r"\s+# ", line)[0].strip() for block in blocks("sh") for line in block.text.splitlines()]
    return list(dict.fromkeys(line for line in lines if line))
