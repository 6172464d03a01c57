"""What is said of encoders, wherever a table or a page says it."""

from __future__ import annotations

import pytest

from uslnet_core import pipeline


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
