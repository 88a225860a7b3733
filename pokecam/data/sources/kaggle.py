"""Images from a Kaggle dataset, through kagglehub and its cache.

kagglehub continues an interrupted download by a range request, and compares the MD5 of the archive
with that of the server. It does not compare them if a partial file already has the full size;
unpacking then still checks the CRC-32 of every member. A public dataset needs no account.
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
    """Read the images of a Kaggle dataset, and download it if it is not in the cache.

    Args:
        settings_file: a .yaml file with a line `dataset: owner/name/versions/number`.

    Yields:
        (name in raw.zip, bytes).

    Raises:
        InputError: the file does not name one version of a dataset, or the download fails.
    """
    yield from folder.members(fetch(_read_handle(settings_file)))


def _read_handle(settings_file: Path) -> str:
    """Return the dataset that a settings file names, as owner/name/versions/number."""
    try:
        settings = load_yaml(settings_file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, InputError) as error:
        raise InputError(f"cannot read the file {settings_file}: {error}") from None
    handle = settings.get("dataset") if isinstance(settings, dict) else None
    if not isinstance(handle, str) or not _PINNED.fullmatch(handle):
        raise InputError(
            f"the file {settings_file} must hold a line `dataset: owner/name/versions/number`, it "
            f"has {handle!r}"
        )
    return handle


def fetch(handle: str) -> Path:
    """Download and unpack a dataset, if it is not in the cache of kagglehub.

    After a broken connection the download continues, as long as each attempt receives more.

    Args:
        handle: owner/name/versions/number.

    Returns:
        The folder in the cache with the unpacked dataset.

    Raises:
        InputError: the dataset is not available or cannot be downloaded. The message says what to
            do.
    """
    # These imports take two seconds, and only this source needs them.
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
        archive.unlink(missing_ok=True)  # it has its full size, so kagglehub would use it again
        raise InputError(
            f"Kaggle: {handle} arrived damaged ({error}) and was deleted: run again"
        ) from None
    except RequestException as error:
        raise InputError(
            f"Kaggle cannot be reached, or the connection broke ({type(error).__name__}) after "
            f"{_size(archive) / 2**20:.0f} MiB of {handle}: check the network and run again, the "
            f"download continues from there, {_BY_HAND}"
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
    """Return the folder with the dataset of `settings_file`, or None if it is not in the cache."""
    from kagglehub.cache import Cache
    from kagglehub.handle import parse_dataset_handle

    path = Cache().load_from_cache(parse_dataset_handle(_read_handle(settings_file)))
    return Path(path) if path else None


def _download(handle: str, archive: Path) -> Path:
    """Download until the dataset is complete or an attempt receives nothing."""
    import kagglehub
    from requests.exceptions import ChunkedEncodingError, ConnectionError, Timeout

    while True:
        previous_bytes = _size(archive)
        try:
            return Path(kagglehub.dataset_download(handle))
        except (ChunkedEncodingError, ConnectionError, Timeout):
            if _size(archive) <= previous_bytes:
                raise


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _refusal(handle: str, status: int | None) -> str:
    """Say what an HTTP status means, and what to do."""
    if status == HTTPStatus.NOT_FOUND:
        return (
            f"Kaggle knows no dataset {handle}: look up owner, name and version on its page and "
            "correct the file that `source` names"
        )
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return (
            f"Kaggle refuses {handle} ({status}): it is not public or the credentials in "
            "KAGGLE_API_TOKEN or ~/.kaggle are not valid: correct or remove them, "
            f"{_BY_HAND}"
        )
    return f"Kaggle answers {status} for {handle}: try again later, {_BY_HAND}"
