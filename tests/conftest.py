"""What all tests share: places, a browser if there is one, and steady hypothesis settings."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import settings
from tiny_settings import TINY

pytest.register_assert_rewrite("uncertainty_oracle")

ROOT = Path(__file__).resolve().parent.parent

if named := os.environ.get("USLNET_DATA"):  # kernels run in folders of their own
    os.environ["USLNET_DATA"] = str(Path(named).expanduser().resolve())

if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):  # tests and their kernels share the cores
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))

# no deadline, since shared machines stall; the same examples each time, so that a failure can be seen again
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Keep a file's tests in one process, and all chapters: they follow each other on one run."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "chapters" if nodeid.startswith("book/notebooks/") else super()._split_scope(nodeid)

    return ByFile(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Say what ``-n auto`` means: a process a core, and four at most, since each holds a torch of its own."""
    return max(1, min(os.cpu_count() or 1, 4))


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def names_place():
    """Whether a text names a folder, in a path as this system or JSON writes it: ``names_place(text, place)``."""

    def check(text: str, place: Path) -> bool:
        return any(f"{form}{end}" in text for form in (str(place), place.as_posix()) for end in '/"') or (
            json.dumps(str(place / "x"))[1:-2] in text
        )

    return check


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real datasets that USLNET_DATA names."""
    named = os.environ.get("USLNET_DATA")
    if not named:
        pytest.skip("USLNET_DATA is not set")
    folder = Path(named).expanduser()
    if not folder.is_dir():
        pytest.fail(f"USLNET_DATA is {named!r}, which is not a folder")
    return folder


@pytest.fixture(scope="session")
def load_tool():
    """Load a script of tools/ as a module: ``load_tool("screens")``."""

    def load(name: str):
        spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def chromium() -> str:
    """A Chromium to look at the built pages with."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    if os.environ.get("USLNET_BROWSER") == "needed":  # .ci/run: there the pages are looked at, or it fails
        pytest.fail("no Chromium on this machine, and USLNET_BROWSER says that one is needed: install chromium")
    pytest.skip("no Chromium on this machine: the built pages are not looked at")


# --- downloads -------------------------------------------------------------------------------------------------------


class Server:
    """Serves bytes by path. ``breaks``: after how many bytes each of the next answers ends too early."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.breaks: list[int] = []
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers.get("Range")
                outer.asked.append((self.path, wanted))
                content = outer.files.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                start = int(re.match(r"bytes=(\d+)-", wanted)[1]) if wanted and outer.ranges else 0
                if start and start >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                    self.end_headers()
                    return
                self.send_response(206 if start else 200)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                stop = start + outer.breaks.pop(0) if outer.breaks else len(content)
                self.wfile.write(content[start:stop])

            def log_message(self, *_) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server():
    serving = Server()
    yield serving
    serving.http.shutdown()
    serving.http.server_close()


# --- small trainings -------------------------------------------------------------------------------------------------
# torch is imported inside: tests of the project's own files start without it


@pytest.fixture(scope="session")
def tiny():
    """A configuration that trains in seconds; fields can be changed: ``tiny(seed=1, segmenter={"width": 8})``."""
    from uslnet_core.config import configure

    def make(dataset: str = "synthetic", seed: int = 0, **changes: dict):
        sections = {name: TINY.get(name, {}) | changes.get(name, {}) for name in {*TINY, *changes}}
        return configure("quick", dataset=dataset, seed=seed, **sections)

    return make


@pytest.fixture(scope="session")
def cpu(tiny):
    """The processor, in float32."""
    from uslnet_core.compute import make_fabric

    return make_fabric(tiny().compute)


@pytest.fixture(scope="module")  # before the module's own trainings: other numbers of threads give other last bits
def one_thread():
    """Sums in one order: what must be the same to the last byte is computed by one thread."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def pictures():
    """Sixteen synthetic images of 32 pixels."""
    import numpy as np

    from uslnet_core.data import synthetic
    from uslnet_core.data.images import ImageSet

    ids = synthetic.ids("train", 16)
    return ImageSet(ids, np.stack([synthetic.image(synthetic.index_of(i), size=32, seed=0) for i in ids]))


@pytest.fixture(scope="session")
def train():
    """Make every trained stage of a run whose images are there, and give them in order: ``train(run)``."""
    from uslnet_core import pipeline

    def make(run) -> list:
        stages = [pipeline.learn_features(run), pipeline.make_saliency(run), pipeline.make_labels(run)]
        return [*stages, pipeline.train_iteration(run, 0), *pipeline.refine(run)]

    return make


@pytest.fixture(scope="session")
def lay_out():
    """A small dataset as ISIC 2017 comes: ``lay_out(root, train=12, validation=4)`` writes it and gives the root."""
    import numpy as np
    from PIL import Image

    from uslnet_core.data import synthetic

    def write(root: Path, **counts: int) -> Path:
        for part, count in counts.items():
            images = root / "isic2017" / f"ISIC-2017_{part.title().replace('Train', 'Training')}_Data"
            masks = images.with_name(images.name.replace("_Data", "_Part1_GroundTruth"))
            images.mkdir(parents=True)
            masks.mkdir()
            for name in synthetic.ids(part, count):
                index = synthetic.index_of(name)
                key = f"ISIC_{index:07d}"
                Image.fromarray(synthetic.image(index, size=48, seed=0)).save(images / f"{key}.jpg", quality=95)
                mask = synthetic.mask(index, size=48, seed=0).astype(np.uint8) * 255
                Image.fromarray(mask).save(masks / f"{key}_segmentation.png")
        return root

    return write


@pytest.fixture(scope="session")
def trained_run(tiny, train, tmp_path_factory):
    """A tiny synthetic run, trained to its last segmenter. Tests read it; none writes into it."""
    from uslnet_core import pipeline
    from uslnet_core.runs import Run

    run = Run(tmp_path_factory.mktemp("shared") / "runs" / "synthetic-quick", tiny())
    pipeline.prepare_images(run, "train")
    train(run)
    return run


@pytest.fixture
def folder_run(tmp_path, tiny):
    """Eight images of a user's own with masks beside: one mask is cut short, one of another size, one missing."""
    import numpy as np
    from PIL import Image

    from uslnet_core import pipeline
    from uslnet_core.data import synthetic
    from uslnet_core.runs import Run

    data = tmp_path / "pictures"
    data.mkdir()
    for index in range(8):
        shape = (60 + index, 40)
        Image.fromarray(synthetic.image(index, size=64, seed=0)).resize(shape).save(data / f"{index}.png")
        mask = Image.fromarray(synthetic.mask(index, size=64, seed=0).astype(np.uint8) * 255)
        if index < 7:
            mask.resize(shape if index != 6 else (20, 20)).save(data / f"{index}_mask.png")
    cut = data / "5_mask.png"
    cut.write_bytes(cut.read_bytes()[:60])
    run = Run(tmp_path / "runs" / "folder-quick", tiny("folder"), data)
    pipeline.prepare_images(run, "all")
    return run
