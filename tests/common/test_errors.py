"""How a fault that the user can mend is told."""

from pokecam.common.errors import FEW, did_you_mean, unknown_name


def test_nearest_name_ignoring_case():
    assert did_you_mean("pikachuu", ["Pikachu", "Raichu"]) == " Did you mean Pikachu?"
    assert did_you_mean("Snorlax", ["Pikachu", "Raichu"]) == ""


def test_of_many_names_the_nearest_is_enough():
    few, many = ["cat", "dog"], ["cat", *(f"name{i}" for i in range(FEW))]
    assert unknown_name("cta", few) == "is not known. Did you mean cat? Allowed: cat, dog"
    assert unknown_name("cta", many) == "is not known. Did you mean cat?"
    assert unknown_name("owl", many) == f"is not known. Allowed: {', '.join(many)}"
