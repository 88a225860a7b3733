"""Decoding that was interrupted continues, and ends with the same bytes."""

import json

import numpy as np
import pytest

from pokecam.data.packing import journal
from pokecam.data.packing import pack as module
from pokecam.data.packing.pack import pack
from pokecam.data.sources import raw_zip
from tests.support.images import encoded, image_bytes, patches

SIZE_PX = 64
FILES = {
    f"images/{label}/{i:02d}.png": image_bytes(100 * n + i)
    for n, label in enumerate("AB")
    for i in range(9)
}
FILES["images/A/03.png"] = b"no image"
FILES["images/B/08.png"] = FILES["images/A/01.png"]  # filed twice
MASKS = {"masks/A/02.png.png": encoded(patches(5).convert("1"))}


class Interrupted(BaseException):
    pass


@pytest.fixture
def archive(tmp_path):
    raw_zip.write_raw_zip(iter((FILES | MASKS).items()), tmp_path / "raw.zip")
    return tmp_path / "raw.zip"


def run(archive, image_size=SIZE_PX, classes="all"):
    """Pack the images; return file → bytes of what was written."""
    out = archive.with_name("images")
    pack(
        archive,
        out,
        classes=classes,
        image_size=image_size,
        unfinished=archive.with_name("unfinished"),
        workers=1,
    )
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.fixture
def decoded(monkeypatch):
    """Record the files that are decoded; decoding is interrupted after `stop` files."""
    files = []
    prepare = module._prepare

    def watched(file, *arguments):
        if len(files) == watched.stop:
            raise Interrupted
        files.append(file)
        return prepare(file, *arguments)

    watched.stop = None
    watched.files = files
    monkeypatch.setattr(module, "_prepare", watched)
    monkeypatch.setattr(journal, "_LINES_PER_FLUSH", 4)
    return watched


@pytest.mark.parametrize("stops", [[2], [7], [5, 9, 14]])
def test_each_file_is_decoded_once_and_the_bytes_are_those_of_one_run(archive, decoded, stops):
    expected = run(archive)
    assert decoded.files == [name.removeprefix("images/") for name in sorted(FILES)]
    decoded.files.clear()
    for stop in stops:
        decoded.stop = stop
        with pytest.raises(Interrupted):
            run(archive)
    decoded.stop = None
    assert run(archive) == expected
    assert len(decoded.files) == len(FILES)
    assert not list(archive.with_name("unfinished").iterdir())


def cut(path, bytes_left):
    path.write_bytes(path.read_bytes()[:bytes_left])


@pytest.mark.parametrize(
    "damage",
    [
        lambda work: cut(work / "pixels.npy", 128 + 3 * SIZE_PX**2 * 2 + 5),  # two and a bit
        lambda work: cut(work / "masks.npy", 0),
        lambda work: cut(work / "journal.jsonl", 40),
        lambda work: (work / "pixels.npy").unlink(),
        lambda work: (work / "journal.jsonl").unlink(),
    ],
    ids=["pixels", "masks", "journal", "no pixels", "no journal"],
)
def test_what_a_kill_or_a_power_cut_leaves_half_is_done_again(archive, decoded, damage):
    expected = run(archive)
    decoded.files.clear()
    decoded.stop = 11
    with pytest.raises(Interrupted):
        run(archive)
    (work,) = archive.with_name("unfinished").iterdir()
    damage(work)
    decoded.stop = None
    assert run(archive) == expected


def test_the_journal_names_nothing_that_is_not_there(archive, decoded):
    """The files are not closed at the end, as after SIGKILL."""
    decoded.stop = 11
    work = journal.UnfinishedWork(archive.with_name("work"), SIZE_PX, masks=True).__enter__()
    files = [name.removeprefix("images/") for name in sorted(FILES)]
    with module.ZipFile(archive) as source, pytest.raises(Interrupted):
        for item in module._prepare_all(source, set(MASKS), files, SIZE_PX, 1):
            work.add(item)
    lines = [json.loads(line) for line in (archive.with_name("work") / "journal.jsonl").open()]
    pixels = (archive.with_name("work") / "pixels.npy").stat().st_size - 128
    assert len(lines) % 4 == 0
    assert sum(len(line) == 3 for line in lines) * 3 * SIZE_PX**2 <= pixels


def test_without_masks_none_are_written(archive, decoded):
    raw_zip.write_raw_zip(iter(FILES.items()), archive)
    decoded.stop = 9
    with pytest.raises(Interrupted):
        run(archive)
    (work,) = archive.with_name("unfinished").iterdir()
    assert sorted(path.name for path in work.iterdir()) == ["journal.jsonl", "pixels.npy"]
    decoded.stop = None
    assert "masks.npy" not in run(archive)


def test_other_settings_or_images_start_anew_and_delete_the_rest(archive, decoded):
    decoded.stop = 9
    with pytest.raises(Interrupted):
        run(archive)
    decoded.files.clear()
    decoded.stop = None
    files = run(archive, image_size=80)
    assert len(decoded.files) == len(FILES)
    assert np.load(archive.with_name("images") / "pixels.npy").shape[1:] == (80, 80, 3)
    assert "pixels.npy" in files
    assert not list(archive.with_name("unfinished").iterdir())
