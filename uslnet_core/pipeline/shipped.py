"""The student that ships with the package: segments at once, with no training before. Imports no masks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from uslnet_core.config import configure
from uslnet_core.errors import RunError
from uslnet_core.inference import Predictor
from uslnet_core.pipeline.student import STUDENT, load_student
from uslnet_core.pipeline.training import last_predictor
from uslnet_core.stages import peek, read_stage, stale_reason

SHIPPED = Path(__file__).resolve().parents[1] / "shipped"
CARD = "card.json"


def ship(run_folder: Path, folder: Path = SHIPPED) -> Path:
    """Put a run's student into the package, with a card that says what it was made from.

    Args:
        run_folder: the folder of a run of USL-plus whose student is trained.
        folder: gets segmenter.safetensors and card.json.

    Returns:
        The folder.

    Raises:
        RunError: the student is not there, is stale, or has seen drawn images only.
    """
    stages = peek(run_folder)
    stage = read_stage(run_folder, STUDENT)
    if stage is None:
        advice = "`uslnet reproduce steps` trains one, beside the run that it is for."
        raise RunError(f"{run_folder.name} has no student. {advice}")
    if reason := stale_reason(stage, stages, gone_is_stale=False):
        raise RunError(f"The student of {run_folder.name} is stale: {reason}. Train it anew: uslnet reproduce steps.")
    made = stage.manifest
    config = made.config
    if config["dataset"] == "synthetic":
        raise RunError(f"The student of {run_folder.name} has seen drawn images only, which helps nobody: none ships.")
    images = next(name for name in made.inputs if name.startswith("01-data/fine-images/"))
    count, part = stages[images].manifest.facts["images"], images.rpartition("/")[2]
    card = {
        "trained on": f"{count} images of {config['dataset']}-{part}, no masks",
        "profile": config["profile"],
        "method": config["method"],
        "seed": made.seed,
        "size": made.settings["size"],
        "threshold": config["evaluation"]["threshold"],
        "parameters": made.facts["parameters"],
        "made at": made.made_at,
        "fingerprint": made.fingerprint,
        "versions": made.versions,
    }
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(stage / "segmenter.safetensors", folder / "segmenter.safetensors")
    (folder / CARD).write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder


def read_card(folder: Path = SHIPPED) -> dict[str, Any]:
    """Read what the student that ships says of itself."""
    return json.loads((folder / CARD).read_text(encoding="utf-8"))


def shipped_predictor(fabric: Fabric, threshold: float | None = None, folder: Path = SHIPPED) -> Predictor:
    """Load the student that ships, ready to be used.

    Args:
        fabric: device and precision.
        threshold: probability above is lesion; by default as its card says.
        folder: where it is.

    Raises:
        ConfigError: the threshold is out of range.
    """
    card, model = read_card(folder), load_student(folder)
    cut = card["threshold"] if threshold is None else threshold
    configure(evaluation={"threshold": cut})  # which refuses what is no threshold
    return Predictor(model, card["size"], fabric, cut)


def predictor_at_hand(
    run_folder: Path, fabric: Fabric, threshold: float | None = None, *, drawn: bool = False
) -> tuple[Predictor, str]:
    """Load a run's own segmenter, or else the student that ships.

    Args:
        run_folder: the folder of a run, which need not be there.
        fabric: device and precision.
        threshold: probability above is lesion; by default as the model's maker says.
        drawn: the images to segment are synthetic. If they are not, a run that has seen drawn ones alone is no use.

    Returns:
        The predictor, and where it is from in words.

    Raises:
        RunError: the run is there, and all its segmenters are stale.
    """
    trained = [stage for name, stage in peek(run_folder).items() if name.startswith("05-segmenter/")]
    if trained and (drawn or trained[0].manifest.config["dataset"] != "synthetic"):
        predictor, stage = last_predictor(run_folder, fabric, threshold)
        made = stage.manifest
        told = f"{stage.name} of {run_folder.name}, {made.config['dataset']} images, seed {made.seed}"
        return predictor, f"{told}, made {made.made_at[:10]} on {made.device}"
    card = read_card()
    told = f"{card['trained on']}, seed {card['seed']}, made {card['made at'][:10]}"
    return shipped_predictor(fabric, threshold), f"the student that ships with the package: {told}"
