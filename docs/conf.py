"""Sphinx configuration."""

import clifftop

project = "Clifftop"
author = "the Clifftop contributors"
copyright = "the Clifftop contributors"
release = version = clifftop.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.doctest", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"Clifftop {release}"
html_copy_source = False

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]

default_role = "code"  # `name` in a docstring is code
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_numpy_docstring = False
doctest_test_doctest_blocks = ""  # pytest runs the doctests of docstrings, in their own module
