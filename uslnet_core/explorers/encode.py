"""Arrays as text that a page can hold: pictures as data URLs, maps and labels in base64."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

_QUALITY = 88  # of JPEG: at the small sizes of a run, about 4 KB an image


def picture_url(image: np.ndarray) -> str:
    """Give an image, (H, W, 3) uint8 or float in [0, 1], as the data URL of a JPEG."""
    pixels = image if image.dtype == np.uint8 else (255 * image).round().astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def numbers(values: np.ndarray) -> str:
    """Give float32 values, row by row, in base64, little-endian as every browser has them."""
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode("ascii")


def small_numbers(values: np.ndarray) -> str:
    """Give whole numbers from 0 to 255, or bools, in base64, a byte each."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=np.uint8).tobytes()).decode("ascii")
