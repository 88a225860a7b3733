"""How a tree of files becomes raw.zip, from a folder or any archive."""

import errno
import os
import tracemalloc
import zipfile

import pytest

from pokecam.common.errors import InputError
from pokecam.data.sources import class_folders, folder, raw_zip
from pokecam.data.sources.names import normalise_name
from tests.support.images import as_tar, as_zip, image_bytes, write_tree

TREE = {
    "pets/Ant/a.jpg": image_bytes(1, "JPEG"),
    "pets/Ant/b.png": image_bytes(2),
    "pets/Bee/deep/Bee/c.webp": image_bytes(3, "WEBP"),
    "pets/Bee/a.jpg": image_bytes(4, "JPEG"),
}
MEMBERS = {
    "images/Ant/a.jpg": TREE["pets/Ant/a.jpg"],
    "images/Ant/b.png": TREE["pets/Ant/b.png"],
    "images/Bee/a.jpg": TREE["pets/Bee/a.jpg"],
    "images/Bee/c.webp": TREE["pets/Bee/deep/Bee/c.webp"],
}


def members(tmp_path, files):
    return dict(folder.members(write_tree(tmp_path / "tree", files)))


def test_every_container_gives_the_same_archive(tmp_path):
    """Folder, zip, tar, tar.gz, Windows separators, another order: the same raw.zip."""
    backwards = dict(reversed(TREE.items()))
    sources = {
        "folder": folder.members(write_tree(tmp_path / "tree", TREE)),
        "zip": as_zip(tmp_path / "a.zip", TREE),
        "stored, backwards": as_zip(tmp_path / "b.zip", backwards, zipfile.ZIP_STORED),
        "backslashes": as_zip(
            tmp_path / "c.zip", {n.replace("/", "\\"): d for n, d in TREE.items()}
        ),
        "tar": as_tar(tmp_path / "a.tar", backwards),
        "tar.gz": as_tar(tmp_path / "a.tar.gz", {f"./{n}": d for n, d in TREE.items()}, "w:gz"),
    }
    bytes_of = {}
    for name, source in sources.items():
        assert raw_zip.write_raw_zip(source, tmp_path / f"{name}-raw.zip") == len(TREE)
        bytes_of[name] = (tmp_path / f"{name}-raw.zip").read_bytes()
    assert len(set(bytes_of.values())) == 1
    with zipfile.ZipFile(tmp_path / "zip-raw.zip") as raw:
        assert {name: raw.read(name) for name in raw.namelist()} == MEMBERS
        assert raw.namelist() == sorted(MEMBERS)
        for info in raw.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert info.external_attr >> 16 == 0o100644


def test_the_same_tree_nested_twice_gives_each_image_once(tmp_path):
    nested = TREE | {f"pets/{name}": data for name, data in TREE.items()}
    assert members(tmp_path, nested) == MEMBERS


def test_masks_follow_the_images_beside_them(tmp_path):
    """A mask belongs to an image with any ending, and gets the name that the image gets."""
    files = {
        "Ant/a.jpg": image_bytes(1, "JPEG"),
        "Ant/a.mask.png": image_bytes(11),
        "x/Ant/a.jpg": image_bytes(2, "JPEG"),
        "x/Ant/a.mask.PNG": image_bytes(12),
        "Ant/b.tar.webp": image_bytes(3, "WEBP"),
        "Ant/b.tar.mask.png": image_bytes(13),
        "Bee/a.png": image_bytes(4),
    }
    result = members(tmp_path, files)
    assert {name: data for name, data in result.items() if name.startswith("masks/")} == {
        "masks/Ant/a.jpg.png": image_bytes(11),
        "masks/Ant/a-2.jpg.png": image_bytes(12),
        "masks/Ant/b.tar.webp.png": image_bytes(13),
    }
    assert len(result) == 4 + 3


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("Ant/b.mask.png",), r"the mask Ant/b\.mask\.png belongs to no image"),
        (("Ant/a.png", "Ant/a.mask.png"), r"belongs to Ant/a\.jpg and Ant/a\.png"),
        (("Bee/a.mask.png",), "belongs to no image"),
    ],
)
def test_a_mask_without_its_one_image_is_told(tmp_path, files, message):
    with pytest.raises(InputError, match=message):
        members(
            tmp_path,
            {"Ant/a.jpg": image_bytes(1, "JPEG")} | {name: image_bytes(2) for name in files},
        )


