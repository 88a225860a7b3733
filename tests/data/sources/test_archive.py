"""Untrusted archives: no path leads out, memory is bounded, and damage is an error of one line."""

import bz2
import gzip
import io
import stat
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pokecam.common.errors import InputError
from pokecam.data.sources import archive, raw_zip
from tests.support.images import as_tar, as_zip, image_bytes

IMAGE = image_bytes(1)
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
    source = pack(tmp_path / "in" / "evil", {"Ant/good.png": IMAGE, name: IMAGE})
    with pytest.raises(InputError, match="leads out of the archive"):
        raw_zip.write_raw_zip(source, tmp_path / "out" / "raw.zip")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["evil"]


def test_a_nul_in_a_name_is_expect_refusal(tmp_path):
    list(as_zip(tmp_path / "a.zip", {"Ant/a.pngX.txt": IMAGE}))
    evil = (tmp_path / "a.zip").read_bytes().replace(b"a.pngX.txt", b"a.png\0.txt")
    (tmp_path / "a.zip").write_bytes(evil)
    with pytest.raises(InputError, match="holds a NUL"):
        list(archive.members(tmp_path / "a.zip", archive.zip_entries))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_expect_refusal(tmp_path, kind):
    with tarfile.open(tmp_path / "a.tar", "w") as out:
        info = tarfile.TarInfo("Ant/a.png")
        info.type, info.linkname = kind, "/etc/passwd"
        out.addfile(info)
    with pytest.raises(InputError, match="a link, a device or sparse"):
        list(archive.members(tmp_path / "a.tar", archive.tar_entries))


def test_an_encrypted_zip_is_expect_refusal(tmp_path):
    list(as_zip(tmp_path / "a.zip", {"Ant/a.png": IMAGE}, zipfile.ZIP_STORED))
    data = bytearray((tmp_path / "a.zip").read_bytes())
    directory = data.index(b"PK\x01\x02")
    data[directory + 8] |= 1  # general purpose flag: encrypted
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(InputError, match="is encrypted"):
        list(archive.members(tmp_path / "a.zip", archive.zip_entries))


def make_zip(name: bytes, packed: bytes, *, method=8, flags=0, declared=100, times=1) -> bytes:
    """Return a zip of one member whose directory has any values and names it `times` times."""
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, flags, method, 0, 0, 0, 0, 0, len(name), 0)
    fields = (b"PK\1\2", 20, 20, flags, method, 0, 0, 0, len(packed), declared, len(name))
    listed = struct.pack("<4s6H3L5H2L", *fields, 0, 0, 0, 0, 0, 0) + name
    body = local + name + packed
    counted = min(times, 2**16 - 1)
    end = (b"PK\5\6", 0, 0, counted, counted, times * len(listed), len(body), 0)
    return body + times * listed + struct.pack("<4s4H2LH", *end)


