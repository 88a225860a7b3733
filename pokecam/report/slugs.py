"""Names for files, from class names that may be anything."""

import re
import unicodedata
from collections.abc import Sequence


def slugs(names: Sequence[str]) -> list[str]:
    """A file name for each name: lower-case letters, digits and hyphens, no two alike."""
    taken: list[str] = []
    for name in names:
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
        base = re.sub("[^a-z0-9]+", "-", plain).strip("-")[:60] or "class"
        slug, number = base, 2
        while slug in taken:
            slug, number = f"{base}-{number}", number + 1
        taken.append(slug)
    return taken
