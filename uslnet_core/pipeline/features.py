"""Stage 02: encoders, learnt here or taken from a public checkpoint. Imports no masks and no scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from lightning_fabric import Fabric
from torch import nn

from uslnet_core.checkpoints import DiskKeeper
from uslnet_core.compute import make_fabric
from uslnet_core.config import Method, Recipe, check_choice
from uslnet_core.contrastive.heads import projection_head
from uslnet_core.contrastive.pretrain import pretrain
from uslnet_core.data.images import ImageSet
from uslnet_core.encoder import Encoder
from uslnet_core.errors import ConfigError
from uslnet_core.pipeline.images import train_split
from uslnet_core.pipeline.weights import load_weights, save_weights
from uslnet_core.ranks import rank
from uslnet_core.runs import Run
from uslnet_core.stages import Stage
from uslnet_core.transformer import TransformerEncoder
from uslnet_core.weights import CHECKPOINTS, LoadReport, load_public, set_normalised

METHODS = get_args(Method)
ENCODER_TITLES = {"simclr": "SimCLR", "moco_v1": "MoCo v1", "moco_v2": "MoCo v2"}


def method_of(name: str) -> str | None:
    """Name the contrastive method behind an encoder, of the three that the paper compares: ``moco_v2_800``'s too."""
    return next((method for method in ENCODER_TITLES if name == method or name.startswith(f"{method}_")), None)


BACKBONE_TITLES = {"resnet18": "ResNet-18", "resnet50": "ResNet-50"}
PUBLIC_STRIDE = 2  # what every public ResNet learnt with; read at stride 1, its last filters are dilated by as much


def fabric_of(run: Run) -> Fabric:
    """Choose device and precision for a run; the paper's profile wants a GPU, or to be told that it has none.

    Raises:
        ConfigError: the paper's profile would run on a CPU without being asked to.
    """
    fabric = make_fabric(run.config.compute)
    if run.config.profile == "paper" and fabric.device.type == "cpu" and run.config.compute.device == "auto":
        raise ConfigError(
            "The paper profile trains a ResNet-50 for 1700 epochs: weeks on a CPU, and torch sees no GPU here. Take "
            "--profile workshop, or say --device cpu if you mean it."
        )
    return fabric


def learn_features(run: Run, name: str | None = None) -> Stage:
    """Train one encoder on the training images, or load a public one (``02-contrastive/<name>``).

    Args:
        run: the run.
        name: a contrastive method, or a public checkpoint of the registry; by default the run's first.

    Returns:
        The stage: encoder.safetensors; of a training also head.safetensors, history.csv, and the health among its
        facts; of a public start what was loaded and what was left.

    Raises:
        ConfigError: an unknown name.
        TrainingError: the training is stuck or has collapsed.
        DataError: the public checkpoint is not there, or does not fit.
    """
    name = name or run.config.encoders[0]
    check_choice("encoder", name, [*METHODS, *CHECKPOINTS])
    return train_encoder(run, name) if name in METHODS else load_published(run, name)


def learn_all_features(run: Run) -> list[Stage]:
    """Make every encoder of the run, in order."""
    return [learn_features(run, name) for name in run.config.encoders]


def train_encoder(run: Run, method: str) -> Stage:
    """Train one encoder; one that was killed goes on where it was."""
    config, fabric = run.config, fabric_of(run)
    images, recipe = run.open(f"01-data/images/{train_split(run)}"), config.recipe(method)
    if recipe.epochs == 0 and recipe.init in CHECKPOINTS and not recipe.init.startswith(method):
        raise ConfigError(
            f"With epochs=0, {recipe.init} stays as it is, and is no {ENCODER_TITLES[method]}. Name it as the encoder "
            f"that it is: -p encoders={recipe.init}."
        )
    settings = common_settings(run, fabric) | {"backbone": config.backbone, "contrastive": recipe.settings()}
    if settings["precision"] == "bf16-mixed":
        settings["learnt_in"] = "bf16"  # what says bf16 and not this was learnt in float32, by an older version
    start, report = None, None
    if recipe.init:
        start, report = load_start(recipe.init, run)
        settings |= {"init": report.sha256, "normalised": report.normalised}
        settings["contrastive"]["init"] = report.source  # a name: where the file lies is nobody's affair
    stage_name = f"02-contrastive/{method}"
    keeper = DiskKeeper(run.folder, stage_name)

    def compute(folder: Path) -> dict[str, Any]:
        if recipe.epochs == 0:  # a public start, as it is; its head was dropped
            start.set_last_stride(1, dilation=PUBLIC_STRIDE)
            if rank() == 0:
                save_weights(start, folder / "encoder.safetensors")
            return {"start": report.facts()}
        image_set = ImageSet.open(images.folder)
        trained = pretrain(image_set, config, fabric, run.progress, method=method, start=start, keeper=keeper)
        if rank() == 0:
            save_weights(trained.encoder, folder / "encoder.safetensors")
            save_weights(trained.head, folder / "head.safetensors")
            trained.history.to_csv(folder / "history.csv", index=False)
        return {"health": trained.health} | ({"start": report.facts()} if report else {})

    made_on = {"device": str(fabric.device), "keeper": keeper, "together": True}
    return run.make(stage_name, compute, settings=settings, inputs=[images], **made_on)


