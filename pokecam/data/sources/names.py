"""The one form in which names of classes and files are stored, however they were typed."""

import unicodedata

_POP, _POP_ISOLATE = "\u202c", "\u2069"
# Character that begins text in another direction → the character that ends it (Unicode Annex 9).
_ENDS = dict.fromkeys("\u202a\u202b\u202d\u202e", _POP) | dict.fromkeys(
    "\u2066\u2067\u2068", _POP_ISOLATE
)
MAC_ICON = "Icon\r"  # the file in which macOS keeps the icon of a folder
# Of storage by Synology and QNAP, of macOS, of Windows, of Linux; casefolded.
_LEFTOVERS = {
    *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@sharebin", "@tmp"),
    *("__macosx", "network trash folder", "temporary items", MAC_ICON.casefold()),
    *("$recycle.bin", "system volume information"),
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "lost+found", "__pycache__"),
}


def normalise_name(name: str) -> str:
    """Return a name with composed accents and no blanks around it, in which every change of
    direction ends.

    A Mac writes é as e and an accent. Nobody sees a blank at the end of a name. A name that changes
    the direction of writing would also change the direction of the text after it: U+202E live / 2
    would be displayed as "2 / evil".
    """
    composed = unicodedata.normalize("NFC", name)
    composed = composed.strip() or composed
    missing_ends: list[str] = []
    for character in composed:
        if character in _ENDS:
            missing_ends.append(_ENDS[character])
        elif missing_ends and character == missing_ends[-1]:
            missing_ends.pop()
    return composed + "".join(reversed(missing_ends))


def folded_name(name: str) -> str:
    """Return what is equal in names that differ only in capital letters, accents that are composed
    or not, and the number of blanks."""
    return normalise_name(" ".join(name.casefold().split()) or name)


def is_leftover(name: str) -> bool:
    """Return whether a file or folder is hidden, or one that an operating system, a desktop or a
    network storage leaves beside the files of its users."""
    return name.startswith(".") or name.casefold() in _LEFTOVERS
