"""The public checkpoints that the book knows: where each lies, under which licence, and how its keys are laid out."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from uslnet_core.config import check_choice


@dataclass(frozen=True)
class Layout:
    """How a file keeps a backbone's weights.

    Attributes:
        name: as messages call it.
        containers: the keys that lead from the file's top to its tensors, one after the other; where several ways are
            known, each of them.
        prefix: what stands before each of the backbone's keys. Behind it, a ResNet has torchvision's names and a
            transformer timm's.
        rest: what else lies beside the backbone, in words; it is dropped, and listed.
        architectures: what a file of this layout may hold.
        normalised: whether the backbone wants images with ImageNet's mean and deviation taken out; otherwise it wants
            them in [0, 1] as they are.
    """

    name: str
    containers: tuple[tuple[str, ...], ...]
    prefix: str
    rest: str
    architectures: tuple[str, ...]
    normalised: bool = True

    def describe(self) -> str:
        """Say in one line how to tell the layout: ``moco: state_dict → module.encoder_q.*``."""
        ways = " or ".join(" → ".join((*way, f"{self.prefix}*")) for way in self.containers)
        return f"{self.name}: {ways} ({' or '.join(self.architectures)}; dropped: {self.rest})"


_STATE = (("state_dict",),)
_RESNETS = ("resnet18", "resnet50")

LAYOUTS: dict[str, Layout] = {
    each.name: each
    for each in (
        Layout("moco", _STATE, "module.encoder_q.", "head fc, key encoder, queue", _RESNETS),
        Layout(
            "moco_v3",
            _STATE,
            "module.base_encoder.",
            "heads fc and head, momentum encoder, predictor",
            (*_RESNETS, "vit_s16_h12"),
        ),
        # Google's own weights, converted: their images are scaled to [0, 1] and no further
        Layout("simclr", _STATE, "", "supervised head fc", ("resnet50",), normalised=False),
        Layout("lightly", _STATE, "backbone.", "projection head, online classifier", _RESNETS),
        Layout(
            "vissl",
            (("classy_state_dict", "base_model", "model", "trunk"),),
            "_feature_blocks.",
            "heads",
            _RESNETS,
        ),
        Layout("torchvision", ((), *_STATE), "", "head fc", _RESNETS),
        Layout("dino", ((),), "", "head", ("vit_s16", "vit_s8")),
        Layout("dinov2", ((),), "", "mask_token", ("vit_s14",)),
    )
}


@dataclass(frozen=True)
class Checkpoint:
    """What is known of a public checkpoint before its file is opened.

    Attributes:
        name: as typed on the command line.
        title: method, network and length of training, for tables.
        url: where its file lies.
        size: bytes, exact or about, None where nobody says; it decides only whether the disk has room.
        licence: the licence's name and its main condition.
        commercial: whether commercial use is allowed; None where nobody says.
        checksum: ``sha256:…``, or where only its beginning is published ``sha256-prefix:…`` or ``md5-prefix:…``; None
            where none is, so that the first one seen is recorded and holds from then on.
        architecture: one of `uslnet_core.encoder.BACKBONES` or `uslnet_core.transformer.TRANSFORMERS`.
        layout: one of ``LAYOUTS``.
    """

    name: str
    title: str
    url: str
    size: int | None
    licence: str
    commercial: bool | None
    checksum: str | None
    architecture: str
    layout: str

    @property
    def file(self) -> str:
        """The file's name, as its authors chose it."""
        return unquote(self.url.rsplit("/", 1)[-1])

    @property
    def normalised(self) -> bool:
        """Whether it wants images with ImageNet's mean and deviation taken out."""
        return LAYOUTS[self.layout].normalised


_FB = "https://dl.fbaipublicfiles.com"
_VISSL = f"{_FB}/vissl/model_zoo/simclr_rn50_800ep_simclr_8node_resnet_16_07_20.7e8feed1"
_LIGHTLY = (
    "https://lightly-ssl-checkpoints.s3.amazonaws.com/imagenet_resnet50_simclr_2023-06-22_09-11-13"
    "/pretrain/version_0/checkpoints"
)
_NC = "CC BY-NC 4.0: name the authors; no commercial use."
_APACHE = "Apache 2.0: keep its notice."
_MB = 10**6


def _moco(version: int, epochs: int, size: int | None, md5: str) -> Checkpoint:
    folder = f"moco_v{version}_{epochs}ep"
    return Checkpoint(
        name=f"moco_v{version}_{epochs}",
        title=f"MoCo v{version}, ResNet-50, {epochs} epochs",
        url=f"{_FB}/moco/moco_checkpoints/{folder}/{folder}_pretrain.pth.tar",
        size=size,
        # the repository's LICENSE file once said MIT, its README always this: the stricter one holds here
        licence=_NC,
        commercial=False,
        checksum=f"md5-prefix:{md5}",
        architecture="resnet50",
        layout="moco",
    )


