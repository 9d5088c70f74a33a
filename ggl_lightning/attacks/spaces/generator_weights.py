"""The weights of a prior's generator, others for every image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ggl_lightning.attacks.spaces.base import SearchSpace
from ggl_lightning.attacks.spaces.choice import Reached, SpaceChoice
from ggl_lightning.attacks.spaces.latents import LatentSpace
from ggl_lightning.priors.base import Prior

if TYPE_CHECKING:
    from ggl_lightning.attacks.base import Target


class WeightSpace(SearchSpace):
    """All parameters of a generator, with fixed latents (GIAS: Jeon et al. 2021, arXiv 2110.14962).

    Descents begin at the prior's own parameters. Every image has parameters of its own.

    Args:
        prior: The generator, in eval mode.
        latents: One for each image, ``(N, *latent_shape)``.
    """

    def __init__(self, prior: Prior, latents: Tensor) -> None:
        self._prior = prior
        self._latents = latents.to(prior.device)
        self._shapes = {name: each.shape for name, each in prior.named_parameters()}

    @property
    def device(self) -> torch.device:
        """The prior's."""
        return self._prior.device

    @property
    def network(self) -> nn.Module:
        """The prior."""
        return self._prior

    def shape(self, count: int) -> tuple[int, ...]:
        """See `SearchSpace.shape`: ``(N, P)`` for ``P`` parameters."""
        return (count, sum(shape.numel() for shape in self._shapes.values()))

    def start(self, n: int, count: int, generator: torch.Generator) -> Tensor:
        """See `SearchSpace.start`: the prior's own, for all images of all points."""
        own = [each.detach().float().flatten().cpu() for each in self._prior.parameters()]
        return torch.cat(own).expand(n, *self.shape(count)).clone()

    def images(self, points: Tensor, labels: Tensor) -> Tensor:
        """See `SearchSpace.images`; one after the other."""
        points = points.to(self.device)
        rows = [
            torch.cat([self._one(each, image, labels) for image, each in enumerate(point)])
            for point in points
        ]
        return torch.stack(rows)

    def _one(self, parameters: Tensor, image: int, labels: Tensor) -> Tensor:
        parts = parameters.split([shape.numel() for shape in self._shapes.values()])
        named = zip(self._shapes.items(), parts, strict=True)
        weights = {name: part.view(shape) for (name, shape), part in named}
        one = slice(image, image + 1)
        return functional_call(self._prior, weights, (self._latents[one], labels[one]))


class GeneratorWeights(SpaceChoice):
    """Searches latents, then the generator's weights with these latents; see `WeightSpace`."""

    needs_prior = True
    normal_start = True

    @property
    def stages(self) -> int:
        """Latents and weights."""
        return 2

    def problems(self, target: Target) -> list[str]:
        """See `SpaceChoice.problems`: priors without weights."""
        if any(True for _ in target.required_prior.parameters()):
            return []
        name = type(target.required_prior).__name__
        return [f"GeneratorWeights cannot search the prior {name}: it has no parameters."]

    def space(self, target: Target, stage: int, reached: Reached | None) -> SearchSpace:
        """See `SpaceChoice.space`."""
        if reached is None:
            return LatentSpace(target.required_prior)
        return WeightSpace(target.required_prior, reached.point)
