"""How fast images are decoded, read and augmented, as ratios to peers in the same process, and what 100,000 take.

    python benchmarks/data.py [--out table.csv] [--size 128] [--rounds 9] [--count 100000] [--steps 8]

Every contender takes its turn, round by round, so that a busy machine slows them alike; a ratio is the median of the
rounds' ratios. Files and images are synthetic. The large set of ``--count`` images is prepared, read, learnt from for
an epoch, and labelled: some ten minutes and 2 GB of disk for 100,000, a minute for 5000, and 0 leaves it out. A profile
of ``--steps`` training steps says how long they wait for data, on the processor and on a GPU where there is one.

Memory is counted in two ways, each at its most. *All pages* is what Linux calls VmHWM: what the process has in memory,
its own pages and those of the files that it maps, which the system could take back; its cache of what is written and
not mapped belongs to no process. *Own pages* is RssAnon and RssShmem, looked at every 20 ms.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import statistics
import tempfile
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from _timing import arguments, circumstances, in_turn, judged, tell_goals
from PIL import Image
from torch.profiler import ProfilerActivity, profile, record_function
from torchvision.transforms import v2

from uslnet_core.compute import generator, make_fabric, peak_memory
from uslnet_core.config import Recipe, configure
from uslnet_core.contrastive.pretrain import build, pretrain
from uslnet_core.contrastive.views import random_view
from uslnet_core.data import synthetic
from uslnet_core.data.decoding import read_image
from uslnet_core.data.images import ImageSet, ImageSource, as_floats, read, write_images
from uslnet_core.errors import TrainingError
from uslnet_core.loop import Loop
from uslnet_core.pipeline.training import load_labels, write_labels
from uslnet_core.refine import augmented, read_lesson
from uslnet_core.saliency.source import upsample

# Goals: at least so many times the peer, images a second; at most so far from PIL, GB, share of a step.
TIMES_LARGE, FAR, PER_SECOND, TIMES_VIEWS, GIGABYTES, WAITING = 4.0, 0.5, 50_000, 3.0, 6.0, 0.02
# Width, height, noise of the camera in levels, JPEG quality. The last is as large as a 12-megapixel file gets.
FILES = {
    "small JPEG": (600, 450, 3, 90),
    "usual JPEG": (1022, 767, 3, 90),
    "12-MP JPEG": (4000, 3000, 2, 90),
    "12-MP JPEG, large file": (4000, 3000, 5, 95),
}


def ratio(seconds: dict[str, list[float]], peer: str, ours: str) -> float:
    """Say how many times faster ours is than the peer: the median over the rounds."""
    return statistics.median(a / b for a, b in zip(seconds[peer], seconds[ours], strict=True))


def pillow(path: Path, size: int) -> np.ndarray:
    """Decode as a few lines of Pillow do."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))


def photograph(path: Path, width: int, height: int, noise: int, quality: int) -> Path:
    """Write a synthetic image with a camera's noise as a JPEG."""
    large = Image.fromarray(synthetic.image(3, size=1024, seed=0)).resize((width, height), Image.Resampling.BICUBIC)
    grain = np.rint(np.random.default_rng(0).normal(0, noise, (height, width, 3)))
    Image.fromarray((np.asarray(large) + grain).clip(0, 255).astype(np.uint8)).save(path, quality=quality)
    return path


