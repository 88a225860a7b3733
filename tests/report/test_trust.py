"""The tables on whether the maps can be trusted."""

import re
from dataclasses import replace

import pytest

from pokecam.report import gallery, page, trust
from pokecam.report.write import render_page
from tests.report.conftest import CLASSES


@pytest.fixture(scope="module")
def built(inputs):
    return trust.build_trust(inputs.judgement)


def test_methods_are_columns_and_then_baselines(built):
    assert [(column.title, column.is_baseline) for column in built.columns] == [
        ("CAM", False),
        ("Grad-CAM", False),
        ("Random", True),
        ("Centre", True),
    ]


def test_measures_are_rows(built):
    """The recommended one comes first, though it is the second one in the tables."""
    assert [(row.title, row.meaning, row.more_is_better, row.n) for row in built.rows] == [
        ("Pointing game", "what Pointing game is", True, 8),
        ("Deletion", "what Deletion is", False, 8),
    ]
    assert [row.is_recommended for row in built.rows] == [True, False]
    pointing, deletion = (row.cells[0] for row in built.rows)
    assert (deletion.value, deletion.interval) == ("0.10", "0.05 to 0.15")
    assert pointing.value == "0.90"


def trust_section(inputs):
    """The HTML of the section."""
    html = render_page(
        page.build_page(inputs), gallery.page_data(gallery.build_gallery(inputs), inputs)
    )
    return html[html.index('id="trust"') : html.index('id="images"')]


def with_recommended(inputs, *names):
    """The same judgement, in which these measures alone are recommended."""
    about = inputs.judgement.about
    entries = {
        name: entry | {"is_recommended": name in names} for name, entry in about["measures"].items()
    }
    return replace(inputs, judgement=replace(inputs.judgement, about=about | {"measures": entries}))


def test_measures_that_are_not_recommended_are_folded(inputs):
    section = trust_section(inputs)
    assert "1 more measure: Deletion" in section
    folded = section[section.index("<details>") : section.index("</details>")]
    assert "what Deletion is" in folded
    assert "what Pointing game is" not in folded
    assert section.count("what Pointing game is") == section.count("what Deletion is") == 1


def test_measures_of_parts_are_folded_by_themselves(inputs):
    section = trust_section(with_recommended(inputs, "deletion", "pointing", "parts"))
    assert section.count("<details>") == 1
    assert "1 more measure: Decisive part" in section


def test_without_a_recommended_measure_there_is_no_empty_table(inputs):
    section = trust_section(with_recommended(inputs))
    assert "2 more measures: Deletion, Pointing game" in section
    assert not re.search(r"<tbody>\s*</tbody>", section)


def test_a_judgement_of_before_recommendations_has_none(inputs):
    about = inputs.judgement.about
    entries = {
        name: {key: value for key, value in entry.items() if key != "is_recommended"}
        for name, entry in about["measures"].items()
    }
    built = trust.build_trust(replace(inputs.judgement, about=about | {"measures": entries}))
    assert [row.title for row in built.rows] == ["Deletion", "Pointing game"]
    assert built.recommended_rows == []


def test_measures_of_parts_have_one_more_baseline(built):
    titles = [(column.title, column.is_baseline) for column in built.part_columns]
    assert titles == [*((c.title, c.is_baseline) for c in built.columns), ("Areas alone", True)]
    correlation, decisive = built.part_rows
    assert [cell.value for cell in correlation.cells] == [""] * 5
    assert [cell.value for cell in decisive.cells] == ["0.40", "0.80", "0.10", "0.20", "0.38"]
    assert [cell.is_better for cell in decisive.cells] == [False, True, False, False, False]


def test_only_what_is_significantly_better_than_every_baseline_is_marked(built):
    """No mark where a baseline may be as good, and none where it is significantly worse."""
    marks = {row.title: [cell.is_better for cell in row.cells] for row in built.rows}
    assert marks == {
        "Deletion": [False] * 4,
        "Pointing game": [True, False, False, False],
    }


def test_of_two_methods_the_significantly_better_one_is_named(built):
    """A negative difference changes its sign, and its interval with it."""
    rows = [(c.measure, c.better, c.worse, c.n) for c in built.comparisons]
    assert rows == [
        ("Pointing game", "CAM", "Grad-CAM", 8),
        ("Deletion", "Grad-CAM", "CAM", 8),
    ]
    pointing, deletion = (c.difference for c in built.comparisons)
    assert (pointing.value, pointing.interval) == ("0.40", "0.30 to 0.70")
    assert (deletion.value, deletion.interval) == ("0.20", "−0.10 to 0.30")


def test_the_most_important_parts_of_each_class_are_named(built):
    rows = [(row.label, row.part, row.drop.value, row.n) for row in built.important_parts]
    assert rows[:3] == [
        ("Mr. Mime", "tail", "2.00", 4),
        ("Mr. Mime", "ear", "1.00", 4),
        ("Mr. Mime", "foot", "0.50", 4),
    ]
    assert [row.part for row in built.important_parts[3:]] == ["wing"]
    assert built.important_parts[0].drop.interval == "1.50 to 2.50"
    assert built.important_parts[0].shares == ["50 %", "–", "25 %", "25 %"]


def test_look_alikes_have_a_row_for_every_pair_and_one_for_all(built):
    assert [(pair.label, pair.n, pair.margin) for pair in built.pairs] == [
        ("", 4, "5.50"),
        ("Mr. Mime", 4, "5.50"),
    ]
    assert [cell.value for cell in built.pairs[1].drops] == ["2.25"] * 4
    assert not built.has_agreements


def test_conditions_name_the_worst_classes(built):
    """The lowest where more is better, the highest where less is."""
    rows = [(c.name, c.share.value, c.more_is_better, c.n, c.worst) for c in built.conditions]
    first, second = CLASSES[1], CLASSES[3]
    assert rows == [
        ("as it is", "0.90", True, 8, f"{first} 0.50, {second} 0.75"),
        ("filled in", "0.30", False, 8, f"{CLASSES[0]} 0.50, {first} 0.25, {second} 0.25"),
    ]


def test_a_method_whose_maps_do_not_depend_on_the_weights_is_named(built, inputs):
    assert built.blocks == ["head", "features.0"]
    assert [row.correlations for row in built.randomised] == [["0.60", "−0.12"], ["0.99", "0.97"]]
    assert built.unchanged == ["Grad-CAM"]
    html = render_page(
        page.build_page(inputs), gallery.page_data(gallery.build_gallery(inputs), inputs)
    )
    warning = re.search(r'class="warning">([^<]*)<', html)
    assert warning
    expected = "Grad-CAM: the maps do not change when the learnt weights are lost."
    assert warning[1] == expected


def test_headlines_are_those_of_the_first_method(inputs):
    expected = {"map_deletion": 0.1, "map_pointing": 0.9, "map_decisive_part": 0.4}
    assert trust.headline_measures(inputs.judgement) == expected
    assert page.metrics(inputs)["map_pointing"] == 0.9


def test_a_judgement_without_figures_has_no_tables(inputs):
    empty = inputs.judgement.measures.iloc[:0]
    no_tables = dict.fromkeys(("importance", "lookalikes", "background", "randomisation"))
    bare = replace(inputs.judgement, measures=empty, tests=empty, **no_tables)
    built = trust.build_trust(bare)
    for table in (
        built.rows,
        built.part_rows,
        built.comparisons,
        built.important_parts,
        built.pairs,
        built.conditions,
    ):
        assert table == []
    assert built.randomised == []
    assert trust.headline_measures(bare) == {}
