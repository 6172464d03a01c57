"""The encoder: a ResNet that hands out its stage maps, its last stage at full resolution (paper 3.2, 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models import resnet18, resnet50
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from uslnet_core.config import check_choice

SLIM = 7 / 16  # width of the slim ResNet-18 over the whole one's: 2.2 million weights in place of 11.2


class SlimResNet(ResNet):
    """A ResNet-18 whose stages are narrower; its first convolution is as wide as ever."""

    def __init__(self, weights: None = None) -> None:
        super().__init__(BasicBlock, [2, 2, 2, 2])

    def _make_layer(self, block: type[BasicBlock], planes: int, *rest: int, **options: int) -> nn.Sequential:
        return super()._make_layer(block, int(planes * SLIM), *rest, **options)


BACKBONES = {
    "resnet18": (resnet18, (64, 128, 256, 512)),
    "resnet50": (resnet50, (256, 512, 1024, 2048)),
    "slim18": (SlimResNet, (28, 56, 112, 224)),
}
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class Encoder(nn.Module):
    """A torchvision ResNet without its classifier.

    Stage k is torchvision's ``layerk`` (the paper's layer k + 1). With ``last_stride=1`` an input of 224 gives stages 3
    and 4 the same 14 × 14 cells, so that both can be concatenated (paper 3.3). Strides are no weights: an encoder
    trained with 2 loads into one with 1. Its filters then need ``dilation=2``, or they meet neighbours half as far away
    as those they learnt from, and its features are others than the ones that were trained.

    Args:
        backbone: ``resnet18``, ``resnet50`` or ``slim18``.
        last_stride: stride of the last stage, 1 or 2.
        dilation: of the last stage's filters behind the stride: the stride it was trained with over the one it has.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: str = "resnet18", last_stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        check_choice("backbone", backbone, BACKBONES)
        make, self.channels = BACKBONES[backbone]
        network = make(weights=None)
        self.stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
        self.layer1, self.layer2 = network.layer1, network.layer2
        self.layer3, self.layer4 = network.layer3, network.layer4
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.set_last_stride(last_stride, dilation)

    def set_last_stride(self, stride: int, dilation: int = 1) -> None:
        """Set the stride of the last stage in place: 2 is the classifier's, 1 keeps the resolution.

        Args:
            stride: 1 or 2.
            dilation: as the class says. With stride 1 and dilation 2 the cells of even rows and columns are exactly
                those of stride 2 and dilation 1, and the cells between them are new.
        """
        first = self.layer4[0]
        strided = first.conv2 if isinstance(first, Bottleneck) else first.conv1
        strided.stride = first.downsample[0].stride = (stride, stride)
        for conv in self.layer4.modules():
            if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3) and conv is not strided:
                conv.dilation = conv.padding = (dilation, dilation)

    def forward(self, images: Tensor, stages: Sequence[int] = (4,)) -> list[Tensor]:
        """Compute the maps of the stages asked for.

        Args:
            images: (B, 3, S, S) float32 in [0, 1], S a multiple of 32.
            stages: stage numbers, 1 to 4.

        Returns:
            One (B, channels, h, w) map per stage asked for, in the order asked.
        """
        x = self.stem((images - self.mean) / self.std)
        maps = {}
        for number, layer in enumerate((self.layer1, self.layer2, self.layer3, self.layer4), start=1):
            if number > max(stages):
                break
            x = layer(x)
            maps[number] = x
        return [maps[stage] for stage in stages]
