"""Grad-CAM, Grad-CAM++ and Smooth Grad-CAM++ of a contrastive encoder, by torchcam: the baselines (paper 4.3).

They explain a score. There is no class here, so the score is the contrastive logit q·k⁺ of equation 1: q the embedding
of the image, k⁺ that of a random view of it, held fixed. (The cosine of an embedding with itself, held fixed, is at its
maximum: its gradient is zero and explains nothing.) A cosine's gradient is orthogonal to the embedding. So where the
embedding is the mean over the cells, Grad-CAM's map has the mean 0 before its ReLU: part of every image is left dark.
The ++ variants add up positive gradients alone, and cover more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import blake2b

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchcam.methods import GradCAM

from uslnet_core.compute import generator
from uslnet_core.config import check_choice
from uslnet_core.encoder import Encoder
from uslnet_core.errors import ConfigError, TrainingError
from uslnet_core.saliency.source import resting

KINDS = ("grad_cam", "grad_cam_pp", "smooth_grad_cam_pp")
LEAST = 1e-30  # keeps a quotient of squared gradients from 0/0; torchcam's 1e-8 is as large as most of them here

View = Callable[[Tensor, torch.Generator], Tensor]
"""Images (B, 3, S, S) and a stream to random views (B, 3, s, s), all float32 in [0, 1]."""


class ContrastiveLogit(nn.Module):
    """The score that is explained: similarity of an image to its own second view.

    Args:
        encoder: gives stage maps; pooled is the mean over the cells of the last, or ``encoder.pooled(images)`` where
            the encoder has its own way (transformers).
        head: the projection from pooled features to the embedding. None: the pooled features are the embedding
            (public checkpoints come without their head).

    Attributes:
        keys: (B, D) float, k⁺ of the images that come next, unit length, without gradient.
    """

    def __init__(self, encoder: Encoder, head: nn.Module | None = None) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head
        self.keys: Tensor | None = None

    def embed(self, images: Tensor) -> Tensor:
        """Embed images: (B, 3, S, S) float32 in [0, 1] to (B, D) of unit length."""
        own = getattr(self.encoder, "pooled", None)
        pooled = own(images) if own else self.encoder(images)[0].mean((2, 3))  # (B, channels)
        return F.normalize(pooled if self.head is None else self.head(pooled), dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Give q·k⁺: (B, 3, S, S) float32 in [0, 1] to (B, 1), as classifiers give scores."""
        assert self.keys is not None, "the keys come first"
        return (self.embed(images) * self.keys).sum(1, keepdim=True)


