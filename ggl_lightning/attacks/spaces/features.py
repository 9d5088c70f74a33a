"""What goes through a prior's generator between its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ggl_lightning.attacks.spaces.base import SearchSpace
from ggl_lightning.attacks.spaces.choice import Reached, SpaceChoice
from ggl_lightning.attacks.spaces.l1_ball import project_to_l1_ball
from ggl_lightning.attacks.spaces.latents import LatentSpace
from ggl_lightning.errors import UserError, check_positive
from ggl_lightning.priors.base import Prior

if TYPE_CHECKING:
    from ggl_lightning.attacks.base import Target


class FeatureSpace(SearchSpace):
    """The feature maps between two layers of a prior (GIFD: Fang et al. 2023, arXiv 2308.04699).

    Descents begin at the features of what was found before, and are kept in an l1 ball around them.

    Args:
        prior: The generator, in eval mode.
        layer: Name of the module whose output is searched, one of `feature_layers`.
        radius: Of the ball, for the features of one image.
        reached: What the search before found.
    """

    def __init__(self, prior: Prior, layer: str, radius: float, reached: Reached) -> None:
        self._prior = prior
        self._layer = prior.get_submodule(layer)
        self._radius = radius
        with torch.no_grad():
            features = output_of(self._layer, reached.images)
        self._start = features.float().cpu()

    @property
    def device(self) -> torch.device:
        """The prior's."""
        return self._prior.device

    @property
    def network(self) -> nn.Module:
        """The prior."""
        return self._prior

    def shape(self, count: int) -> tuple[int, ...]:
        """See `SearchSpace.shape`: ``(N, *features)`` as the layer returns them."""
        return (count, *self._start.shape[1:])

    def start(self, n: int, count: int, generator: torch.Generator) -> Tensor:
        """See `SearchSpace.start`: the features of what was found before, for all points."""
        return self._start.expand(n, *self._start.shape).clone()

    def project(self, points: Tensor) -> Tensor:
        """See `SearchSpace.project`: into the ball around the start, one for each image."""
        start = self._start.to(points.device)
        steps = (points - start).flatten(0, 1).flatten(1)
        return start + project_to_l1_ball(steps, self._radius).view(points.shape)

    def images(self, points: Tensor, labels: Tensor) -> Tensor:
        """See `SearchSpace.images`."""
        features = points.to(self.device).flatten(0, 1)
        with replaced_output(self._layer, features):
            images = self._prior(
                _any_latents(self._prior, len(features)), labels.repeat(len(points))
            )
        return images.unflatten(0, points.shape[:2])


class Features(SpaceChoice):
    """Searches latents, then the prior's feature maps, from the first layers to the last.

    A stage begins where the one before ended, and keeps its features in an l1 ball around there
    (GIFD: Fang et al. 2023, arXiv 2308.04699). It works for priors whose modules run in sequence:
    from the features of a layer on, the image must depend on nothing else.

    Args:
        radii: The balls' radii, for the features of one image: of as many layers as there are
            radii, from the first on.

    Raises:
        UserError: If there is no radius, or one is not positive.
    """

    needs_prior = True
    normal_start = True

    def __init__(self, radii: list[float] = [2000.0, 3000.0, 4000.0]) -> None:  # noqa: B006
        if not radii:
            raise UserError("radii of Features is empty: give the radius of each layer's ball.")
        for radius in radii:
            check_positive("radii of Features", radius)
        self.radii = radii

    @property
    def stages(self) -> int:
        """The latents and the layers."""
        return 1 + len(self.radii)

    def problems(self, target: Target) -> list[str]:
        """See `SpaceChoice.problems`: priors without enough layers in sequence."""
        prior = target.required_prior
        name, layers = type(prior).__name__, feature_layers(prior)
        if not layers:
            return [
                f"Features cannot search the prior {name}: its modules do not run in sequence, so "
                "that its images depend on more than the features of one layer. Search its Latents "
                "or GeneratorWeights."
            ]
        if len(layers) < len(self.radii):
            return [
                f"radii of Features lists {len(self.radii)} layers, but the prior {name} has "
                f"{len(layers)} whose features can be searched ({', '.join(layers)})."
            ]
        return []

    def space(self, target: Target, stage: int, reached: Reached | None) -> SearchSpace:
        """See `SpaceChoice.space`."""
        if reached is None:
            return LatentSpace(target.required_prior)
        prior = target.required_prior
        layer = feature_layers(prior)[stage - 1]
        return FeatureSpace(prior, layer, self.radii[stage - 1], reached)


def feature_layers(prior: Prior) -> list[str]:
    """Names of the modules whose output is all that the rest of a prior's generator needs.

    Among them are the last modules before each layer of weights, so that a layer's normalisation
    and activation belong to it. Tried out on two latents: with the output in the place of another
    one's, the image must be the same for both.

    Args:
        prior: The generator, in eval mode.

    Returns:
        In the order in which they run; none if the modules do not run in sequence.
    """
    latents = prior.sample(2, torch.Generator().manual_seed(0))
    labels = torch.zeros(2, dtype=torch.long, device=latents.device)
    with torch.no_grad():
        calls = _calls(prior, lambda: prior(latents, labels))
        names = [name for name, _ in calls]
        before_weights = [
            name
            for (name, _), (_, following) in pairwise(calls)
            if _has_weights(following) and names.count(name) == 1
        ]
        return [name for name in before_weights if _is_all(prior, name, latents, labels)]


def output_of(module: nn.Module, run: Callable[[], object]) -> Tensor:
    """What a module returns while something is run."""
    outputs: list[Tensor] = []
    handle = module.register_forward_hook(lambda _module, _inputs, found: outputs.append(found))
    try:
        run()
    finally:
        handle.remove()
    return outputs[-1].clone()


@contextmanager
def replaced_output(module: nn.Module, output: Tensor) -> Iterator[None]:
    """Within it a module returns something else than it computes."""
    handle = module.register_forward_hook(lambda _module, _inputs, _found: output)
    try:
        yield
    finally:
        handle.remove()


def _any_latents(prior: Prior, count: int) -> Tensor:
    """Latents on which nothing depends."""
    return torch.ones(count, *prior.latent_shape, device=prior.device)


def _calls(prior: Prior, run: Callable[[], object]) -> list[tuple[str, nn.Module]]:
    """The modules without children in the order in which they run."""
    calls: list[tuple[str, nn.Module]] = []
    leaves = [(name, each) for name, each in prior.named_modules() if not list(each.children())]
    handles = [
        module.register_forward_hook(
            lambda module, _inputs, _found, name=name: calls.append((name, module))
        )
        for name, module in leaves
        if module is not prior
    ]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _has_weights(module: nn.Module) -> bool:
    return any(parameter.dim() > 1 for parameter in module.parameters())


def _is_all(prior: Prior, name: str, latents: Tensor, labels: Tensor) -> bool:
    """Whether images depend on the latents by a module's output only."""
    module = prior.get_submodule(name)
    output = output_of(module, lambda: prior(latents, labels))
    if not isinstance(output, Tensor) or len(output) != 2 or not output.is_floating_point():
        return False
    with replaced_output(module, output[:1].expand_as(output)):
        same = prior(latents, labels)
    # Both in one batch: rounding may differ between batches of one and two.
    return torch.allclose(same[0], same[1], rtol=1e-4, atol=1e-5)
