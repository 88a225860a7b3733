"""The one form in which a name is stored."""

import pytest

from pokecam.data.sources.names import normalise_name

LRE, RLE, PDF, LRO, RLO = map(chr, range(0x202A, 0x202F))
LRI, RLI, FSI, PDI = map(chr, range(0x2066, 0x206A))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Flabe\u0301be\u0301", "Flab\u00e9b\u00e9"),
        ("עברית", "עברית"),
        (" Mr. Mime\u00a0", "Mr. Mime"),
        (" ", " "),
        ("👩\u200d🔬", "👩\u200d🔬"),
        (f"{RLO}live", f"{RLO}live{PDF}"),
        (f"{RLO}live{PDF}", f"{RLO}live{PDF}"),
        (f"{RLI}a{LRE}b", f"{RLI}a{LRE}b{PDF}{PDI}"),
        (f"a{LRE}{RLE}{LRO}b", f"a{LRE}{RLE}{LRO}b{PDF}{PDF}{PDF}"),
        (f"a{PDF}{PDI}b", f"a{PDF}{PDI}b"),
        (f"{LRI}{FSI}", f"{LRI}{FSI}{PDI}{PDI}"),
    ],
)
def test_accents_are_composed_blanks_around_removed_and_directions_end(name, expected):
    assert normalise_name(name) == expected
    assert normalise_name(expected) == expected
