"""Export a predictor to ONNX files that were run and compared with torch before they are written."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from uslnet_core import __version__
from uslnet_core.compute import Progress, quiet
from uslnet_core.data import synthetic
from uslnet_core.data.datasets import image_sources
from uslnet_core.data.images import draw_or_decode, read_image
from uslnet_core.data.masks import MaskSource, mask_sources, read_mask
from uslnet_core.data.registry import dataset as known_dataset
from uslnet_core.encoder import MEAN, STD
from uslnet_core.errors import DataError, RunError
from uslnet_core.evaluation.masks import score
from uslnet_core.export import IMAGES, Answer, as_input, need_onnx, runner, to_half, to_int8, to_onnx, with_notes
from uslnet_core.inference import Predictor, find_images, write_whole

ENOUGH = 0.999  # of the pixels of the masks must be torch's
DRAWN = 48  # images to compare on, and as many to calibrate with
MOST = 200  # images of a folder or a dataset that are taken, in order
ROUNDS = 31
TORCH = "torch, float32"
SNIPPET = """\
import numpy, onnxruntime
from PIL import Image
model = onnxruntime.InferenceSession("{file}", providers=["CPUExecutionProvider"])
photo = Image.open("photo.jpg").convert("RGB").resize(({size}, {size}), Image.Resampling.BILINEAR)
images = numpy.asarray(photo, numpy.float32).transpose(2, 0, 1)[None] / 255
mask = model.run(None, {{"images": images}})[0][0] > {threshold}  # {size} × {size}, True is lesion
"""


@dataclass(frozen=True)
class Compared:
    """What exported files are compared on.

    Attributes:
        about: in words.
        squares: (N, S, S, 3) uint8.
        truth: (N, S, S) bool, for scoring alone; None where no masks are at hand.
    """

    about: str
    squares: np.ndarray
    truth: np.ndarray | None


def images_to_compare(name: str, data: Path | None, size: int) -> Compared:
    """Read images, and their masks to score by: of a dataset's part that is scored, or drawn ones for ``synthetic``.

    Args:
        name: a dataset.
        data: the folder that holds it; None for ``synthetic``.
        size: side of the squares, pixels.

    Raises:
        DataError: the dataset has no image there.
    """
    split = known_dataset(name).score_split
    count = DRAWN if name == "synthetic" else None
    sources = image_sources(name, data, split, count=count)[:MOST]
    masks = {each.id: each for each in mask_sources(name, data, split, count=count)}
    if masks:
        sources = [each for each in sources if each.id in masks]
    if not sources:
        raise DataError(f"No image to compare on in {name} {split}. Check --data, or leave --dataset out.")
    squares = np.stack([draw_or_decode(each, size)[0] for each in sources])
    truth = np.stack([truth_of(masks[each.id], size) for each in sources]) if masks else None
    kind = "drawn images" if name == "synthetic" else f"images of {name}-{split}"
    return Compared(f"{len(squares)} {kind}", squares, truth)


def truth_of(source: MaskSource, size: int) -> np.ndarray:
    """Read or draw one mask, (size, size) bool, for scoring alone."""
    if source.path is not None:
        return read_mask(source.path, size)
    index, seed = source.synthetic
    return synthetic.mask(index, size=size, seed=seed)


def images_to_calibrate(folder: Path | None, size: int) -> np.ndarray:
    """Read the first images of a folder, or draw some of the training part, which is not compared on. No masks.

    Returns:
        (N, size, size, 3) uint8.

    Raises:
        DataError: the folder has no images, or one of them cannot be read.
    """
    if folder is not None:
        return np.stack([read_image(file, size) for file, _ in find_images([folder])[:MOST]])
    names = synthetic.ids("train", DRAWN)
    return np.stack([synthetic.image(synthetic.index_of(name), size=size, seed=0) for name in names])


def export(
    predictor: Predictor,
    out: Path,
    about: str,
    compared: Compared,
    *,
    half: bool = False,
    calibration: np.ndarray | None = None,
    rounds: int = ROUNDS,
    progress: Progress = quiet,
) -> pd.DataFrame:
    """Export a predictor's network, run it in onnxruntime, and write it if its masks are torch's.

    The file is the network at one look; what a run of USL-plus adds around it is no part of it.

    Args:
        predictor: what to export; its network, size and threshold.
        out: the file in float32; the others lie beside it, ``<name>-half.onnx`` and ``<name>-int8.onnx``, and the table
            as ``<name>.csv``.
        about: where the network is from, in words.
        compared: images to compare on.
        half: also write it in float16.
        calibration: (N, S, S, 3) uint8, images without masks; with them, also write it in 8-bit integers.
        rounds: turns of each contender, for the medians.
        progress: told of every step.

    Returns:
        A row a contender, torch first: how, file, megabytes, ms_an_image (median, one thread, one image),
        percent_equal (of the masks' pixels, to torch in float32), dice_to_torch and, with masks, dice_to_truth, both
        means over images, percent.

    Raises:
        ConfigError: the extra is not installed.
        RunError: less than 99.9 % of the pixels are torch's; then nothing is written.
    """
    need_onnx()
    steps = 3 + half + (calibration is not None)
    progress("exporting", 0, steps)
    models = {"float32": to_onnx(predictor.model, predictor.size)}
    answers = {**torch_answers(predictor), "onnxruntime, float32": runner(models["float32"])}
    images = as_input(compared.squares)
    masks = {name: masks_of(answer, images, predictor.threshold) for name, answer in answers.items()}
    equal = float((masks["onnxruntime, float32"] == masks[TORCH]).mean())
    if equal < ENOUGH:
        raise RunError(
            f"The masks of the exported network are torch's in {equal:.3%} of the pixels of {compared.about}; expected "
            f"{ENOUGH:.1%} or more. Nothing was written. Try other versions of onnx, onnxscript and onnxruntime."
        )
    progress("exporting", 1, steps)
    if half:
        models["float16"] = to_half(models["float32"])
        progress("exporting", 2, steps)
    if calibration is not None:
        models["int8"] = to_int8(models["float32"], as_input(calibration))
        progress("exporting", steps - 2, steps)
    files = {f"onnxruntime, {kind}": name_of(out, kind) for kind in models}
    for kind, model in models.items():
        name = f"onnxruntime, {kind}"
        noted = with_notes(model, notes(predictor, about, kind)).SerializeToString()
        if name not in answers:
            answers[name] = runner(noted)
            masks[name] = masks_of(answers[name], images, predictor.threshold)
        write_whole(files[name], lambda path, content=noted: path.write_bytes(content))
    progress("exporting", steps - 1, steps)
    seconds = in_turns(answers, images[:1], rounds)
    rows = []
    for name, found in masks.items():
        path = files.get(name)
        row = {
            "how": name,
            "file": path.name if path else "",
            "megabytes": path.stat().st_size / 1e6 if path else None,
            "ms_an_image": 1000 * seconds[name],
            "percent_equal": 100 * (found == masks[TORCH]).mean(),
            "dice_to_torch": 100 * score(found, masks[TORCH])["DIC"].mean(),
        }
        if compared.truth is not None:
            row["dice_to_truth"] = 100 * score(found, compared.truth)["DIC"].mean()
        rows.append(row)
    digits = {"megabytes": 2, "ms_an_image": 2, "percent_equal": 3, "dice_to_torch": 2, "dice_to_truth": 2}
    table = pd.DataFrame(rows).round(digits)
    write_whole(out.with_suffix(".csv"), lambda path: table.to_csv(path, index=False))
    progress("exporting", steps, steps)
    return table


def name_of(out: Path, kind: str) -> Path:
    """Name the file of one number format beside the first."""
    ending = {"float32": "", "float16": "-half", "int8": "-int8"}[kind]
    return out.with_name(f"{out.stem}{ending}{out.suffix}")


def notes(predictor: Predictor, about: str, kind: str) -> dict[str, object]:
    """Say in the file what it is, what it takes and what it gives."""
    size = predictor.size
    return {
        "notice": "For research and teaching. Not a medical device.",
        "model": about,
        "made by": f"uslnet {__version__}",
        "size": size,
        "threshold": predictor.threshold,
        "computes in": kind,
        "input": f"{IMAGES}: (N, 3, {size}, {size}) float32 in [0, 1], red green blue, the whole image squeezed",
        "output": f"probability of lesion: (N, {size}, {size}) float32; above the threshold is lesion",
        "normalisation": f"inside the network: mean {MEAN}, standard deviation {STD}; do not normalise before",
    }


def torch_answers(predictor: Predictor) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Give torch in float32, which all else is compared with, and torch in the number format used here."""
    fabric, model = predictor.fabric, predictor.model.to(predictor.fabric.device)
    answer = Answer(model).eval()

    @torch.no_grad()
    def plain(images: np.ndarray) -> np.ndarray:
        batch = torch.from_numpy(images).to(fabric.device, memory_format=torch.channels_last)
        return answer(batch).cpu().numpy()

    @torch.no_grad()
    def usual(images: np.ndarray) -> np.ndarray:
        batch = torch.from_numpy(images).to(fabric.device, memory_format=torch.channels_last)
        with fabric.autocast():
            logits = model(batch)
        return torch.sigmoid(logits.float()).cpu().numpy()

    with fabric.autocast():
        mixed = torch.is_autocast_enabled(fabric.device.type)
    return {TORCH: plain} | ({"torch, as `uslnet segment` runs it here": usual} if mixed else {})


def masks_of(answer: Callable[[np.ndarray], np.ndarray], images: np.ndarray, threshold: float) -> np.ndarray:
    """Predict a few images at a time: (N, 3, S, S) float32 to (N, S, S) bool."""
    return np.concatenate([answer(images[k : k + 16]) > threshold for k in range(0, len(images), 16)])


def in_turns(
    answers: dict[str, Callable[[np.ndarray], np.ndarray]], image: np.ndarray, rounds: int
) -> dict[str, float]:
    """Time contenders in turn on one thread, so that a busy machine slows them alike: median seconds of each."""
    seconds: dict[str, list[float]] = {name: [] for name in answers}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(rounds):
            for name, answer in answers.items():
                start = time.perf_counter()
                answer(image)
                seconds[name].append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return {name: statistics.median(each) for name, each in seconds.items()}


def how_to_use(out: Path, predictor: Predictor) -> str:
    """Write the few lines that use the file without this package."""
    return SNIPPET.format(file=out.name, size=predictor.size, threshold=predictor.threshold)
