"""How the folders of each dataset look.

This module only finds files by their names; it opens none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from uslnet_core.data.decoding import SUFFIXES
from uslnet_core.data.registry import Dataset
from uslnet_core.errors import DataError

NOT_IMAGES = ("_superpixels", "_segmentation", "_mask", "_lesion")
"""A file whose name ends so is never an image, wherever it lies: no mask is trained on by accident."""

MASK_FOLDER = "masks"


def files_in(folder: Path, keep: Callable[[Path], bool], *, nested: bool = False) -> list[Path]:
    """List image files in a steady order, those lying flat in the folder first.

    Args:
        folder: where to look.
        keep: what a file must fulfil.
        nested: look in folders below, too.

    Returns:
        The files; hidden ones are left out.

    Raises:
        DataError: the folder cannot be read.
    """
    try:
        found = [
            path
            for path in (folder.rglob("*") if nested else folder.iterdir())
            if path.suffix.lower() in SUFFIXES
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
            and keep(path)
            and path.is_file()
        ]
    except PermissionError as error:
        raise DataError(f"Cannot read the folder {folder}: {error.strerror}. Check its permissions.") from error
    return sorted(found, key=lambda path: (len(path.relative_to(folder).parts) > 1, path.relative_to(folder).parts))


def is_image(path: Path) -> bool:
    """Whether a file's name says that it is an image, and not a mask or a superpixel map."""
    return not path.stem.lower().endswith(NOT_IMAGES)


def among_images(path: Path, root: Path) -> bool:
    """Whether a file below a user's folder is taken for an image: by its name, and not in a folder of masks."""
    return is_image(path) and MASK_FOLDER not in [part.lower() for part in path.relative_to(root).parts[:-1]]


def masks_instead(root: Path) -> str:
    """Explain an image folder in which only masks were found; empty if there are none."""
    masks = len(files_in(root, lambda path: True, nested=True))
    return (
        f" ({masks} files there are named as masks or superpixels, which are never taken as images.)" if masks else ""
    )


def need_folder(name: str, root: Path | None) -> Path:
    """Check that a data folder was given and exists.

    Raises:
        DataError: it was not given, is missing, or is a file.
    """
    if root is None:
        raise DataError(f"{name} is read from a folder, and none was given. Say where it is with `--data DIR`.")
    if not Path(root).is_dir():
        fetch = f" Get the data with `uslnet data fetch {name} --data {root}`." if name.startswith("isic") else ""
        raise DataError(
            f"No such folder: {root}. Check the path. Say where the images are with --data DIR (make: DATA=DIR).{fetch}"
        )
    return Path(root)


def part_folder(known: Dataset, root: Path | None, folder: str) -> Path | None:
    """Find one official folder of a challenge dataset.

    Args:
        known: the dataset.
        root: the data folder (with ``isic2017/`` in it) or the dataset's own folder.
        folder: the official folder's name.

    Returns:
        The folder, or None if it is not there.

    Raises:
        DataError: ``root`` is missing.
    """
    root = need_folder(known.name, root)
    for place in (root / known.name / folder, root / folder):
        if (place / folder).is_dir():  # some unpacking tools add the archive's name once more
            return place / folder
        if place.is_dir():
            return place
    return None


def challenge_images(known: Dataset, root: Path | None, part: str) -> list[tuple[str, Path]]:
    """Find the images of one part of ISIC 2017 or 2018.

    Returns:
        (id, file) pairs in the order of the ids.

    Raises:
        DataError: the folder is missing or holds no image; the message shows the layout.
    """
    folder = part_folder(known, root, known.images_folder[part])
    if folder is None:
        raise DataError(
            f"{known.name} ({part}) is not at {root}: expected "
            f"{known.name}/{known.images_folder[part]}/ISIC_0000000.jpg there, or the folder without "
            f"{known.name}/. Get it with `uslnet data fetch {known.name} --data {root} --split {part}`."
        )
    found = files_in(folder, is_image)
    if not found:
        raise DataError(
            f"{folder} holds no image; expected ISIC_0000000.jpg and so on. Unpack the archive there again."
        )
    return sorted((path.stem, path) for path in found)


def challenge_masks(known: Dataset, root: Path | None, part: str) -> list[tuple[str, Path]]:
    """Find the masks of one part of ISIC 2017 or 2018, as (id, file) pairs; none if they are not there."""
    folder = part_folder(known, root, known.masks_folder[part])
    if folder is None:
        return []
    end = "_segmentation"
    found = files_in(folder, lambda path: path.stem.lower().endswith(end))
    return sorted((path.stem[: -len(end)], path) for path in found)


