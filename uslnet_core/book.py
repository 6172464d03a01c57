"""Notebooks in, pages out: parameters, execution by papermill, progress, and the Jupyter Book build."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from uslnet_core.compute import Progress
from uslnet_core.config import configure
from uslnet_core.data.registry import DATASETS
from uslnet_core.errors import ConfigError, RunError, USLNetError
from uslnet_core.parameters import read_parameters
from uslnet_core.reporting import FileProgress, LiveProgress
from uslnet_core.runs import Run, begin_name

PROGRESS_FILE = "USLNET_PROGRESS_FILE"  # where a kernel that the command line started reports its progress
DEVICE = "USLNET_DEVICE"  # the command line's choice of device, for the kernels it starts
DATA = "USLNET_DATA"  # where datasets are, unless --data says otherwise
RUNS = "USLNET_RUNS"  # where runs are, unless --runs says otherwise
WEIGHTS = "USLNET_WEIGHTS"  # where public checkpoints are
# A box of the method's picture that is a link: its page and name, its first rectangle, and what is around that.
LINK = re.compile(
    r'<a href="(?P<page>[^"]+)">(?P<before><title>(?P<name>[^<]+)</title>.*?)(?P<box><rect [^>]+>)(?P<after>.*?)'
    r"(?P<end>(?:</g>)?\s*)</a>",
    re.DOTALL,
)
# What each notebook needs from earlier ones. 00 needs nothing; 14 takes a trained run, or the student that ships.
READS = {
    "00": [],
    "01": [],
    "02": ["01"],
    "03": ["01", "02"],
    "04": ["01", "03"],
    "05": ["01", "02", "04"],
    "06": ["01", "02", "05"],
    "07": ["01", "03", "04", "05", "06"],
    "09": ["01", "02", "03", "04", "05", "06"],
    "10": ["01", "02", "03"],
    "11": ["01", "02", "03", "04", "05", "06"],
    "13": ["01", "07"],
    "14": [],
    "15": ["01", "02"],
}


class NotebookError(USLNetError):
    """A notebook stopped; the message says which, where, and why.

    Args:
        message: for the user.
        settled: the notebook itself says that it cannot go on like this, so that the same again ends the same.
    """

    def __init__(self, message: str, *, settled: bool = False) -> None:
        super().__init__(message)
        self.settled = settled


# --- where things are ------------------------------------------------------------------------------------------------


def project_root() -> Path:
    """Find the project: the folder here, or above the package, that holds ``notebooks`` and ``_config.yml``.

    Raises:
        RunError: neither is inside the project.
    """
    for start in (Path.cwd(), Path(__file__).resolve().parent):
        for folder in (start, *start.parents):
            if (folder / "_config.yml").exists() and (folder / "notebooks").is_dir():
                return folder
    raise RunError(
        "This is not the USL-Net book's folder: change into the folder that holds _config.yml and notebooks/."
    )


def find_notebooks(root: Path) -> dict[str, Path]:
    """List the notebooks by number: ``{"00": …/00_start_here.ipynb, …}``."""
    return {p.name[:2]: p for p in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))}


def data_folder(data: str = "") -> Path:
    """Choose the folder of datasets: the one given, else the environment's ``USLNET_DATA``, else the project's."""
    return Path(data or os.environ.get(DATA) or project_root() / "data").expanduser().resolve()


def runs_folder(runs: str = "") -> Path:
    """Choose the folder of all runs: the one given, else the environment's ``USLNET_RUNS``, else the project's."""
    return Path(runs or os.environ.get(RUNS) or project_root() / "runs").expanduser().resolve()


def find_run(run: str, runs: str) -> Path:
    """Find a run by name or folder.

    Raises:
        RunError: there is none; the message lists those that are there.
    """
    if Path(run).is_dir():
        return Path(run).resolve()
    folder = runs_folder(runs)
    if (folder / run).is_dir():
        return folder / run
    there = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    raise RunError(
        f"No run named {run!r} in {folder}. "
        + (f"There: {', '.join(there)}." if there else "There is none yet: `uslnet book` makes synthetic-quick.")
    )


def weights_folder(weights: str = "") -> Path:
    """Choose the folder of public checkpoints: the one given, else ``USLNET_WEIGHTS``, else the project's."""
    return Path(weights or os.environ.get(WEIGHTS) or project_root() / "weights").expanduser().resolve()


