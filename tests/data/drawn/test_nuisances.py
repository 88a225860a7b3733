"""Nuisances: set by the seed alone, within the settings, and blind to the class."""

from dataclasses import asdict, fields, replace

import numpy as np
import pytest
from scipy import stats

from pokecam.common.errors import InputError
from pokecam.data.drawn import nuisances
from pokecam.data.drawn.nuisances import Nuisances, read_settings, sample
from pokecam.data.sources.drawn import image_seed
from tests.conftest import PROJECT
from tests.data.drawn.creatures import frozen, still

CLASSES = [f"Class {i}" for i in range(10)]
KINDS = ("style", "background", "distractor", "cover", "flip")


def table(classes: list[str], count: int) -> list[tuple[str, Nuisances]]:
    """The nuisances of a set with `count` images per class, as `download` would draw it."""
    settings = frozen()
    return [
        (label, sample(image_seed(1, label, number), settings))
        for label in classes
        for number in range(count)
    ]


def least_p_value(rows: list[tuple[str, Nuisances]]) -> float:
    """Smallest p-value of "this nuisance does not depend on the class", times their number.

    χ² for kinds, Kruskal–Wallis for numbers.
    """
    labels = np.array([label for label, _ in rows])
    names = [field.name for field in fields(Nuisances) if field.name != "seed"]
    found = []
    for name in names:
        values = np.array([getattr(one, name) for _, one in rows])
        groups = [values[labels == label] for label in np.unique(labels)]
        if name in KINDS:
            counts = [
                [int((group == kind).sum()) for kind in np.unique(values)] for group in groups
            ]
            found.append(stats.chi2_contingency(counts).pvalue)
        else:
            found.append(stats.kruskal(*groups).pvalue)
    return min(found) * len(names)


@pytest.fixture(scope="module")
def rows() -> list[tuple[str, Nuisances]]:
    return table(CLASSES, 500)


def test_no_nuisance_depends_on_the_class(rows):
    assert least_p_value(rows) > 0.001


@pytest.mark.parametrize(
    "plant",
    [
        lambda one: replace(one, hue_deg=one.hue_deg + 6),
        lambda one: replace(one, size=one.size * 1.08),
        lambda one: replace(one, flip=one.flip or one.left > 0.4),
        lambda one: replace(one, background="plain" if one.top > 0.6 else one.background),
    ],
    ids=["hue", "size", "flip", "background"],
)
def test_a_dependence_would_be_noticed(plant, rows):
    planted = [(label, plant(one) if label == "Class 3" else one) for label, one in rows]
    assert least_p_value(planted) < 0.001


def test_nuisances_stay_within_the_settings_and_use_all_of_them():
    settings = frozen()
    many = [sample(seed, settings) for seed in range(600)]
    for name, limits in {
        "size": settings.size,
        "saturation": settings.saturation,
        "brightness": settings.brightness,
        "noise": settings.noise,
        "jpeg_quality": settings.jpeg_quality,
        "turn_deg": (-settings.turn_deg, settings.turn_deg),
        "tilt_x": (-settings.perspective, settings.perspective),
        "hue_deg": (-settings.hue_deg, settings.hue_deg),
        "left": (-1, 1),
    }.items():
        values = [getattr(one, name) for one in many]
        assert limits[0] <= min(values), name
        assert max(values) <= limits[1], name
        assert max(values) - min(values) > 0.95 * (limits[1] - limits[0]), name
    for name, weights in {
        "style": settings.styles,
        "background": settings.backgrounds,
        "distractor": settings.distractors,
        "cover": settings.covers,
    }.items():
        values = [getattr(one, name) for one in many]
        for kind, weight in weights.items():
            expected = weight / sum(weights.values())
            assert values.count(kind) / len(values) == pytest.approx(expected, abs=0.07), kind


def test_the_same_seed_gives_the_same_and_another_something_else():
    assert sample(5, frozen()) == sample(5, frozen())
    assert sample(5, frozen()) != sample(6, frozen())


def test_still_settings_leave_nothing_to_chance_but_light_and_line():
    free = {"seed", "left", "top", "flip", "light_deg", "stroke"}
    one, other = (asdict(sample(seed, still())) for seed in (1, 2))
    assert {key for key in one if one[key] != other[key]} <= free


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("turn_deg: 25", "turn_degrees: 25", "turn_deg"),
        ("cut: 0.1", "cut: 1.2", "cut: .*less than or equal to 1"),
        ("size: [0.5, 1.1]", "size: [1.1, 0.5]", "size: .*lowest, highest"),
        ("sketch: 1", "scetch: 1", "styles: .*scetch is not known. Did you mean sketch"),
        ("bar: 1, ", "", "covers: .*each of none, grass, bar, leaf"),
        ("image_px: 256", "image_px: big", "image_px: .*integer"),
    ],
)
def test_settings_that_do_not_fit_are_named(tmp_path, old, new, told):
    text = (PROJECT / "datasets" / "drawn.yaml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "drawn").write_text(text.replace(old, new))
    with pytest.raises(InputError, match=told):
        read_settings(tmp_path / "drawn")


def test_streams_of_different_purposes_differ():
    assert nuisances.stream(1, "pose").random() != nuisances.stream(1, "cover").random()
