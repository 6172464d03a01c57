"""The student that ships with the package: segments at once, with no training before. Imports no masks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from uslnet_core.config import LookConfig, configure
from uslnet_core.errors import RunError
from uslnet_core.inference import Predictor
from uslnet_core.pipeline.features import as_fields
from uslnet_core.pipeline.images import image_size, train_split
from uslnet_core.pipeline.looks import build_look
from uslnet_core.pipeline.student import STUDENT, TWO_LOOKS, load_student
from uslnet_core.pipeline.training import last_predictor
from uslnet_core.runs import Run
from uslnet_core.stages import peek

SHIPPED = Path(__file__).resolve().parents[1] / "shipped"
CARD = "card.json"


def ship(run: Run, folder: Path = SHIPPED) -> Path:
    """Put a run's student into the package, with a card that says what it was made from.

    Args:
        run: a run of USL-plus whose student is trained.
        folder: gets segmenter.safetensors and card.json.

    Returns:
        The folder.

    Raises:
        RunError: the student is not there, or has seen drawn images only.
    """
    stage = run.open(STUDENT)
    if run.config.dataset == "synthetic":
        raise RunError(f"The student of {run.folder.name} has seen drawn images only, which helps nobody: none ships.")
    images = run.open(f"01-data/images/{train_split(run)}").manifest.facts["images"]
    card = {
        "trained on": f"{images} images of {run.config.dataset}-{train_split(run)}, no masks",
        "profile": run.config.profile,
        "method": run.config.method,
        "seed": run.config.seed,
        "size": image_size(run),
        "threshold": run.config.evaluation.threshold,
        "look": TWO_LOOKS.model_dump(mode="json"),
        "uncertainty": run.config.uncertainty.settings(),
        "parameters": stage.manifest.facts["parameters"],
        "made at": stage.manifest.made_at,
        "fingerprint": stage.manifest.fingerprint,
        "versions": stage.manifest.versions,
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
    look, rules = LookConfig(**card["look"]), as_fields(card["uncertainty"])
    config = configure(look=look.model_dump(), uncertainty=rules, evaluation={"threshold": cut})
    return Predictor(model, card["size"], fabric, cut, build_look(config, model, fabric))


def predictor_at_hand(run_folder: Path, fabric: Fabric, threshold: float | None = None) -> tuple[Predictor, str]:
    """Load a run's own segmenter where it has one, and the student that ships where the run is not there at all.

    Args:
        run_folder: the folder of a run, which need not be there.
        fabric: device and precision.
        threshold: probability above is lesion; by default as the model's maker says.

    Returns:
        The predictor, and where it is from in words.

    Raises:
        RunError: the run is there, and its segmenters are stale.
    """
    if any(name.startswith("05-segmenter/") for name in peek(run_folder)):
        predictor, stage = last_predictor(run_folder, fabric, threshold)
        made = stage.manifest
        told = f"{stage.name} of {run_folder.name}, {made.config['dataset']} images, seed {made.seed}"
        return predictor, f"{told}, made {made.made_at[:10]} on {made.device}"
    card = read_card()
    told = f"{card['trained on']}, seed {card['seed']}, made {card['made at'][:10]}"
    return shipped_predictor(fabric, threshold), f"the student that ships with the package: {told}"
