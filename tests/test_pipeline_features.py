"""What is said of encoders, wherever a table or a page says it."""

from __future__ import annotations

import pytest

from uslnet_core import pipeline
from uslnet_core.errors import ConfigError, DataError
from uslnet_core.runs import Run


def trained(init: str = "", epochs: int = 12, backbone: str = "resnet18") -> dict:
    return {"backbone": backbone, "contrastive": {"init": init, "epochs": epochs}}


@pytest.mark.parametrize(
    ("encoders", "words"),
    [
        ({"simclr": trained()}, "ResNet-18, SimCLR, from scratch"),
        ({"simclr": trained(), "moco_v2": trained()}, "ResNet-18, SimCLR + MoCo v2, from scratch"),
        ({"moco_v2": trained("moco_v2_800", backbone="resnet50")}, "ResNet-50, MoCo v2, from moco_v2_800"),
        ({"moco_v2": trained("mine.pth", epochs=0)}, "ResNet-18, MoCo v2, mine.pth as it is"),
        (
            {"dino_vits16": {"backbone": "vit_s16", "public": "dino_vits16"}},
            "vit_s16, dino_vits16, dino_vits16 as it is",
        ),
        (
            {"simclr": trained(), "moco_v1": trained("mine.pth")},
            "ResNet-18, SimCLR, from scratch; MoCo v1, from mine.pth",
        ),
    ],
)
def test_encoders_in_words(encoders, words):
    assert pipeline.in_words(encoders) == words


def test_a_public_encoder_as_it_is_keeps_its_own_name(tiny, tmp_path):
    config = tiny(contrastive={"epochs": 0, "init": "moco_v2_800"}).model_copy(update={"backbone": "resnet50"})
    run = Run(tmp_path / "synthetic-quick", config, weights=tmp_path / "weights")
    pipeline.prepare_images(run, "train")
    with pytest.raises(ConfigError, match=r"moco_v2_800 stays as it is, and is no SimCLR\. .*-p encoders=moco_v2_800"):
        pipeline.learn_features(run, "simclr")
    with pytest.raises(DataError, match="moco_v2_800 is not in"):
        pipeline.learn_features(run, "moco_v2")
