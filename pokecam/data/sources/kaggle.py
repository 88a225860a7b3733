"""Images from a Kaggle dataset, through kagglehub and its cache.

kagglehub resumes a broken download by range and compares the archive's MD5 with the server's,
except where a partial file already has the full size; unpacking then still checks every
member's CRC-32. A dataset that is public needs no account.
"""

import errno
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

from pokecam.common.errors import InputError
from pokecam.common.params import load_yaml
from pokecam.data.sources import folder

_PINNED = re.compile(r"[\w-]+/[\w-]+/versions/[1-9]\d*")
_BY_HAND = "or download it in a browser and set `source` to the archive"


def members(settings_file: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (name in raw.zip, bytes) of the images of the dataset that `settings_file` names.

    Raises `InputError` if the file does not pin a dataset, or the dataset cannot be had.
    """
    yield from folder.members(fetch(_pinned(settings_file)))


def _pinned(settings_file: Path) -> str:
    try:
        settings = load_yaml(settings_file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, InputError) as error:
        raise InputError(f"cannot read the file {settings_file}: {error}") from None
    handle = settings.get("dataset") if isinstance(settings, dict) else None
    if not isinstance(handle, str) or not _PINNED.fullmatch(handle):
        raise InputError(
            f"the file {settings_file} must hold a line `dataset: owner/name/versions/number`, "
            f"and not {handle!r}"
        )
    return handle


def fetch(handle: str) -> Path:
    """Return the folder in kagglehub's cache with the unpacked dataset, fetched if need be.

    `handle` is owner/name/versions/number. A broken connection is taken up again as long as
    each attempt gets further. Raises `InputError` that says what to do.
    """
    # Two seconds to import, and only this source needs them.
    from kagglehub.cache import get_cached_archive_path
    from kagglehub.exceptions import DataCorruptionError
    from kagglehub.handle import parse_dataset_handle
    from requests.exceptions import HTTPError, RequestException

    archive = Path(get_cached_archive_path(parse_dataset_handle(handle)))
    try:
        return _download(handle, archive)
    except HTTPError as error:
        raise InputError(_refusal(handle, getattr(error.response, "status_code", None))) from None
    except DataCorruptionError:
        raise InputError(
            f"Kaggle: {handle} arrived with a wrong checksum and was deleted: run again"
        ) from None
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        archive.unlink(missing_ok=True)  # it has its full size, so it would be tried for ever
        raise InputError(
            f"Kaggle: {handle} arrived damaged ({error}) and was deleted: run again"
        ) from None
    except RequestException as error:
        raise InputError(
            f"Kaggle cannot be reached, or the connection broke ({type(error).__name__}) with "
            f"{_size(archive) / 2**20:.0f} MiB of {handle} here: check the network and run again, "
            f"it goes on from there, {_BY_HAND}"
        ) from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(
            f"the disk is full: make room in {archive.parent}, or set KAGGLEHUB_CACHE to a "
            "folder elsewhere, and run again"
        ) from None
    except ValueError as error:  # an unreadable credentials file, an unknown kind of archive
        raise InputError(f"Kaggle: {handle}: {error}") from None


def cached(settings_file: Path) -> Path | None:
    """The folder with the dataset that `settings_file` names, if it was fetched before."""
    from kagglehub.cache import Cache
    from kagglehub.handle import parse_dataset_handle

    found = Cache().load_from_cache(parse_dataset_handle(_pinned(settings_file)))
    return Path(found) if found else None


def _download(handle: str, archive: Path) -> Path:
    import kagglehub
    from requests.exceptions import ChunkedEncodingError, ConnectionError, Timeout

    while True:
        before = _size(archive)
        try:
            return Path(kagglehub.dataset_download(handle))
        except (ChunkedEncodingError, ConnectionError, Timeout):
            if _size(archive) <= before:
                raise


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _refusal(handle: str, status: int | None) -> str:
    """What the server's refusal means and what to do about it."""
    if status == HTTPStatus.NOT_FOUND:
        return (
            f"Kaggle knows no dataset {handle}: look up owner, name and version on its page and "
            "correct the file that `source` names"
        )
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return (
            f"Kaggle refuses {handle} ({status}): it is not public or the credentials in "
            "KAGGLE_API_TOKEN or ~/.kaggle are not valid; mend or remove them, "
            f"{_BY_HAND}"
        )
    return f"Kaggle answers {status} for {handle}: try again later, {_BY_HAND}"
