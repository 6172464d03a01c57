"""Seeded random backbones, dressed up as each public file is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import resnet18, resnet50

from uslnet_core.transformer import TRANSFORMERS


def shaken(network: nn.Module, seed: int) -> nn.Module:
    """Weights and statistics that are all different from those of a fresh network, and all matter."""
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.ndim == 0:
                value.fill_(7)
            elif name.endswith("running_var") or (value.ndim == 1 and name.endswith(("weight", "gamma"))):
                value.uniform_(0.5, 1.0, generator=drawn)
            elif value.ndim == 1:
                value.uniform_(-0.2, 0.2, generator=drawn)
            elif name.endswith(("cls_token", "pos_embed")) or network.__class__.__name__ == "VisionTransformer":
                value.normal_(0, 0.05, generator=drawn)
    return network.eval()


@pytest.fixture(scope="session")
def originals() -> dict[str, nn.Module]:
    """A network a known architecture, built as its authors' code builds it: torchvision's or timm's."""
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    made: dict[str, nn.Module] = {"resnet18": shaken(resnet18(), 1), "resnet50": shaken(resnet50(), 2)}
    for seed, (name, known) in enumerate(TRANSFORMERS.items(), start=3):
        network = VisionTransformer(
            img_size=known.size,
            patch_size=known.patch,
            embed_dim=384,
            num_heads=known.heads,
            init_values=1e-5 if known.layer_scale else None,
            num_classes=0,
            dynamic_img_size=True,
            weight_init="skip",
        )
        made[name] = shaken(network, seed)
    return made


def bulk(*shape: int) -> torch.Tensor:
    """A tensor of any shape that takes no room in a file."""
    return torch.zeros(()).expand(shape)


def prefixed(prefix: str, weights: dict) -> dict:
    return {prefix + name: value for name, value in weights.items()}


def dress(layout: str, weights: dict) -> dict:
    """Put a backbone into what a public file of this layout holds beside it."""
    backbone = {name: value for name, value in weights.items() if not name.startswith("fc.")}
    optimiser = {"state": {0: {"momentum_buffer": bulk(64, 3, 7, 7)}}, "param_groups": [{"lr": 0.03, "params": [0]}]}
    training = {"epoch": 200, "arch": "resnet50", "optimizer": optimiser}
    if layout == "moco":
        heads = {"fc.0.weight": bulk(2048, 2048), "fc.0.bias": bulk(2048), "fc.2.weight": bulk(128, 2048)}
        both = prefixed("module.encoder_q.", backbone | heads) | prefixed("module.encoder_k.", backbone | heads)
        return training | {
            "state_dict": both | {"module.queue": bulk(128, 65536), "module.queue_ptr": torch.zeros(1).long()}
        }
    if layout == "moco_v3":
        heads = {"head.0.weight": bulk(4096, 384)} if "cls_token" in weights else {"fc.0.weight": bulk(4096, 2048)}
        both = prefixed("module.base_encoder.", backbone | heads)
        both |= prefixed("module.momentum_encoder.", backbone | heads) | {"module.predictor.0.weight": bulk(4096, 256)}
        return training | {"state_dict": both, "scaler": {"scale": 65536.0}}
    if layout == "simclr":
        return {"state_dict": backbone | {"fc.weight": bulk(1000, 2048), "fc.bias": bulk(1000)}}
    if layout == "lightly":
        heads = {"projection_head.layers.0.weight": bulk(2048, 2048), "online_classifier.linear.bias": bulk(1000)}
        return {
            "epoch": 99,
            "global_step": 500400,
            "pytorch-lightning_version": "2.0.1",
            "state_dict": prefixed("backbone.", backbone) | heads,
            "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": None}},
            "optimizer_states": [optimiser],
            "hyper_parameters": {"batch_size_per_device": 128, "num_classes": 1000},
        }
    if layout == "vissl":
        trunk = prefixed("_feature_blocks.", backbone)
        model = {"trunk": trunk, "heads": {"0.clf.0.weight": bulk(2048, 2048)}}
        state = {"train": True, "base_model": {"meters": {}, "model": model}, "optimizer": optimiser, "losses": [5.5]}
        return {"phase_idx": 799, "iteration": 250_000, "classy_state_dict": state, "type": "consolidated"}
    return backbone | ({"mask_token": bulk(1, 384)} if layout == "dinov2" else {})


@pytest.fixture
def save(originals, tmp_path):
    """Write a network in a layout, and give the path: ``save("moco", "resnet18", change=…)``."""

    def write(layout: str, architecture: str, name: str = "file.pth", change=None, **options) -> Path:
        content = dress(layout, dict(originals[architecture].state_dict()))
        path = tmp_path / name
        torch.save((change(content) or content) if change else content, path, **options)
        written.append(path)
        return path

    written: list[Path] = []
    yield write
    for path in written:  # pytest keeps the folders of three sessions, and these files are large
        path.unlink(missing_ok=True)
