"""Images for tests: coarse random patches, so that no two are near-duplicates."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from pokecam.data.sources import archive


def patches(seed: int, width: int = 64, height: int = 64) -> Image.Image:
    """Return an RGB image of 8 × 8 random patches."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.NEAREST)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    """Return the bytes of an image file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def image_bytes(seed: int, kind: str = "PNG", width: int = 64, height: int = 64) -> bytes:
    """Return the bytes of an image file of random patches."""
    return encoded(patches(seed, width, height), kind)


def write_tree(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files (path → bytes) into a folder and return the folder."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def as_zip(path: Path, files: dict[str, bytes], compression=zipfile.ZIP_DEFLATED):
    """Pack files (path → bytes) as a zip and return the members that the source reads."""
    with zipfile.ZipFile(path, "w", compression) as out:
        for name, data in files.items():
            out.writestr(name, data)
    return archive.members(path, archive.zip_entries)


def as_tar(path: Path, files: dict[str, bytes], mode="w"):
    """Pack files (path → bytes) as a tar and return the members that the source reads."""
    with tarfile.open(path, mode) as out:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return archive.members(path, archive.tar_entries)
