"""Every knob of a run, in one visible place: frozen, strict, each with its unit, source and range.

A :class:`Config` is a profile (``quick``, ``workshop``, ``paper``) with a few fields changed. Unknown fields, wrong
types and values out of range are refused with the nearest names. The paper gives no optimiser, learning rate, batch
size or augmentation for any stage; the recipes below are this project's own and are declared as such
(book/deviations.md).
"""

from __future__ import annotations

import difflib
import zlib
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from uslnet_core.errors import ConfigError
from uslnet_core.profiles import PROFILES, changes_of
from uslnet_core.recipes import RECIPES, SMALL_RECIPES

ProfileName = Literal["quick", "workshop", "paper"]
DatasetName = Literal["synthetic", "isic2017", "isic2018", "ph2", "folder"]
Split = Literal["train", "validation", "test", "all"]
Method = Literal["simclr", "moco_v1", "moco_v2"]
MethodName = Literal["usl-net", "usl-plus"]
OF_COLOUR = ("colour_distance", "colour_clusters")  # sources that ask no encoder
Cam = Literal["ccam", "grad_cam", "grad_cam_pp", "smooth_grad_cam_pp", "freq_cam", "colour_distance", "colour_clusters"]

Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Rate = Annotated[float, Field(gt=0.0)]


class Section(BaseModel):
    """A frozen group of fields that refuses unknown names and silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)


class ImagesConfig(Section):
    """Stage 01: what is decoded, once."""

    size: int = Field(96, ge=32, multiple_of=32, description="side of the square image, pixels (paper 4.1: 224)")
    count: Positive | None = Field(None, description="how many images of a split; empty = all (synthetic: 320 and 64)")


class ContrastiveConfig(Section):
    """Stage 02: contrastive learning (paper 3.2, equation 1).

    What is empty here is the method's own: :meth:`Config.recipe` fills it in.
    """

    epochs: int = Field(12, ge=0, description="passes over the training images; 0 keeps a public start as it is")
    batch_size: int = Field(128, ge=2, description="images a step; a step sees two views of each")
    learning_rate: Rate = Field(2e-3, description="peak of the one-cycle schedule, AdamW")
    weight_decay: float = Field(1e-4, ge=0.0, description="AdamW")
    warm_up: Fraction = Field(0.1, description="share of the steps that the learning rate climbs")
    embedding: Positive = Field(128, description="dimensions of the embedding on the unit sphere")
    hidden: Positive = Field(512, description="width of the projection head, where it has a hidden layer")
    crop: int = Field(64, ge=32, description="side of a view, pixels")
    last_stride: Literal[1, 2] = Field(
        2, description="stride of the last stage while learning; features use 1, dilated"
    )
    queue: Positive | None = Field(
        None, description="MoCo: keys that are kept as negatives, at most half the images; empty = that, up to 65536"
    )
    momentum: Fraction = Field(0.999, description="MoCo: share of the key encoder that a step keeps")
    groups: Positive = Field(4, description="MoCo: groups of a batch that are normalised apart, keys in another order")
    init: str = Field("", description="where the encoder starts: a public checkpoint's name or file; empty = random")
    temperature: Rate | None = Field(None, description="tau of equation 1; the paper says 0.07 for all")
    crop_area: tuple[Fraction, Fraction] | None = Field(None, description="area of a crop, share of the image")
    brightness: Fraction | None = Field(None, description="largest relative change")
    contrast: Fraction | None = Field(None, description="largest relative change")
    saturation: Fraction | None = Field(None, description="largest relative change")
    hue: Annotated[float, Field(ge=0.0, le=0.5)] | None = Field(
        None, description="largest turn of the colour circle, turns"
    )
    jitter: Fraction | None = Field(None, description="share of the views whose colour is jittered")
    grey: Fraction | None = Field(None, description="share of the views turned grey")
    blur: Fraction | None = Field(None, description="share of the views that are blurred")

    @model_validator(mode="after")
    def _makes_sense(self) -> ContrastiveConfig:
        if self.crop_area is not None and not 0 < self.crop_area[0] <= self.crop_area[1]:
            raise ValueError(f"crop_area must be (least, most) with 0 < least <= most, but is {self.crop_area}")
        if self.epochs == 0 and not self.init:
            raise ValueError("epochs = 0 leaves random weights as they are: give init a public checkpoint, or train")
        return self


class Recipe(ContrastiveConfig):
    """One contrastive method's settings, whole: as :class:`ContrastiveConfig`, but nothing is left empty."""

    method: Method
    temperature: Rate
    crop_area: tuple[Fraction, Fraction]
    brightness: Fraction
    contrast: Fraction
    saturation: Fraction
    hue: float
    jitter: Fraction
    grey: Fraction
    blur: Fraction

    def settings(self) -> dict[str, Any]:
        """Give what the result hangs on, as JSON values: what this method does not use is left out."""
        unused = {"queue", "momentum", "groups"} if self.method == "simclr" else set()
        return self.model_dump(mode="json", exclude=unused)


