"""What an exported ONNX file is worth beside torch: pixels alike, Dice, milliseconds an image, and size.

    python benchmarks/export.py [--out table.csv] [--rounds 31]

The student that ships is exported in float32, float16 and 8-bit integers, as ``uslnet export --onnx`` does it, and run
by onnxruntime on one thread. Images are drawn, and scored by their own masks. Without the extra ``onnx`` nothing is
measured.
"""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path

from _timing import arguments, circumstances, judged, tell_goals

from uslnet_core import pipeline
from uslnet_core.compute import make_fabric
from uslnet_core.config import ComputeConfig
from uslnet_core.export import need_onnx

ALIKE = 99.9  # percent of the masks' pixels


def main() -> None:
    """Measure, print, and write the table where asked to."""
    args = arguments(__doc__, rounds=31)
    need_onnx()
    student = pipeline.shipped_predictor(make_fabric(ComputeConfig(device="cpu")))
    compared = pipeline.images_to_compare("synthetic", None, student.size)
    calibration = pipeline.images_to_calibrate(None, student.size)
    with tempfile.TemporaryDirectory() as folder:
        options = {"half": True, "calibration": calibration, "rounds": args.rounds}
        table = pipeline.export(student, Path(folder) / "student.onnx", "the student", compared, **options)
    machine, versions = circumstances()
    print(f"{compared.about}, {args.rounds} rounds · {machine} · {versions}\n")
    table = table.drop(columns="file").replace("torch, as `uslnet segment` runs it here", "torch, as segment runs it")
    print(table.to_string(index=False))
    alike = float(table.set_index("how").loc["onnxruntime, float32", "percent_equal"])
    tell_goals([judged("exported masks", alike, "% of pixels as torch's", ALIKE, note=compared.about)], args.out)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        measured = f"{compared.about}, {args.rounds} rounds, {machine}, {versions}, {date.today().isoformat()}"
        table.assign(measured=[measured, *[""] * (len(table) - 1)]).to_csv(args.out, index=False)


if __name__ == "__main__":
    main()