def test_other_bytes_under_the_same_name_are_kept_beside(tmp_path):
    result = members(
        tmp_path,
        {
            "Ant/a.png": image_bytes(1),
            "x/Ant/a.png": image_bytes(2),
            "y/Ant/a.png": image_bytes(1),
            "z/Ant/a.png": image_bytes(3),
            "Ant/a-2.png": image_bytes(4),
        },
    )
    assert result == {
        "images/Ant/a.png": image_bytes(1),
        "images/Ant/a-2.png": image_bytes(4),
        "images/Ant/a-3.png": image_bytes(2),
        "images/Ant/a-4.png": image_bytes(3),
    }


def test_many_images_of_one_name_are_numbered(tmp_path):
    """The next free number is found without trying all numbers below it."""
    files = {f"{number:04d}/Ant/a.png": b"%d" % number for number in range(3000)}
    result = dict(as_zip(tmp_path / "a.zip", files))
    numbered = {f"images/Ant/a-{number + 1}.png": b"%d" % number for number in range(1, 3000)}
    assert result == numbered | {"images/Ant/a.png": b"0"}


def test_what_is_no_image_is_ignored_and_named(tmp_path, caplog):
    junk = {
        "pets/Ant/Thumbs.db": b"\xd0\xcf\x11\xe0 thumbs",
        "pets/Ant/.DS_Store": b"\0\0\0\1Bud1",
        "pets/labels.csv": b"a,b\n",
        "pets/Ant/page": b"<!DOCTYPE html><img src=x>",
        "__MACOSX/pets/Ant/._a.jpg": b"\0\5\x16\7",
        "pets/.git/Ant/x.png": image_bytes(9),
    }
    assert members(tmp_path, TREE | junk) == MEMBERS
    (message,) = caplog.messages
    assert "pets/labels.csv" in message
    assert message.endswith("and 1 more")


def test_what_claims_to_be_an_image_goes_on_to_select(tmp_path, caplog):
    claims = {
        "Ant/broken.JPG": b"not at all",
        "Ant/empty.png": b"",
        "Ant/drawing.svg": b"<svg/>",
        "Ant/jpeg.asp": image_bytes(1, "JPEG"),
        "Ant/no-ending": image_bytes(2),
        "Ant/noending2": b"  <?xml version='1.0'?><svg xmlns='x'/>",
        "Ant/small.bmp2": image_bytes(3, "BMP"),
    }
    assert set(members(tmp_path, claims)) == {f"images/{name}" for name in claims}
    assert not caplog.messages


LEFTOVERS = [
    *("@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", ".AppleDouble"),
    *("__MACOSX", "$RECYCLE.BIN", "System Volume Information", "lost+found"),
    *(".thumbnails", ".Trash-1000", "Network Trash Folder", "Temporary Items", "@EADIR"),
]


@pytest.mark.parametrize("name", LEFTOVERS)
@pytest.mark.parametrize("container", ["folder", "zip", "tar"])
def test_leftovers_of_storage_and_desktops_are_no_classes(tmp_path, caplog, name, container):
    """Beside the classes, in a class, and with the name of an image as the folder below."""
    files = TREE | {
        f"pets/{name}/Ant/a.jpg": image_bytes(5),
        f"pets/{name}/b.png": image_bytes(6),
        f"pets/Ant/{name}/a.jpg/SYNOPHOTO_THUMB_M.jpg": image_bytes(7),
    }
    if container == "folder":
        result = members(tmp_path, files)
    else:
        pack = {"zip": as_zip, "tar": as_tar}[container]
        result = dict(pack(tmp_path / f"a.{container}", files))
    assert result == MEMBERS
    (message,) = caplog.messages
    assert f"pets/{name}/b.png" in message


def test_files_that_a_desktop_leaves_are_no_images(tmp_path):
    junk = {f"Ant/{name}": image_bytes(8) for name in ("Thumbs.db", "desktop.ini", ".DS_Store")}
    junk |= {f"Ant/{name}": image_bytes(9) for name in ("ehthumbs.db", "._a.jpg", "Icon\r")}
    assert set(members(tmp_path, TREE | junk)) == set(MEMBERS)
    assert set(as_tar(tmp_path / "a.tar", TREE | junk)) == set(MEMBERS.items())