class SaliencyConfig(Section):
    """Stage 03: CCAM (paper 3.3), and the gradient CAMs beside it."""

    epochs: Positive = Field(8, description="passes over the training images")
    batch_size: int = Field(64, ge=2, description="images a step; the loss compares all pairs of them")
    learning_rate: Rate = Field(1e-2, description="AdamW, head only")
    encoder_learning_rate: Rate = Field(1e-4, description="AdamW, for an encoder that trains along")
    weight_decay: float = Field(1e-4, ge=0.0, description="AdamW")
    alpha: float = Field(0.25, ge=0.0, description="decay of the rank weights exp(-alpha rank), CCAM's own value")
    stages: tuple[Literal[1, 2, 3, 4], ...] = Field(
        (3, 4), min_length=1, description="ResNet stages that are concatenated"
    )
    margin: int = Field(32, ge=0, multiple_of=16, description="mirrored rim around the image while encoding, pixels")
    train_encoder: bool = Field(False, description="train the encoder along with the head")
    cam: Cam = Field("ccam", description="where the maps come from that labels are made of")
    fusion: Literal["mean", "concatenated"] = Field(
        "mean", description="several encoders: mean of their maps, or one CCAM on all their features"
    )
    also: tuple[Cam, ...] = Field((), description="past the paper: sources beside `cam`, fused with it pixel by pixel")
    weigh: Literal["evenly", "by_sureness"] = Field(
        "evenly", description="sources beside each other: their mean, or each by its distance from one half"
    )
    samples: Positive = Field(8, description="Smooth Grad-CAM++: noisy copies of an image that are averaged")
    noise: Rate = Field(0.15, description="Smooth Grad-CAM++: standard deviation of the noise, share of [0, 1]")
    frequency: Fraction = Field(
        0.5, description="FreqCAM: least frequency of activity, between a map's lowest and highest"
    )

    @model_validator(mode="after")
    def _sources_differ(self) -> SaliencyConfig:
        if len({self.cam, *self.also}) <= len(self.also):
            raise ValueError(
                f"also must name sources other than cam, each once, but cam is {self.cam}, also {self.also}"
            )
        return self