def zeros(mib: int) -> bytes:
    """Return this many MiB of zeros, deflated to about a thousandth."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(mib)) + packer.flush()


@pytest.mark.parametrize(
    ("flags", "method"), [(1, 8), (1, 99), (0, 99), (0x41, 8), (0x2000, 8)], ids=str
)
def test_every_kind_of_encryption_is_told(tmp_path, flags, method):
    """The classic password, the AES of WinZip, strong encryption, and an encrypted directory."""
    (tmp_path / "a.zip").write_bytes(make_zip(b"Ant/a.png", b"x", flags=flags, method=method))
    with pytest.raises(InputError, match="is encrypted: unpack it with its password"):
        list(archive.members(tmp_path / "a.zip", archive.zip_entries))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip_are_expect_refusal(tmp_path, kind):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        info = zipfile.ZipInfo("Ant/a.png")
        info.external_attr = (kind | 0o777) << 16
        out.writestr(info, "/etc/passwd")
    with pytest.raises(InputError, match="is a link or a device"):
        list(archive.members(tmp_path / "a.zip", archive.zip_entries))


@pytest.mark.parametrize("pack", ["zip", "tar.gz"])
def test_a_decompression_bomb_is_expect_refusal(tmp_path, monkeypatch, pack):
    """Two MiB of zeros pack to about two KiB: a ratio of 1,000."""
    monkeypatch.setattr(archive, "ALWAYS_ALLOWED_BYTES", 2**20)
    files = {"Ant/a.bmp": bytes(2 * 2**20)}
    path = tmp_path / f"bomb.{pack}"
    source = as_zip(path, files) if pack == "zip" else as_tar(path, files, "w:gz")
    with pytest.raises(InputError, match="decompression bomb"):
        raw_zip.write_raw_zip(source, tmp_path / "raw.zip")
    assert not (tmp_path / "raw.zip").exists()


def cut(data: bytes) -> bytes:
    """Cut the file in the middle of the last image, or of the packed data."""
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
    files = {"Ant/a.png": IMAGE, "Ant/b.png": image_bytes(2)}
    if name == "a.zip":
        as_zip(path, files, zipfile.ZIP_STORED)
        open_entries = archive.zip_entries
    else:
        as_tar(path, files, "w:gz" if name.endswith("gz") else "w")
        open_entries = archive.tar_entries
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match="is damaged"):
        list(archive.members(path, open_entries))


def test_something_gzipped_that_is_no_tar(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"just text" * 200))
    with pytest.raises(InputError, match="is damaged or not an archive"):
        list(archive.members(tmp_path / "a.gz", archive.tar_entries))


def test_gzipped_twice_is_told(tmp_path):
    list(as_tar(tmp_path / "a.tar", {"Ant/a.png": IMAGE}))
    twice = gzip.compress(gzip.compress((tmp_path / "a.tar").read_bytes()))
    (tmp_path / "a.tar.gz").write_bytes(twice)
    with pytest.raises(InputError, match="is gzipped twice"):
        list(archive.members(tmp_path / "a.tar.gz", archive.tar_entries))


def test_an_archive_in_an_archive_is_not_opened(tmp_path, caplog):
    list(as_zip(tmp_path / "a.zip", {"Ant/a.png": IMAGE}))
    inner = {"Ant/inner.ZIP": (tmp_path / "a.zip").read_bytes()}
    with pytest.raises(InputError, match=r"inner\.ZIP; archives in it are not opened: unpack them"):
        list(as_zip(tmp_path / "b.zip", inner))
    assert len(list(as_zip(tmp_path / "c.zip", inner | {"Ant/a.png": IMAGE}))) == 1
    assert "Ant/inner.ZIP" in caplog.text


def test_one_byte_range_under_many_names_counts_as_often_as_it_is_named(tmp_path, monkeypatch):
    """Fifield's bomb: 2,000 members, all of which are the same MiB."""
    monkeypatch.setattr(archive, "ALWAYS_ALLOWED_BYTES", 2**27)
    bomb = make_zip(b"Ant/a.png", zeros(1), declared=2**20, times=2000)
    (tmp_path / "a.zip").write_bytes(bomb)
    with pytest.raises(InputError, match=r"unpacks to 2\.0 GiB or more"):
        list(archive.members(tmp_path / "a.zip", archive.zip_entries))


