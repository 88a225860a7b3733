"""The template engine of the report, which escapes every text."""

from pathlib import Path

import jinja2
from markupsafe import Markup

from pokecam.report.headlines import percent

TEMPLATES = Path(__file__).parent / "templates"
# Characters with a meaning in Markdown or HTML. A backslash is easier to read, but git hosts ignore
# it in some of their extensions of Markdown (names after @, emoji).
SPECIAL = {ord(letter): f"\\{letter}" for letter in "\\`*_[]#!|~$"}
SPECIAL |= {ord(letter): f"&#{ord(letter)};" for letter in "@:<>&\"'"}


def environment(*folders: Path) -> jinja2.Environment:
    """Return an engine for the templates of some folders and of the report.

    It has two filters: `percent` turns 0.957 into "95.7 %", and `plain` escapes text for Markdown.

    Args:
        folders: searched before the templates of the report.
    """
    engine = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    engine.globals["zip"] = zip
    engine.filters["percent"] = percent
    engine.filters["plain"] = lambda text: Markup(str(text).translate(SPECIAL))
    return engine