def open_run(
    *,
    dataset: str = "synthetic",
    profile: str = "quick",
    data: str = "",
    seed: int = 0,
    name: str = "",
    runs: str = "",
    method: str = "usl-net",
    **sections: Any,
) -> Run:
    """Open a run for a notebook or the command line; nothing is written yet.

    Args:
        dataset: ``synthetic``, ``isic2017``, ``isic2018``, ``ph2`` or ``folder``.
        profile: ``quick``, ``workshop`` or ``paper``.
        data: folder that holds the dataset; empty: as :func:`data_folder` chooses.
        seed: seed of everything random.
        name: tells runs of one dataset and profile apart.
        runs: folder of all runs; empty: as :func:`runs_folder` chooses.
        method: ``usl-net``, the paper's, or ``usl-plus``, past it.
        **sections: changed fields, as :func:`uslnet_core.config.configure` takes them.

    Returns:
        The run.

    Raises:
        ConfigError: a value is unknown or out of range.
    """
    device = {"device": os.environ.get(DEVICE)}
    sections["compute"] = device | (sections.get("compute") or {})
    config = configure(profile, dataset=dataset, seed=seed, method=method, **sections)
    if name and not re.fullmatch(r"[A-Za-z0-9_.=,+-]+", name):  # = , + are for the cells of a sweep
        raise ConfigError(f"name {name!r} becomes part of a folder's name: use letters, digits, '-', '_' and '.' only.")
    root, all_runs = project_root(), runs_folder(runs)
    source = None if dataset == "synthetic" else data_folder(data)
    named = {
        "data": source if source != root / "data" else None,
        "runs": all_runs if all_runs != root / "runs" else None,
    }
    options = "".join(f" --{option} {shlex.quote(str(place))}" for option, place in named.items() if place)
    if name.startswith("usl-plus"):
        raise ConfigError(f"name {name!r} begins as the folders of --method usl-plus do: choose another.")
    folder = all_runs / "-".join(filter(None, [begin_name(config), name]))
    return Run(folder, config, source, reporter(), options, weights=weights_folder())


def common_parameters(
    dataset: str, profile: str, data: str, seed: int, name: str, runs: str, method: str = "usl-net"
) -> dict[str, Any]:
    """Collect the parameters that all notebooks share; folders become absolute, since kernels run elsewhere."""
    return {
        "dataset": dataset,
        "profile": profile,
        "data": str(data_folder(data)),
        "seed": seed,
        "name": name,
        "runs": str(runs_folder(runs)),
        "method": method,
    }


def method_picture() -> Any:
    """Show the whole method in one picture, in a notebook; every box is a link to its chapter.

    Returns:
        An `IPython.display.HTML` with the layouts for wide and for narrow windows, of which one is seen.
    """
    from IPython.display import HTML

    assets = project_root() / "book" / "assets"
    layouts = [(assets / name).read_text(encoding="utf-8") for name in ("method.svg", "method-narrow.svg")]
    drawn = "".join(layouts).replace('href="../../notebooks/', 'href="')  # as seen from beside the notebooks
    return HTML(f'<div class="method-picture">{LINK.sub(_cover, drawn)}</div>')


def _cover(link: re.Match[str]) -> str:
    """Lay a link of HTML over a box: JupyterLab opens that as a notebook, and stumbles over a link of SVG."""
    place = " ".join(re.search(rf'\b{side}="[^"]+"', link["box"])[0] for side in ("x", "y", "width", "height"))
    anchor = f'<a href="{link["page"]}" aria-label="{link["name"]}" style="display:block;height:100%"></a>'
    over = f"<foreignObject {place}>{anchor}</foreignObject>"
    return f'<g class="m-link">{link["before"]}{link["box"]}{link["after"]}{over}{link["end"]}</g>'


# --- progress --------------------------------------------------------------------------------------------------------


def reporter() -> Progress:
    """Choose how long work reports: to the command line that started this kernel, or in the notebook itself."""
    if file := os.environ.get(PROGRESS_FILE):
        return FileProgress(Path(file))
    return LiveProgress()


# --- execution -------------------------------------------------------------------------------------------------------


def made_by(run: Run, number: str, iterations: int | None = None) -> set[str]:
    """Name the stages that a notebook leaves behind.

    Args:
        run: the run; its configuration says which parts are trained on and scored, and how many iterations there are.
        number: of the notebook.
        iterations: as given to the notebooks, if not as the configuration says.
    """
    known, count = DATASETS[run.config.dataset], iterations or run.config.refinement.iterations
    part = run.config.evaluation.split or known.score_split
    return {
        "01": {f"01-data/images/{known.train_split}"},
        "02": {f"02-contrastive/{name}" for name in run.config.encoders},
        "03": {"03-saliency/main"},
        "04": {"04-labels"},
        "05": {"05-segmenter/iteration-0"},
        "06": {f"05-segmenter/iteration-{k}" for k in range(1, count)},
        "07": {f"07-evaluation/{part}"},
        "09": {f"tables/table-8/{part}"},
        "10": {f"tables/table-9/{part}"},
        "11": {f"tables/figure-9/{part}", f"tables/options/{part}"},
        "15": {f"tables/{item}/{part}" for item in ("steps", "parts", "lessons")},
    }.get(number, set())