class UncertaintyConfig(Section):
    """Stage 04: the uncertainty module (paper 3.4, algorithm 1, equation 2)."""

    low: Fraction = Field(0.35, description="saliency below is background (paper 3.4)")
    high: Fraction = Field(0.65, description="saliency above is candidate foreground (paper 3.4)")
    min_area: Fraction = Field(500 / 224**2, description="least size of a component, share of the map (500 at 224)")
    neighbours: Literal[4, 8] = Field(8, description="neighbours that connect two pixels")
    rule: Literal["mean", "sum", "relative"] = Field(
        "mean", description="centrality: mean distance, the printed sum, or past the paper relative to size"
    )
    exclusion: float = Field(1 / 3, gt=0.0, le=1.0, description="farthest centroid, share of the shorter side")
    thresholds: Literal["fixed", "adaptive"] = Field(
        "fixed", description="past the paper, adaptive: moved outwards in each map until a share is in doubt"
    )
    doubt: float = Field(0.1, ge=0.0, lt=1.0, description="adaptive: that share, of lesion and of skin")
    band: Fraction = Field(0.0, description="past the paper: doubt along the outline, share of the shorter side")

    @model_validator(mode="after")
    def _ordered(self) -> UncertaintyConfig:
        if self.low >= self.high:
            raise ValueError(f"low must be below high, but low is {self.low} and high is {self.high}")
        return self

    def settings(self) -> dict[str, Any]:
        """Give what labels hang on, as JSON values: what stands beside the paper only where it is in use."""
        unused = {"thresholds", "doubt"} if self.thresholds == "fixed" else set()
        return self.model_dump(mode="json", exclude=unused | (set() if self.band else {"band"}))


class LabelsConfig(Section):
    """What iteration 0 learns from: the uncertainty module's labels, or what the ablations put in their place."""

    kind: Literal["uncertain", "selected", "plain"] = Field(
        "uncertain", description="three-way; or cut at one threshold, with the component's choice or without"
    )
    threshold: Fraction = Field(0.5, description="of the labels that have but one threshold")


class SegmenterConfig(Section):
    """Stages 05 and 06: one training of the segmenter (paper 3.5)."""

    encoder: str = Field("", description="whose weights it starts from; empty = MoCo v2's if there, else the first")
    stages: tuple[Literal[1, 2, 3, 4], ...] = Field(
        (2, 3, 4), min_length=1, description="ResNet stages that are summed"
    )
    width: Positive = Field(256, description="channels of the summed map (paper 3.5: 256)")
    batch_size: Positive = Field(32, description="images a step")
    learning_rate: Rate = Field(1e-3, description="peak of the one-cycle schedule, AdamW")
    weight_decay: float = Field(1e-4, ge=0.0, description="AdamW")
    warm_up: Fraction = Field(0.2, description="share of the steps that the learning rate climbs")
    brightness: Fraction = Field(0.2, description="largest relative change")
    contrast: Fraction = Field(0.2, description="largest relative change")
    saturation: Fraction = Field(0.08, description="largest relative change")
    hue: float = Field(0.0, ge=0.0, le=0.5, description="largest turn of the colour circle, turns")
    literal: bool = Field(False, description="keep the factor 1/4 of the printed loss (equation 3)")


class RefinementConfig(Section):
    """How often the segmenter teaches itself, and for how long (paper 3.5)."""

    iterations: Positive = Field(3, description="n: iteration 0 learns from CCAM, 1 to n-1 from the segmenter before")
    first_epochs: Positive = Field(5, description="epochs of iteration 0")
    epochs: Positive = Field(3, description="epochs of each later iteration (paper: 300)")
    warm_start: bool = Field(False, description="go on from the last segmenter, not from the contrastive encoder")


