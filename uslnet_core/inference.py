"""Segment image files at their own size with a trained segmenter (paper 3.6)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from PIL import Image
from scipy import ndimage
from skimage.segmentation import find_boundaries

from uslnet_core.compute import Progress, quiet
from uslnet_core.data.decoding import SUFFIXES
from uslnet_core.data.images import read_image
from uslnet_core.data.layouts import among_images, files_in, masks_instead
from uslnet_core.data.storage import without_folder
from uslnet_core.errors import DataError
from uslnet_core.gallery import doubts as doubts_of
from uslnet_core.gallery import write_gallery
from uslnet_core.segmenter import Segmenter

GREY = 4  # of 255: colours that differ by no more are those of a grey picture that was compressed
OVERLAY_SIDE = 1024  # overlays are for looking at, so they are kept small
LINE = 512  # bytes of the table that an image takes at most, long names included
OUTLINE = (0, 114, 178)  # the book's prediction colour
COLUMNS = [
    "file",
    "mask",
    "overlay",
    "width",
    "height",
    "area_pixels",
    "area_share",
    "uncertain_share",
    "pieces",
    "unsure",
    "eccentric",
    "small",
    "doubt",
    "doubt_by",
    "warning",
]


@dataclass(frozen=True)
class Predictor:
    """A segmenter with what it needs to be used.

    Attributes:
        model: a trained segmenter, in evaluation mode.
        size: side of its input, pixels.
        fabric: device and precision.
        threshold: probability above is lesion.
        look: past the paper, what makes maps of the image and of the same at twice the size, with the same model.
    """

    model: Segmenter
    size: int
    fabric: Fabric
    threshold: float = 0.5
    look: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None

    @torch.no_grad()
    def probability(self, image: np.ndarray) -> np.ndarray:
        """Give each pixel of one image its probability of being lesion.

        Args:
            image: (H, W, 3) uint8, any size.

        Returns:
            (H, W) float32 in [0, 1]: computed at the model's size, upsampled bilinearly.
        """
        model, batch = self.model.to(self.fabric.device), self.squeezed(image, self.size)
        if self.look is None:
            with self.fabric.autocast():
                logits = model(batch)
            probability = torch.sigmoid(logits.float())
        else:
            probability = self.look(batch, self.squeezed(image, 2 * self.size))
        large = F.interpolate(probability.cpu()[:, None], image.shape[:2], mode="bilinear", align_corners=False)
        return large[0, 0].numpy()

    def squeezed(self, image: np.ndarray, size: int) -> torch.Tensor:
        """Bring an (H, W, 3) uint8 image to a square: (1, 3, size, size) float32 in [0, 1], on the device."""
        small = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
        batch = torch.from_numpy(small.copy()).permute(2, 0, 1)[None].float().div(255)
        return batch.to(self.fabric.device, memory_format=torch.channels_last)


def find_images(paths: Iterable[Path], out: Path | None = None) -> list[tuple[Path, Path]]:
    """List the image files among files and folders.

    Args:
        paths: files, which are taken whatever their names, and folders that are searched with all that lies below them,
            save hidden files, files named as masks or superpixels, and folders named ``masks``.
        out: where results go; what an earlier call left there is no image.

    Returns:
        Pairs of the file and its name relative to what was given, in order, each file once.

    Raises:
        DataError: a path does not exist, or no image was found.
    """
    found: dict[Path, Path] = {}
    paths = list(paths)
    results = [out.resolve() / name for name in ("masks", "overlays")] if out else []
    for path in paths:
        if path.is_dir():
            for file in files_in(path, lambda each, root=path: among_images(each, root), nested=True):
                if not any(folder in file.resolve().parents for folder in results):
                    found.setdefault(file, file.relative_to(path))
        elif path.exists():
            found.setdefault(path, Path(path.name))
        else:
            raise DataError(f"{path} does not exist. Give image files or folders of images.")
    if not found:
        known = " ".join(sorted(SUFFIXES))
        masks = "".join(masks_instead(path) for path in paths if path.is_dir())
        raise DataError(f"No image in {', '.join(map(str, paths))}.{masks} Expected files ending in {known}.")
    return list(found.items())


def warn(mask: np.ndarray, pieces: int, uncertain: float) -> str:
    """Say what makes a mask doubtful: found nothing, very large, at the border, in pieces, uncertain. Empty if nothing.

    Args:
        mask: (H, W) bool.
        pieces: its connected pieces.
        uncertain: share of the pixels with a probability between 0.35 and 0.65.
    """
    if not mask.any():
        return "no lesion found"
    doubts = []
    if mask.mean() > 0.8:
        doubts.append("covers almost the whole image")
    if mask.mean() < 0.005:
        doubts.append("very small")
    edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    if edge.mean() > 0.05:
        doubts.append("touches the border")
    if pieces > 1:
        doubts.append(f"{pieces} pieces")
    if uncertain > 0.1:
        doubts.append("uncertain")
    return "; ".join(doubts)


def warn_of_image(image: np.ndarray, size: int) -> str:
    """Say what makes an image unlike those that were learnt from: it is tiny, or grey. Empty if it is neither.

    Args:
        image: (H, W, 3) uint8.
        size: side of the square that the segmenter sees, pixels.
    """
    height, width = image.shape[:2]
    doubts = [f"tiny, {width} × {height} pixels"] if min(height, width) < size // 2 else []
    if (image.max(axis=2) - image.min(axis=2)).max() <= GREY:
        doubts.append("grey, and colour was learnt")
    return "; ".join(doubts)


def segment_files(
    paths: Sequence[Path], out: Path, predictor: Predictor, *, strict: bool = False, progress: Progress = quiet
) -> pd.DataFrame:
    """Segment files and folders: masks at each image's own size, overlays, and one table.

    A file is written under a temporary name and renamed when it is whole. An image that cannot be read is listed in the
    table with its reason and left out, unless ``strict``. Where it stops halfway, the table lists what was done.

    Args:
        paths: files and folders.
        out: gets ``masks/<name>.png`` (0 or 255), ``overlays/<name>.jpg`` and ``segmentation.csv``.
        predictor: the model.
        strict: stop at the first image that cannot be read.
        progress: told of every image.

    Returns:
        A row an image: file, mask, overlay, width, height (pixels), area_pixels, area_share (of the image),
        uncertain_share (of the image, with a probability between 0.35 and 0.65), pieces; unsure, eccentric and small,
        as :func:`uslnet_core.gallery.doubts` has them, doubt, the largest of these, and doubt_by, which one it is;
        warning. The same by doubt, as pages: ``gallery-1.html`` and so on.

    Raises:
        DataError: nothing to segment, no image could be read, ``strict`` and one could not, ``out`` has masks that
            no earlier call lists, or the disk is full.
    """
    files = find_images(paths, out)
    if (out / "masks").is_dir() and any((out / "masks").iterdir()) and not (out / "segmentation.csv").exists():
        raise DataError(
            f"{out / 'masks'} holds files that no finished call of this command lists: perhaps the masks of an expert. "
            "Choose another --out, so that none of them is overwritten."
        )
    room = out / f".{os.getpid()}-room"  # kept free for the table, in case the disk fills up
    rows: list[dict[str, object]] = []
    names: set[str] = set()
    try:
        for number, (file, relative) in enumerate(files, start=1):
            name = unique_name(relative, names)
            try:
                image = read_image(file)
            except DataError as error:
                if strict:
                    raise
                rows.append({"file": str(relative), "warning": f"not segmented: {without_folder(error, file)}"})
            else:
                if not room.exists():
                    write_whole(room, lambda path: path.write_bytes(bytes(LINE * len(files))))
                rows.append({"file": str(relative)} | segment_one(image, name, out, predictor))
            progress("segmenting", number, len(files))
    except BaseException:
        with suppress(OSError, DataError):  # what stopped it is what the user must hear
            room.unlink(missing_ok=True)
            write_results(rows, out)
        raise
    room.unlink(missing_ok=True)
    table = write_results(rows, out)
    if table["mask"].isna().all():
        raise DataError(f"None of the {len(files)} files could be read. The first: {table['warning'].iloc[0]}")
    write_gallery(table, out, lambda page, text: write_whole(page, lambda path: path.write_text(text, "utf-8")))
    return table


def write_results(rows: list[dict[str, object]], out: Path) -> pd.DataFrame:
    """Write ``segmentation.csv`` if any file was segmented, and give it as a table."""
    whole = dict.fromkeys(["width", "height", "area_pixels", "pieces"], "Int64")  # whole numbers, or nothing
    table = pd.DataFrame(rows, columns=COLUMNS).astype(whole)
    if table["mask"].notna().any():
        write_whole(out / "segmentation.csv", lambda path: table.to_csv(path, index=False))
    return table


def segment_one(image: np.ndarray, name: str, out: Path, predictor: Predictor) -> dict[str, object]:
    """Segment one image, (H, W, 3) uint8, and write its mask and overlay; give its row of the table."""
    probability = predictor.probability(image)
    mask = probability > predictor.threshold
    pieces = int(ndimage.label(mask, structure=np.ones((3, 3)))[1])
    uncertain = float(((probability >= 0.35) & (probability <= 0.65)).mean())
    doubtful = doubts_of(mask, probability)
    most = max(doubtful, key=doubtful.__getitem__)
    mask_file, overlay_file = Path("masks") / f"{name}.png", Path("overlays") / f"{name}.jpg"
    # The mask last: on a disk that fills up in between, no mask is there that the table does not list.
    write_whole(out / overlay_file, lambda path: draw_overlay(image, mask).save(path, quality=90))
    write_whole(out / mask_file, Image.fromarray(mask.astype(np.uint8) * 255).save)
    return {
        "mask": mask_file.as_posix(),
        "overlay": overlay_file.as_posix(),
        "width": image.shape[1],
        "height": image.shape[0],
        "area_pixels": int(mask.sum()),
        "area_share": round(float(mask.mean()), 5),
        "uncertain_share": round(uncertain, 5),
        "pieces": pieces,
        **{name: round(value, 4) for name, value in doubtful.items()},
        "doubt": round(doubtful[most], 4),
        "doubt_by": most,
        "warning": "; ".join(filter(None, [warn(mask, pieces, uncertain), warn_of_image(image, predictor.size)])),
    }


def draw_overlay(image: np.ndarray, mask: np.ndarray) -> Image.Image:
    """Draw the mask's outline, white beside blue so that it shows on any skin, on a copy of at most 1024 pixels."""
    scale = min(1.0, OVERLAY_SIDE / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    picture = np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    small = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    line = find_boundaries(small, mode="inner")
    if wider := max(size) // 400:  # scipy takes 0 for "until nothing changes"
        line = ndimage.binary_dilation(line, iterations=wider)
    picture[ndimage.binary_dilation(line)] = (255, 255, 255)
    picture[line] = OUTLINE
    return Image.fromarray(picture)


def unique_name(relative: Path, taken: set[str]) -> str:
    """Turn a relative path into a file name that no other file of this call has; it is added to ``taken``."""
    base = "_".join(relative.with_suffix("").parts)
    name, number = base, 2
    while name.lower() in taken:
        name, number = f"{base}_{number}", number + 1
    taken.add(name.lower())
    return name


def write_whole(target: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name beside the target, then rename it.

    Args:
        target: the file; its folder is made.
        write: called with the temporary path.

    Raises:
        DataError: no permission, or the disk is full.
    """
    fresh = target.with_name(f".{os.getpid()}-{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write(fresh)
        fresh.replace(target)
    except OSError as error:
        raise DataError(
            f"{target} could not be written ({error.strerror or error}). Choose another --out or free space."
        ) from None
    finally:
        with suppress(OSError):  # where nothing could be written there is nothing to take away
            fresh.unlink(missing_ok=True)
