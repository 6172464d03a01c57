"""Real data, where there is some, and files made bad in every way that users meet."""

from __future__ import annotations

import os
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(scope="session")
def isic_root() -> Path:
    """The data folder that USLNET_DATA names, if it holds ISIC 2017."""
    root = os.environ.get("USLNET_DATA")
    if not root or not (Path(root) / "isic2017").is_dir():
        pytest.skip("USLNET_DATA names no folder with isic2017/")
    return Path(root)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def picture(rng) -> np.ndarray:
    """A smooth (60, 80, 3) picture with some texture, which JPEG keeps and resizing changes."""
    rows, columns = np.mgrid[0:60, 0:80]
    base = np.stack([rows * 4, columns * 3, 255 - rows - columns], axis=-1)
    return np.clip(base + rng.normal(0, 8, base.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def disk(monkeypatch):
    """Pretend that the disk has so many bytes free: ``disk(free)``."""

    def pretend(free: int) -> None:
        monkeypatch.setattr("uslnet_core.data.storage.shutil.disk_usage", lambda place: Usage(free, 0, free))

    return pretend


@pytest.fixture
def full_disk(monkeypatch):
    """Let every write of rows fail as on a full disk, after the first few."""
    from uslnet_core.data import storage

    def filled(rows):
        for number, row in enumerate(rows):
            if number == 2:
                raise OSError(28, "No space left on device")
            yield row

    real = storage.write_rows

    def write(path, rows, *rest):
        return real(path, filled(rows), *rest)

    monkeypatch.setattr("uslnet_core.data.images.write_rows", write)
    monkeypatch.setattr("uslnet_core.data.masks.write_rows", write)


@pytest.fixture
def lay(picture):
    """Write images and masks at given paths: ``lay(root, "a.jpg", "masks/a.png")``; all are 80 × 60."""

    def write(root: Path, *names: str, size: tuple[int, int] = (80, 60)) -> Path:
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            is_mask = "mask" in name.lower() or "segmentation" in name.lower() or "_lesion." in name.lower()
            if is_mask:
                array = np.zeros((size[1], size[0]), dtype=np.uint8)
                array[size[1] // 4 : -size[1] // 4, size[0] // 4 : -size[0] // 4] = 255
                image = Image.fromarray(array)
            else:
                image = Image.fromarray(picture).resize(size)
            kind = {
                ".jpg": "JPEG",
                ".jpeg": "JPEG",
                ".png": "PNG",
                ".bmp": "BMP",
                ".tif": "TIFF",
                ".tiff": "TIFF",
            }
            image.save(path, format=kind[path.suffix.lower()])
        return root

    return write
