"""The one form in which names of classes and files are stored, however they were typed."""

import unicodedata

_POP, _POP_ISOLATE = "\u202c", "\u2069"
# Character that begins text in another direction → the character that ends it (Unicode Annex 9).
_ENDS = dict.fromkeys("\u202a\u202b\u202d\u202e", _POP) | dict.fromkeys(
    "\u2066\u2067\u2068", _POP_ISOLATE
)


def normalise_name(name: str) -> str:
    """Return a name with composed accents, in which every change of direction ends.

    A Mac writes é as e and an accent. A name that changes the direction of writing would also
    change the direction of the text after it: U+202E live / 2 would be displayed as "2 / evil".
    """
    composed = unicodedata.normalize("NFC", name)
    missing_ends: list[str] = []
    for character in composed:
        if character in _ENDS:
            missing_ends.append(_ENDS[character])
        elif missing_ends and character == missing_ends[-1]:
            missing_ends.pop()
    return composed + "".join(reversed(missing_ends))
