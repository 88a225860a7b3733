"""File names for classes, whose names may have any characters."""

import re
import unicodedata
from collections.abc import Sequence


def slugs(names: Sequence[str]) -> list[str]:
    """Return a unique file name for each name, of lower-case letters, digits and hyphens."""
    results: list[str] = []
    for name in names:
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
        base = re.sub("[^a-z0-9]+", "-", plain).strip("-")[:60] or "class"
        slug, number = base, 2
        while slug in results:
            slug, number = f"{base}-{number}", number + 1
        results.append(slug)
    return results
