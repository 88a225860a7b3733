"""From an archive to packed pixels."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pokecam.common.errors import InputError
from pokecam.data.packed.csv_tables import read_table
from pokecam.data.packed.images import load_packed
from pokecam.data.packing import pack as module
from pokecam.data.packing.pack import pack
from pokecam.data.sources import raw_zip
from tests.conftest import PROJECT
from tests.support.images import encoded, image_bytes, patches

SIZE_PX = 64


def members(**classes: int) -> dict[str, bytes]:
    """Return the files of a source: class → how many different images it has."""
    return {
        f"images/{label}/{i}.png": image_bytes(1000 * number + i)
        for number, (label, count) in enumerate(classes.items())
        for i in range(count)
    }


def packed(folder: Path, files: dict[str, bytes], classes="all", **options):
    raw_zip.write_raw_zip(iter(files.items()), folder / "raw.zip")
    pack(
        folder / "raw.zip",
        folder / "images",
        classes=classes,
        image_size=SIZE_PX,
        unfinished=folder / "unfinished",
        **options,
    )
    return load_packed(folder / "images")


def quarantine(folder: Path) -> dict[str, str]:
    table = read_table(folder / "images" / "quarantine.csv")
    assert (table.label == table.file.str.split("/").str[0]).all()
    return dict(zip(table.file, table.reason, strict=True))


def test_rows_are_the_images_sorted_by_file(tmp_path):
    images = packed(tmp_path, members(Cat=3, Ant=4, Bee=3), classes=["Cat", "Ant"])
    assert images.pixels.shape == (7, SIZE_PX, SIZE_PX, 3)
    assert images.pixels.dtype == np.uint8
    assert isinstance(images.pixels, np.memmap)
    assert images.classes == ["Cat", "Ant"]
    assert images.manifest.file.tolist() == [f"Ant/{i}.png" for i in range(4)] + [
        f"Cat/{i}.png" for i in range(3)
    ]
    assert np.array_equal(images.pixels[0], np.asarray(patches(1000)))
    assert np.array_equal(images.pixels[6], np.asarray(patches(2)))
    assert images.manifest.group.tolist() == list(range(7))
    assert quarantine(tmp_path) == {}
    assert images.masks is None
    assert images.parts is None
    assert images.boxes is None
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == [
        "classes.json",
        "duplicates.csv",
        "manifest.csv",
        "pixels.npy",
        "quarantine.csv",
    ]


def test_the_manifest_says_where_the_image_lies(tmp_path):
    files = members(Ant=3, Bee=3) | {"images/Ant/wide.png": image_bytes(7, width=256, height=128)}
    images = packed(tmp_path, files)
    row = images.manifest.set_index("file").loc["Ant/wide.png"]
    assert row[["label", "width", "height", "left", "top"]].tolist() == ["Ant", 256, 128, 0, 16]
    assert row.scale == 0.25


@pytest.mark.parametrize("ahead_bytes", [1, 2**27])
def test_the_number_of_workers_changes_nothing(tmp_path, monkeypatch, ahead_bytes):
    """The images have different sizes, so that workers do not finish in order."""
    monkeypatch.setattr(module, "_BYTES_AHEAD", ahead_bytes)
    files = members(Ant=12, Bee=12)
    files |= {
        f"images/Ant/large{i}.png": image_bytes(50 + i, width=1500, height=900) for i in range(3)
    }
    files |= {"images/Bee/bad.png": b"no"}
    outcomes = []
    for workers in (1, 2, 7):
        (tmp_path / str(workers)).mkdir()
        packed(tmp_path / str(workers), files, workers=workers)
        folder = tmp_path / str(workers) / "images"
        outcomes.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_what_cannot_be_used_is_named_and_the_rest_stays_in_step(tmp_path):
    files = members(Ant=4, Bee=3) | {
        "images/Ant/1.png": b"",
        "images/Ant/drawing.svg": b"<svg/>",
        "images/Bee/tiny.gif": image_bytes(9, "GIF", 12, 9),
        "images/Bee/cut.jpg": image_bytes(9, "JPEG")[:700],
    }
    images = packed(tmp_path, files)
    assert quarantine(tmp_path) == {
        "Ant/1.png": "empty file",
        "Ant/drawing.svg": "SVG is not read: convert it to JPEG or PNG",
        "Bee/cut.jpg": quarantine(tmp_path)["Bee/cut.jpg"],
        "Bee/tiny.gif": "too small: 12×9 px, at least 32 px needed",
    }
    assert quarantine(tmp_path)["Bee/cut.jpg"].startswith("truncated or corrupt: ")
    assert images.manifest.file.tolist()[:3] == ["Ant/0.png", "Ant/2.png", "Ant/3.png"]
    assert np.array_equal(images.pixels[1], np.asarray(patches(2)))


def test_near_duplicates_share_a_group_and_are_listed(tmp_path):
    again = encoded(patches(1), "JPEG", quality=70)
    images = packed(tmp_path, members(Ant=3, Bee=3) | {"images/Ant/again.jpg": again})
    group = images.manifest.set_index("file").group
    assert group["Ant/again.jpg"] == group["Ant/1.png"]
    assert group.nunique() == 6
    duplicates = read_table(tmp_path / "images" / "duplicates.csv")
    assert duplicates.file.tolist() == ["Ant/1.png", "Ant/again.jpg"]
    assert duplicates.group.nunique() == 1


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_an_image_filed_under_two_classes_is_dropped_from_both(tmp_path, kind):
    """As the same file, and saved again; a third copy is dropped too."""
    double = patches(1, 256, 256)
    files = members(Ant=4, Bee=4, Cat=3) | {
        "images/Ant/1.png": encoded(double),
        "images/Bee/x.jpg": encoded(double, kind),
        "images/Ant/copy.bmp": encoded(double, "BMP"),
    }
    images = packed(tmp_path, files)
    reason = "the same image is filed under another class: "
    assert quarantine(tmp_path) == {
        "Ant/1.png": reason + "Bee/x.jpg",
        "Ant/copy.bmp": reason + "Bee/x.jpg",
        "Bee/x.jpg": reason + "Ant/1.png, Ant/copy.bmp",
    }
    assert len(images.pixels) == len(images.manifest) == 10
    assert images.manifest.group.tolist() == list(range(10))
    cat = images.manifest.index[images.manifest.file == "Cat/0.png"][0]
    assert np.array_equal(images.pixels[cat], np.asarray(patches(2000)))


def test_an_image_filed_under_a_class_that_is_not_chosen_stays(tmp_path):
    files = members(Ant=3, Bee=3, Cat=3) | {"images/Cat/x.png": image_bytes(1)}
    assert len(packed(tmp_path, files, classes=["Ant", "Bee"]).pixels) == 6
    assert quarantine(tmp_path) == {}


def test_too_few_usable_images_names_class_and_count(tmp_path):
    files = members(Ant=3, Bee=3) | {"images/Bee/1.png": b"<svg/>"}
    with pytest.raises(InputError) as error:
        packed(tmp_path, files)
    assert str(error.value) == (
        "class Bee has 2 usable images, 3 or more are needed; 1 cannot be used, Bee/1.png: "
        "SVG is not read: convert it to JPEG or PNG. Add images or take Bee out of `classes`"
    )
    assert not (tmp_path / "images").exists()


def test_unknown_classes_leave_nothing_behind(tmp_path):
    with pytest.raises(InputError, match=r"Did you mean Ant\?"):
        packed(tmp_path, members(Ant=3, Bee=3), classes=["Antt", "Bee"])
    assert [path.name for path in tmp_path.iterdir()] == ["raw.zip"]


def test_names_that_look_like_something_else_stay_text(tmp_path):
    """Classes called NA, 007 and None; a file called null; commas, quotes."""
    images = packed(tmp_path, members(**{"NA": 3, "007": 3, "None": 3, 'a, "b"': 3}))
    assert sorted(set(images.manifest.label)) == sorted(images.classes)
    assert images.classes == ["007", "NA", "None", 'a, "b"']
    assert images.manifest.file[0] == "007/0.png"


def test_the_classes_of_the_source_are_returned_chosen_or_not(tmp_path):
    raw_zip.write_raw_zip(iter(members(Cat=3, Ant=3, Bee=3).items()), tmp_path / "raw.zip")
    available = pack(
        tmp_path / "raw.zip",
        tmp_path / "images",
        classes=["Bee", "Ant"],
        image_size=SIZE_PX,
        unfinished=tmp_path / "unfinished",
    )
    assert available == ["Ant", "Bee", "Cat"]
    written = json.loads((tmp_path / "images" / "classes.json").read_text())
    assert written == {"classes": ["Bee", "Ant"]}


def indexed(mask: np.ndarray) -> bytes:
    image = Image.fromarray(mask, "P")
    image.putpalette([7 * i % 256 for i in range(768)])
    return encoded(image, "PNG")


def with_ground_truth() -> dict[str, bytes]:
    """Three images of 128 × 64 of each of two classes, each with one part and one box."""
    files = {}
    boxes, scenes = ["image,label,xmin,ymin,xmax,ymax"], ["image,label,seed,style"]
    for label in ("Ant", "Bee"):
        for i in range(3):
            file = f"{label}/{i}"
            files[f"images/{file}.png"] = image_bytes(i + 10 * len(files), width=128, height=64)
            mask = np.zeros((64, 128), np.uint8)
            mask[16:32, 64:96] = i + 1
            files[f"masks/{file}.png.png"] = indexed(mask)
            boxes.append(f"{file}.png,{label},64,16,96,32")
            scenes.append(f"{file}.png,{label},{i},flat")
    parts = ["label,index,part"] + [f"{label},{i},p{i}" for label in ("Ant", "Bee") for i in (1, 2)]
    for name, lines in (("boxes", boxes), ("scenes", scenes), ("parts", parts)):
        files[f"{name}.csv"] = "\n".join(lines).encode()
    return files


def test_masks_boxes_and_tables_go_through_the_same_geometry(tmp_path):
    """128 × 64 becomes 64 × 32, 16 rows down: the box (64, 16)–(96, 32) is (32, 24)–(48, 32)."""
    images = packed(
        tmp_path,
        with_ground_truth() | members(Cat=3),
        classes=["Bee", "Ant"],
    )
    assert images.masks.shape == (6, SIZE_PX, SIZE_PX)
    for row, mask in enumerate(images.masks):
        expected = np.zeros((SIZE_PX, SIZE_PX))
        expected[24:32, 32:48] = row % 3 + 1
        assert np.array_equal(mask, expected)
    assert images.boxes.image.tolist() == images.manifest.file.tolist()
    assert (images.boxes[["xmin", "ymin", "xmax", "ymax"]] == [32, 24, 48, 32]).all(axis=None)
    assert images.parts.part.tolist() == ["p1", "p2", "p1", "p2"]
    scenes = read_table(tmp_path / "images" / "scenes.csv")
    assert scenes["style"].tolist() == ["flat"] * 6


def test_masks_stay_with_their_image_when_one_is_left_out(tmp_path):
    images = packed(
        tmp_path,
        with_ground_truth()
        | {
            "images/Ant/1.png": b"no",
            "images/Ant/9.png": image_bytes(99, width=128, height=64),
            "masks/Ant/9.png.png": indexed(np.full((64, 128), 9, np.uint8)),
        },
    )
    assert images.manifest.file.tolist()[:3] == ["Ant/0.png", "Ant/2.png", "Ant/9.png"]
    assert [int(mask.max()) for mask in images.masks[:3]] == [1, 3, 9]
    assert "Ant/1.png" not in images.boxes.image.tolist()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (indexed(np.zeros((9, 7), np.uint8)), r"the mask of Ant/0\.png has 7×9 pixels, .* 128×64"),
        (b"GIF89a", r"the mask of Ant/0\.png is not a readable PNG"),
        (indexed(np.zeros((64, 128), np.uint8))[:60], "is not a readable PNG"),
    ],
)
def test_masks_that_do_not_fit_are_refused(tmp_path, mask, message):
    with pytest.raises(InputError, match=message):
        packed(tmp_path, with_ground_truth() | {"masks/Ant/0.png.png": mask})


@pytest.mark.parametrize("mode", ["1", "L", "I;16", "RGB", "RGBA", "LA"])
def test_what_is_not_black_in_a_mask_is_the_object(tmp_path, mode):
    """In every mode of a PNG. White is not the object where it is transparent. The mask of an image
    that has none is empty."""
    white = np.zeros((64, 128), np.uint8)
    white[:, 64:] = 255
    image = Image.fromarray(white).convert(mode)
    if mode in ("RGBA", "LA"):
        image = Image.new(mode, image.size, "white")
        image.putalpha(Image.fromarray(white))
    files = {
        name: data for name, data in with_ground_truth().items() if not name.startswith("masks/")
    }
    images = packed(tmp_path, files | {"masks/Ant/1.png.png": encoded(image, "PNG")})
    assert images.masks.shape == (6, SIZE_PX, SIZE_PX)
    assert images.masks[1, 16:48, 32:].all()
    assert images.masks[1].sum() == 32 * 32
    assert not images.masks[[0, 2, 3, 4, 5]].any()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("image,label\nAnt/0.png,Ant\n", "no column xmin"),
        ("image,label,xmin,ymin,xmax,ymax\nAnt/x.png,Ant,1,2,3,4\n", "a box for 'Ant/x.png'"),
        ("image,label,xmin,ymin,xmax,ymax\nAnt/0.png,Ant,9,2,3,4\n", "the box of Ant/0.png"),
        ("image,label,xmin,ymin,xmax,ymax\nAnt/0.png,Ant,x,2,3,4\n", "the box of Ant/0.png"),
        ("image,label,xmin,ymin,xmax,ymax\nAnt/0.png,Ant,-inf,2,inf,4\n", "the box of Ant/0.png"),
        ('image,label,xmin,ymin,xmax,ymax\n"', "not a readable csv"),
        ("", "no column image"),
    ],
)
def test_boxes_that_do_not_fit_are_refused(tmp_path, table, message):
    with pytest.raises(InputError, match=message):
        packed(tmp_path, members(Ant=3, Bee=3) | {"boxes.csv": table.encode()})


def test_boxes_of_images_turned_by_exif(tmp_path):
    """Boxes are in pixels of the upright image: stored 64 × 128, upright 128 × 64."""
    exif = Image.Exif()
    exif[0x0112] = 6
    table = "image,label,xmin,ymin,xmax,ymax\nAnt/0.png,Ant,64,16,96,32\n"
    images = packed(
        tmp_path,
        members(Ant=3, Bee=3)
        | {
            "images/Ant/0.png": encoded(patches(5, 64, 128), "PNG", exif=exif),
            "boxes.csv": table.encode(),
        },
    )
    assert images.manifest.width[0] == 128
    assert images.boxes[["xmin", "ymin", "xmax", "ymax"]].values.tolist() == [[32, 24, 48, 32]]


def test_pixels_are_not_all_in_memory(tmp_path):
    """80 images of 790 kB in a new process: the peak grows by far less than their sum."""
    raw_zip.write_raw_zip(iter(members(Ant=40, Bee=40).items()), tmp_path / "raw.zip")
    code = (
        "from pathlib import Path; from pokecam.data.packing.pack import pack\n"
        "from tests.support.memory import peak_bytes\n"
        "before = peak_bytes()\n"
        "pack(Path('raw.zip'), Path('images'), classes='all', image_size=512,"
        " unfinished=Path('work'), workers=2)\n"
        "print(peak_bytes() - before)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert (tmp_path / "images" / "pixels.npy").stat().st_size > 62e6
    assert int(result.stdout) < 40_000 * 1024


def test_the_data_stages_import_no_network_library():
    """Importing torch costs seconds; scikit-learn and scipy too."""
    code = (
        "import sys, stages.select, stages.split\n"
        "print(sorted({'torch', 'sklearn', 'scipy', 'kagglehub'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, check=True, capture_output=True, text=True
    )
    assert result.stdout.strip() == "[]"


def test_the_awkward_images_of_the_real_world(tmp_path, shared):
    """Twelve files that break naive loaders, mixed into two classes of generated images."""
    awkward = {path.name: path.read_bytes() for path in (shared / "awkward").iterdir()}
    files = members(Ant=3, Bee=3) | {f"images/Ant/{name}": data for name, data in awkward.items()}
    files["images/Bee/dup_labelled_Marowak.jpg"] = files.pop("images/Ant/dup_labelled_Marowak.jpg")
    images = packed(tmp_path, files)
    reasons = quarantine(tmp_path)
    twice = "the same image is filed under another class: "
    corrupt = reasons.pop("Ant/corrupt_charmander_00000287.jpg")
    assert corrupt.startswith("truncated or corrupt: ")
    assert reasons == {
        "Ant/cloyster.svg": "SVG is not read: convert it to JPEG or PNG",
        "Ant/dup_labelled_Cubone.jpg": twice + "Bee/dup_labelled_Marowak.jpg",
        "Bee/dup_labelled_Marowak.jpg": twice + "Ant/dup_labelled_Cubone.jpg",
    }
    size = images.manifest.set_index("file")[["width", "height"]].apply(tuple, axis=1)
    assert size["Ant/bulbasaur_5000x4356_rgba.png"] == (5000, 4356)
    assert size["Ant/mewtwo_exif6.jpg"] == (504, 378)
    assert size["Ant/pidgey_43x42.jpg"] == (43, 42)
    row = {file: i for i, file in enumerate(images.manifest.file)}
    assert {"Ant/muk.asp", "Ant/jpeg_named.gif", "Ant/bulbasaur_png.jpg"} < set(row)
    for name in ("bulbasaur_5000x4356_rgba.png", "pikachu_palette_transparent.png"):
        corner = images.pixels[row[f"Ant/{name}"]][[0, 0, -1, -1], [0, -1, 0, -1]]
        assert (corner == 255).all(), name
    grey = images.pixels[row["Ant/seadra_gray.jpg"]]
    assert (grey[..., 0] == grey[..., 1]).all()
    upright = Image.open(io.BytesIO(awkward["mewtwo_exif6.jpg"])).rotate(-90, expand=True)
    expected = np.asarray(upright.convert("RGB").resize((SIZE_PX, 48), Image.Resampling.BICUBIC))
    actual = images.pixels[row["Ant/mewtwo_exif6.jpg"]][8:56]
    assert np.abs(actual.astype(int) - expected).mean() < 3
