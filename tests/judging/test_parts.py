"""Parts of drawn creatures: rendering without them, and their ranks."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from pokecam.data.packed import images
from pokecam.data.packing.pack import pack
from pokecam.data.sources import drawn, raw_zip
from pokecam.judging.parts import (
    dilated,
    has_decisive_part,
    masses,
    partial_rank_correlation,
    rank_correlation,
    single_deletion,
    visible,
)
from pokecam.judging.redrawing import Redrawing, open_redrawing
from tests.conftest import PROJECT

SIZE_PX = 96
SETTINGS = PROJECT / "datasets" / "drawn.yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("drawn")


@pytest.fixture(scope="module")
def packed(folder):
    members = drawn.members(SETTINGS, images_per_class=5, draw_seed=3, workers=1)
    raw_zip.write_raw_zip(members, folder / "raw.zip")
    pack(
        folder / "raw.zip",
        folder / "images",
        classes=["Pikachu", "Gengar"],
        image_size=SIZE_PX,
        unfinished=folder / "unfinished",
    )
    return images.load_packed(folder / "images")


@pytest.fixture(scope="module")
def redrawing(packed, folder):
    return Redrawing(folder / "images" / "scenes", SIZE_PX)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_drawing_beside_a_network_gives_the_same(packed, redrawing, folder, device):
    """Beside a GPU, it is done in processes, and called by several threads."""
    seeds = [int(seed) for seed in packed.scenes.seed[:3]]
    with (
        open_redrawing(folder / "images", packed, torch.device(device)) as other,
        ThreadPoolExecutor(3) as pool,
    ):
        assert (type(other) is Redrawing) == (device == "cpu")
        images = pool.map(lambda seed: other.images("Pikachu", seed, [frozenset()] * 2), seeds)
        for seed, pixels in zip(seeds, images, strict=True):
            assert np.array_equal(pixels, redrawing.images("Pikachu", seed, [frozenset()] * 2))
        differences = other.differences("Pikachu", "Gengar", seeds[0])
        assert differences == redrawing.differences("Pikachu", "Gengar", seeds[0])
        assert other.parts("Pikachu") == redrawing.parts("Pikachu")


def test_a_source_that_was_not_drawn_has_no_redrawing(packed, folder):
    with open_redrawing(folder, replace(packed, scenes=None), torch.device("cpu")) as redrawing:
        assert redrawing is None


def test_an_image_drawn_again_is_the_packed_one(packed, redrawing):
    seeds = packed.scenes.set_index("image").seed
    for number, row in enumerate(packed.manifest.itertuples()):
        again = redrawing.images(row.label, int(seeds[row.file]), [frozenset()])[0]
        assert np.array_equal(again, packed.pixels[number])


def test_numbers_in_masks_are_those_of_the_parts(packed, redrawing):
    for label, rows in packed.parts.groupby("label"):
        if label in packed.classes:
            assert redrawing.parts(label) == rows.sort_values("index").part.to_list()


def test_without_a_part_the_image_changes_there(packed, redrawing):
    """Each pixel changes more there than elsewhere, where only the JPEG artefacts change."""
    row, mask = packed.manifest.iloc[0], packed.masks[0]
    seed = int(packed.scenes.set_index("image").seed[row.file])
    original = packed.pixels[0].astype(int)
    regions = visible(mask, redrawing.parts(row.label))
    images = redrawing.images(row.label, seed, [frozenset({name}) for name in regions])
    for region, image in zip(regions.values(), images, strict=True):
        change = abs(image - original).sum(axis=2)
        assert change[region].mean() > 5 * change[~region].mean()


def test_regions_are_the_visible_pixels():
    mask = np.zeros((12, 12), np.uint8)
    mask[4:8, 4:8] = 2
    mask[0, 0] = 1  # too small to be measured
    regions = visible(mask, ["ear", "tail", "paw"])
    assert list(regions) == ["tail"]
    assert np.array_equal(regions["tail"], mask == 2)


def test_dilated_regions_have_two_more_pixels_on_every_side():
    region = np.zeros((12, 12), bool)
    region[4:8, 4:8] = True
    expected = np.zeros((12, 12), bool)
    expected[2:10, 2:10] = True
    assert np.array_equal(dilated({"tail": region})["tail"], expected)


def test_masses_by_hand():
    heatmaps = np.array([[[1.0, 0.5], [0, 0]], [[0, 0], [0.25, 0.25]]])
    top = np.array([[True, True], [False, False]])
    regions = {"top": top, "left": np.array([[True, False]] * 2)}
    assert masses(heatmaps, regions).tolist() == [[1.5, 1.0], [0.0, 0.25]]


def test_rank_correlation_by_hand():
    drops = np.array([3.0, 1.0, 2.0])
    assert rank_correlation(drops, np.array([30.0, 10, 20])) == pytest.approx(1)
    assert rank_correlation(drops, np.array([1.0, 3, 2])) == pytest.approx(-1)
    # ranks 3 1 2 against 3 2 1: 1 − 6 · (0 + 1 + 1) / (3 · 8)
    assert rank_correlation(drops, np.array([3.0, 2, 1])) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("drops", "mass"), [([1, 2], [1, 2]), ([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [0, 0, 0])]
)
def test_parts_that_cannot_be_ranked_have_no_correlation(drops, mass):
    assert np.isnan(rank_correlation(np.array(drops, float), np.array(mass, float)))


def test_partial_rank_correlation_by_hand():
    importances, areas = np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 4, 3])
    # ranks 1 2 3 4, 2 1 4 3 and 1 2 4 3: ρ = 0.6, and with the areas 0.8 and 0.8
    correlation = partial_rank_correlation(importances, np.array([2.0, 1, 4, 3]), areas)
    assert correlation == pytest.approx((0.6 - 0.8 * 0.8) / (1 - 0.8**2))


def test_partial_rank_correlation_is_that_of_the_residuals():
    """The other definition: ranks, minus a straight line over the ranks of the areas."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        importances, mass, areas = rng.normal(size=(3, 9)).round(1)  # with ties
        ranks, mass_ranks, area_ranks = map(stats.rankdata, (importances, mass, areas))
        residuals = [
            y - np.polyval(np.polyfit(area_ranks, y, 1), area_ranks) for y in (ranks, mass_ranks)
        ]
        expected = np.corrcoef(*residuals)[0, 1]
        assert partial_rank_correlation(importances, mass, areas) == pytest.approx(expected)


