"""File names for classes, whose names may have any characters."""

import re
import unicodedata
from collections.abc import Sequence

from pokecam.common.files import is_device_name


def slugs(names: Sequence[str]) -> list[str]:
    """Return a unique file name for each name, of lower-case letters, digits and hyphens.

    None is that of a device on Windows, which could not check out a report with aux.jpg.
    """
    results: list[str] = []
    for name in names:
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
        base = re.sub("[^a-z0-9]+", "-", plain).strip("-")[:60] or "class"
        base = f"class-{base}" if is_device_name(base) else base
        slug, number = base, 2
        while slug in results:
            slug, number = f"{base}-{number}", number + 1
        results.append(slug)
    return results