def missing_inputs(run: Run, number: str, iterations: int | None = None) -> list[str]:
    """List the notebooks whose stages a notebook needs and this run lacks, or holds only stale, in order.

    Args:
        run: the run.
        number: of the notebook that shall run.
        iterations: as in :func:`made_by`.
    """
    whole = set(run.whole())
    needed: set[str] = set()
    for before in READS.get(number, []):
        if not made_by(run, before, iterations) <= whole:
            needed |= {*missing_inputs(run, before, iterations), before}
    return sorted(needed)


def hand_on(
    notebook: Path, common: Mapping[str, Any], extra: Mapping[str, Any], device: str, progress: Path
) -> tuple[dict[str, Any], dict[str, str]]:
    """Sort what a notebook is given into values of its parameters cell and variables of its kernel.

    Folders reach the kernel by its environment, so that no published page names a folder of this machine.

    Args:
        notebook: the notebook.
        common: values for the parameters that all notebooks share.
        extra: further values, already checked.
        device: auto, cpu or gpu.
        progress: the file in which the kernel reports its progress.

    Returns:
        Values and environment, as :func:`execute` takes them.
    """
    known = read_parameters(notebook)
    shared = {k: "" if k in ("data", "runs") else v for k, v in common.items() if k in known}
    environment = {DEVICE: device, DATA: common["data"], RUNS: common["runs"], PROGRESS_FILE: str(progress)}
    return shared | dict(extra), environment


def execute(notebook: Path, output: Path, parameters: Mapping[str, Any], environment: Mapping[str, str]) -> float:
    """Execute one notebook in a fresh kernel with papermill.

    Args:
        notebook: the notebook; it is not changed.
        output: where the executed copy goes; one that stops halfway goes beside it, as ``<name>.failed.ipynb``.
        parameters: checked values for its parameters cell.
        environment: variables for its kernel, besides those of this process.

    Returns:
        Seconds taken.

    Raises:
        NotebookError: a cell raised; the message is the error's own if it is one of ours.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError

    # Papermill's own check of names warns of lines that it cannot read; names and types were checked before, in full.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    output.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    failed = output.with_suffix(".failed.ipynb")
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)  # kernels inherit it; papermill has no way to hand variables on
    try:
        papermill.execute_notebook(
            notebook,
            failed,
            dict(parameters),
            kernel_name="python3",
            progress_bar=False,
            cwd=notebook.parent,
            extra_arguments=["--IPKernelApp.log_level=50"],  # nothing of local sockets or of being told to end
        )
    except DeadKernelError:
        raise NotebookError(
            f"Notebook {notebook.stem} stopped: its kernel died, most likely for want of memory. Take fewer images (-p "
            f"count in notebook 01) or a smaller profile.\nThe copy as far as it came: {failed}"
        ) from None
    except papermill.PapermillExecutionError as error:
        known = {c.__name__ for c in all_subclasses(USLNetError)}
        name = error.ename.split(".")[-1]
        reason = error.evalue if name in known else f"{name}: {error.evalue}"
        raise NotebookError(
            f"Notebook {notebook.stem} stopped: {reason}\nThe executed copy, with the traceback: {failed}",
            settled=name in known,
        ) from None
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
    failed.replace(output)  # a copy that succeeded before stays until this one has, too
    return time.monotonic() - start


def all_subclasses(cls: type) -> Iterator[type]:
    """Walk all classes below one."""
    for child in cls.__subclasses__():
        yield child
        yield from all_subclasses(child)


def export_html(executed: Path) -> Path:
    """Turn an executed notebook into one HTML file beside it, figures included."""
    from nbconvert import HTMLExporter

    target = executed.with_suffix(".html")
    target.write_text(HTMLExporter().from_filename(str(executed))[0], encoding="utf-8")
    return target


def build_html(root: Path) -> Path:
    """Build the Jupyter Book from ``book/`` into ``_build/html``; warnings are errors.

    Raises:
        NotebookError: the build failed; the message holds what it complained of.
    """
    shutil.rmtree(root / "_build", ignore_errors=True)
    command = [
        sys.executable,
        "-c",
        "from jupyter_book.cli.main import main; main()",
        "build",
        "book",
        "--config",
        "_config.yml",
        "--path-output",
        ".",
    ]
    result = subprocess.run(
        [*command, "--all", "-W", "-n", "--keep-going"], cwd=root, capture_output=True, text=True, errors="replace"
    )
    page = root / "_build" / "html" / "index.html"
    if result.returncode or not page.exists():
        lines = (result.stdout + result.stderr).splitlines()
        notable = [line for line in lines if re.search("warning|error|exception", line, re.IGNORECASE)]
        raise NotebookError("The HTML build failed:\n" + "\n".join((notable or lines)[-15:]))
    return page


def publish(executed: list[Path], root: Path) -> None:
    """Put executed notebooks where the book takes them from, in place of those before, without this machine's paths."""
    target = root / "book" / "notebooks"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for notebook in executed:
        content = json.loads(notebook.read_text(encoding="utf-8"))
        for where in ("input_path", "output_path"):
            content["metadata"].get("papermill", {}).pop(where, None)
        (target / notebook.name).write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
