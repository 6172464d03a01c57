"""MoCo v1 and v2: negatives from a queue of keys, which a slow copy of the encoder makes (paper 3.2).

The two differ in head, augmentation and temperature, all of which the recipe holds; the mechanism is one.
"""

from __future__ import annotations

import copy
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from uslnet_core.batch_norm import in_order
from uslnet_core.config import Recipe
from uslnet_core.contrastive.heads import embed, projection_head
from uslnet_core.contrastive.infonce import info_nce, uniform_level
from uslnet_core.contrastive.learner import Learner
from uslnet_core.contrastive.views import random_view
from uslnet_core.encoder import Encoder
from uslnet_core.errors import ConfigError
from uslnet_core.ranks import Share, Stream, mean_of_all, own, permutation, whole

LONGEST_QUEUE = 65536  # MoCo's own, on a million images


class MoCo(Learner):
    """An encoder that learns, a copy that follows it slowly, and the copy's last outputs in a queue.

    Batch norm could give the answer away: were query and key normalised over the same images, their common mean would
    tell which batch a key is of. So a batch is normalised in groups, and keys in groups of another, random, order.

    Args:
        encoder: the encoder that learns.
        recipe: the method's settings.
        images: number of training images; the queue holds at most half as many keys.

    Raises:
        ConfigError: the queue is longer than half the images.
    """

    queue: Tensor
    pointer: Tensor

    def __init__(self, encoder: Encoder, recipe: Recipe, images: int) -> None:
        super().__init__()
        self.recipe = recipe
        self.encoder = encoder
        self.head = projection_head(encoder.channels[-1], recipe)
        self.key_encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.key_head = copy.deepcopy(self.head).requires_grad_(False)
        length = queue_length(recipe, images)
        self.register_buffer("queue", F.normalize(torch.randn(length, recipe.embedding), dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))  # where the next key goes

    def forward(self, views: Tensor) -> Tensor:
        """Embed views as queries: (B, 3, s, s) float32 in [0, 1] to (B, embedding) of unit length."""
        return embed(self.encoder, self.head, views)

    def loss(self, images: Tensor, rng: Stream) -> tuple[Tensor, Tensor, Tensor]:
        """Draw two views of each image; the first asks, the second is its key, and the queue holds the negatives.

        Several processes share a batch by its groups. Keys are embedded in the order of the whole batch, by whichever
        process has their new place, and all put all of them into their queues.

        Args:
            images: (B, 3, S, S) float32 in [0, 1]; of a shared batch, this process's own.
            rng: stream of the augmentation and of the keys' order, or this process's share of it.

        Returns:
            The scalar loss (over processes, its mean is the batch's), and the whole batch's (B, embedding) queries and
            keys, detached, for the health figures.
        """
        first, second = (random_view(images, self.recipe, rng) for _ in range(2))
        order = permutation(rng, len(images))
        number, running = self.groups(len(order)), nullcontext()
        if isinstance(rng, Share):
            running, number = in_order(self, rng, number), max(1, number // len(rng.sizes))
        with running:
            query = torch.cat([self(group) for group in _cut(first, number)])
            with torch.no_grad():
                self._follow()
                views = own(whole(second, rng)[order], rng)
                keys = torch.cat([embed(self.key_encoder, self.key_head, group) for group in _cut(views, number)])
        key = whole(keys, rng)[order.argsort()]
        # The queue changes below, before the gradient is computed, which needs it as it was.
        loss = info_nce(query, own(key, rng), self.queue.clone(), self.recipe.temperature)
        self._enqueue(key)
        return mean_of_all(loss, rng), whole(query.detach(), rng), key

    def groups(self, batch: int) -> int:
        """Count the groups of a batch that batch norm sees apart; each is of at least two images."""
        return max(1, min(self.recipe.groups, batch // 2))

    def uniform_level(self, batch: int) -> float:
        """Give the loss of a network that knows nothing; it hangs on the queue, not on the batch."""
        return uniform_level(len(self.queue))

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the key encoder a little towards the encoder."""
        pairs = [(self.encoder, self.key_encoder), (self.head, self.key_head)]
        for leader, follower in pairs:
            for new, old in zip(leader.parameters(), follower.parameters(), strict=True):
                old.mul_(self.recipe.momentum).add_(new, alpha=1 - self.recipe.momentum)

    @torch.no_grad()
    def _enqueue(self, key: Tensor) -> None:
        """Put keys in the place of the oldest; a batch longer than the queue leaves its last ones."""
        key = key[-len(self.queue) :]
        places = (self.pointer + torch.arange(len(key), device=key.device)) % len(self.queue)
        self.queue[places] = key
        self.pointer.copy_((self.pointer + len(key)) % len(self.queue))


def _cut(views: Tensor, number: int) -> list[Tensor]:
    """Cut a batch into groups."""
    return [group.contiguous(memory_format=torch.channels_last) for group in views.tensor_split(number)]


def queue_length(recipe: Recipe, images: int) -> int:
    """Choose how many keys the queue holds, or check the number asked for.

    Args:
        recipe: the method's settings.
        images: number of training images.

    Returns:
        ``recipe.queue``, or half the images up to 65536.

    Raises:
        ConfigError: it would hold more than half the images: then an image too often meets itself as its own negative.
    """
    most = max(1, images // 2)
    if recipe.queue is not None and recipe.queue > most:
        raise ConfigError(
            f"contrastive.queue is {recipe.queue}, but there are {images} images, and a queue longer than half of them "
            f"({most}) holds many images as their own negatives. Take {most} or fewer, or leave it empty."
        )
    return recipe.queue or min(most, LONGEST_QUEUE)
