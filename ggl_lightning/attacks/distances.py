"""How far the updates of a population of candidates are from the received update."""

from __future__ import annotations

from enum import Enum

import torch
from torch import Tensor, nn

from ggl_lightning.clients import Update, UpdateRule
from ggl_lightning.defenses import Adaptation
from ggl_lightning.errors import UserError


class Distance(Enum):
    """Distance between two tensors of two updates.

    * ``l2``: squared Euclidean distance ``||g - y||^2`` (Li et al. 2022, eq. 4).
    * ``l1``: sum of absolute differences.
    * ``cosine``: ``1 - <g, y> / (||g|| ||y||)``, between 0 and 2 (as Geiping et al. 2020, but per
      tensor); 0 between two zero tensors, 1 if only one of them is zero.
    """

    l2 = "l2"
    l1 = "l1"
    cosine = "cosine"

    def __call__(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """The distance, a scalar, differentiable with respect to ``ours``."""
        match self:
            case Distance.l2:
                return (ours - theirs).square().sum()
            case Distance.l1:
                return (ours - theirs).abs().sum()
            case Distance.cosine:
                return _cosine_distance(ours, theirs)


def _cosine_distance(ours: Tensor, theirs: Tensor) -> Tensor:
    squares = ours.square().sum() * theirs.square().sum()
    if squares == 0:
        same = bool((ours == theirs).all())
        return 0 * ours.sum() + (0 if same else 1)
    return 1 - (ours * theirs).sum() * squares.rsqrt()


class UpdateDistances:
    """Distances between candidates' updates and the received one, per parameter tensor.

    This is where a population is turned into distances, and the only part of the objective that
    knows how: it evaluates the candidates one by one.

    Args:
        model: The client model, in eval mode.
        received: The received update.
        rule: How a client's images become an update.
        adaptation: Applied to every candidate's update before it is compared.
        distance: What is measured between two tensors.

    Raises:
        UserError: If the model is in training mode, where batch statistics would couple the
            candidates, or the update does not fit the model's parameters.
    """

    def __init__(
        self,
        model: nn.Module,
        received: Update,
        rule: UpdateRule,
        adaptation: Adaptation | None = None,
        distance: Distance = Distance.l2,
    ) -> None:
        if any(module.training for module in model.modules()):
            raise UserError(
                "The client model must be in eval mode for an attack (model.eval()): in training "
                "mode batch statistics and dropout would couple the candidates."
            )
        expected = [tuple(parameter.shape) for parameter in model.parameters()]
        found = [tuple(tensor.shape) for tensor in received]
        if expected != found:
            raise UserError(
                f"The received update has {len(found)} tensors that do not match the client "
                f"model's {len(expected)} parameters: it was computed with another model."
            )
        self._model = model
        self._received = received
        self._rule = rule
        self._adaptation = adaptation
        self._distance = distance

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Evaluates a population.

        Args:
            images: The images of each candidate, ``(C, N, 3, H, W)`` in ``[-1, 1]``, where ``N``
                is the size of the client's batch.
            labels: The labels all candidates assume, ``(N,)``.

        Returns:
            The distance of candidate ``c`` in parameter tensor ``l``: ``(C, L)``; differentiable
            with respect to ``images`` if they require gradients.
        """
        return torch.stack([self._one(candidate, labels) for candidate in images])

    def _one(self, images: Tensor, labels: Tensor) -> Tensor:
        update = self._rule(self._model, images, labels)
        if self._adaptation is not None:
            update = self._adaptation(update)
        pairs = zip(update, self._received, strict=True)
        return torch.stack([self._distance(ours, theirs) for ours, theirs in pairs])
