"""kagglehub against a local server that behaves as Kaggle does.

Environment variables are enough to redirect it: its LOCALHOST setting uses plain HTTP, and
HTTP_PROXY sends that to the local server. The answers are those of Kaggle: a POST to the dataset
service is redirected to a storage address, which supports ranges and gives the MD5 in
`x-goog-hash`.
"""

import base64
import hashlib
import io
import json
import socket
import threading
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pokecam.common.errors import InputError
from pokecam.data.sources import kaggle
from tests.support.images import image_bytes

HANDLE = "owner/animals/versions/3"
SERVICE = "/api/v1/datasets.DatasetApiService/DownloadDataset"
# kagglehub writes whole MiB, so the archive has some of them.
IMAGES = {f"Ant/{number}.png": image_bytes(number) for number in range(9)} | {
    f"Ant/large-{number}.bmp": image_bytes(number, "BMP", 600, 600) for number in range(2)
}
MIB = 2**20


def dataset() -> bytes:
    """The archive, nested twice as on Kaggle."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as out:
        for top in ("dataset", "dataset/dataset"):
            for name, data in IMAGES.items():
                out.writestr(f"{top}/{name}", data)
    return packed.getvalue()


@dataclass
class StandIn:
    """What the server does, and the requests that it received."""

    archive: bytes = field(default_factory=dataset)
    status: int = 200
    md5_of: bytes | None = None  # the content whose MD5 the server gives; None: the archive
    break_after: list[int] = field(default_factory=list)  # bytes, for one storage answer each
    requests: list[dict] = field(default_factory=list)  # the bodies of the POSTs
    ranges: list[str | None] = field(default_factory=list)  # of the storage requests
    authorised: list[str | None] = field(default_factory=list)

    @property
    def md5(self) -> str:
        data = self.archive if self.md5_of is None else self.md5_of
        return base64.b64encode(hashlib.md5(data).digest()).decode()


def handler(stand_in: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path.endswith(SERVICE), self.path
            stand_in.requests.append(json.loads(body))
            stand_in.authorised.append(self.headers["Authorization"])
            if stand_in.status != 200:
                answer = json.dumps({"code": stand_in.status, "message": "no"}).encode()
                self.send_response(stand_in.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
                return
            self.send_response(302)
            self.send_header("Location", "http://storage.test/animals.zip")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self):
            byte_range = self.headers["Range"]
            stand_in.ranges.append(byte_range)
            start = int(byte_range.removeprefix("bytes=").removesuffix("-")) if byte_range else 0
            data = stand_in.archive[start:]
            self.send_response(206 if byte_range else 200)
            self.send_header("Content-Type", "application/zip")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("x-goog-hash", f"crc32c=AAAAAA==,md5={stand_in.md5}")
            self.end_headers()
            end = stand_in.break_after.pop(0) if stand_in.break_after else len(data)
            self.close_connection = True
            with suppress(ConnectionError):  # the client may close it early
                self.wfile.write(data[:end])

    return Handler


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """No credentials, no cache and no proxy but those of this test."""
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NO_PROXY", "no_proxy", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")


@pytest.fixture
def stand_in(elsewhere, monkeypatch):
    state = StandIn()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(state))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.server_port}")
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def settings_file(tmp_path):
    path = tmp_path / "kaggle"
    path.write_text(f"dataset: {HANDLE}\n")
    return path


def archive_in(tmp_path):
    return tmp_path / "cache" / "datasets" / "owner" / "animals" / "3.archive"


def test_download_gives_each_image_once(stand_in, settings_file, tmp_path):
    images = dict(kaggle.members(settings_file))
    assert images == {f"images/{name}": data for name, data in IMAGES.items()}
    (request,) = stand_in.requests
    assert request["ownerSlug"] == "owner"
    assert request["datasetSlug"] == "animals"
    assert request["datasetVersionNumber"] == 3
    assert stand_in.authorised == [None]
    assert stand_in.ranges == [None]
    assert not archive_in(tmp_path).exists()


def test_what_is_in_the_cache_is_not_fetched_again(stand_in, settings_file):
    first = dict(kaggle.members(settings_file))
    stand_in.status = 500
    assert dict(kaggle.members(settings_file)) == first
    assert len(stand_in.ranges) == 1


def test_a_broken_download_goes_on_by_range_within_one_run(stand_in):
    stand_in.break_after = [2 * MIB + 5]
    folder = kaggle.fetch(HANDLE)
    assert (folder / "dataset" / "Ant" / "7.png").read_bytes() == IMAGES["Ant/7.png"]
    # Each attempt first requests the whole file, to learn size and checksum, then the rest.
    assert stand_in.ranges == [None, None, f"bytes={2 * MIB}-"]


def test_a_broken_download_goes_on_in_the_next_run(stand_in, tmp_path):
    stand_in.break_after = [2 * MIB + 5, 0, 0]
    with pytest.raises(
        InputError, match=r"broke .* after 2 MiB .* run again, the download continues"
    ):
        kaggle.fetch(HANDLE)
    assert archive_in(tmp_path).read_bytes() == stand_in.archive[: 2 * MIB]
    stand_in.ranges.clear()
    folder = kaggle.fetch(HANDLE)
    assert stand_in.ranges == [None, f"bytes={2 * MIB}-"]
    assert len(list(folder.rglob("*.*"))) == 2 * len(IMAGES)


def test_a_wrong_checksum_is_told_and_the_file_deleted(stand_in, tmp_path):
    stand_in.md5_of = b"something else"
    with pytest.raises(InputError, match="wrong checksum and was deleted: run again"):
        kaggle.fetch(HANDLE)
    assert not archive_in(tmp_path).exists()
    stand_in.md5_of = None
    assert kaggle.fetch(HANDLE).is_dir()


def test_a_corrupt_partial_file_is_noticed_when_the_rest_arrives(stand_in, tmp_path):
    archive_in(tmp_path).parent.mkdir(parents=True)
    archive_in(tmp_path).write_bytes(bytes(5000))
    with pytest.raises(InputError, match="wrong checksum"):
        kaggle.fetch(HANDLE)


def test_a_corrupt_file_of_full_size_is_noticed_when_unpacked(stand_in, tmp_path):
    """kagglehub takes a partial file of the full size as complete, and does not check its MD5."""
    wrong = bytearray(stand_in.archive)
    wrong[wrong.index(b"IDAT") + 20] ^= 255
    archive_in(tmp_path).parent.mkdir(parents=True)
    archive_in(tmp_path).write_bytes(wrong)
    with pytest.raises(InputError, match=r"arrived damaged .*CRC.* and was deleted: run again"):
        kaggle.fetch(HANDLE)
    assert kaggle.fetch(HANDLE).is_dir()


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "refuses owner/animals/versions/3 .403.: it is not public or the credentials"),
        (401, "the credentials"),
        (404, "knows no dataset owner/animals/versions/3: .* correct the file that `source` names"),
        (429, "answers 429 .* try again later"),
        (503, "answers 503 .* try again later"),
    ],
)
def test_refusals_say_what_to_do(stand_in, status, message):
    stand_in.status = status
    with pytest.raises(InputError, match=message):
        kaggle.fetch(HANDLE)


def test_no_network(elsewhere, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        port = closed_soon.getsockname()[1]
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
    with pytest.raises(InputError, match=r"Kaggle cannot be reached.* check the network"):
        kaggle.fetch(HANDLE)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device /dev/full")
def test_a_full_disk(stand_in, tmp_path, monkeypatch):
    """A device that is always full stands in for the archive."""
    archive_in(tmp_path).parent.mkdir(parents=True)
    archive_in(tmp_path).symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"the disk is full.* KAGGLEHUB_CACHE"):
        kaggle.fetch(HANDLE)


def test_an_unreadable_credentials_file(stand_in, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "kaggle.json").write_text("{")
    with pytest.raises(InputError, match="Invalid Kaggle credentials file"):
        kaggle.fetch(HANDLE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dataset: owner/animals",
        "dataset: owner/animals/versions/0",
        "- x",
        "dataset: [",
        "a: b",
    ],
)
def test_an_unpinned_dataset_is_refused(tmp_path, text):
    path = tmp_path / "kaggle"
    path.write_text(text)
    with pytest.raises(InputError, match="kaggle"):
        list(kaggle.members(path))