def _moco_v3(name: str, network: str, folder: str, architecture: str) -> Checkpoint:
    epochs = folder.split("-")[-1].removesuffix("ep")
    return Checkpoint(
        name=name,
        title=f"MoCo v3, {network}, {epochs} epochs",
        url=f"{_FB}/moco-v3/{folder}/{folder}.pth.tar",
        size=None,
        licence=_NC,
        commercial=False,
        checksum=None,
        architecture=architecture,
        layout="moco_v3",
    )


def _dino(name: str, network: str, folder: str, size: int, md5: str | None, architecture: str) -> Checkpoint:
    return Checkpoint(
        name=name,
        title=f"DINO, {network}",
        url=f"{_FB}/dino/{folder}_pretrain/{folder}_pretrain.pth",
        size=size,
        licence=_APACHE,
        commercial=True,
        checksum=f"md5-prefix:{md5}" if md5 else None,  # the authors publish none; these are others' records
        architecture=architecture,
        layout="torchvision" if architecture == "resnet50" else "dino",
    )


CHECKPOINTS: dict[str, Checkpoint] = {
    each.name: each
    for each in (
        _moco(1, 200, 375 * _MB, "b251726a"),
        _moco(2, 200, None, "59fd9945"),
        _moco(2, 800, 375 * _MB, "a04e12f8"),
        Checkpoint(
            name="simclr_r50",
            title="SimCLR, ResNet-50, Google's weights converted by Lightly",
            url="https://huggingface.co/lightly-ai/simclrv1-imagenet1k-resnet50-1x/resolve/main/resnet50-1x.pth",
            size=103 * _MB,
            licence=_APACHE,
            commercial=True,
            checksum=None,
            architecture="resnet50",
            layout="simclr",
        ),
        Checkpoint(
            name="simclr_r50_lightly",
            title="SimCLR, ResNet-50, 100 epochs, by Lightly",
            url=f"{_LIGHTLY}/epoch%3D99-step%3D500400.ckpt",
            size=None,
            licence="MIT, as Lightly's code; nothing is said of the weights themselves.",
            commercial=None,
            checksum=None,
            architecture="resnet50",
            layout="lightly",
        ),
        Checkpoint(
            name="simclr_r50_vissl",
            title="SimCLR, ResNet-50, 800 epochs, by VISSL",
            url=f"{_VISSL}/model_final_checkpoint_phase799.torch",
            size=214 * _MB,
            licence="Not known: find it out before you use them.",
            commercial=None,
            checksum=None,
            architecture="resnet50",
            layout="vissl",
        ),
        _moco_v3("moco_v3_r50_100", "ResNet-50", "r-50-100ep", "resnet50"),
        _moco_v3("moco_v3_r50_300", "ResNet-50", "r-50-300ep", "resnet50"),
        _moco_v3("moco_v3_r50_1000", "ResNet-50", "r-50-1000ep", "resnet50"),
        _moco_v3("moco_v3_vits", "ViT-S/16", "vit-s-300ep", "vit_s16_h12"),
        _dino("dino_r50", "ResNet-50", "dino_resnet50", 94 * _MB, None, "resnet50"),
        _dino("dino_vits16", "ViT-S/16", "dino_deitsmall16", 87 * _MB, "cf0f22", "vit_s16"),
        _dino("dino_vits8", "ViT-S/8", "dino_deitsmall8", 87 * _MB, "230cd5", "vit_s8"),
        Checkpoint(
            name="dinov2_vits14",
            title="DINOv2, ViT-S/14",
            url=f"{_FB}/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth",
            size=88_283_115,
            licence=_APACHE,
            commercial=True,
            checksum="sha256:b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9",
            architecture="vit_s14",
            layout="dinov2",
        ),
    )
}


def checkpoint(name: str) -> Checkpoint:
    """Look a checkpoint up.

    Args:
        name: one of ``CHECKPOINTS``.

    Returns:
        What is known of it.

    Raises:
        ConfigError: there is no such checkpoint; the message holds the nearest names.
    """
    check_choice("checkpoint", name, CHECKPOINTS)
    return CHECKPOINTS[name]


def licence_notice(name: str) -> str:
    """Say what a checkpoint is and on what terms it comes, to be shown before it is fetched.

    Args:
        name: one of ``CHECKPOINTS``.

    Returns:
        A few lines of text.

    Raises:
        ConfigError: unknown checkpoint.
    """
    known = checkpoint(name)
    return f"{known.title}, trained on ImageNet without labels\nLicence: {known.licence}\nFrom: {known.url}"
