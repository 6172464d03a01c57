"""The encoder's maps: their shapes, their strides, their weights."""

from __future__ import annotations

import pytest
import torch
from torchvision.models import resnet18

from uslnet_core.encoder import BACKBONES, MEAN, STD, Encoder
from uslnet_core.errors import ConfigError

WIDTHS = {"resnet18": (64, 128, 256, 512), "resnet50": (256, 512, 1024, 2048)}


@pytest.fixture(scope="module")
def encoders() -> dict[str, Encoder]:
    torch.manual_seed(0)
    return {name: Encoder(name).eval() for name in BACKBONES}


@torch.no_grad()
@pytest.mark.parametrize("backbone", list(WIDTHS))
@pytest.mark.parametrize(("stride", "last"), [(1, 14), (2, 7)])
def test_shapes_at_224(encoders, backbone, stride, last):
    encoder = encoders[backbone]
    encoder.set_last_stride(stride)
    maps = encoder(torch.rand(1, 3, 224, 224), (1, 2, 3, 4))
    expected = [(1, width, side, side) for width, side in zip(WIDTHS[backbone], (56, 28, 14, last), strict=True)]
    assert [tuple(m.shape) for m in maps] == expected
    assert encoder.channels == WIDTHS[backbone]


def test_keeps_its_resolution_unless_told_otherwise():
    with torch.no_grad():
        assert Encoder("resnet18")(torch.rand(1, 3, 64, 64))[0].shape[-1] == 4
        assert Encoder("resnet18", 2)(torch.rand(1, 3, 64, 64))[0].shape[-1] == 2


@torch.no_grad()
def test_stages_come_in_the_order_asked_and_only_those(encoders):
    encoder = encoders["resnet18"]
    encoder.set_last_stride(1)
    images = torch.rand(2, 3, 64, 64)
    one, two, three, four = encoder(images, (1, 2, 3, 4))
    asked = encoder(images, (4, 2))
    assert len(asked) == 2 and torch.equal(asked[0], four) and torch.equal(asked[1], two)
    calls = []
    handle = encoder.layer4.register_forward_hook(lambda *_: calls.append(1))
    encoder(images, (3,))
    handle.remove()
    assert calls == [], "a stage that nobody asked for was computed"


@torch.no_grad()
@pytest.mark.parametrize("backbone", list(WIDTHS))
def test_dilated_it_gives_the_strided_features_and_those_between(encoders, backbone):
    encoder, images = encoders[backbone], torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    encoder.set_last_stride(2)
    coarse = encoder(images)[0]
    encoder.set_last_stride(1, dilation=2)
    dense = encoder(images)[0]
    assert dense.shape[-1] == 2 * coarse.shape[-1]
    # Two convolutions that sum in another order: equal to float32's rounding of the largest values.
    assert (dense[..., ::2, ::2] - coarse).abs().max() < 1e-5 * coarse.abs().max()
    encoder.set_last_stride(1)
    assert not torch.allclose(encoder(images)[0][..., ::2, ::2], coarse, atol=1e-2), "without dilation: other features"


@torch.no_grad()
def test_is_torchvisions_network_on_normalised_images():
    torch.manual_seed(0)
    network = resnet18(weights=None).eval()
    encoder = Encoder("resnet18", 2).eval()
    own = {k.replace("stem.0", "conv1").replace("stem.1", "bn1"): v for k, v in encoder.state_dict().items()}
    network.load_state_dict(own, strict=False)
    assert set(network.state_dict()) - set(own) == {"fc.weight", "fc.bias"}
    images = torch.rand(2, 3, 64, 64)
    x = (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    x = network.maxpool(network.relu(network.bn1(network.conv1(x))))
    x = network.layer4(network.layer3(network.layer2(network.layer1(x))))
    assert torch.allclose(encoder(images)[0], x, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("backbone", list(WIDTHS))
def test_weights_load_across_strides(encoders, backbone):
    trained = encoders[backbone]
    trained.set_last_stride(2)
    other = Encoder(backbone, 1).eval()
    other.load_state_dict(trained.state_dict(), strict=True)
    images = torch.rand(1, 3, 64, 64)
    assert other(images)[0].shape[-1] == 4 and torch.equal(other(images, (3,))[0], trained(images, (3,))[0])
    other.set_last_stride(2)
    assert torch.equal(other(images)[0], trained(images)[0])


def test_unknown_backbone_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean resnet50"):
        Encoder("resnet5O")
