"""Is this laptop ready? Each question is answered by doing the thing once, on a small scale."""

from __future__ import annotations

import io
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement

from uslnet_core.workshop.wheels import BOOK_ONLY, PROJECT

MEMORY, FREE, DISK = 4.0, 1.5, 2.0  # GB: of the machine; of it free now; free on the disk
KERNEL = 50  # seconds that a kernel may take to answer


@dataclass(frozen=True)
class Answer:
    """One line of the check.

    Attributes:
        what: was looked at.
        good: whether it will do.
        told: what was found.
        advice: what to do if it will not; empty if it will.
    """

    what: str
    good: bool
    told: str
    advice: str = ""


def check_laptop(kit: Path | None) -> Iterator[Answer]:
    """Ask everything, one after the other; what goes wrong in one question is that question's answer.

    Args:
        kit: the unpacked kit, or the project's folder; None looks for neither images nor book.

    Yields:
        An answer each.
    """
    questions: list[tuple[str, Callable[[], Answer]]] = [
        ("Python", python_version),
        ("packages", packages),
        ("memory", memory),
        ("disk", lambda: disk(kit or Path.cwd())),
        ("training", training),
        ("notebooks", kernel),
        ("widgets", widgets),
        ("images", lambda: images(kit)),
        ("book", lambda: book(kit)),
    ]
    for what, ask in questions:
        try:
            yield ask()
        except Exception as error:  # whatever stands in the way on an unknown laptop
            advice = "Set up again with `python3 set_up.py`; if this stays, share a laptop and show this line."
            yield Answer(what, False, f"{type(error).__name__}: {error}", advice)


def python_version() -> Answer:
    """Whether Python is new enough, and of 64 bits."""
    told = f"{sys.version.split()[0]}, {'64' if sys.maxsize > 2**32 else '32'} bit"
    good = sys.version_info >= (3, 11) and sys.maxsize > 2**32
    return Answer("Python", good, told, "" if good else "Install Python 3.11 or newer, 64 bit, and set up again.")


def packages() -> Answer:
    """Whether all that the project wants is there, in the versions that it wants."""
    environment = {**default_environment(), "extra": ""}
    wrong, count = [], 0
    for line in metadata.requires(PROJECT) or []:
        requirement = Requirement(line)
        if requirement.name in BOOK_ONLY or (requirement.marker and not requirement.marker.evaluate(environment)):
            continue
        count += 1
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if found not in requirement.specifier:
            wrong.append(f"{requirement.name} {found}, not {requirement.specifier}")
    told = "; ".join(wrong) or f"{count} as wanted"
    return Answer("packages", not wrong, told, "Set up again: `python3 set_up.py`." if wrong else "")


def memory() -> Answer:
    """Whether there is memory for a small training beside a browser."""
    import psutil

    seen = psutil.virtual_memory()
    told = f"{seen.total / 1e9:.1f} GB, {seen.available / 1e9:.1f} GB free"
    if seen.total < MEMORY * 1e9:
        return Answer("memory", False, told, f"At least {MEMORY:g} GB are needed: share another laptop.")
    good = seen.available >= FREE * 1e9
    return Answer("memory", good, told, "" if good else f"Close programs until {FREE:g} GB are free, browsers first.")


def disk(folder: Path) -> Answer:
    """Whether there is room for runs."""
    free = shutil.disk_usage(folder).free / 1e9
    good = free >= DISK
    return Answer("disk", good, f"{free:.0f} GB free", "" if good else f"Make room: {DISK:g} GB are needed.")


def training() -> Answer:
    """Whether torch can learn: three steps of a small network on the uncertainty loss must lower it."""
    import torch

    from uslnet_core.losses import uncertainty_loss

    start = time.monotonic()
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, 32, 32, generator=rng)
    label = (images.mean(1) > 0.5).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = torch.nn.Conv2d(3, 1, 3, padding=1)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.5)
    losses = []
    for _ in range(4):
        loss = uncertainty_loss(network(images)[:, 0], label)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    told = f"torch {torch.__version__}, loss {losses[0]:.3f} to {losses[-1]:.3f} in {time.monotonic() - start:.1f} s"
    good = losses[-1] < losses[0]
    return Answer("training", good, told, "" if good else "torch does not learn here: set up again.")