def peak_bytes(work) -> int:
    """Return the largest amount of memory that Python held during the work."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def expect_refusal(path, open_entries, message):
    with pytest.raises(InputError, match=message):
        list(archive.members(path, open_entries))


def test_a_member_that_is_larger_than_declared_is_not_unpacked(tmp_path):
    (tmp_path / "a.zip").write_bytes(make_zip(b"Ant/a.png", zeros(64)))
    peak = peak_bytes(lambda: expect_refusal(tmp_path / "a.zip", archive.zip_entries, "is damaged"))
    assert peak < 2**20


@pytest.mark.parametrize("method", [9, 12, 14, 93, 98])
def test_methods_that_unpack_without_limit_are_expect_refusal(tmp_path, method):
    """Deflate64, bzip2, LZMA, Zstandard, PPMd. bzip2 makes 64 MiB of 100 bytes."""
    packed = bz2.compress(bytes(2**26))
    assert len(packed) < 150
    (tmp_path / "a.zip").write_bytes(make_zip(b"Ant/a.png", packed, method=method))
    message = rf"unusual method \(number {method}\)"
    peak = peak_bytes(lambda: expect_refusal(tmp_path / "a.zip", archive.zip_entries, message))
    assert peak < 2**20


def test_a_zip_written_as_for_huge_files_is_read(tmp_path):
    """Zip64, as some tools write it for any size."""
    with (
        zipfile.ZipFile(tmp_path / "a.zip", "w") as out,
        out.open(zipfile.ZipInfo("Ant/a.png"), "w", force_zip64=True) as member,
    ):
        member.write(IMAGE)
    images = dict(archive.members(tmp_path / "a.zip", archive.zip_entries))
    assert images == {"images/Ant/a.png": IMAGE}


@pytest.mark.parametrize("pack", [as_zip, as_tar])
def test_a_name_that_is_there_twice_gives_both_images(tmp_path, pack, recwarn):
    list(pack(tmp_path / "a", {"Ant/a.png": IMAGE, "Ant/b.png": image_bytes(2)}))
    data = (tmp_path / "a").read_bytes().replace(b"Ant/b.png", b"Ant/a.png")
    if pack is as_tar:
        data = with_checksums(data)
    (tmp_path / "a").write_bytes(data)
    open_entries = archive.zip_entries if pack is as_zip else archive.tar_entries
    images = dict(archive.members(tmp_path / "a", open_entries))
    assert images == {"images/Ant/a.png": IMAGE, "images/Ant/a-2.png": image_bytes(2)}


@pytest.mark.parametrize("pack", [as_zip, as_tar])
def test_files_that_differ_by_case_only_are_two_and_by_accents_form_one_class(tmp_path, pack):
    files = {"Ant/a.png": 1, "x/Ant/a.png": 2, "Ant/A.png": 3, "é/a.png": 4, "e\u0301/a.png": 5}
    source = pack(tmp_path / "a", {name: image_bytes(seed) for name, seed in files.items()})
    assert raw_zip.write_raw_zip(source, tmp_path / "raw.zip") == 5
    with zipfile.ZipFile(tmp_path / "raw.zip") as raw:
        names = ["Ant/A.png", "Ant/a-2.png", "Ant/a.png", "é/a-2.png", "é/a.png"]
        assert raw.namelist() == [f"images/{name}" for name in names]
        assert raw.read("images/Ant/a-2.png") == image_bytes(2)


def test_a_zip_by_a_mac_has_its_accents(tmp_path):
    """A Mac writes UTF-8 without the flag: é would be "├⌐". Other bytes are code page 437."""
    for name, expected in (("Flabébé", "Flabébé"), ("♀", "♀"), (b"\x82".decode("cp437"), "é")):
        raw_name = name.encode("cp437" if name == "é" else "utf-8")
        packed = zeros(0)
        data = make_zip(raw_name + b"/a.png", packed, declared=0)
        (tmp_path / "a.zip").write_bytes(data)
        images = dict(archive.members(tmp_path / "a.zip", archive.zip_entries))
        assert images == {f"images/{expected}/a.png": b""}


@pytest.mark.parametrize("limit", ["MAX_MEMBERS", "MAX_ZIP_LIST_BYTES"])
def test_too_many_members_of_a_zip_are_expect_refusal(tmp_path, monkeypatch, limit):
    files = {f"Ant/{number}.png": b"" for number in range(1100)}
    list(as_zip(tmp_path / "a.zip", files))
    monkeypatch.setattr(archive, limit, 1100 if limit == "MAX_MEMBERS" else 62 * 2**10)
    assert len(list(archive.members(tmp_path / "a.zip", archive.zip_entries))) == 1100
    monkeypatch.setattr(archive, limit, 1099 if limit == "MAX_MEMBERS" else 61 * 2**10)
    expect_refusal(tmp_path / "a.zip", archive.zip_entries, "has more than (1099 members|61 KiB)")


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "count"), [("zip", 650_000), ("zip", 10**6), ("tar.gz", 10**6)])
def test_a_million_members_are_refused_in_little_memory(tmp_path, kind, count):
    """650,000 is the largest number whose list in a zip is still read."""
    path, message = tmp_path / f"a.{kind}", "has more than (200000 members|32768 KiB)"
    if kind == "zip":
        path.write_bytes(make_zip(b"a", zeros(0), declared=0, times=count))
    else:
        with gzip.open(path, "wb", 1) as out:
            for _ in range(count // 1000):
                out.write(1000 * header())
    open_entries = archive.zip_entries if kind == "zip" else archive.tar_entries
    assert peak_bytes(lambda: expect_refusal(path, open_entries, message)) < 2**29


def test_folders_count_among_the_members_of_a_tar(tmp_path, monkeypatch):
    with tarfile.open(tmp_path / "a.tar", "w") as out:
        for number in range(20):
            info = tarfile.TarInfo(f"Ant{number}")
            info.type = tarfile.DIRTYPE
            out.addfile(info)
    monkeypatch.setattr(archive, "MAX_MEMBERS", 19)
    expect_refusal(tmp_path / "a.tar", archive.tar_entries, "has more than 19 members")


def header(name="Ant/a.png", kind=tarfile.REGTYPE, size=0, size_field: bytes | None = None):
    """Return one header block of a tar, with any bytes for its size."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    block = info.tobuf(tarfile.GNU_FORMAT)
    return with_checksums(block if size_field is None else block[:124] + size_field + block[136:])


