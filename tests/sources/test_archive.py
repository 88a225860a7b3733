"""Archives from strangers: nothing leads out of them, nothing blows up, nothing is half read."""

import gzip
import io
import stat
import tarfile
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pokecam.errors import InputError
from pokecam.sources import archive, raw
from tests.pictures import as_tar, as_zip, picture

PICTURE = picture(1)
LEADING_OUT = [
    "../Ant/a.png",
    "Ant/../../a.png",
    "/Ant/a.png",
    "C:/Ant/a.png",
    "C:\\Ant\\a.png",
    "\\\\host\\Ant\\a.png",
    "..\\Ant\\a.png",
]


@pytest.mark.parametrize("name", LEADING_OUT)
@pytest.mark.parametrize("pack", [as_zip, as_tar])
def test_names_that_lead_out_are_refused_and_nothing_is_written(tmp_path, name, pack):
    (tmp_path / "in").mkdir()
    source = pack(tmp_path / "in" / "evil", {"Ant/good.png": PICTURE, name: PICTURE})
    with pytest.raises(InputError, match="leads out of the archive"):
        raw.write(source, tmp_path / "out" / "raw.zip")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["evil"]


def test_a_nul_in_a_name_is_refused(tmp_path):
    list(as_zip(tmp_path / "a.zip", {"Ant/a.pngX.txt": PICTURE}))
    evil = (tmp_path / "a.zip").read_bytes().replace(b"a.pngX.txt", b"a.png\0.txt")
    (tmp_path / "a.zip").write_bytes(evil)
    with pytest.raises(InputError, match="holds a NUL"):
        list(archive.members(tmp_path / "a.zip", archive.zip_entries))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "a.tar", "w") as out:
        info = tarfile.TarInfo("Ant/a.png")
        info.type, info.linkname = kind, "/etc/passwd"
        out.addfile(info)
    with pytest.raises(InputError, match="a link or a device"):
        list(archive.members(tmp_path / "a.tar", archive.tar_entries))


def test_a_link_in_a_zip_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        info = zipfile.ZipInfo("Ant/a.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        out.writestr(info, "/etc/passwd")
    with pytest.raises(InputError, match="is a link"):
        list(archive.members(tmp_path / "a.zip", archive.zip_entries))


def test_an_encrypted_zip_is_refused(tmp_path):
    list(as_zip(tmp_path / "a.zip", {"Ant/a.png": PICTURE}, zipfile.ZIP_STORED))
    data = bytearray((tmp_path / "a.zip").read_bytes())
    directory = data.index(b"PK\x01\x02")
    data[directory + 8] |= 1  # general purpose flag: encrypted
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(InputError, match="is encrypted"):
        list(archive.members(tmp_path / "a.zip", archive.zip_entries))


@pytest.mark.parametrize("pack", ["zip", "tar.gz"])
def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch, pack):
    """Two MiB of zeros pack to about two KiB: a ratio of 1,000."""
    monkeypatch.setattr(archive, "ALWAYS_ALLOWED_BYTES", 2**20)
    files = {"Ant/a.bmp": bytes(2 * 2**20)}
    path = tmp_path / f"bomb.{pack}"
    source = as_zip(path, files) if pack == "zip" else as_tar(path, files, "w:gz")
    with pytest.raises(InputError, match="decompression bomb"):
        raw.write(source, tmp_path / "raw.zip")
    assert not (tmp_path / "raw.zip").exists()


def test_a_sparse_tar_counts_with_its_full_size(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_TOTAL_BYTES", 2**20)
    list(as_tar(tmp_path / "a.tar", {"Ant/a.png": PICTURE}))
    monkeypatch.setattr(archive, "MAX_TOTAL_BYTES", len(PICTURE) - 1)
    with pytest.raises(InputError, match="decompression bomb"):
        list(archive.members(tmp_path / "a.tar", archive.tar_entries))


def cut(data: bytes) -> bytes:
    """End in the middle of the last picture, or of what is packed."""
    last = data.rfind(b"IDAT")
    return data[: last + 20 if last > 0 else len(data) // 2]


def flip(data: bytes) -> bytes:
    """Change one byte in the middle of the first member's content."""
    middle = data.index(b"IDAT") + 20
    return data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]


@pytest.mark.parametrize(
    ("name", "damage"),
    [("a.zip", cut), ("a.zip", flip), ("a.tar", cut), ("a.tar.gz", cut)],
)
def test_a_damaged_archive_is_one_line(tmp_path, name, damage):
    path = tmp_path / name
    files = {"Ant/a.png": PICTURE, "Ant/b.png": picture(2)}
    if name == "a.zip":
        as_zip(path, files, zipfile.ZIP_STORED)
        opened = archive.zip_entries
    else:
        as_tar(path, files, "w:gz" if name.endswith("gz") else "w")
        opened = archive.tar_entries
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match="is damaged"):
        list(archive.members(path, opened))


def test_something_gzipped_that_is_no_tar(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"just text" * 200))
    with pytest.raises(InputError, match="is damaged or not an archive"):
        list(archive.members(tmp_path / "a.gz", archive.tar_entries))


names = st.text(st.sampled_from("aA./\\:\0é\n -"), min_size=1, max_size=12)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(names)
def test_no_name_ever_leads_out(tmp_path_factory, name):
    """Whatever a member is called, it is refused or becomes images/CLASS/NAME."""
    path = tmp_path_factory.mktemp("zip") / "a.zip"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as out:
        out.writestr("Ant/good.png", PICTURE)
        out.writestr(zipfile.ZipInfo(name), picture(2))
    path.write_bytes(packed.getvalue())
    try:
        found = dict(archive.members(path, archive.zip_entries))
    except InputError:
        return
    for member in found:
        top, label, file = member.split("/")
        assert top == "images"
        assert {label, file}.isdisjoint({"", ".", ".."})