def ph2_folder(root: Path | None) -> Path:
    """Find PH²'s folder of lesions.

    Args:
        root: the data folder, ``PH2Dataset``, ``PH2 Dataset images``, or a folder around one of them.

    Returns:
        The folder that holds ``IMD002`` and its like.

    Raises:
        DataError: there is none; the message shows the layout.
    """
    root = need_folder("ph2", root)
    outer, inner = ("ph2", "PH2Dataset"), "PH2 Dataset images"
    bases = [root, *(root / name for name in outer), root / outer[0] / outer[1]]
    for place in (folder for base in bases for folder in (base / inner, base)):
        if place.is_dir() and any(_is_lesion(child) for child in place.iterdir()):
            return place
    raise DataError(
        f"PH² is not at {root}: expected 'PH2Dataset/PH2 Dataset "
        "images/IMD002/IMD002_Dermoscopic_Image/IMD002.bmp' there. It comes by a form; `uslnet data fetch "
        "ph2` says where."
    )


def _is_lesion(folder: Path) -> bool:
    return re.fullmatch(r"IMD\d+", folder.name, re.IGNORECASE) is not None and folder.is_dir()


def ph2_files(root: Path | None, inner: str, end: str = "") -> list[tuple[str, Path]]:
    """Find one file a lesion in PH².

    Args:
        root: as in `ph2_folder`.
        inner: ``Dermoscopic_Image`` or ``lesion``.
        end: what stands between the lesion's name and the ending, for example ``_lesion``.

    Returns:
        (id, file) pairs in the order of the ids; a lesion without the file is left out.
    """
    lesions = sorted(child for child in ph2_folder(root).iterdir() if _is_lesion(child))
    pairs = []
    for lesion in lesions:
        wanted = (lesion.name + end).lower()
        folder = lesion / f"{lesion.name}_{inner}"
        if folder.is_dir():
            found = files_in(folder, lambda path, wanted=wanted: path.stem.lower() == wanted)
            pairs += [(lesion.name, path) for path in found[:1]]
    return pairs


def own_images(root: Path | None) -> list[tuple[str, Path]]:
    """Find the images in a user's folder and the folders below it.

    Returns:
        (id, file) pairs. The id of a flat file is its name without ending; that of a nested one has its
        folders before it, joined by ``__``.

    Raises:
        DataError: no folder, no image, or two images that would share an id.
    """
    root = need_folder("folder", root)
    found = files_in(root, lambda path: among_images(path, root), nested=True)
    if not found:
        more = masks_instead(root)
        raise DataError(f"{root} holds no image; expected JPEG, PNG, BMP or TIFF files.{more} Check the path.")
    pairs: dict[str, Path] = {}
    for path in found:
        key = "__".join(path.relative_to(root).with_suffix("").parts)
        if key in pairs:
            raise DataError(
                f"{pairs[key].name} and {path.name} in {path.parent} would share the id {key!r}. Rename "
                f"one; if it is a mask, call it {path.stem}_mask.png or put it in a folder {MASK_FOLDER}/."
            )
        pairs[key] = path
    return list(pairs.items())


def own_masks(root: Path | None) -> list[tuple[str, Path]]:
    """Find masks beside a user's images.

    Looked for, in this order: ``<name>_segmentation`` and ``<name>_mask`` beside the image; then those and
    ``<name>`` in a folder ``masks`` beside the image, beside the image's folder, or at the top with the same
    folders below it.

    Returns:
        (id of the image, file) pairs; images without a mask are left out.

    Raises:
        DataError: one mask would serve two images.
    """
    pairs, owner = [], {}
    root = need_folder("folder", root)
    listed: dict[Path, dict[str, Path]] = {}

    def lookup(folder: Path, stem: str) -> Path | None:
        if folder not in listed:
            files = files_in(folder, lambda path: True) if folder.is_dir() else []
            listed[folder] = {path.stem.lower(): path for path in files}
        return listed[folder].get(stem.lower())

    for key, image in own_images(root):
        named = [f"{image.stem}_segmentation", f"{image.stem}_mask"]
        inside = image.parent.relative_to(root)
        folders = [image.parent / MASK_FOLDER, image.parent.parent / MASK_FOLDER, root / MASK_FOLDER / inside]
        places = [(image.parent, stem) for stem in named]
        places += [(folder, stem) for folder in folders for stem in (*named, image.stem)]
        mask = next((hit for folder, stem in places if (hit := lookup(folder, stem))), None)
        if mask is None:
            continue
        if mask in owner:
            raise DataError(f"{mask} would be the mask of both {owner[mask]!r} and {key!r}. Give each image its own.")
        owner[mask] = key
        pairs.append((key, mask))
    return pairs
