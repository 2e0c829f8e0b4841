"""How Sphinx builds the documentation: `make docs`, strictly and without a network."""

from __future__ import annotations

import sys
from pathlib import Path

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
