"""Scenes: the seed decides everything but the creature, which the species decides."""

import numpy as np
import pytest

from pokecam.data.drawn import render, species
from pokecam.data.drawn.scene import sample
from tests.data.drawn.creatures import HEAD, bird, frozen, only, snail, still


def points(scene, name: str) -> np.ndarray:
    return next(part.items[0].path.vertices for part in scene.parts if part.name == name)


def square(extra: str = "", swing: int = 0) -> species.Species:
    """Return a body of 100 × 100 in the middle, and a hand at its right side about (50, 0)."""
    return species.parse(
        f"{HEAD}"
        '<g id="body" data-joint="0,0">'
        '<rect x="-50" y="-50" width="100" height="100" fill="#808080"/></g>'
        f'<g id="hand" data-joint="50,0" data-swing="{swing}">'
        f'<polygon points="50,0 100,-10 100,10" fill="#208020"/></g>{extra}</svg>',
        "Square",
    )


def first_seed(settings, *, flip: bool = False) -> int:
    """Return the first seed whose scene is flipped, or not flipped."""
    return next(s for s in range(99) if sample(square(), s, settings).nuisances.flip == flip)


def test_still_settings_draw_the_species_as_it_is():
    settings = still()
    scene = sample(square(), first_seed(settings), settings)
    assert points(scene, "body")[:4].tolist() == [[78, 78], [178, 78], [178, 178], [78, 178]]
    assert points(scene, "hand")[:3].tolist() == [[178, 128], [228, 118], [228, 138]]
    mirrored = sample(square(), first_seed(settings, flip=True), settings)
    assert points(mirrored, "hand")[:3].tolist() == [[78, 128], [28, 118], [28, 138]]


def test_size_and_place():
    settings = still(size=(0.5, 0.5))
    seed = first_seed(settings)
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
    seed = first_seed(settings)
    scene = sample(square(finger, swing=90), seed, settings)
    hand, tip = points(scene, "hand"), points(scene, "finger")
    assert hand[0].tolist() == [178, 128]  # the joint does not move
    arm = (hand[1] + hand[2]) / 2 - hand[0]
    assert np.hypot(*arm) == pytest.approx(50, abs=0.05)
    assert abs(arm[1]) > 5  # it has rotated
    np.testing.assert_allclose(tip[0], (hand[1] + hand[2]) / 2, atol=0.05)
    along = (tip[1] + tip[2]) / 2 - tip[0]
    np.testing.assert_allclose(along / 20, arm / 50, atol=0.01)


def test_perspective_shrinks_the_far_side():
    settings = still(perspective=0.3)
    scene = sample(square(), first_seed(settings), settings)
    left, right = (points(scene, "body")[[a, b]] for a, b in ((0, 3), (1, 2)))
    heights = [abs(float(np.diff(side[:, 1])[0])) for side in (left, right)]
    tilt = scene.nuisances.tilt_x
    assert abs(tilt) > 0.05
    assert (heights[0] > heights[1]) == (tilt > 0)


def test_colours_are_those_of_the_drawing_unless_settings_change_them():
    scene = sample(square(), 1, still())
    assert scene.parts[0].items[0].fill == (128 / 255, 128 / 255, 128 / 255, 1)
    grey = sample(square(), 1, still(saturation=(0.0, 0.0))).parts[1].items[0].fill
    assert len({round(channel * 255) for channel in grey[:3]}) == 1
    # luminance of #208020: 0.213 · 32 + 0.715 · 128 + 0.072 · 32 = 100.6
    assert round(grey[0] * 255) == 101
    dark = sample(square(), 1, still(brightness=(0.5, 0.5))).parts[0].items[0].fill
    assert round(dark[0] * 255) == 64
    green = sample(square(), 1, still(hue_deg=60.0)).parts[1].items[0].fill
    assert green != scene.parts[1].items[0].fill


@pytest.mark.parametrize("seed", range(12))
def test_without_its_creature_a_scene_is_the_same_for_every_species(seed):
    settings = frozen()
    nuisances, images = [], []
    for creature in (bird(), snail()):
        scene = sample(creature, seed, settings)
        nuisances.append(scene.nuisances)
        all_parts = frozenset(part.name for part in creature.parts)
        images.append(render.image(scene, 64, without=all_parts))
    assert nuisances[0] == nuisances[1]
    np.testing.assert_array_equal(*images)


def test_every_background_distractor_and_cover_is_visible():
    """Each changes pixels of the plain scene of the same seed."""
    for key in ("backgrounds", "distractors", "covers"):
        kinds = getattr(frozen(), key)
        images_of = {}
        for kind in kinds:
            settings = still(**only(key, kind))
            scenes = [sample(bird(), seed, settings) for seed in range(3)]
            images_of[kind] = np.stack([render.image(scene, 48) for scene in scenes])
        plain_images = images_of.pop("none" if "none" in images_of else "plain")
        for kind, images in images_of.items():
            assert (images != plain_images).any(axis=(1, 2, 3)).all(), kind


def test_the_creature_is_always_visible():
    """A quarter of it at least, and mostly nearly all, compared with a creature nothing hides."""
    settings = frozen()
    visible = []
    for seed in range(80):
        scene = sample(snail(), seed, settings)
        area = (48 * scene.nuisances.size) ** 2
        visible.append((render.mask(scene, 48) > 0).sum() / area)
    unhidden = (render.mask(sample(snail(), 1, still()), 48) > 0).mean()
    assert min(visible) > 0.25 * unhidden
    assert np.median(visible) > 0.8 * unhidden
