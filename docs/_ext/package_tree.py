"""The tree of the package on the architecture page: one line per module, taken from its docstring.

python3 docs/_ext/package_tree.py            write it into the page
python3 docs/_ext/package_tree.py --check    exit status 1 where the page holds another
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "determined_ner"
PAGE = ROOT / "docs" / "explanation" / "architecture.md"
_BLOCK = re.compile(r"(<!-- tree: [^\n]*-->\n```text\n)(.*?)(```\n<!-- end of tree -->)", re.DOTALL)

_WIDTH = 88
"""Characters of a line beyond which only its first clause is shown."""

# Folders from the highest layer to the lowest: what stands in one imports only what stands further down.
FOLDERS = {
    "audit": "the command that lists doubtful labels",
    "search": "the command that searches hyperparameters without a cluster",
    "local": "a run without a cluster",
    "cluster": "a run as a task of a cluster",
    "finish": "the end of a run",
    "report": "the report on a trained model",
    "check": "the data check",
    "export": "a trained model as files to ship",
    "predict": "the command that tags files",
    "convert": "the command that writes labelled text in other formats",
    "tagging": "texts to entities, in Python",
    "training": "a training and what it leaves",
    "model": "the model: built, computed, loaded, written",
    "model/cpu": "a training step on a CPU without waste",
    "data": "files to batches",
    "data/readers": "files to sentences",
    "data/readers/spans": "text annotated by spans of characters",
    "data/writers": "labelled text to files",
    "trackers": "experiment trackers that a run reports to",
    "settings": "the experiment config as typed settings",
    "files": "files that are written atomically",
    "tags": "the task as pure functions on arrays",
}


def tree() -> str:
    """All modules by folder, with the first line of each docstring."""
    package = ROOT / PACKAGE
    found = [path.parent.relative_to(package).as_posix() for path in package.rglob("*.py")]
    unknown = sorted(set(found) - {".", *FOLDERS})
    folders = [*FOLDERS, *unknown]
    lines = [f"{PACKAGE}/", *_modules(package, "  ")]
    for folder in folders:
        depth = "  " * (1 + folder.count("/"))
        name = folder.rpartition("/")[2] + "/"
        lines.append(f"{depth}{name:<{26 - len(depth)}}{FOLDERS.get(folder, '')}".rstrip())
        lines.extend(_modules(package / folder, depth + "  "))
    return "\n".join(lines) + "\n"


def _modules(folder: Path, indent: str) -> Iterator[str]:
    for path in sorted(folder.glob("*.py")):
        if path.name != "__init__.py" or folder.name == PACKAGE:
            yield f"{indent}{path.name:<{26 - len(indent)}}{_first_line(path)}".rstrip()


def _first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    line = docstring.split("\n")[0].replace("``", "").replace("`", "").rstrip(".")
    if len(line) > _WIDTH:
        line = re.split(r"[:;.] ", line)[0]
    return line[:1].lower() + line[1:] if line[1:2].islower() or line[:2] == "A " else line


def main() -> int:
    """Write or compare; returns the exit status."""
    parser = argparse.ArgumentParser(description="Write the tree of the package into the architecture page.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 where the page is stale")
    check = parser.parse_args().check
    before = PAGE.read_text(encoding="utf-8")
    after = _BLOCK.sub(lambda block: block[1] + tree() + block[3], before)
    if check:
        if after != before:
            print(f"{PAGE.relative_to(ROOT)} is stale: run python3 {Path(__file__).relative_to(ROOT)}", file=sys.stderr)
        return int(after != before)
    PAGE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
