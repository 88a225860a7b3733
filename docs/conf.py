"""Settings of the documentation: the Markdown files and the public docstrings, as a site.

`make docs` builds it. The source folder is the project's root, so that links between README and
the guides are the same in the site and on a git host.
"""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

project = "PokeCAM"
author = "the authors of PokeCAM"
html_title = "PokeCAM"
root_doc = "README"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/*.md",
    "docs/reference/*.rst",
    "pretrained/README.md",
    "pokecam/data/drawn/catalogue/README.md",
]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
highlight_language = "text"
smartquotes = False
default_role = "code"  # `name` in a docstring is code

autodoc_default_options = {"members": True, "exclude-members": "model_config"}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
add_module_names = False
maximum_signature_line_length = 80
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = "furo"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

# The navigation, of captions and pages; README itself has the links of a git host.
NAVIGATION = {
    "Begin": ["install", "your-own-images", "experiments", "report", "new-images"],
    "Understand": [
        "reading-the-maps",
        "judging",
        "look-alikes",
        "backbones-and-heads",
        "training",
        "shipped-weights",
        "drawn-pokedex",
        "classic-study",
    ],
    "Evidence": ["measurements", "comparison", "reliability", "ten-million-images"],
    "Work on it": [
        "api",
        "model-file",
        "extending",
        "sharing",
        "many-gpus",
        "editors",
        "ci-example",
        "/CONTRIBUTING",
        "/SECURITY",
    ],
    "Reference": [
        "reference/api",
        "reference/cam",
        "reference/networks",
        "reference/data",
        "reference/training",
        "reference/judging",
    ],
    "Cards": ["/pretrained/README", "/pokecam/data/drawn/catalogue/README"],
}

REDIRECT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>PokeCAM</title>
<meta http-equiv="refresh" content="0; url=README.html">
<a href="README.html">PokeCAM</a>
"""


def add_navigation(_app: Sphinx, docname: str, source: list[str]) -> None:
    """Append the navigation to README, which is the landing page."""
    if docname != root_doc:
        return
    for caption, pages in NAVIGATION.items():
        paths = "\n".join(page if page[0] == "/" else f"/docs/{page}" for page in pages)
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{paths}\n```\n"


def shorten_types(
    _app: Sphinx, _what: str, _name: str, _object: object, _options: object, *signature: str | None
) -> tuple[str | None, ...]:
    """Write `ndarray[tuple[Any, ...], dtype[floating]]` as `ndarray[floating]`."""
    array = re.compile(r"ndarray\[tuple\[[~\w.]*Any, \.\.\.\], [~\w.]*dtype\[([~\w.]+)\]\]")
    return tuple(part and array.sub(r"ndarray[\1]", part) for part in signature)


def write_index(app: Sphinx, exception: Exception | None) -> None:
    """Write `index.html`, which leads to the landing page."""
    if exception is None:
        (Path(app.outdir) / "index.html").write_text(REDIRECT, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Register the functions above."""
    app.connect("source-read", add_navigation)
    app.connect("autodoc-process-signature", shorten_types)
    app.connect("build-finished", write_index)
