"""Images and masks: left-out parts, the topmost part by coverage, the same pixels everywhere."""

import hashlib
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pokecam.data.drawn import render, species
from pokecam.data.drawn.nuisances import STYLES
from pokecam.data.drawn.scene import Light, Scene, sample
from tests.conftest import PROJECT
from tests.data.drawn.creatures import HEAD, bird, frozen, only, snail, still

HASHES = Path(__file__).parent / "pixels.json"


def scene_of(style: str, seed: int, creature: species.Species | None = None):
    settings = frozen().model_copy(update=only("styles", style))
    return sample(creature or bird(), seed, settings)


def part_opacity(scene: Scene, size_px: int, name: str) -> np.ndarray:
    """Draw one part without the others: its opacity, uint8 (size_px, size_px)."""
    canvas = render._Canvas(render._grid_px(scene, size_px))
    (items,) = (part.items for part in scene.parts if part.name == name)
    canvas.paint(items)
    return render._enlarge(canvas.pixels[..., 3], size_px)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_part_left_out_changes_nothing_beyond_its_outline(style, seed):
    scene = scene_of(style, seed)
    pixels, labels = render.image_and_mask(scene, 96)
    for index, part in enumerate(scene.parts, 1):
        touched = part_opacity(scene, 96, part.name) > 0
        new_pixels, new_labels = render.image_and_mask(scene, 96, without=frozenset({part.name}))
        differs = (new_pixels != pixels).any(axis=2)
        assert not differs[~touched].any(), part.name
        assert not (new_labels != labels)[~touched].any(), part.name
        assert index not in new_labels
        if (labels == index).sum() > 20:
            assert differs.sum() > 10, part.name


def test_a_hand_made_part_left_out():
    """A red square of 64 × 64 units in the middle of a grey one of 128 × 128."""
    creature = species.parse(
        f"{HEAD}"
        '<g id="body" data-joint="0,0">'
        '<rect x="-64" y="-64" width="128" height="128" fill="#808080"/></g>'
        '<g id="patch" data-joint="0,0">'
        '<rect x="-32" y="-32" width="64" height="64" fill="#ff0000"/></g></svg>',
        "Two",
    )
    scene = sample(creature, 1, still())
    labels = render.mask(scene, 64)
    assert labels[16:48, 16:48].min() == 1
    assert (labels[24:40, 24:40] == 2).all()
    assert (labels == 2).sum() == 16 * 16
    assert (labels > 0).sum() == 32 * 32
    pixels = render.image(scene, 64)
    assert (pixels[24:40, 24:40] == (255, 0, 0)).all()
    without_patch = render.image(scene, 64, without=frozenset({"patch"}))
    assert (without_patch[16:48, 16:48] == 128).all()
    np.testing.assert_array_equal((without_patch != pixels).any(axis=2), labels == 2)
    assert (render.mask(scene, 64, without=frozenset({"body"})) > 0).sum() == 16 * 16


def test_half_a_pixel_decides():
    """A square that covers 60 % of the pixels at its right side and 40 % of those below."""
    creature = species.parse(
        f'{HEAD}<g id="body" data-joint="0,0">'
        '<rect x="-64" y="-64" width="66.4" height="65.6" fill="#000000"/></g></svg>',
        "One",
    )
    seed = next(s for s in range(99) if not sample(creature, s, still()).nuisances.flip)
    labels = render.mask(sample(creature, seed, still()), 64)  # one pixel is 4 units
    assert labels[16, 16:40].tolist() == [1] * 17 + [0] * 7
    assert labels[16:40, 16].tolist() == [1] * 16 + [0] * 8


@pytest.mark.parametrize("style", [style for style in STYLES if style != "pixelated"])
def test_masks_agree_with_a_reference_of_sixty_four_samples(style):
    """The reference is the part with the largest visible share of a pixel, by 8 × 8 samples.

    At least 97 % of the pixels that the creature touches agree. Thin lines and corners where three
    parts meet do not. Where one part covers more than three quarters of a pixel, 99.5 % agree.
    """
    touched_agreement, clear_agreement = [], []
    for seed, creature in ((3, bird()), (4, snail())):
        scene = replace(scene_of(style, seed, creature), front=())
        fine = np.zeros((1024, 1024), np.uint8)
        for index, part in enumerate(scene.parts, 1):
            fine[part_opacity(scene, 1024, part.name) > 127] = index
        blocks = fine.reshape(128, 8, 128, 8)
        share = np.stack(
            [(blocks == index).mean(axis=(1, 3)) for index in range(len(scene.parts) + 1)]
        )
        labels = render.mask(scene, 128)
        touched = (share[0] < 1) | (labels > 0)
        agrees = labels == share.argmax(axis=0)
        touched_agreement.append(agrees[touched].mean())
        clear_agreement.append(agrees[touched & (share.max(axis=0) > 0.75)].mean())
    assert min(touched_agreement) > 0.97
    assert min(clear_agreement) > 0.995