def test_a_map_that_only_knows_sizes_has_little_partial_rank_correlation():
    """Its masses are areas with noise, and the importances grow with the areas, too.

    A little stays, because the dependence on the ranks of the areas is not quite linear.
    """
    rng = np.random.default_rng(1)
    raw, partial = [], []
    for _ in range(2000):
        areas = rng.exponential(size=12)
        mass, importances = areas * rng.lognormal(0, 0.5, (2, 12))
        raw.append(rank_correlation(importances, mass))
        partial.append(partial_rank_correlation(importances, mass, areas))
    assert np.mean(raw) > 0.7
    assert abs(np.mean(partial)) < 0.15


@pytest.mark.parametrize(
    ("importances", "mass", "areas", "expected"),
    [
        ([3, 1, 2, 4], [3, 1, 2, 4], [7, 7, 7, 7], 1),  # equal areas take nothing out
        ([3, 1, 2, 4], [1, 2, 3, 4], [1, 2, 3, 4], np.nan),  # the masses are the areas
        ([3, 1, 2, 4], [1, 2, 3, 4], [4, 3, 2, 1], np.nan),  # … in the opposite order
        ([3, 1, 2, 4], [1, 2, 3, 4], [3, 1, 2, 4], np.nan),  # the importances are the areas
        ([1, 3, 2], [1, 2, 3], [2, 1, 3], np.nan),  # of three, only −1 and 1 would be possible
        ([1, 2, 3, 4], [0, 0, 0, 0], [2, 1, 3, 4], np.nan),
    ],
)
def test_what_the_areas_leave(importances, mass, areas, expected):
    correlation = partial_rank_correlation(
        *(np.array(v, float) for v in (importances, mass, areas))
    )
    assert correlation == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("importances", "mass", "expected"),
    [
        ([1, 3, 2], [1, 9, 2], 1),
        ([1, 3, 2], [9, 3, 2], 0),
        ([1, 3, 2], [9, 9, 2], 0),  # names two parts
        ([1, 3, 2], [0, 0, 0], 0),  # names none
        ([5], [1], 1),
        ([], [], np.nan),
    ],
)
def test_decisive_part(importances, mass, expected):
    result = has_decisive_part(np.array(importances, float), np.array(mass, float))
    assert result == pytest.approx(expected, nan_ok=True)


def test_single_deletion_is_half_without_correlation():
    drops = np.array([1.0, 2, 3, 4])
    assert single_deletion(drops, drops) == pytest.approx(1)
    assert single_deletion(drops, -drops) == pytest.approx(0)
    assert single_deletion(drops, np.array([2.0, 4, 1, 3])) == pytest.approx(0.5)


def test_drawings_differ_where_a_part_is_different_or_missing(redrawing):
    same = redrawing.differences("Pikachu", "Pikachu", seed=5)
    other = redrawing.differences("Pikachu", "Raichu", seed=5)
    assert list(same) == list(other) == redrawing.parts("Pikachu")
    assert set(same.values()) == {0.0}
    assert other["stripes"] > 0  # Raichu has none
    assert other["tail"] > other["eye-left"]


def test_the_same_part_does_not_differ_whatever_the_other_parts_are(redrawing):
    """Wartortle has ears and Squirtle has none, but the rims of their shells are the same."""
    assert redrawing.differences("Squirtle", "Wartortle", seed=7)["shell-rim"] == 0
    assert redrawing.differences("Wartortle", "Squirtle", seed=7)["shell-rim"] == 0