@pytest.mark.parametrize("twin", ["Ant ", " Ant", "Ant\u00a0", "Ant \u3000"])
@pytest.mark.parametrize("container", ["folder", "zip"])
def test_blanks_around_a_name_are_no_class_of_their_own(tmp_path, caplog, twin, container):
    files = {
        "Ant/a.png": image_bytes(1),
        f"{twin}/a.png": image_bytes(2),
        f"{twin}/a.mask.png": image_bytes(3),
        "Bee/a.png": image_bytes(4),
    }
    read = (
        members(tmp_path, files) if container == "folder" else dict(as_zip(tmp_path / "z", files))
    )
    names = dict(
        zip(sorted(["Ant", twin], key="{}/".format), ["Ant/a.png", "Ant/a-2.png"], strict=True)
    )
    assert read == {
        f"images/{names['Ant']}": image_bytes(1),
        f"images/{names[twin]}": image_bytes(2),
        f"masks/{names[twin]}.png": image_bytes(3),
        "images/Bee/a.png": image_bytes(4),
    }
    (message,) = caplog.messages
    assert message == f"read as one class, Ant: {', '.join(map(repr, sorted(['Ant', twin])))}"


def test_a_single_class_with_a_blank_has_none_in_its_name(tmp_path, caplog):
    assert list(members(tmp_path, {"Ant /a.png": image_bytes(1)})) == ["images/Ant/a.png"]
    assert not caplog.messages


@pytest.mark.parametrize(
    ("first", "second"),
    [("Cat", "cat"), ("straße", "STRASSE"), ("Mr  Mime", "Mr mime"), ("É", "e\u0301")],
)
@pytest.mark.parametrize("container", ["folder", "zip", "tar"])
def test_classes_that_differ_in_case_or_blanks_are_an_error(tmp_path, first, second, container):
    files = {f"x/{first}/a.png": image_bytes(1), f"y/{second}/b.png": image_bytes(2)}
    files |= {"Bee/a.png": image_bytes(3)}
    with pytest.raises(InputError) as error:
        if container == "folder":
            members(tmp_path, files)
        else:
            pack = {"zip": as_zip, "tar": as_tar}[container]
            dict(pack(tmp_path / f"a.{container}", files))
    message = str(error.value)
    assert "\n" not in message
    assert f"{normalise_name(first)!r} (1 image)" in message
    assert f"{normalise_name(second)!r} (1 image)" in message
    assert "give both folders one name" in message


def test_an_image_beside_the_class_folders_has_no_class(tmp_path, caplog):
    assert members(tmp_path, {"cover.png": image_bytes(1), "Ant/a.png": image_bytes(2)}) == {
        "images/Ant/a.png": image_bytes(2)
    }
    assert "cover.png" in caplog.text


@pytest.mark.parametrize("boxes_path", ["boxes.csv", "pets/boxes.csv"])
def test_boxes_beside_the_class_folders_are_carried_along(tmp_path, boxes_path, caplog):
    result = members(tmp_path, TREE | {boxes_path: b"image,label\n"})
    assert result == MEMBERS | {"boxes.csv": b"image,label\n"}
    assert not caplog.messages


def test_boxes_inside_a_class_are_ignored_and_named(tmp_path, caplog):
    assert members(tmp_path, TREE | {"pets/Ant/boxes.csv": b""}) == MEMBERS
    assert "pets/Ant/boxes.csv" in caplog.text


def test_accents_have_one_form(tmp_path):
    """A Mac writes é as e and an accent; params.yaml has the single character."""
    assert list(members(tmp_path, {"Flabe\u0301be\u0301/a.png": image_bytes(1)})) == [
        "images/Flab\u00e9b\u00e9/a.png"
    ]


@pytest.mark.parametrize("name", ["Ant/a\nb.png", "Ant/\udcff.png", "Ant/a\u2028.png"])
def test_names_that_are_no_text_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="not readable text"):
        members(tmp_path, {name: image_bytes(1)})


def test_a_name_of_a_thousand_characters_is_read_and_no_longer_one(tmp_path):
    name = "C" * 300 + "/" + "a" * 695 + ".png"
    assert list(as_zip(tmp_path / "a.zip", {name: b"x"})) == [(f"images/{name}", b"x")]
    with pytest.raises(InputError, match=r"'xCCC.*'… has 1001 characters, 1000 are read: rename"):
        list(as_zip(tmp_path / "a.zip", {f"x{name}": b"x"}))


def test_links_are_followed_but_not_in_circles(tmp_path):
    write_tree(tmp_path / "elsewhere", {"Ant/a.png": image_bytes(1)})
    source = write_tree(tmp_path / "tree", {"Bee/b.png": image_bytes(2)})
    (source / "Ant").symlink_to(tmp_path / "elsewhere" / "Ant")
    (source / "Bee" / "up").symlink_to(source)
    assert set(dict(folder.members(source))) == {"images/Ant/a.png", "images/Bee/b.png"}


