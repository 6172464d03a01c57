"""Reading image files of every common kind, each failure told in the user's terms."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL import (
    BmpImagePlugin,  # noqa: F401 - importing a plugin registers its format
    ExifTags,
    Image,
    ImageOps,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
)

from uslnet_core.errors import DataError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"})
"""File name endings of images, in lower case; upper case is accepted too."""

FORMATS = ("JPEG", "PNG", "BMP", "DIB", "TIFF")
LEAST_SIDE = 8
LARGE = 4_000_000  # pixels; of a JPEG with more, a smaller scale is decoded
# What Pillow raises for a file that is no image, is cut short, or claims to be enormous.
BROKEN = (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)


def read_image(path: str | Path, size: int | None = None) -> np.ndarray:
    """Read one image as colour, whatever its file format.

    Sixteen-bit greys are scaled to 8 bits, transparency is laid on white, and the camera's orientation is
    applied. With a size, the whole frame is squeezed to a square (section 4.1 of the paper) with
    antialiasing. Of a JPEG of more than four million pixels a smaller scale is decoded, several times faster: the
    square then differs by less than half of a 255th in the mean.

    Args:
        path: a JPEG, PNG, BMP or TIFF file.
        size: side of the square in pixels; None keeps the image's own size.

    Returns:
        (H, W, 3) uint8, or (size, size, 3) uint8.

    Raises:
        DataError: the file is missing, is no image, is cut short, is smaller than 8 pixels, or holds numbers
            with no known range.
    """
    return decode(Path(path), size)[0]


def decode(path: Path, size: int | None = None, *, large: int = LARGE) -> tuple[np.ndarray, int, int]:
    """Read one image, and say how large it is in its file.

    Args:
        path: the file.
        size: as in `read_image`.
        large: of a JPEG with more pixels than this, a smaller scale is decoded.

    Returns:
        The array of `read_image`, and the file's width and height in pixels (as displayed).

    Raises:
        DataError: as in `read_image`.
    """
    with opened(path) as image:
        width, height = displayed_size(image)
        if size is not None and width * height > large:
            # A JPEG can be decoded at 1/2, 1/4 or 1/8 for a fraction of the time; twice the final size is kept, so that
            # the antialiased resize still has every pixel's average to work with. Fine hairs still differ by some
            # levels, so this is not done where it saves little. torchvision's decoder is not taken: it is deprecated.
            image.draft("RGB", (2 * size, 2 * size))
        ImageOps.exif_transpose(image, in_place=True)
        upright = to_rgb(image, path)
        if size is not None:
            upright = upright.resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(upright), width, height


class opened:  # noqa: N801 - used as a context manager, like open()
    """Open an image file, and turn every way it can fail into a `DataError` that names it.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        """Remember the file."""
        self.path = path

    def __enter__(self) -> Image.Image:
        """Open the file and check its size.

        Raises:
            DataError: the file is missing, is no image, or is smaller than 8 pixels.
        """
        try:
            self.image = Image.open(self.path, formats=FORMATS)
        except FileNotFoundError:
            raise DataError(f"No such image: {self.path}. Check the path.") from None
        except BROKEN as error:
            raise self._explained(error) from error
        width, height = self.image.size
        if min(width, height) < LEAST_SIDE:
            self.image.close()
            raise DataError(
                f"{self.path} is {width} × {height} pixels; an image needs at least {LEAST_SIDE} each way. "
                "Replace the file or leave it out."
            )
        return self.image

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Close the file; explain what Pillow raised while decoding."""
        self.image.close()
        if isinstance(error, BROKEN):
            raise self._explained(error) from error

    def _explained(self, error: BaseException) -> DataError:
        if isinstance(error, Image.UnidentifiedImageError):
            kind = "is not an image that can be read (expected JPEG, PNG, BMP or TIFF)"
        elif isinstance(error, (IsADirectoryError, PermissionError)):
            kind = f"cannot be opened ({error.strerror})"
        else:
            kind = f"is damaged or cut short ({error})"
        return DataError(f"{self.path} {kind}. Replace the file or leave it out.")


def displayed_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an opened image, the camera's orientation applied."""
    width, height = image.size
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
    return (height, width) if turned else (width, height)


def to_eight_bits(image: Image.Image, path: Path) -> Image.Image:
    """Scale 16-bit grey to 8 bits, and leave other images as they are.

    Args:
        image: an opened image.
        path: its file, for the message.

    Returns:
        An image that Pillow can convert to colour or grey without clipping.

    Raises:
        DataError: 32-bit integers or floats, whose white is not known.
    """
    if image.mode.startswith("I;16"):
        # 65535 = 255 · 257, so this maps black to 0 and white to 255 exactly.
        return Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise DataError(
            f"{path} holds 32-bit numbers (mode {image.mode}), whose range is not known. Save it with 8 or 16 bits."
        )
    return image


def to_rgb(image: Image.Image, path: Path) -> Image.Image:
    """Convert any readable image to 8-bit colour, transparency laid on white."""
    image = to_eight_bits(image, path)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.has_transparency_data:
        colour = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", colour.size, "white"), colour).convert("RGB")
    return image.convert("RGB")