class LookConfig(Section):
    """Past the paper: how a segmenter looks at an image, to teach the next one and in the end."""

    teach: bool = Field(False, description="later iterations learn from second looks, and from windows, too")
    cut: Fraction = Field(0.25, description="share of the views learnt from that are windows that cut the lesion")
    twice: bool = Field(False, description="the answer is a second look, at a window around what the first one found")
    views: Literal[1, 8] = Field(1, description="8: the mean over quarter turns and mirror images")
    widen: float = Field(2.0, ge=1.0, description="side of the window over the longer side of what was found")
    colour: Fraction = Field(0.5, description="share of colour clusters beside the segmenter in the window")
    appearance: bool = Field(True, description="the window's own two colours decide beside the map")
    compact: Fraction = Field(0.0, description="blur of what is believed, share of the side")
    darker: float = Field(0.0, ge=0.0, description="log-odds of a pixel that is one step darker or redder than skin")
    filled: bool = Field(False, description="holes in what is found are filled")
    shave: bool = Field(False, description="hair is painted over before")

    def lesson(self) -> dict[str, Any]:
        """Give what later iterations hang on, as JSON values: nothing where they learn from one look."""
        shared = self.model_copy(update={"twice": True}).settings()["look"]
        return {"look": shared | {"cut": self.cut}} if self.teach else {}

    def settings(self) -> dict[str, Any]:
        """Give what an answer hangs on, as JSON values: nothing for one plain look, and no term that is not in use."""
        terms = {name for name in ("compact", "darker", "filled", "shave") if not getattr(self, name)}
        unused = {"teach", "cut"} | terms
        if self.twice:
            return {"look": self.model_dump(mode="json", exclude=unused)}
        used = self.model_dump(mode="json", exclude=unused | {"twice", "widen", "colour", "appearance"})
        return {"look": used} if used != {"views": 1} else {}


class EvaluationConfig(Section):
    """Stage 07: what is scored, and how (paper 4.2)."""

    threshold: Fraction = Field(0.5, description="probability above is lesion (paper 3.6)")
    split: Split | None = Field(None, description="part that is scored; empty = the dataset's own choice")
    resamples: Positive = Field(2000, description="bootstrap resamples behind each 95 % interval")


class ComputeConfig(Section):
    """Where and in which number format; the rest of the run does not hang on it."""

    device: Literal["auto", "cpu", "gpu"] = Field("auto", description="auto: a GPU where there is one")
    precision: Literal["auto", "32-true", "bf16-mixed"] = Field("auto", description="auto: bf16 where it gains")
    processes: Positive = Field(1, description="processes, one per device")
    compile: bool = Field(False, description="encoders that learn are compiled first, for a GPU; a CPU gains nothing")


class Config(Section):
    """One run, whole.

    Build it with :func:`configure`; the sections follow the stages of the method.
    """

    profile: ProfileName
    dataset: DatasetName
    method: MethodName = Field("usl-net", description="usl-net: the paper's; usl-plus: past it")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="seed of everything random")
    backbone: Literal["resnet18", "resnet50"] = Field("resnet18", description="encoder (paper: ResNet-50)")
    encoders: tuple[str, ...] = Field(
        ("simclr",), min_length=1, description="contrastive methods, or public checkpoints; several are fused"
    )
    images: ImagesConfig = ImagesConfig()
    contrastive: ContrastiveConfig = ContrastiveConfig()
    saliency: SaliencyConfig = SaliencyConfig()
    uncertainty: UncertaintyConfig = UncertaintyConfig()
    labels: LabelsConfig = LabelsConfig()
    segmenter: SegmenterConfig = SegmenterConfig()
    refinement: RefinementConfig = RefinementConfig()
    look: LookConfig = LookConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    compute: ComputeConfig = ComputeConfig()

    @model_validator(mode="after")
    def _encoders_fit(self) -> Config:
        if len(set(self.encoders)) < len(self.encoders):
            raise ValueError(f"encoders must differ, but are {', '.join(self.encoders)}")
        methods = [name for name in self.encoders if name in get_args(Method)]
        if self.contrastive.epochs == 0 and len(methods) > 1:
            raise ValueError(
                f"with epochs = 0, {' and '.join(methods)} would all be the start as it is, one and the same network: "
                "name one of them, or public checkpoints"
            )
        sources = {self.saliency.cam, *self.saliency.also} - {"ccam", *OF_COLOUR}
        if self.saliency.fusion == "concatenated" and sources and len(self.encoders) > 1:
            raise ValueError(
                f"fusion = concatenated trains one CCAM, but a source is {' and '.join(sorted(sources))}: take "
                "fusion = mean"
            )
        return self

    def stream(self, encoder: str) -> int:
        """Give an encoder's number among the random streams, by its name: encoders do not share what they draw."""
        known = get_args(Method)
        return known.index(encoder) if encoder in known else zlib.crc32(encoder.encode())

    def recipe(self, method: str) -> Recipe:
        """Fill in what the contrastive section leaves to the method.

        Args:
            method: ``simclr``, ``moco_v1`` or ``moco_v2``.

        Raises:
            ConfigError: an unknown method.
        """
        check_choice("contrastive method", method, get_args(Method))
        own = RECIPES[method] | ({} if self.profile == "paper" else SMALL_RECIPES.get(method, {}))
        given = {name: value for name, value in self.contrastive.model_dump().items() if value is not None}
        return Recipe(**(own | given | {"method": method}))