def kernel() -> Answer:
    """Whether a notebook's kernel starts and answers."""
    start = time.monotonic()
    out = run_cell("print(6 * 7)")
    told = f"a kernel answered in {time.monotonic() - start:.0f} s"
    good = any(each.get("text", "").strip() == "42" for each in out)
    advice = "" if good else "Another Jupyter may be in the way: set up again, and start it with `set_up.py --lab`."
    return Answer("notebooks", good, told if good else f"a kernel gave {out}", advice)


def run_cell(source: str) -> list[dict]:
    """Run one cell in a fresh kernel of this environment; give its outputs."""
    import nbformat
    from nbclient import NotebookClient

    cell = nbformat.v4.new_code_cell(source)
    notebook = nbformat.v4.new_notebook(cells=[cell])
    quiet = ["--IPKernelApp.log_level=50"]  # nothing of local sockets or of being told to end
    client = NotebookClient(notebook, kernel_name="python3", timeout=KERNEL, startup_timeout=KERNEL)
    client.extra_arguments = quiet
    client.execute()
    return notebook.cells[0].outputs


def widgets() -> Answer:
    """Whether sliders have both halves, in Python and in JupyterLab; without them the pages' own explorers do."""
    import ipywidgets
    from jupyter_core.paths import jupyter_path

    places = [Path(place) / "labextensions" / "@jupyter-widgets" / "jupyterlab-manager" for place in jupyter_path()]
    good = any(place.is_dir() for place in places)
    told = f"ipywidgets {ipywidgets.__version__}, {'with' if good else 'without'} its half for JupyterLab"
    advice = "" if good else "Set up again. Until then use the explorers in the pages of the book: they need no kernel."
    return Answer("widgets", good, told, advice)


def images(kit: Path | None) -> Answer:
    """Whether the kit's images can be read; without a kit, whether one can be painted and read."""
    from PIL import Image

    from uslnet_core.data import synthetic

    folders = [kit / "images", kit / "data"] if kit else []
    files = [p for f in folders if f.is_dir() for p in sorted(f.rglob("*")) if p.suffix.lower() in (".png", ".jpg")]
    if not files:
        buffer = io.BytesIO()
        Image.fromarray(synthetic.image(0, size=64, seed=0)).save(buffer, "PNG")
        size = Image.open(io.BytesIO(buffer.getvalue())).size
        return Answer("images", size == (64, 64), "none in this folder; one was painted and read back")
    broken = []
    for path in files:
        try:
            Image.open(path).verify()
        except (OSError, SyntaxError):
            broken.append(path.name)
    told = f"{len(files) - len(broken)} of {len(files)} can be read"
    advice = f"Copy the kit again. Broken: {', '.join(broken[:3])}" if broken else ""
    return Answer("images", not broken, told, advice)


def book(kit: Path | None) -> Answer:
    """Whether the offline book is whole enough to open: its first page, and the scripts and styles that it names."""
    places = [kit / "book" / "index.html", kit / "_build" / "html" / "index.html"] if kit else []
    index = next((place for place in places if place.is_file()), None)
    if index is None:
        return Answer(
            "book", False, "not here", "Ask your teacher for a kit with the folder book/ (teacher: make book)."
        )
    if leads := re.search(r"http-equiv=.refresh.[^>]*url=([^\"'>]+\.html)", index.read_text("utf-8"), re.IGNORECASE):
        index = index.parent / leads[1]
    text = index.read_text("utf-8")
    named = set(re.findall(r'(?:src|href)="(?!https?:|#|data:|mailto:)([^"?#]+\.(?:js|css|html))', text))
    lost = sorted(name for name in named if not (index.parent / name).is_file())
    told = f"{index}; {len(named) - len(lost)} of the {len(named)} files that it names are there"
    return Answer("book", bool(named) and not lost, told, f"Copy the kit again. Missing: {lost[:3]}" if lost else "")
