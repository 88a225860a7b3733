"""Nuisances: the seed alone decides them, within the settings, and the class does not."""

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
CATEGORIES = ("style", "background", "distractor", "cover", "flip")


def table(classes: list[str], count: int) -> list[tuple[str, Nuisances]]:
    """Return the nuisances of a data set with `count` images per class, as `download` draws it."""
    settings = frozen()
    return [
        (label, sample(image_seed(1, label, number), settings))
        for label in classes
        for number in range(count)
    ]


def least_p_value(rows: list[tuple[str, Nuisances]]) -> float:
    """Test for each nuisance whether it depends on the class; return the smallest p-value.

    It is multiplied by the number of nuisances (Bonferroni). The tests are χ² for categories and
    Kruskal–Wallis for numbers.
    """
    labels = np.array([label for label, _ in rows])
    names = [field.name for field in fields(Nuisances) if field.name != "seed"]
    p_values = []
    for name in names:
        values = np.array([getattr(nuisances, name) for _, nuisances in rows])
        groups = [values[labels == label] for label in np.unique(labels)]
        if name in CATEGORIES:
            counts = [
                [int((group == kind).sum()) for kind in np.unique(values)] for group in groups
            ]
            p_values.append(stats.chi2_contingency(counts).pvalue)
        else:
            p_values.append(stats.kruskal(*groups).pvalue)
    return min(p_values) * len(names)


@pytest.fixture(scope="module")
def rows() -> list[tuple[str, Nuisances]]:
    return table(CLASSES, 500)


def test_no_nuisance_depends_on_the_class(rows):
    assert least_p_value(rows) > 0.001


@pytest.mark.parametrize(
    "plant",
    [
        lambda n: replace(n, hue_deg=n.hue_deg + 6),
        lambda n: replace(n, size=n.size * 1.08),
        lambda n: replace(n, flip=n.flip or n.left > 0.4),
        lambda n: replace(n, background="plain" if n.top > 0.6 else n.background),
    ],
    ids=["hue", "size", "flip", "background"],
)
def test_a_dependence_would_be_noticed(plant, rows):
    biased = [(label, plant(n) if label == "Class 3" else n) for label, n in rows]
    assert least_p_value(biased) < 0.001


def test_nuisances_stay_within_the_settings_and_use_all_of_them():
    settings = frozen()
    samples = [sample(seed, settings) for seed in range(600)]
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
        values = [getattr(nuisances, name) for nuisances in samples]
        assert limits[0] <= min(values), name
        assert max(values) <= limits[1], name
        assert max(values) - min(values) > 0.95 * (limits[1] - limits[0]), name
    for name, weights in {
        "style": settings.styles,
        "background": settings.backgrounds,
        "distractor": settings.distractors,
        "cover": settings.covers,
    }.items():
        values = [getattr(nuisances, name) for nuisances in samples]
        for kind, weight in weights.items():
            expected = weight / sum(weights.values())
            assert values.count(kind) / len(values) == pytest.approx(expected, abs=0.07), kind


def test_the_same_seed_gives_the_same_nuisances_and_another_gives_others():
    assert sample(5, frozen()) == sample(5, frozen())
    assert sample(5, frozen()) != sample(6, frozen())


def test_still_settings_fix_everything_but_position_light_and_line():
    random_keys = {"seed", "left", "top", "flip", "light_deg", "stroke"}
    first, second = (asdict(sample(seed, still())) for seed in (1, 2))
    assert {key for key in first if first[key] != second[key]} <= random_keys


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("turn_deg: 25", "turn_degrees: 25", "turn_deg"),
        ("cut: 0.1", "cut: 1.2", "cut: .*less than or equal to 1"),
        ("size: [0.5, 1.1]", "size: [1.1, 0.5]", "size: .*lowest, highest"),
        ("sketch: 1", "scetch: 1", "styles: .*scetch is not known. Did you mean sketch"),
        ("bar: 1, ", "", "covers: .*each of none, grass, bar, leaf"),
        ("image_px: 256", "image_px: big", "image_px: .*integer"),
    ],
)
def test_settings_that_do_not_fit_are_an_error(tmp_path, old, new, message):
    text = (PROJECT / "datasets" / "drawn.yaml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "drawn").write_text(text.replace(old, new))
    with pytest.raises(InputError, match=message):
        read_settings(tmp_path / "drawn")


def test_streams_of_different_purposes_differ():
    assert nuisances.stream(1, "pose").random() != nuisances.stream(1, "cover").random()