def decoding(folder: Path, size: int, rounds: int) -> list[dict]:
    """One image at a time against PIL, and threads against processes."""
    rows = []
    for name, kind in FILES.items():
        path = photograph(folder / f"{name}.jpg", *kind)
        apart = np.abs(read_image(path, size).astype(int) - pillow(path, size))
        seconds = in_turn({"pil": partial(pillow, path, size), "ours": partial(read_image, path, size)}, rounds)
        large, note = "12-MP" in name, f"{path.stat().st_size / 1e6:.1f} MB, to {size} px"
        times, goal = ratio(seconds, "pil", "ours"), TIMES_LARGE if large else None
        rows.append(judged(f"{name}: speed", times, "times PIL", goal, note=note))
        if large:
            mean = float(apart.mean())
            rows.append(judged(f"{name}: mean difference", mean, "of 255", FAR, most=True, note=note))
        else:
            most = float(apart.max())
            rows.append(judged(f"{name}: largest difference", most, "of 255", 1, most=True, note=note))
    files = [folder / "small JPEG.jpg"] * 64
    with ThreadPoolExecutor(2) as threads, ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as processes:
        pools = {"threads": threads, "processes": processes}
        several = {
            name: lambda pool=pool: list(pool.map(read_image, files, [size] * 64)) for name, pool in pools.items()
        }
        several["processes"]()  # they start, and import
        seconds = in_turn({"one": lambda: [read_image(file, size) for file in files], **several}, max(3, rounds // 2))
    for name in pools:
        rows.append(judged(f"two {name}", ratio(seconds, "one", name), "times one", note="small JPEGs"))
    return rows


def reading(folder: Path, size: int, rounds: int) -> list[dict]:
    """Batches of 64 in random order from a warm memory map: as stored, and as floats for a network."""
    count = 2**28 // (3 * size * size)
    np.save(folder / "images.npy", np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8))
    images = ImageSet([str(number) for number in range(count)], np.load(folder / "images.npy", mmap_mode="r"))
    parts = torch.randperm(count, generator=generator(0)).split(64)
    seconds = in_turn({n: lambda f=f: [f(p) for p in parts] for n, f in _readers(images).items()}, rounds + 1)
    stored, floats = (count / statistics.median(times[1:]) for times in seconds.values())  # the first warms up
    return [
        judged("memory map, as stored", stored, "images/s", PER_SECOND, note=f"{size} px"),
        judged("memory map, as floats", floats, "images/s", note=f"{size} px; on a GPU, the device does this"),
    ]


def _readers(images: ImageSet) -> dict:
    return {"stored": images.pixels, "floats": images.batch}


def per_sample(recipe: Recipe) -> v2.Compose:
    """The same operations in torchvision's v2, for one image at a time."""
    scale = recipe.crop / 224
    jitter = v2.ColorJitter(recipe.brightness, recipe.contrast, recipe.saturation, recipe.hue)
    blur = v2.GaussianBlur(2 * max(1, math.ceil(6 * scale)) + 1, (0.1 * scale, 2 * scale))
    crop = v2.RandomResizedCrop(recipe.crop, scale=recipe.crop_area, antialias=False)
    steps = [crop, v2.RandomHorizontalFlip(), v2.RandomVerticalFlip(), v2.RandomApply([jitter], recipe.jitter)]
    return v2.Compose(
        [*steps, v2.RandomGrayscale(recipe.grey), *([v2.RandomApply([blur], recipe.blur)] * bool(recipe.blur))]
    )


def augmentation(rounds: int) -> list[dict]:
    """A batch of 32 at once against v2 sample by sample, both from floats."""
    rows = []
    for name, method in itertools.product(("quick", "workshop", "paper"), ("simclr", "moco_v2")):
        config = configure(name)
        recipe, rng, size = config.recipe(method), generator(0), config.images.size
        images = torch.rand(32, 3, size, size, generator=rng)
        alone = per_sample(recipe)
        contenders = {
            "v2": lambda images=images, alone=alone: torch.stack([alone(image) for image in images]),
            "ours": partial(random_view, images, recipe, rng),
        }
        in_turn(contenders, 1)
        times = ratio(in_turn(contenders, rounds), "v2", "ours")
        note = f"{recipe.crop} px{', with blur' * bool(recipe.blur)}"
        rows.append(judged(f"views, {name}, {method}", times, "times v2", TIMES_VIEWS, note=note))
    return rows


class Watch:
    """Looks every 20 ms how much memory of its own this process holds; keeps the most, GB, NaN where none can tell."""

    def __enter__(self) -> Watch:
        """Begin to look."""
        self.most, self.over = math.nan, threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()
        return self

    def look(self) -> None:
        """Look again and again."""
        status = Path("/proc/self/status")
        while status.exists():
            words = [line.split() for line in status.read_text().splitlines()]
            own = sum(int(word[1]) for word in words if word[0] in ("RssAnon:", "RssShmem:")) * 2**10 / 1e9
            self.most = own if math.isnan(self.most) else max(own, self.most)
            if self.over.wait(0.02):
                break

    def __exit__(self, *_: object) -> None:
        """End."""
        self.over.set()
        self.thread.join()


def held() -> float:
    """Give the most memory that this process has held so far, GB."""
    return peak_memory() * 2**20 / 1e9


def large_set(folder: Path, count: int, size: int) -> tuple[dict[str, float], float]:
    """Prepare, read, label and learn from a simulated set: the most memory held by then, GB, and the most of its own.

    Preparing decodes one small file again and again, to 32 pixels. The rest sees a sparse memory map of the full size:
    its pages take memory as those of any file do. An epoch of SimCLR is one of the package's training, on small views.
    """
    torch.set_num_threads(1)
    with Watch() as watch:
        peaks = {"start": held()}
        path = folder / "one.jpg"
        Image.fromarray(synthetic.image(0, size=32, seed=0)).save(path)
        write_images([ImageSource(f"image{number}", path) for number in range(count)], folder / "prepared", 32)
        peaks["prepare"] = held()
        np.lib.format.open_memmap(folder / "sparse.npy", "w+", np.uint8, (count, size, size, 3))
        images = ImageSet([str(number) for number in range(count)], np.load(folder / "sparse.npy", mmap_mode="r"))
        for part in torch.randperm(count).split(256):
            images.pixels(part)
        peaks["read all"] = held()
        recipe = {"crop": 32, "batch_size": 64, "epochs": 1}
        config = configure("quick", contrastive=recipe, compute={"device": "cpu"})
        # The images are all alike, so there is nothing to learn, which a training says in the end; memory is the same.
        with suppress(TrainingError):
            pretrain(images, config, make_fabric(config.compute))
        peaks["an epoch of SimCLR"] = held()
        rng = np.random.default_rng(0)
        grids = (torch.from_numpy(rng.random((len(p), 8, 8), np.float32)) for p in torch.arange(count).split(64))
        write_labels((upsample(each, size).numpy() for each in grids), config.uncertainty, folder)
        peaks["label all"] = held()
        labels, _ = load_labels(folder)
        for part in torch.randperm(count).split(32):  # what an epoch of the segmenter reads
            lesson = read_lesson(images, labels, part, torch.device("cpu"))
        augmented(*lesson, config.segmenter, generator(0), torch.device("cpu"))
        peaks["read all lessons"] = held()
    return peaks, watch.most


def memory(folder: Path, count: int, size: int) -> list[dict]:
    """Run `large_set` in processes of their own, since a process's peak never falls: with a tenth, and with all."""
    found = {}
    for number in (max(128, count // 10), count):
        (place := folder / str(number)).mkdir()
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            found[number] = pool.submit(large_set, place, number, size).result()
    (few, _), (peaks, own) = found.values()
    name, most = f"{count} images of {size} px", max(peaks.values())
    rows = [judged(f"{name}: {stage}", peak, "GB at most so far", note="all pages") for stage, peak in peaks.items()]
    return [
        *rows,
        judged(f"{name}: more than a tenth of them", most - max(few.values()), "GB", note="all pages"),
        judged(f"{name}: most", most, "GB", GIGABYTES, most=True, note="all pages: its own and those of files"),
        judged(f"{name}: most of its own", own, "GB", GIGABYTES, most=True, note="own pages, without those of files"),
    ]


def waiting(folder: Path, steps: int) -> list[dict]:
    """Profile trainings: how long has a step nothing to learn from, because the next batch is not there?"""
    rows = [waiting_share(folder, "quick", "cpu", steps)]
    if not torch.cuda.is_available():
        rows.append(judged("a step waits for data, GPU", math.nan, "share", WAITING, most=True, note="no GPU here"))
        return rows
    return rows + [waiting_share(folder, name, "gpu", steps) for name in ("workshop", "paper")]


def waiting_share(folder: Path, name: str, where: str, steps: int) -> dict:
    """Profile steps of SimCLR as `pretrain` takes them; on a GPU, data are there once they have been moved to it."""
    config = configure(name, compute={"device": where})
    recipe, size, fabric = config.recipe("simclr"), config.images.size, make_fabric(config.compute)
    count = recipe.batch_size * (steps + 3)
    np.lib.format.open_memmap(folder / "many.npy", "w+", np.uint8, (count, size, size, 3))
    images = ImageSet([str(n) for n in range(count)], np.load(folder / "many.npy", mmap_mode="r"))
    options = {"learning_rate": 1e-4, "weight_decay": 0.0, "warm_up": 0.1, "rng": generator(0), "fabric": fabric}
    model = build(images, config, recipe, None)
    loop = Loop(model, count=count, batch_size=recipe.batch_size, epochs=1, **options)
    loop.model.mark_forward_method("loss")
    done = torch.cuda.synchronize if fabric.device.type == "cuda" else lambda: None
    handed = loop.rest_of_epoch(partial(read, images, fabric.device))

    def step() -> None:
        with record_function("wait for data"):
            floats = as_floats(next(handed), fabric.device)
            done()
        with record_function("learn"):
            with fabric.autocast():
                loss = loop.model.loss(floats, loop.draws)[0]
            loop.step(loss)
            done()

    step(), step()  # the first steps choose their kernels
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(steps):
            step()
    handed.close()
    took = {each.key: each.cpu_time_total for each in seen.key_averages()}
    share = took["wait for data"] / (took["wait for data"] + took["learn"])
    machine = torch.cuda.get_device_name() if where == "gpu" else "processor"
    note = f"{config.backbone}, {size} px, batch {recipe.batch_size}, {machine}"
    return judged(f"a step waits for data, {name}", share, "share", WAITING, most=True, note=note)


def main() -> None:
    """Measure, print, and write the table where asked to."""
    args = arguments(__doc__, size=128, rounds=9, count=100_000, steps=8)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = decoding(folder, args.size, args.rounds) + reading(folder, args.size, args.rounds)
        rows += augmentation(args.rounds) + waiting(folder, args.steps)
        if args.count:
            rows += memory(folder, args.count, args.size)
    table = pd.DataFrame(rows)
    machine, versions = circumstances()
    print(f"{args.rounds} rounds · {machine} · {versions}\n")
    print(table.to_string(index=False))
    tell_goals(rows, args.out)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        measured = f"{args.rounds} rounds, {machine}, {versions}, {date.today().isoformat()}"
        table.assign(measured=[measured, *[""] * (len(table) - 1)]).to_csv(args.out, index=False)


if __name__ == "__main__":
    main()