def test_a_broken_link_is_an_error(tmp_path):
    source = write_tree(tmp_path, {"Ant/a.png": image_bytes(1)})
    (source / "Ant" / "b.png").symlink_to("nowhere")
    expected = r"Ant/b\.png is a link to nowhere, which does not exist: remove it, or make it lead"
    for read in (folder.members, folder.check):
        with pytest.raises(InputError, match=expected):
            list(read(source) or [])


def test_a_folder_of_files_and_links_is_checked_without_a_word(tmp_path):
    source = write_tree(tmp_path / "tree", {"Ant/a.png": image_bytes(1), "Ant/notes.txt": b""})
    (source / "Ant" / "up").symlink_to(source)
    (source / "Ant" / "b.png").symlink_to("a.png")
    assert folder.check(source) is None


def test_a_file_that_may_not_be_read_is_named_by_the_check(tmp_path, monkeypatch):
    source = write_tree(tmp_path / "tree", {"Ant/a.png": image_bytes(1)})
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read anything
    with pytest.raises(InputError, match=r"cannot read .*Ant/a\.png: Permission denied: give"):
        folder.check(source)


def test_a_pipe_is_not_waited_for(tmp_path):
    source = write_tree(tmp_path, {"Ant/a.png": image_bytes(1)})
    os.mkfifo(source / "Ant" / "b.png")
    with pytest.raises(InputError, match="no ordinary file"):
        list(folder.members(source))


@pytest.mark.parametrize(
    ("files", "listed"),
    [({}, "nothing"), ({"a.png": b"x"}, "a.png"), ({"Ant/notes.txt": b"x"}, "Ant/notes.txt")],
)
def test_a_tree_without_images_in_class_folders(tmp_path, files, listed):
    (tmp_path / "tree").mkdir()
    with pytest.raises(InputError, match=rf"no images in class folders.* there is {listed}"):
        members(tmp_path, files)


def test_words_of_everyday_language_are_classes(tmp_path):
    """As in a data set of waste: only names that nobody gives a class are those of leftovers."""
    result = members(tmp_path, {f"{name}/a.png": image_bytes(1) for name in ("Recycled", "Glass")})
    assert sorted(result) == ["images/Glass/a.png", "images/Recycled/a.png"]


def test_the_file_of_an_editor_beside_an_image_and_its_mask(tmp_path, monkeypatch):
    """It is in the list of unusable files, if it is not too large to be looked at."""
    files = {"Ant/a.jpg": image_bytes(1, "JPEG"), "Ant/a.mask.png": image_bytes(2)}
    names = set(members(tmp_path / "one", files | {"Ant/a.xcf": b"gimp xcf"}))
    assert names == {"images/Ant/a.jpg", "masks/Ant/a.jpg.png", "images/Ant/a.xcf"}
    monkeypatch.setattr(class_folders, "MAX_FILE_MIB", 1)
    large = members(tmp_path / "two", files | {"Ant/scan.pcd": bytes(2**20 + 1)})
    assert set(large) == {"images/Ant/a.jpg", "masks/Ant/a.jpg.png"}


def test_a_file_too_large_for_an_image(tmp_path, monkeypatch):
    monkeypatch.setattr(class_folders, "MAX_FILE_MIB", 0)
    with pytest.raises(InputError, match=r"Ant/a\.png has 0 MiB, an image may have 0"):
        members(tmp_path, {"Ant/a.png": image_bytes(1)})


def test_a_failed_write_leaves_the_old_archive(tmp_path):
    def full_disk():
        yield "images/Ant/a.png", b"x"
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "raw.zip"
    out.write_bytes(b"old")
    with pytest.raises(InputError, match="the disk is full"):
        raw_zip.write_raw_zip(full_disk(), out)
    assert out.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [out]


def test_members_are_not_all_in_memory(tmp_path):
    def many():
        for number in range(64):
            yield f"images/Ant/{number:02d}.bmp", bytes(2**20)

    tracemalloc.start()
    try:
        raw_zip.write_raw_zip(many(), tmp_path / "raw.zip")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "raw.zip").stat().st_size > 64 * 2**20
    assert peak < 8 * 2**20


def test_the_directory_is_sorted_whatever_the_order_of_arrival(tmp_path):
    raw_zip.write_raw_zip(iter([("b", b"2"), ("c", b"3"), ("a", b"1")]), tmp_path / "raw.zip")
    with zipfile.ZipFile(tmp_path / "raw.zip") as raw:
        assert raw.namelist() == ["a", "b", "c"]
        assert [raw.read(name) for name in "abc"] == [b"1", b"2", b"3"]
