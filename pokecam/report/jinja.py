"""Templates, which escape every text."""

from pathlib import Path

import jinja2
from markupsafe import Markup

from pokecam.report.headlines import percent

TEMPLATES = Path(__file__).parent / "templates"
# What Markdown or HTML would take for more than text. A backslash is easier to read over, but not
# all that git hosts add to Markdown (names after @, emoji) heeds it.
SPECIAL = {ord(letter): f"\\{letter}" for letter in "\\`*_[]#!|~$"}
SPECIAL |= {ord(letter): f"&#{ord(letter)};" for letter in "@:<>&\"'"}


def environment(*folders: Path) -> jinja2.Environment:
    """An engine for the templates in some folders, and for the report's own beside this file.

    Its filters: percent, 0.957 → "95.7 %"; plain, for text in Markdown.
    """
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.globals["zip"] = zip
    made.filters["percent"] = percent
    made.filters["plain"] = lambda text: Markup(str(text).translate(SPECIAL))
    return made
