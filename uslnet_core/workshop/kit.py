"""The workshop kit: one folder with all that a room of laptops needs, written by ``uslnet workshop``."""

from __future__ import annotations

import io
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from PIL import Image

from uslnet_core.data import synthetic
from uslnet_core.data.layouts import challenge_images, challenge_masks
from uslnet_core.data.registry import DATASETS
from uslnet_core.errors import RunError
from uslnet_core.workshop import wheels
from uslnet_core.workshop.exercises import blank, exercises, listing
from uslnet_core.workshop.slides import write_slides
from uslnet_core.workshop.writing import KitFolder

GUIDE = Path(__file__).parent / "guide"
SAMPLE = {"train": 40, "validation": 20}
SYNTHETIC = 12
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}"
    "body{color:#1a1a1a;background:#fff}"
    "table{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto}"
    "td,th{border:1px solid #999;padding:.3rem .6rem;text-align:left}"
    "pre,code{background:#eee;color:#1a1a1a;border-radius:3px;padding:.1em .3em}pre{padding:.7rem;overflow:auto}"
    "ul{padding-left:1.4rem}@media(prefers-color-scheme:dark){body{color:#e8e8e8;background:#161616}a{color:#8ab4f8}}"
)


@dataclass
class Kit:
    """What a kit was made of.

    Attributes:
        folder: the kit.
        root: of the project, if it was made from there; else None, and there is no wheelhouse.
        lines: what was put in, a line each.
        missing: what was left out, and how it could be had.
        kept: files that somebody had changed and that stayed; the new ones lie beside them.
    """

    folder: Path
    root: Path | None
    lines: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def make_kit(
    folder: Path,
    root: Path | None,
    *,
    data: Path | None = None,
    platforms: Sequence[str] = (),
    pythons: Sequence[str] = (),
    cpu_torch: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> Kit:
    """Write a kit, or bring one up to date.

    Args:
        folder: empty, new, or a kit from before.
        root: the project's folder; None where only the package is installed.
        data: the teacher's own ISIC-2017; None leaves real images out.
        platforms: kinds of laptops that the wheelhouse is for; none leaves it out.
        pythons: versions of Python that it is for; none: this one.
        cpu_torch: as :func:`uslnet_core.workshop.wheels.fetch` takes it.
        say: told of each part before it is made.

    Returns:
        What it was made of.

    Raises:
        DataError: the folder holds something else, images are missing, or wheels cannot be had. What was written until
            then stays, and the same command goes on.
    """
    pythons = list(pythons) or ["{}.{}".format(*sys.version_info)]
    target, kit = KitFolder(folder), Kit(folder, root)
    parts = (
        ("exercises", lambda: add_exercises(target, kit)),
        ("images", lambda: add_images(target, kit, data)),
        ("book and chapters", lambda: add_book(target, kit)),
        ("packages", lambda: add_packages(target, kit, platforms, pythons, cpu_torch)),
        ("pages", lambda: add_pages(target, kit)),
    )
    try:
        for what, make in parts:
            say(what)
            make()
    finally:
        target.save()
        kit.kept = target.kept
    return kit


def add_exercises(target: KitFolder, kit: Kit) -> None:
    """Put exercises for everybody, and solutions for the teacher."""
    for each in exercises():
        solution = nbformat.read(each.path, as_version=4)
        target.put(f"exercises/{each.path.name}", nbformat.writes(blank(solution)) + "\n")
        target.put(f"teacher/solutions/{each.path.name}", each.path)
    kit.lines.append(f"exercises/: {len(exercises())} exercises; solutions in teacher/solutions/")


def add_images(target: KitFolder, kit: Kit, data: Path | None) -> None:
    """Put a few synthetic images, and from the teacher's own ISIC-2017 the sample."""
    for name in synthetic.ids("train", SYNTHETIC):
        opened, buffer = Image.fromarray(synthetic.image(synthetic.index_of(name), size=256, seed=0)), io.BytesIO()
        opened.save(buffer, "PNG")
        target.put(f"images/{name}.png", buffer.getvalue())
    kit.lines.append(f"images/: {SYNTHETIC} synthetic images")
    if data is None and (kit.folder / "data" / "isic2017").is_dir():
        kit.lines.append("data/isic2017/: real images, from before")
        return
    if data is None:
        kit.missing.append("real images: give --data and the folder of your ISIC-2017 (`uslnet data fetch isic2017`)")
        return
    known, size = DATASETS["isic2017"], 0
    for part, count in SAMPLE.items():
        chosen = evenly(challenge_images(known, data, part), count)
        for _, path in chosen:
            target.put(f"data/isic2017/{known.images_folder[part]}/{path.name}", path)
            size += path.stat().st_size
        if part == known.score_split:  # to score by; of what is trained on, no mask comes along
            names = {name for name, _ in chosen}
            for name, path in challenge_masks(known, data, part):
                if name in names:
                    target.put(f"data/isic2017/{known.masks_folder[part]}/{path.name}", path)
    rule = (
        f"every part's images in the order of their names, evenly spaced: {SAMPLE['train']} of the training part and "
    )
    rule += (
        f"{SAMPLE['validation']} of the validation part, the first and the last of each included. No mask took part."
    )
    about = f"{known.title}\n\nLicence: {known.licence}\nCite: {known.citation}\n\nChosen by this rule: {rule}\n"
    target.put("data/isic2017/README.txt", about)
    kit.lines.append(f"data/isic2017/: {sum(SAMPLE.values())} real images, {size / 1e6:.1f} MB, CC0")


def evenly(found: Sequence[tuple[str, Path]], count: int) -> list[tuple[str, Path]]:
    """Take so many, evenly spaced, the first and the last included; all of them if there are fewer."""
    last = min(count, len(found)) - 1
    return [found[round(k * (len(found) - 1) / max(last, 1))] for k in range(last + 1)]


def add_book(target: KitFolder, kit: Kit) -> None:
    """Put the built book, the slides, and the chapters to run by hand."""
    if kit.root is None:
        kit.missing.append("the book and its chapters: make the kit from the project's folder")
        return
    for name in ("method.svg", "method-narrow.svg"):  # chapter 0 shows them
        target.put(f"book/assets/{name}", kit.root / "book" / "assets" / name)
    html = kit.root / "_build" / "html"
    if (html / "index.html").is_file():
        kit.lines.append(f"book/: {target.copy_tree(html, 'book')} files, opens from disk at book/index.html")
    else:
        kit.missing.append("the offline book: run `make book`, and then this command again")
    with tempfile.TemporaryDirectory() as made:
        try:
            _, count = write_slides(kit.root, Path(made))
            target.copy_tree(Path(made), "teacher/slides")
            kit.lines.append(f"teacher/slides/: {count} slides, open from disk at teacher/slides/index.html")
        except RunError as error:
            kit.missing.append(f"slides: {error}")
    for path in sorted((kit.root / "notebooks").glob("*.ipynb")):
        target.put(f"notebooks/{path.name}", path)
    target.put("_config.yml", kit.root / "_config.yml")  # by it a chapter finds the folder that it belongs to
    kit.lines.append("notebooks/: the chapters, to run by hand")


def add_packages(target: KitFolder, kit: Kit, platforms: Sequence[str], pythons: Sequence[str], cpu_torch: str) -> None:
    """Put the project's wheel, the list of packages, and a wheelhouse for each platform."""
    if kit.root is None:
        if platforms:
            raise RunError("A wheelhouse is made from the project's folder, by requirements.lock: change into it.")
        kit.missing.append("packages: make the kit from the project's folder")
        return
    folder, lock = kit.folder / "wheelhouse", kit.root / "requirements.lock"
    for old in folder.glob("uslnet_book-*.whl"):
        old.unlink()
    own = wheels.build_own(folder, kit.root)
    target.put("requirements.txt", wheels.needed_anywhere(wheels.read_lock(lock), pythons[0]))
    there = in_wheelhouse(kit.folder)
    target.put("set_up.py", GUIDE / "set_up.py")
    target.put("set_up.json", setting_of(own, there))
    for name in platforms:  # a platform is named once its wheels are there
        wheels.fetch(folder, lock, wheels.PLATFORMS[name], list(pythons), cpu_torch=cpu_torch)
        there = there | {name: list(pythons)}
        target.put("set_up.json", setting_of(own, there))
    if not there:
        kit.missing.append("a wheelhouse: laptops will ask a package index (give --platform to have one)")
    for name, versions in there.items():
        kit.lines.append(f"wheelhouse: {wheels.PLATFORMS[name].title}, Python {', '.join(versions)}")
    size = sum(path.stat().st_size for path in folder.iterdir())
    kit.lines.append(f"wheelhouse/: {size / 1e9:.2f} GB")


def setting_of(own: Path, pythons: Mapping[str, list[str]]) -> str:
    """Write what ``set_up.py`` reads: the project's wheel, and the Pythons that the wheelhouse is for, by platform."""
    return json.dumps({"pythons": dict(pythons), "wheel": f"wheelhouse/{own.name}"}, indent=1) + "\n"


def add_pages(target: KitFolder, kit: Kit) -> None:
    """Put the page to start from, and the teacher's pages."""
    folders = {
        "notebooks": "the chapters, to run by hand in the same JupyterLab",
        "book": "the book, to read offline: open [book/index.html](book/index.html)",
        "images": "a few synthetic images",
        "data": "real images, CC0",
    }
    there = [f"| `{name}/` | {what} |" for name, what in folders.items() if (kit.folder / name).is_dir()]
    house = in_wheelhouse(kit.folder)
    named = "; ".join(f"{wheels.PLATFORMS[name].title}: Python {' or '.join(each)}" for name, each in house.items())
    how = "Elsewhere packages come" if named else "Packages come"
    how += " from a package index: up to 3 GB, so do it at home."
    if named:
        how = f"It installs from the wheelhouse, with no network ({named}). {how}"
    versions = sorted({version for each in house.values() for version in each}, key=lambda text: int(text[2:]))
    words = {"pythons": " or ".join(versions) or "3.11 or newer", "how": how, "count": len(exercises())}
    text = (GUIDE / "start.md").read_text(encoding="utf-8")
    target.put("START.html", page("Start here", text.format(**words, rows="\n".join(there), listing=listing())))
    contents = "\n".join(f"- {line}" for line in kit.lines)
    missing = "\n".join(f"- {line}" for line in kit.missing) or "- nothing"
    teacher = (
        f"# For the teacher\n\nStudents begin with `START.html`. Leave this folder out of what you hand on.\n\n"
        f"## What is in this kit\n\n{contents}\n\n## What is not\n\n{missing}\n\n## Checklist\n\n"
        f"{(GUIDE / 'checklist.md').read_text(encoding='utf-8')}\n## Timetables\n\n"
        f"{(GUIDE / 'timetables.md').read_text(encoding='utf-8')}\n## Exercises\n\n{listing()}"
    )
    target.put("teacher/guide.html", page("For the teacher", teacher))


def in_wheelhouse(folder: Path) -> dict[str, list[str]]:
    """Tell for which platforms and Pythons a kit has wheels by now; platforms whose list is gone are left out."""
    setting = folder / "set_up.json"
    pythons = json.loads(setting.read_text(encoding="utf-8"))["pythons"] if setting.is_file() else {}
    return {k: v for k, v in pythons.items() if (folder / "wheelhouse" / f"requirements-{k}.txt").is_file()}


def page(title: str, text: str) -> str:
    """Turn markdown into one page that asks nothing of the web."""
    from markdown_it import MarkdownIt

    boxes = text.replace("- [ ] ", "- ☐ ")
    body = MarkdownIt("commonmark").enable("table").render(boxes)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head><body>\n{body}</body></html>\n'
