"""How Sphinx builds the documentation: `make docs`, strictly and without a network."""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_ext")]

from determined_ner import __version__  # noqa: E402  (the path comes first)

project = "determined-ner"
author = "The determined-ner authors"
copyright = f"2026, {author}"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "reference_tables"]
exclude_patterns = ["_build", "_ext"]
html_theme = "furo"
html_title = f"determined-ner {__version__}"
html_copy_source = False

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_ivar = True
python_use_unqualified_type_names = True
# A docstring writes `name` for a name of the package.
default_role = "code"


def _sentences_with_colons(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Keep Napoleon from reading what stands before a colon as a type: here it is the beginning of a sentence.

    An empty comment in front of the text is what it reads instead.
    """
    if what in ("attribute", "property", "data"):
        lines[:0] = ["..", ""]
    for i in range(len(lines) - 1, -1, -1):
        if lines[i].strip() in ("Returns:", "Yields:") and i + 1 < len(lines):
            indent = lines[i + 1][: len(lines[i + 1]) - len(lines[i + 1].lstrip())]
            lines[i + 1 : i + 1] = [f"{indent}..", ""]


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", _sentences_with_colons, priority=400)  # Napoleon comes at 500
