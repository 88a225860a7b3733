"""Scenes: the seed decides everything, the species only the creature."""

import numpy as np
import pytest

from pokecam.data.drawn import render, species
from pokecam.data.drawn.scene import sample
from tests.data.drawn.creatures import HEAD, bird, frozen, only, snail, still


def points(scene, part: str) -> np.ndarray:
    return next(one.items[0].path.vertices for one in scene.parts if one.name == part)


def square(extra: str = "", swing: int = 0) -> species.Species:
    """A body of 100 × 100 in the middle and a hand at its right side that turns about (50, 0)."""
    return species.parse(
        f"{HEAD}"
        '<g id="body" data-joint="0,0">'
        '<rect x="-50" y="-50" width="100" height="100" fill="#808080"/></g>'
        f'<g id="hand" data-joint="50,0" data-swing="{swing}">'
        f'<polygon points="50,0 100,-10 100,10" fill="#208020"/></g>{extra}</svg>',
        "Square",
    )


def unflipped(settings, wanted=False) -> int:
    """A seed whose scene is flipped as wanted."""
    return next(s for s in range(99) if sample(square(), s, settings).nuisances.flip == wanted)


def test_still_settings_draw_the_species_as_it_is():
    settings = still()
    scene = sample(square(), unflipped(settings), settings)
    assert points(scene, "body")[:4].tolist() == [[78, 78], [178, 78], [178, 178], [78, 178]]
    assert points(scene, "hand")[:3].tolist() == [[178, 128], [228, 118], [228, 138]]
    mirrored = sample(square(), unflipped(settings, True), settings)
    assert points(mirrored, "hand")[:3].tolist() == [[78, 128], [28, 118], [28, 138]]


def test_size_and_place():
    settings = still(size=(0.5, 0.5))
    seed = unflipped(settings)
    scene = sample(square(), seed, settings)
    half_room = 64  # the half-size square can move by a quarter of the canvas either way
    centre = 128 + half_room * np.array([scene.nuisances.left, scene.nuisances.top])
    np.testing.assert_allclose(points(scene, "body")[0], centre - 25, atol=0.01)


def test_parts_turn_about_their_joint_and_children_follow():
    finger = (
        '<g id="finger" data-joint="100,0" data-parent="hand">'
        '<polygon points="100,0 120,-5 120,5" fill="#802020"/></g>'
    )
    settings = still(swing=1.0)
    seed = unflipped(settings)
    scene = sample(square(finger, swing=90), seed, settings)
    hand, tip = points(scene, "hand"), points(scene, "finger")
    assert hand[0].tolist() == [178, 128]  # the joint stays
    arm = (hand[1] + hand[2]) / 2 - hand[0]
    assert np.hypot(*arm) == pytest.approx(50, abs=0.05)
    assert abs(arm[1]) > 5  # it did turn
    np.testing.assert_allclose(tip[0], (hand[1] + hand[2]) / 2, atol=0.05)
    along = (tip[1] + tip[2]) / 2 - tip[0]
    np.testing.assert_allclose(along / 20, arm / 50, atol=0.01)


def test_perspective_shrinks_what_is_far():
    settings = still(perspective=0.3)
    scene = sample(square(), unflipped(settings), settings)
    left, right = (points(scene, "body")[[a, b]] for a, b in ((0, 3), (1, 2)))
    heights = [abs(float(np.diff(side[:, 1])[0])) for side in (left, right)]
    tilt = scene.nuisances.tilt_x
    assert abs(tilt) > 0.05
    assert (heights[0] > heights[1]) == (tilt > 0)


def test_colours_are_the_artists_unless_changed():
    scene = sample(square(), 1, still())
    assert scene.parts[0].items[0].fill == (128 / 255, 128 / 255, 128 / 255, 1)
    grey = sample(square(), 1, still(saturation=(0.0, 0.0))).parts[1].items[0].fill
    assert len({round(channel * 255) for channel in grey[:3]}) == 1
    # luminance of #208020: 0.213 · 32 + 0.715 · 128 + 0.072 · 32 = 100.6
    assert round(grey[0] * 255) == 101
    dark = sample(square(), 1, still(brightness=(0.5, 0.5))).parts[0].items[0].fill
    assert round(dark[0] * 255) == 64
    turned = sample(square(), 1, still(hue_deg=60.0)).parts[1].items[0].fill
    assert turned != scene.parts[1].items[0].fill


@pytest.mark.parametrize("seed", range(12))
def test_without_its_creature_a_scene_is_the_same_for_every_species(seed):
    settings = frozen()
    empty = []
    for one in (bird(), snail()):
        scene = sample(one, seed, settings)
        everything = frozenset(part.name for part in one.parts)
        empty.append((scene.nuisances, render.image(scene, 64, without=everything)))
    assert empty[0][0] == empty[1][0]
    np.testing.assert_array_equal(empty[0][1], empty[1][1])


def test_every_kind_of_ground_prop_and_cover_shows():
    """Against the plain scene of the same seed, each kind changes pixels where it may."""
    for key in ("backgrounds", "distractors", "covers"):
        kinds = getattr(frozen(), key)
        seen = {}
        for kind in kinds:
            settings = still(**only(key, kind))
            drawn = [sample(bird(), seed, settings) for seed in range(3)]
            seen[kind] = np.stack([render.image(scene, 48) for scene in drawn])
        base = seen.pop("none" if "none" in seen else "plain")
        for kind, images in seen.items():
            assert (images != base).any(axis=(1, 2, 3)).all(), kind


def test_the_creature_is_never_lost():
    """Of what its square shows when nothing hides it: a quarter at least, mostly nearly all."""
    settings = frozen()
    visible = []
    for seed in range(80):
        scene = sample(snail(), seed, settings)
        area = (48 * scene.nuisances.size) ** 2
        visible.append((render.mask(scene, 48) > 0).sum() / area)
    whole = (render.mask(sample(snail(), 1, still()), 48) > 0).mean()
    assert min(visible) > 0.25 * whole
    assert np.median(visible) > 0.8 * whole