def with_checksums(blocks: bytes) -> bytes:
    """Return the blocks with valid checksums in all that look like headers of a tar."""
    data = bytearray(blocks)
    for start in range(0, len(data) - 511, 512):
        if data[start + 257 : start + 262] == b"ustar":
            data[start + 148 : start + 156] = b" " * 8
            data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])
    return bytes(data)


def extended(**values: str) -> bytes:
    """Return a pax header, which describes the member after it. a__b stands for the key a.b."""
    text = b""
    for key, value in values.items():
        line = f" {key.replace('__', '.')}={value}\n".encode()
        length = len(line) + len(str(len(line)))
        text += b"%d" % (len(line) + len(str(length))) + line
    return header(kind=tarfile.XHDTYPE, size=len(text)) + text + bytes(-len(text) % 512)


NEGATIVE, HUGE = b"\xff" * 12, b"\x80" + b"\xff" * 11
SPARSE_1 = {"GNU__sparse__major": "1", "GNU__sparse__minor": "0", "GNU__sparse__realsize": "9999"}


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        (header(size_field=NEGATIVE), "is damaged.*below 0"),
        (header("Ant/b.png") + header(size_field=b"\xff" * 10 + b"\xfc\0"), "is damaged.*below 0"),
        (header(kind=tarfile.XHDTYPE, size_field=NEGATIVE) + bytes(4096), "is damaged"),
        (header(size_field=HUGE), "is damaged"),
        (header(kind=tarfile.XHDTYPE, size_field=HUGE), "is damaged"),
        (header(kind=tarfile.GNUTYPE_LONGNAME, size_field=HUGE), "is damaged"),
        (header(kind=tarfile.XHDTYPE) * 1500 + header(), "is damaged.*recursion"),
        (extended(size="-5") + header(), "is damaged.*below 0"),
        (extended(size="9" * 400) + header(), "is damaged"),
        (extended(path="Ant/" + "a" * 70_000) + header(), "has 70004 characters, 1000 are read"),
        (extended(path="Ant/a\0.png") + header(), "not readable text"),
        (extended(path="../a.png") + header(), "leads out of the archive"),
        (extended(**SPARSE_1) + header(size=512) + b"z" * 512, "is damaged"),
        (extended(**SPARSE_1) + header(size=512) + b"0\n" + bytes(510), "sparse"),
        (extended(GNU__sparse__map="0,5,x", GNU__sparse__size="9") + header(), "is damaged"),
        (header(kind=tarfile.BLKTYPE), "a link, a device or sparse"),
        (header(kind=b"Z"), "a link, a device or sparse"),
    ],
)
def test_a_tar_that_lies_is_one_line(tmp_path, blocks, message):
    (tmp_path / "a.tar").write_bytes(blocks + bytes(1024))
    expect_refusal(tmp_path / "a.tar", archive.tar_entries, message)


def test_a_header_as_large_as_a_film_is_not_read(tmp_path):
    """64 MiB with the name of one member, gzipped to 64 kB."""
    with gzip.open(tmp_path / "a.tar.gz", "wb") as out:
        out.write(header(kind=tarfile.XHDTYPE, size=2**26) + b"%d path=" % 2**26)
        for _ in range(64):
            out.write(b"a" * 2**20)
    message = "a header or the list of members has more than 1024 KiB"
    peak = peak_bytes(lambda: expect_refusal(tmp_path / "a.tar.gz", archive.tar_entries, message))
    assert peak < 8 * 2**20