def configure(
    profile: str = "quick", *, dataset: str = "synthetic", seed: int = 0, method: str = "usl-net", **sections: Any
) -> Config:
    """Build the configuration of a run: a profile and a method, with what you name changed.

    Args:
        profile: ``quick``, ``workshop`` or ``paper``.
        dataset: ``synthetic``, ``isic2017``, ``isic2018``, ``ph2`` or ``folder``.
        seed: seed of everything random, 0 or more.
        method: ``usl-net``, the paper's, or ``usl-plus``, past it.
        **sections: a field of :class:`Config`, or a dict of a section's fields; ``None`` keeps the profile's value, so
            ``uncertainty={"low": None, "high": 0.7}`` changes ``high`` alone.

    Returns:
        The frozen configuration.

    Raises:
        ConfigError: an unknown profile, dataset or field, a wrong type, or a value out of range.
    """
    check_choice("profile", profile, get_args(ProfileName))
    check_choice("dataset", dataset, get_args(DatasetName))
    check_choice("method", method, get_args(MethodName))
    merged: dict[str, Any] = {name: dict(v) if isinstance(v, dict) else v for name, v in PROFILES[profile].items()}
    for name, fields in changes_of(method, profile).items():
        merged[name] = merged.get(name, {}) | fields
    for name, value in sections.items():
        check_choice("configuration field", name, Config.model_fields)
        if isinstance(value, dict):
            known = getattr(Config.model_fields[name].annotation, "model_fields", None)
            if known is None:
                raise ConfigError(f"{name} is a single value, not a section: got {value!r}.")
            for field in value:
                check_choice(f"field of {name}", field, known)
            merged[name] = merged.get(name, {}) | {k: v for k, v in value.items() if v is not None}
        elif value is not None:
            merged[name] = value
    return checked({"profile": profile, "dataset": dataset, "seed": seed, "method": method} | merged)


def checked(fields: dict[str, Any]) -> Config:
    """Build a configuration from its fields.

    Args:
        fields: by name; sections as dicts.

    Raises:
        ConfigError: an unknown field, a wrong type, or a value out of range; all of them are named.
    """
    try:
        return Config(**fields)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            where = ".".join(map(str, problem["loc"])) or "configuration"
            reason = problem["msg"].removeprefix("Value error, ")  # pydantic's words before ours
            lines.append(f"{where} = {problem['input']!r}: {reason}" if problem["loc"] else reason)
        raise ConfigError("Not a valid configuration. " + "; ".join(lines)) from None


def check_choice(what: str, value: Any, choices: Any) -> None:
    """Refuse a value that is not among the choices, naming the nearest ones.

    Args:
        what: what the value is, for the message.
        value: the value received.
        choices: the names allowed.

    Raises:
        ConfigError: ``value`` is not one of ``choices``.
    """
    choices = [str(c) for c in choices]
    if value in choices:
        return
    near = difflib.get_close_matches(str(value), choices, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    raise ConfigError(f"Unknown {what} {value!r}. {hint}Known: {', '.join(choices)}.")
