"""The command line's ``uslnet export``: a segmenter as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from uslnet_core.cli_data import Data
from uslnet_core.errors import ConfigError
from uslnet_core.terminal import bars, out


def export(
    onnx: Annotated[Path, typer.Option("--onnx", help="the file to write, for example segmenter.onnx")],
    run: Annotated[str, typer.Option(help="a run's name, or its folder (default: the student that ships)")] = "",
    half: Annotated[bool, typer.Option("--half", help="also in float16: <name>-half.onnx")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="also in 8-bit integers: <name>-int8.onnx")] = False,
    images: Annotated[Path | None, typer.Option(help="images to calibrate --int8 with (default: drawn)")] = None,
    dataset: Annotated[str, typer.Option(help="compare on its images, and score by its masks")] = "synthetic",
    data: Data = "",
    runs: Annotated[str, typer.Option(help="folder of all runs (default: USLNET_RUNS, else runs/)")] = "",
) -> None:
    """Write a segmenter as an ONNX file, for onnxruntime without torch; compared with torch before it is written."""
    from uslnet_core import pipeline
    from uslnet_core.book import data_folder, find_run
    from uslnet_core.compute import make_fabric
    from uslnet_core.config import ComputeConfig
    from uslnet_core.export import need_onnx

    need_onnx()
    if onnx.suffix != ".onnx":
        raise ConfigError(f"--onnx is {str(onnx)!r}; expected a name that ends in .onnx, for example segmenter.onnx.")
    if images and not int8:
        raise ConfigError("--images is for calibrating --int8, which is not asked for: add it, or leave --images out.")
    fabric = make_fabric(ComputeConfig(device="cpu"))
    if run:
        predictor, stage = pipeline.last_predictor(find_run(run, runs), fabric)
        about = f"{stage.name} of {run}, {stage.manifest.config['dataset']} images"
    else:
        predictor, card = pipeline.shipped_predictor(fabric), pipeline.read_card()
        about = f"the student that ships, seed {card['seed']}: {card['trained on']}"
    compared = pipeline.images_to_compare(
        dataset, None if dataset == "synthetic" else data_folder(data), predictor.size
    )
    calibration = pipeline.images_to_calibrate(images, predictor.size) if int8 else None
    with bars() as report:
        table = pipeline.export(predictor, onnx, about, compared, half=half, calibration=calibration, progress=report)
    shown = Table(box=None, pad_edge=False)
    for column in table.columns:
        shown.add_column(column.replace("_", " "), justify="left" if column in ("how", "file") else "right")
    for row in table.astype(object).where(table.notna(), "").itertuples(index=False):
        shown.add_row(*map(str, row))
    out.print(f"{onnx}: {about}\nCompared with torch in float32 on {compared.about}; percent; medians on one thread:\n")
    out.print(shown)
    if predictor.look is not None:
        out.print("\nThe file is the network at one look. `uslnet segment` looks twice with this run, and finds more.")
    out.print("\nTo use it, with numpy, pillow and onnxruntime alone:\n")
    out.print(pipeline.how_to_use(onnx, predictor), markup=False, highlight=False, soft_wrap=True)
    out.print("For research and teaching. Not a medical device.")
