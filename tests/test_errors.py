"""How a fault that the user can mend is told."""

from pokecam.errors import did_you_mean


def test_nearest_name_ignoring_case():
    assert did_you_mean("pikachuu", ["Pikachu", "Raichu"]) == " Did you mean Pikachu?"
    assert did_you_mean("Snorlax", ["Pikachu", "Raichu"]) == ""