def test_items_in_front_hide_parts_in_the_mask():
    settings = still(**only("covers", "bar"))
    scene = sample(snail(), 1, settings)
    labels_without_bar = render.mask(replace(scene, front=()), 96)
    labels = render.mask(scene, 96)
    hidden = (labels_without_bar > 0) & (labels == 0)
    assert hidden.sum() > 30
    np.testing.assert_array_equal(labels[~hidden], labels_without_bar[~hidden])
    # The creature is not visible through the bar, except at its edges.
    inside = hidden.copy()
    for step, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
        inside &= np.roll(hidden, step, axis)
    all_parts = frozenset(part.name for part in scene.parts)
    bar = render.image(scene, 96, without=all_parts)
    np.testing.assert_array_equal(render.image(scene, 96)[inside], bar[inside])
    assert inside.sum() > 10


@pytest.mark.parametrize("style", STYLES)
def test_both_together_are_the_same_as_one_after_the_other(style):
    scene = scene_of(style, 5)
    pixels, labels = render.image_and_mask(scene, 80)
    np.testing.assert_array_equal(pixels, render.image(scene, 80))
    np.testing.assert_array_equal(labels, render.mask(scene, 80))
    assert pixels.shape == (80, 80, 3)
    assert labels.shape == (80, 80)
    assert pixels.dtype == labels.dtype == np.uint8


def test_sizes_show_the_same_scene():
    scene = replace(scene_of("flat", 6), light=Light())
    small, large = render.image(scene, 64), render.image(scene, 256)
    shrunk = large.reshape(64, 4, 64, 4, 3).mean(axis=(1, 3))
    assert np.abs(shrunk - small).mean() < 2.5


def test_a_part_that_is_not_there_is_an_error():
    with pytest.raises(KeyError, match="trunk"):
        render.image(scene_of("flat", 1), 32, without=frozenset({"trunk"}))


def test_noise_has_the_strength_of_the_scene():
    grey = np.full((256, 256, 3), 128, np.uint8)
    for noise in (0.0, 5.0, 12.0):
        scene = sample(bird(), 9, still(noise=(noise, noise)))
        noisy = render.add_noise(grey, scene).astype(float)
        assert noisy.std() == pytest.approx(noise, rel=0.06, abs=0.01)
        assert noisy.mean() == pytest.approx(128, abs=0.2)
    scenes = [sample(bird(), seed, still(noise=(9.0, 9.0))) for seed in (1, 2)]
    assert (render.add_noise(grey, scenes[0]) != render.add_noise(grey, scenes[1])).mean() > 0.8


def test_finish_returns_a_jpeg_near_the_image():
    scene = sample(bird(), 1, still(jpeg_quality=(95.0, 95.0)))
    pixels = render.image(scene, 128)
    with Image.open(io.BytesIO(render.finish(pixels, scene))) as image:
        assert image.format == "JPEG"
        assert np.abs(np.asarray(image).astype(int) - pixels).mean() < 3


def fingerprints() -> dict[str, str]:
    """Return hashes of image, mask and decoded JPEG of a scene of each style."""
    hashes = {}
    for style in STYLES:
        scene = scene_of(style, 7)
        pixels, labels = render.image_and_mask(scene, 128)
        with Image.open(io.BytesIO(render.finish(pixels, scene))) as image:
            decoded = np.asarray(image)
        for name, array in (("image", pixels), ("mask", labels), ("jpeg", decoded)):
            hashes[f"{style} {name}"] = hashlib.sha256(array.tobytes()).hexdigest()[:16]
    return hashes


def test_pixels_are_those_of_every_machine():
    """The hashes are in pixels.json; `python -m tests.data.drawn.test_render` writes it again."""
    assert fingerprints() == json.loads(HASHES.read_text())


def test_pixels_do_not_change_with_the_instruction_set():
    """In a process whose numpy, C library and JPEG codec use only the oldest instructions."""
    oldest = {
        "NPY_DISABLE_CPU_FEATURES": " ".join(_optional_features()),
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F,-AVX,-SSE4_2",
        "JSIMD_FORCENONE": "1",
    }
    code = (
        "import json; from tests.data.drawn.test_render import fingerprints as f; "
        "print(json.dumps(f()))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env=os.environ | oldest,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(out.stdout) == json.loads(HASHES.read_text())


def _optional_features() -> list[str]:
    """Return the features of this CPU that numpy uses but does not need."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    return [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]


if __name__ == "__main__":
    HASHES.write_text(json.dumps(fingerprints(), indent=2) + "\n")