def load_start(init: str, run: Run) -> tuple[Encoder, LoadReport]:
    """Load the encoder that a training goes on from: a public checkpoint's name, or a file.

    Raises:
        ConfigError: it is no ResNet, or another one than the run's.
    """
    network, report = load_public(init, folder=run.weights)
    if not isinstance(network, Encoder):
        raise ConfigError(f"contrastive.init is {init!r}, a transformer. Only a ResNet can go on learning.")
    if report.architecture != run.config.backbone:
        raise ConfigError(
            f"contrastive.init is {init!r}, a {report.architecture}, but the run's backbone is {run.config.backbone}. "
            f"Take -p backbone={report.architecture}, or another start."
        )
    return network, report


def load_published(run: Run, name: str) -> Stage:
    """Take a public encoder as it is: nothing is trained."""
    network, report = load_public(name, folder=run.weights)

    def compute(folder: Path) -> dict[str, Any]:
        save_weights(network, folder / "encoder.safetensors")
        return {"start": report.facts()}

    settings = {
        "seed": run.config.seed,
        "backbone": report.architecture,
        "public": name,
        "sha256": report.sha256,
        "normalised": report.normalised,
    }
    return run.make(f"02-contrastive/{name}", compute, settings=settings)


def in_words(encoders: Mapping[str, Mapping[str, Any]]) -> str:
    """Say what encoders are and where each started: ``ResNet-18, SimCLR + MoCo v2, from scratch``.

    Args:
        encoders: the settings of the stages that made them, by name.
    """
    backbones = dict.fromkeys(BACKBONE_TITLES.get(each["backbone"], each["backbone"]) for each in encoders.values())
    starts, known = {}, list(ENCODER_TITLES)
    for name in sorted(encoders, key=lambda each: known.index(each) if each in known else len(known)):
        settings = encoders[name]
        start = settings.get("public") or settings["contrastive"]["init"]
        trained = "public" not in settings and settings["contrastive"]["epochs"] > 0
        where = "from scratch" if not start else f"from {start}" if trained else f"{start} as it is"
        starts.setdefault(where, []).append(ENCODER_TITLES.get(name, name))
    told = "; ".join(f"{' + '.join(names)}, {where}" for where, names in starts.items())
    return f"{' and '.join(backbones)}, {told}"


def load_encoder(run: Run, name: str | None = None) -> Encoder | TransformerEncoder:
    """Load an encoder, last stride 1 and dilated if it learnt with 2, in evaluation mode (default: the run's first)."""
    stage = run.open(f"02-contrastive/{name or run.config.encoders[0]}")
    return load_weights(empty_encoder(stage.manifest.settings), stage / "encoder.safetensors")


def empty_encoder(settings: dict[str, Any]) -> Encoder | TransformerEncoder:
    """Build an encoder as a stage's settings describe it, its weights still random."""
    if not settings["backbone"].startswith("resnet"):
        return TransformerEncoder(settings["backbone"])
    encoder = Encoder(settings["backbone"], dilation=learnt_stride(settings))
    set_normalised(encoder, settings.get("normalised", True))
    return encoder


def load_head(run: Run, name: str | None = None) -> nn.Module | None:
    """Load an encoder's projection head, in evaluation mode; public checkpoints come without theirs."""
    stage = run.open(f"02-contrastive/{name or run.config.encoders[0]}")
    if "head.safetensors" not in stage.manifest.files:
        return None
    recipe = Recipe(**as_fields(stage.manifest.settings["contrastive"]))
    channels = Encoder(stage.manifest.settings["backbone"]).channels[-1]
    return load_weights(projection_head(channels, recipe), stage / "head.safetensors")


def view_recipe(run: Run, name: str) -> Recipe:
    """Give the recipe whose views an encoder is asked about: its own; public ones are shown MoCo v2's, the mildest."""
    settings = run.open(f"02-contrastive/{name}").manifest.settings
    if "contrastive" in settings:
        return Recipe(**as_fields(settings["contrastive"]))
    return run.config.recipe("moco_v2")


def as_fields(settings: dict[str, Any]) -> dict[str, Any]:
    """Turn JSON values back into what the strict sections accept."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}


def learnt_stride(settings: dict[str, Any]) -> int:
    """Give the last stride that an encoder learnt with; read at stride 1, its filters are dilated by as much."""
    untouched = "public" in settings or settings["contrastive"]["epochs"] == 0
    return PUBLIC_STRIDE if untouched else settings["contrastive"]["last_stride"]


def common_settings(run: Run, fabric: Fabric) -> dict[str, Any]:
    """Give the settings that every trained stage hangs on."""
    return {"seed": run.config.seed, "precision": fabric.strategy.precision.precision}
