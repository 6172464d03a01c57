"""The table of public checkpoints: whole, consistent, and of networks that can be built."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from uslnet_core.encoder import BACKBONES
from uslnet_core.errors import ConfigError
from uslnet_core.transformer import TRANSFORMERS
from uslnet_core.weights import CHECKPOINTS, LAYOUTS, checkpoint, licence_notice
from uslnet_core.weights.reading import SHAPES


def test_all_that_are_promised_are_there():
    assert set(CHECKPOINTS) == {
        *("moco_v1_200", "moco_v2_200", "moco_v2_800"),
        *("simclr_r50", "simclr_r50_lightly", "simclr_r50_vissl"),
        *("moco_v3_r50_100", "moco_v3_r50_300", "moco_v3_r50_1000", "moco_v3_vits"),
        *("dino_r50", "dino_vits16", "dino_vits8", "dinov2_vits14"),
    }


@pytest.mark.parametrize("known", CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_each_entry_is_whole(known):
    assert CHECKPOINTS[known.name] is known and known.title and known.licence.endswith(".")
    assert re.fullmatch(r"https://[\w.-]+/[\w./%-]+", known.url)
    assert known.size is None or 50e6 < known.size < 500e6
    assert known.architecture in LAYOUTS[known.layout].architectures
    if known.checksum is not None:
        kind, value = known.checksum.split(":")
        assert re.fullmatch(
            {"sha256": "[0-9a-f]{64}", "sha256-prefix": "[0-9a-f]{8,63}", "md5-prefix": "[0-9a-f]{6,31}"}[kind], value
        )


def test_files_keep_their_authors_names_and_do_not_collide():
    files = [known.file for known in CHECKPOINTS.values()]
    assert len(set(files)) == len(files) and all(Path(file).name == file and "%" not in file for file in files)
    assert checkpoint("moco_v2_800").file == "moco_v2_800ep_pretrain.pth.tar"
    assert checkpoint("simclr_r50_lightly").file == "epoch=99-step=500400.ckpt"


def test_licences_as_their_authors_give_them():
    for known in CHECKPOINTS.values():
        if known.name.startswith("moco"):
            assert known.commercial is False and "no commercial use" in licence_notice(known.name)
        if known.name.startswith("dino"):
            assert known.commercial is True and "Apache 2.0" in licence_notice(known.name)
    assert CHECKPOINTS["simclr_r50_vissl"].commercial is None and "Not known" in licence_notice("simclr_r50_vissl")
    assert CHECKPOINTS["simclr_r50"].url in licence_notice("simclr_r50")


def test_only_googles_simclr_takes_images_as_they_are():
    assert [known.name for known in CHECKPOINTS.values() if not known.normalised] == ["simclr_r50"]


def test_names_of_layouts_checkpoints_and_architectures():
    assert not set(LAYOUTS) & set(CHECKPOINTS), "NAME:PATH could mean either"
    assert set(SHAPES) == {*BACKBONES, *TRANSFORMERS} - {"slim18"}, "nobody publishes weights of the student's network"
    for name, layout in LAYOUTS.items():
        assert layout.name == name and set(layout.architectures) <= set(SHAPES)
        # within a layout, shapes decide: two architectures of the same shapes would be told apart by chance
        assert len({SHAPES[each] for each in layout.architectures}) == len(layout.architectures)
    assert (
        LAYOUTS["vissl"]
        .describe()
        .startswith(
            "vissl: classy_state_dict → base_model → model → trunk → _feature_blocks.* (resnet18 or resnet50; dropped: "
        )
    )
    assert LAYOUTS["torchvision"].describe().startswith("torchvision: * or state_dict → * ")


def test_unknown_names_get_the_nearest():
    with pytest.raises(ConfigError, match="Unknown checkpoint 'moco_v2'. Did you mean moco_v2_"):
        licence_notice("moco_v2")
