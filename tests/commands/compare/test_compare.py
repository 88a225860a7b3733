"""Experiments beside each other: what is compared, and the page."""

import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pokecam.cam.display import display
from pokecam.commands.compare import experiments, numbers, page
from pokecam.common.errors import InputError
from pokecam.judging.significance import holm, p_paired
from pokecam.report.overlay import overlay
from pokecam.report.sheets import PANEL_PX
from tests.commands.compare.experiment import ENTRY, FILES, experiment, single_groups


def test_figures_are_of_the_same_images_and_differences_of_pairs():
    base, other = experiment("one", wrong=[0]), experiment("other", wrong=range(9), seed=1)
    rows = numbers.comparison_rows([base, other], FILES)
    assert [(row.title, row.more_is_better, row.n) for row in rows] == [
        ("Accuracy", True, 12),
        ("Probability of the true class", True, 12),
        ("Deletion", False, 11),
    ]
    first, second = rows[0].figures
    assert (first.value, first.difference) == (11 / 12, None)
    assert second.value == 3 / 12
    assert second.difference.value == pytest.approx(-8 / 12)
    assert second.difference.low < -8 / 12 < second.difference.high
    correct = np.array([[1.0] * 12, [0.0] * 9 + [1.0] * 3])
    correct[0, 0] = 0
    predicted = base.predictions["probability"].to_numpy()
    true = np.where(correct == 1, predicted, 1 - predicted)
    deletion = [e.scores["deletion"].to_numpy() for e in (base, other)]
    differences = (correct[1] - correct[0], true[1] - true[0], deletion[1] - deletion[0])
    expected = holm(np.array([p_paired(values) for values in differences]))
    assert [row.figures[1].p for row in rows] == pytest.approx(expected)
    assert rows[0].figures[1].is_significant
    assert not rows[2].figures[1].is_significant


def test_equal_experiments_differ_by_nothing():
    rows = numbers.comparison_rows([experiment("a"), experiment("b"), experiment("c")], FILES)
    for row in rows:
        assert [figure.p for figure in row.figures[1:]] == [1, 1]
        assert not any(figure.is_significant for figure in row.figures)


def test_a_measure_that_one_does_not_have_is_left_out():
    other = replace(experiment("other"), entries={})
    titles = [row.title for row in numbers.comparison_rows([experiment("one"), other], FILES)]
    assert titles == ["Accuracy", "Probability of the true class"]


def test_another_measure_of_the_same_name_is_left_out():
    """Another version may have measured something else, or explain the same in other words."""
    base, other = experiment("one"), experiment("other")
    reworded = replace(other, entries={"deletion": ENTRY | {"meaning": "in other words"}})
    renamed = replace(other, entries={"deletion": ENTRY | {"title": "Deletion ranks"}})
    for changed, n_rows in ((reworded, 3), (renamed, 2)):
        assert len(numbers.comparison_rows([base, changed], FILES)) == n_rows


def test_only_parameters_that_differ_are_listed():
    base, other = experiment("one"), experiment("other", epochs=5, more=None)
    parameters = numbers.differing_parameters([base, other])
    assert parameters == {"epochs": ["3", "5"], "more": ["–", "None"]}


def test_lists_are_written_as_text():
    base, other = (
        experiment("one", cam_methods=["cam"]),
        experiment("b", cam_methods=["cam", "edges"]),
    )
    assert numbers.differing_parameters([base, other]) == {"cam_methods": ["cam", "cam, edges"]}


def test_images_that_all_have_in_the_order_of_the_first():
    base, other = experiment("one"), experiment("other")
    fewer = replace(other, predictions=other.predictions.iloc[[7, 2]])
    assert numbers.common_files([base, fewer]) == [FILES[2], FILES[7]]
    none = numbers.common_files([base, replace(other, predictions=other.predictions.iloc[:0])])
    with pytest.raises(InputError, match="one, other share no test image"):
        numbers.check_common_files([base, other], none)


def test_other_images_of_the_same_names_are_refused():
    with pytest.raises(InputError, match=r"other has other source images than one .*raw\.zip"):
        experiments.check_same_images(
            [experiment("one"), replace(experiment("other"), images="def")]
        )


def test_rows_show_the_image_and_every_map_of_its_true_class(packed, tmp_path):
    both = [experiment("one"), experiment("other", wrong=[8], seed=1)]
    page.write_comparison(single_groups(*both), packed, tmp_path / "out")
    text = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    rows = re.findall(r'<img src="([^"]+)"', text)
    assert rows[0] == "rows/00008.jpg"  # the image on which they disagree
    assert sorted(rows) == [f"rows/{number:05d}.jpg" for number in range(12)]
    row = np.asarray(Image.open(tmp_path / "out" / rows[0])).astype(int)
    assert row.shape == (PANEL_PX, 3 * PANEL_PX, 3)
    small = np.asarray(
        Image.fromarray(packed["def"].pixels[8]).resize((PANEL_PX, PANEL_PX), Image.BOX)
    )
    for number, column in enumerate(both, start=1):
        expected = overlay(small, display(column.maps[8], PANEL_PX))
        panel = row[:, number * PANEL_PX : (number + 1) * PANEL_PX]
        assert np.abs(panel - expected).mean() < 12  # JPEG, of noise
    assert Image.open(tmp_path / "out" / "figure.jpg").width > 3 * PANEL_PX


def test_each_map_lies_on_the_packed_image_of_its_experiment(packed, tmp_path):
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (12, 64, 64, 3), dtype=np.uint8)
    both = {**packed, "large": replace(packed["def"], pixels=pixels)}
    base, other = experiment("one"), replace(experiment("other"), packed="large")
    page.write_comparison(single_groups(base, other), both, tmp_path)
    row = np.asarray(Image.open(tmp_path / "rows" / "00000.jpg")).astype(int)
    packed_images = [
        np.asarray(Image.fromarray(p[0]).resize((160, 160), Image.BOX))
        for p in (packed["def"].pixels, pixels)
    ]
    heatmap = display(base.maps[0], PANEL_PX)
    for number, small in enumerate(packed_images, start=1):
        panel = row[:, number * PANEL_PX : (number + 1) * PANEL_PX]
        assert np.abs(panel - overlay(small, heatmap)).mean() < 12
        assert np.abs(panel - overlay(packed_images[2 - number], heatmap)).mean() > 12


def test_other_files_in_the_folder_stay(packed, tmp_path):
    (tmp_path / "notes.md").write_text("mine")
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "99999.jpg").write_text("of an earlier comparison")
    page.write_comparison(single_groups(experiment("one"), experiment("other")), packed, tmp_path)
    assert (tmp_path / "notes.md").read_text() == "mine"
    assert not (tmp_path / "rows" / "99999.jpg").exists()


def test_one_common_image_gives_no_interval(packed, tmp_path):
    base, other = experiment("one"), experiment("other", wrong=[0])
    fewer = replace(other, predictions=other.predictions.iloc[:1])
    page.write_comparison(single_groups(base, fewer), packed, tmp_path)
    assert "nan" not in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_names_are_only_text_and_the_same_bytes_come_every_time(packed, tmp_path):
    both = [experiment("<b>one</b>"), experiment("other", seed=1)]
    contents = []
    for name in ("first", "second"):
        page.write_comparison(single_groups(*both), packed, tmp_path / name)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        contents.append([(p.relative_to(tmp_path / name), p.read_bytes()) for p in files])
    text = (tmp_path / "first" / "index.html").read_text(encoding="utf-8")
    assert "<b>" not in text
    assert "<img src=x" not in text
    assert contents[0] == contents[1]
