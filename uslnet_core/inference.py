"""Segment image files at their own size with a trained segmenter (paper 3.6)."""

from __future__ import annotations

import os
import zlib
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

from uslnet_core.ahead import overlap, usual_workers
from uslnet_core.compute import Progress, quiet
from uslnet_core.data.decoding import SUFFIXES
from uslnet_core.data.images import read_image
from uslnet_core.data.layouts import among_images, files_in, masks_instead
from uslnet_core.data.storage import without_folder
from uslnet_core.errors import DataError
from uslnet_core.gallery import doubts as doubts_of
from uslnet_core.gallery import unsure_pixels, write_gallery
from uslnet_core.mask_report import count_pieces, draw_overlay, warn, warn_of_image
from uslnet_core.segmenter import Segmenter

LINE = 512  # bytes of the table that an image takes at most, long names included
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
class Job:
    """One image to segment: its file, its name in the table, and the name of its results without an ending."""

    file: Path
    name: str
    target: str


Predicted = tuple[np.ndarray, torch.Tensor]
"""An image, (H, W, 3) uint8, and its probability, (1, S, S) float32."""


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

    def probability(self, image: np.ndarray) -> np.ndarray:
        """Give each pixel of one image its probability of being lesion.

        Args:
            image: (H, W, 3) uint8, any size.

        Returns:
            (H, W) float32 in [0, 1]: computed at the model's size, upsampled bilinearly.
        """
        return enlarged(self.predict(self.squeezed(image)), image.shape[:2])

    def squeezed(self, image: np.ndarray) -> tuple[torch.Tensor, ...]:
        """Bring an (H, W, 3) uint8 image to the squares that are looked at, each (1, 3, S, S) float32 in [0, 1]."""
        sizes, picture = [self.size] if self.look is None else [self.size, 2 * self.size], Image.fromarray(image)
        squares = (np.array(picture.resize((size, size), Image.Resampling.BILINEAR)) for size in sizes)
        return tuple(torch.from_numpy(square).permute(2, 0, 1)[None].float().div(255) for square in squares)

    @torch.no_grad()
    def predict(self, squares: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Give the probability at the model's size, or at that of its look: (1, S, S) float32, on the CPU."""
        device = self.fabric.device
        model, batches = self.model.to(device), [s.to(device, memory_format=torch.channels_last) for s in squares]
        if self.look is not None:
            return self.look(*batches).cpu()
        with self.fabric.autocast():
            logits = model(*batches)
        return torch.sigmoid(logits.float()).cpu()


@torch.no_grad()
def enlarged(probability: torch.Tensor, shape: tuple[int, int]) -> np.ndarray:
    """Upsample a map, (1, S, S) float32, bilinearly to an image's (H, W) float32."""
    return F.interpolate(probability[:, None], shape, mode="bilinear", align_corners=False)[0, 0].numpy()


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


def segment_files(
    paths: Sequence[Path],
    out: Path,
    predictor: Predictor,
    *,
    strict: bool = False,
    progress: Progress = quiet,
    workers: int | None = None,
) -> pd.DataFrame:
    """Segment files and folders: masks at each image's own size, overlays, and one table.

    Images are read ahead and results are written behind while the model works; few are held at a time. A file is
    written under a temporary name and renamed when it is whole. An image that cannot be read is listed in the table
    with its reason and left out, unless ``strict``. Where it stops halfway, the table lists what was done.

    Args:
        paths: files and folders.
        out: gets ``masks/<name>.png`` (0 or 255), ``overlays/<name>.jpg`` and ``segmentation.csv``.
        predictor: the model.
        strict: stop at the first image that cannot be read.
        progress: told of every image.
        workers: threads that read, and as many that write; by default as many as the processor has use for.

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
    jobs = [Job(file, str(relative), unique_name(relative, names)) for file, relative in files]

    def read(job: Job) -> tuple[np.ndarray, tuple[torch.Tensor, ...]] | DataError:
        try:
            image = read_image(job.file)
        except DataError as error:
            return error
        return image, predictor.squeezed(image)

    def predict(job: Job, was: tuple[np.ndarray, tuple[torch.Tensor, ...]] | DataError) -> Predicted | DataError:
        if isinstance(was, DataError):
            if strict:
                raise was
            return was
        if not room.exists():
            write_whole(room, lambda path: path.write_bytes(bytes(LINE * len(files))))
        return was[0], predictor.predict(was[1])

    def write(job: Job, made: Predicted | DataError) -> dict[str, object]:
        if isinstance(made, DataError):
            return {"file": job.name, "warning": f"not segmented: {without_folder(made, job.file)}"}
        image, probability = made
        probability = enlarged(probability, image.shape[:2])
        return {"file": job.name} | write_one(image, probability, job.target, out, predictor)

    def keep(row: dict[str, object]) -> None:
        rows.append(row)
        progress("segmenting", len(rows), len(files))

    try:
        overlap(jobs, read, predict, write, keep, usual_workers() if workers is None else workers)
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


def write_one(
    image: np.ndarray, probability: np.ndarray, name: str, out: Path, predictor: Predictor
) -> dict[str, object]:
    """Write the mask and the overlay of one image, (H, W, 3) uint8, from its (H, W) map; give its row of the table."""
    mask, between = probability > predictor.threshold, unsure_pixels(probability)
    pieces, area = count_pieces(mask), np.count_nonzero(mask)
    uncertain = np.count_nonzero(between) / mask.size
    doubtful = doubts_of(mask, between)
    most = max(doubtful, key=doubtful.__getitem__)
    mask_file, overlay_file = Path("masks") / f"{name}.png", Path("overlays") / f"{name}.jpg"
    picture = Image.fromarray(mask.view(np.uint8) * np.uint8(255))
    # The mask last: on a disk that fills up in between, no mask is there that the table does not list.
    write_whole(out / overlay_file, lambda path: draw_overlay(image, mask).save(path, quality=90))
    write_whole(out / mask_file, lambda path: picture.save(path, compress_level=1, compress_type=zlib.Z_RLE))
    return {
        "mask": mask_file.as_posix(),
        "overlay": overlay_file.as_posix(),
        "width": image.shape[1],
        "height": image.shape[0],
        "area_pixels": area,
        "area_share": round(area / mask.size, 5),
        "uncertain_share": round(uncertain, 5),
        "pieces": pieces,
        **{name: round(value, 4) for name, value in doubtful.items()},
        "doubt": round(doubtful[most], 4),
        "doubt_by": most,
        "warning": "; ".join(filter(None, [warn(mask, pieces, uncertain), warn_of_image(image, predictor.size)])),
    }


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