class GradientCAM(nn.Module):
    """A source of maps: where the encoder looks when it recognises an image again.

    A map is ReLU'd and divided by its maximum. One that is zero everywhere stays so, and is counted in ``empty``.

    Random numbers hang on the seed and on the image's own pixels, on nothing else: neither the other images nor the
    size of the batches changes a map.

    torchcam runs all three; the weights of the two with ++ are ours (`GradCAMpp` says why).

    Args:
        encoder: a convolutional encoder, explained at ``layer4``; or a transformer with ``target`` (a module whose
            output is tokens, (B, 1 + h·w, C)), ``to_grid`` (tokens to (B, C, h, w)) and ``pooled``.
        head: as in `ContrastiveLogit`.
        kind: ``grad_cam``, ``grad_cam_pp`` or ``smooth_grad_cam_pp``.
        view: draws the second view, as the encoder's training did; called with one image at a time.
        seed: of the views and the noise.
        samples: noisy copies of an image, for Smooth Grad-CAM++.
        std: standard deviation of the noise, on the scale of the images' [0, 1]; 0.15 is SmoothGrad's own share.

    Attributes:
        empty: images so far whose map was zero everywhere.

    Raises:
        ConfigError: an unknown kind, fewer than one sample, a negative deviation.
    """

    def __init__(
        self,
        encoder: Encoder,
        head: nn.Module | None,
        kind: str,
        view: View,
        seed: int = 0,
        *,
        samples: int = 8,
        std: float = 0.15,
    ) -> None:
        super().__init__()
        check_choice("kind of gradient CAM", kind, KINDS)
        if samples < 1 or std < 0:
            raise ConfigError(f"samples is {samples} and std is {std}; expected at least 1 sample, and 0 or more.")
        self.logit = ContrastiveLogit(encoder, head)
        self.kind, self.view, self.seed, self.std = kind, view, seed, std
        self.samples = samples if kind == "smooth_grad_cam_pp" else 0
        self.empty = 0

    def forward(self, images: Tensor) -> Tensor:
        """Map images.

        Args:
            images: (B, 3, S, S) float32 in [0, 1].

        Returns:
            (B, h, w) float32 in [0, 1], with 1 at each map's peak.

        Raises:
            TrainingError: the encoder gives what is not a number.
        """
        images = images.detach()
        streams = [self._stream(image) for image in images]
        # float32: third powers of gradients are compared, and eight bits are too few
        with resting(self), torch.autocast(images.device.type, enabled=False):
            with torch.no_grad():
                views = torch.cat([self.view(image, rng) for image, rng in zip(images.split(1), streams, strict=True)])
                self.logit.keys = self.logit.embed(views)
            if not self.logit.keys.isfinite().all():
                raise TrainingError("The embedding of a view is not a number. Check the encoder's health.")
            with torch.enable_grad():
                maps = self._explain(images, streams).detach()
        peak = maps.amax((1, 2), keepdim=True)
        self.empty += int((peak == 0).sum())
        return torch.where(peak > 0, maps / peak, 0.0)

    def _explain(self, images: Tensor, streams: list[torch.Generator]) -> Tensor:
        """Run torchcam over one batch whose keys are set; its hooks are removed whatever happens."""
        encoder = self.logit.encoder
        layer = encoder.target if hasattr(encoder, "target") else encoder.layer4
        options = {"target_layer": layer, "reshape_transform": getattr(encoder, "to_grid", None)}
        method, copies = GradCAM, {}
        if self.kind != "grad_cam":
            method, copies = GradCAMpp, {"copies": self._copies(images, streams)}
        with gradients_from(self.logit, layer), method(self.logit, **options) as cam:
            return cam(0, self.logit(images), normalized=False, **copies)[0]

    def _copies(self, images: Tensor, streams: list[torch.Generator]) -> Iterator[Tensor]:
        """Draw noisy copies of a batch, one after the other; each image's noise from its own stream."""
        for _ in range(self.samples):
            noise = torch.stack([torch.randn(images.shape[1:], generator=rng) for rng in streams])
            yield images + self.std * noise.to(images.device)

    def _stream(self, image: Tensor) -> torch.Generator:
        """Start the stream of one image, (3, S, S): its seed is a digest of the pixels."""
        pixels = (image * 255).round().to(torch.uint8).cpu().numpy()
        return generator(self.seed, int.from_bytes(blake2b(pixels.tobytes(), digest_size=7).digest(), "big"))


class GradCAMpp(GradCAM):
    """Grad-CAM++, and Smooth Grad-CAM++ where it is given noisy copies: torchcam's but for the weights.

    With D₁, D₂, D₃ the mean over the copies of the gradient, its square and its cube (without copies: the image's own),
    and A the image's own activations, channel k weighs

        w_k = Σ_ij α_ij · ReLU(D₁)_ij,    α_ij = D₂_ij / (2 · D₂_ij + Σ_ab A_ab · D₃_ij)

    (the Smooth Grad-CAM++ paper prints D₁ above the line; D₂ is Grad-CAM++'s, and torchcam corrects it too). torchcam
    0.5.0 departs from this: its Grad-CAM++ never divides (the quotient is written to a copy), and its Smooth Grad-CAM++
    takes A and D₁ from the last noisy copy alone, so that neither is smooth.
    """

    def _get_weights(self, class_idx: int, scores: Tensor, copies: Iterable[Tensor] = ()) -> list[Tensor]:
        """Compute w: one (B, C)."""
        self._backprop(scores, class_idx)
        activations = self.hook_a[0]
        moments, count = [self.hook_g[0].pow(k) for k in (1, 2, 3)], 1
        for count, copy in enumerate(copies, start=1):
            self._backprop(self.model(copy), class_idx)
            new = [self.hook_g[0].pow(k) for k in (1, 2, 3)]
            moments = new if count == 1 else [total.add_(each) for total, each in zip(moments, new, strict=True)]
        self.hook_a[0] = activations  # the map is the image's own, not that of a noisy copy
        first, second, third = (total / count for total in moments)
        alpha = second / (2 * second + activations.sum((2, 3), keepdim=True) * third + LEAST)
        return [(alpha * first.relu()).sum((2, 3))]


@contextmanager
def gradients_from(model: nn.Module, layer: nn.Module) -> Iterator[None]:
    """Let the graph begin at one layer: nothing is kept of what lies before it, which is most of the memory.

    Args:
        model: what is called with images; their gradients are not wanted.
        layer: the layer inside whose output gets gradients, be its parameters frozen or not.
    """
    handles = [model.register_forward_pre_hook(lambda _, arguments: (arguments[0].detach(),))]
    try:
        handles.append(layer.register_forward_hook(lambda _, __, output: output.detach().requires_grad_()))
        yield
    finally:
        for handle in handles:
            handle.remove()