def test_what_all_members_are_said_to_share_is_not_kept_for_each(tmp_path):
    """A comment of 500 kB in the middle and 200 members after it."""
    shared = extended(comment="a" * 500_000).replace(b"0x\0", b"0g\0", 1)
    shared = with_checksums(shared[:156] + tarfile.XGLTYPE + shared[157:])
    members = b"".join(extended(path=f"Ant/{n}.png") + header() for n in range(200))
    (tmp_path / "a.tar").write_bytes(shared + members + bytes(1024))
    names_read: list[str] = []
    members_read = archive.members(tmp_path / "a.tar", archive.tar_entries)
    assert peak_bytes(lambda: names_read.extend(name for name, _ in members_read)) < 4 * 2**20
    assert len(names_read) == 200


def test_a_file_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(InputError, match=r"cannot read .*a\.zip: Permission denied"):
        archive.is_zip(tmp_path / "a.zip")


SEEDS = {
    "zip": (as_zip, archive.zip_entries),
    "tar": (as_tar, archive.tar_entries),
    "tar.gz": (lambda path, files: as_tar(path, files, "w:gz"), archive.tar_entries),
}


def damage(data: bytes, rng: np.random.Generator) -> bytes:
    """Change some bytes, mostly to values that are invalid in headers; or cut a piece out, or
    overwrite it with another."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        at, length = int(rng.integers(len(out))), int(rng.integers(1, 40))
        other = int(rng.integers(len(out)))
        kind = rng.integers(6)
        if kind <= 2:
            out[at] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(256)]))
        elif kind == 3:
            out[at : at + length] = bytes([rng.choice([0, 0xFF])]) * length
        elif kind == 4:
            out[at : at + length] = out[other : other + length]
        else:
            del out[at : at + length]
    return bytes(out)


def read_damaged(folder, n_cases: int) -> Iterator[str]:
    """Read damaged archives; yield "read" or the message of the error for each of them."""
    rng = np.random.default_rng(1)
    files = {"Ant/a.png": IMAGE[:200], "Bée/b.png": b"x" * 30, "C" * 120 + "/c.png": b""}
    seeds = {}
    for kind, (pack, open_entries) in SEEDS.items():
        list(pack(folder / "seed", files))
        seeds[kind] = (folder / "seed").read_bytes(), open_entries
    for case in range(n_cases):
        kind = list(seeds)[case % 3]
        data, open_entries = seeds[kind]
        data = damage(data, rng)
        if kind == "tar" and rng.random() < 0.8:
            data = with_checksums(data)
        (folder / "damaged").write_bytes(data)
        try:
            n_members = raw_zip.write_raw_zip(
                archive.members(folder / "damaged", open_entries), folder / "raw.zip"
            )
        except InputError as error:
            yield str(error)
        else:
            yield "read" if n_members else ""


def check_damaged(folder, n_cases):
    messages = [result for result in read_damaged(folder, n_cases) if result != "read"]
    assert n_cases / 20 < len(messages) < n_cases
    assert all(len(text.splitlines()) == 1 and len(text) < 1000 for text in messages)


def test_damaged_bytes_end_in_members_or_one_line(tmp_path):
    check_damaged(tmp_path, 300)


@pytest.mark.slow
def test_damaged_bytes_end_in_members_or_one_line_in_full(tmp_path):
    check_damaged(tmp_path, 3000)


names = st.text(st.sampled_from("aA./\\:\0é\n -"), min_size=1, max_size=12)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(names)
def test_no_name_ever_leads_out(tmp_path_factory, name):
    """A member with any name is refused or becomes images/CLASS/NAME."""
    path = tmp_path_factory.mktemp("zip") / "a.zip"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as out:
        out.writestr("Ant/good.png", IMAGE)
        out.writestr(zipfile.ZipInfo(name), image_bytes(2))
    path.write_bytes(packed.getvalue())
    try:
        images = dict(archive.members(path, archive.zip_entries))
    except InputError:
        return
    for member in images:
        top, label, file = member.split("/")
        assert top == "images"
        assert {label, file}.isdisjoint({"", ".", ".."})
