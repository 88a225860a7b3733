"""The one form in which the name of a class or file is kept, whoever typed it."""

import unicodedata

_POP, _POP_ISOLATE = "\u202c", "\u2069"
# What begins a piece of text of a direction of its own, and what ends it (Unicode Annex 9).
_ENDS = dict.fromkeys("\u202a\u202b\u202d\u202e", _POP) | dict.fromkeys(
    "\u2066\u2067\u2068", _POP_ISOLATE
)


def one_form(name: str) -> str:
    """Return a name with its accents composed and every change of direction ended.

    A Mac writes é as e and an accent. A name that turns the direction of writing would turn what
    is written after it, too: U+202E live / 2 would be read as "2 / evil".
    """
    composed = unicodedata.normalize("NFC", name)
    waiting: list[str] = []
    for character in composed:
        if character in _ENDS:
            waiting.append(_ENDS[character])
        elif waiting and character == waiting[-1]:
            waiting.pop()
    return composed + "".join(reversed(waiting))
