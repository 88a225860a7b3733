"""The drawn source: its members, and that an image depends on its own seed only."""

import csv
import io

import numpy as np
import pytest
from PIL import Image

from pokecam.common.errors import InputError
from pokecam.data.drawn import render
from pokecam.data.drawn.scene import sample
from pokecam.data.sources import drawn
from tests.data.drawn.creatures import BIRD, SNAIL, bird, frozen, write_catalogue


@pytest.fixture(scope="module")
def settings_file(tmp_path_factory):
    return write_catalogue(tmp_path_factory.mktemp("set"), Bird=BIRD, Snail=SNAIL)


@pytest.fixture(scope="module")
def files(settings_file) -> dict[str, bytes]:
    return dict(drawn.members(settings_file, images_per_class=4, draw_seed=1))


def rows(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode())))


def open_image(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_names(files):
    numbers = [f"{label}/{i:04d}" for label in ("Bird", "Snail") for i in range(4)]
    assert set(files) == {
        *(f"images/{number}.jpg" for number in numbers),
        *(f"masks/{number}.jpg.png" for number in numbers),
        "parts.csv",
        "boxes.csv",
        "scenes.csv",
        *("scenes/settings.yaml", "scenes/Bird.svg", "scenes/Snail.svg"),
    }


def test_an_image_and_its_mask_are_the_scene_of_its_seed(files):
    row = rows(files["scenes.csv"])[2]
    assert row["image"] == "Bird/0002.jpg"
    scene = sample(bird(), int(row["seed"]), frozen())
    pixels, labels = render.image_and_mask(scene, 256)
    assert files["images/Bird/0002.jpg"] == render.finish(pixels, scene)
    mask = open_image(files["masks/Bird/0002.jpg.png"])
    assert (mask.mode, mask.size) == ("P", (256, 256))
    np.testing.assert_array_equal(np.asarray(mask), labels)
    assert row["style"] == scene.nuisances.style
    assert float(row["turn_deg"]) == scene.nuisances.turn_deg


def test_parts_are_numbered_in_painters_order(files):
    table = rows(files["parts.csv"])
    assert table[0] == {"label": "Bird", "index": "1", "part": "tail"}
    assert [row["part"] for row in table if row["label"] == "Snail"] == [
        "body",
        "shell",
        "swirl",
        "horns",
    ]


def test_boxes_are_around_what_the_masks_show(files):
    for row in rows(files["boxes.csv"]):
        mask = np.asarray(open_image(files[f"masks/{row['image']}.png"]))
        xmin, ymin, xmax, ymax = (int(row[key]) for key in ("xmin", "ymin", "xmax", "ymax"))
        inside = mask[ymin:ymax, xmin:xmax]
        assert (inside > 0).sum() == (mask > 0).sum()
        for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
            assert edge.any()


def test_a_box_by_hand():
    labels = np.zeros((10, 10), np.uint8)
    assert drawn.visible_box(labels) is None
    labels[3, 4] = 2
    labels[5, 1] = 1
    assert drawn.visible_box(labels) == (1, 3, 5, 6)


def test_the_number_of_workers_changes_nothing(settings_file, files):
    again = drawn.members(settings_file, images_per_class=4, draw_seed=1, workers=2)
    assert dict(again) == files


def test_more_species_and_more_images_change_no_other(tmp_path, files):
    settings_file = write_catalogue(tmp_path, Aardvark=SNAIL, Bird=BIRD)
    larger_set = dict(drawn.members(settings_file, images_per_class=5, draw_seed=1))
    shared = [name for name in files if "/Bird/" in name]
    assert len(shared) == 8
    assert {name: larger_set[name] for name in shared} == {name: files[name] for name in shared}


def test_another_seed_changes_every_image(settings_file, files):
    larger_set = dict(drawn.members(settings_file, images_per_class=4, draw_seed=2))
    images = [name for name in files if name.startswith("images/")]
    assert not [name for name in images if larger_set[name] == files[name]]


def test_a_broken_species_is_named(tmp_path):
    settings_file = write_catalogue(tmp_path, Bird=BIRD.replace('fill="#3355cc"', 'fill="blue"'))
    with pytest.raises(InputError, match="Bird, part 'tail'"):
        next(drawn.members(settings_file, images_per_class=1, draw_seed=1))


def test_every_part_of_every_species_is_seen_in_the_set():
    """In the first twelve images of the shipped set, each named part has visible pixels."""
    from pokecam.data.drawn import species

    settings = frozen()
    for label, creature in species.catalogue().items():
        hidden = {part.name for part in creature.parts}
        for number in range(12):
            seed = drawn.image_seed(1, label, number)
            labels = render.mask(sample(creature, seed, settings), 128)
            hidden -= {creature.parts[index - 1].name for index in np.unique(labels) if index}
            if not hidden:
                break
        assert not hidden, f"{label}: never seen"
