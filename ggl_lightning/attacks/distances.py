"""How far the updates of a population of candidates are from the received update."""

from __future__ import annotations

import logging

from torch import Tensor, nn

from ggl_lightning.attacks.distance import Distance
from ggl_lightning.attacks.one_by_one import OneByOneDistances
from ggl_lightning.attacks.per_candidate.population_distances import PopulationDistances
from ggl_lightning.attacks.per_candidate.population_pass import CannotBatchError
from ggl_lightning.clients import Update, UpdateRule
from ggl_lightning.defenses import Adaptation
from ggl_lightning.errors import UserError, check_positive

__all__ = ["Distance", "UpdateDistances"]

_log = logging.getLogger(__name__)


class UpdateDistances:
    """Distances between candidates' updates and the received one, per parameter tensor.

    This is where a population is turned into distances, and the only part of the objective that
    knows how: in one pass over the whole population where there is a closed form (see
    `per_candidate`), one by one where there is none. Both give the same numbers; which one runs,
    and why, is logged once if it is the slow one.

    Args:
        model: The client model, in eval mode.
        received: The received update.
        rule: How a client's images become an update.
        adaptation: Applied to every candidate's update before it is compared.
        distance: What is measured between two tensors.
        max_memory_mb: Bound on the memory for the activations of candidates that are evaluated
            together, in units of 2^20 bytes; larger populations are evaluated in parts.

    Raises:
        UserError: If ``max_memory_mb`` is not positive; if the model is in training mode, where
            batch statistics would couple the candidates; if the update does not fit the model's
            parameters.
    """

    def __init__(
        self,
        model: nn.Module,
        received: Update,
        rule: UpdateRule,
        adaptation: Adaptation | None = None,
        distance: Distance = Distance.l2,
        max_memory_mb: float = 1024,
    ) -> None:
        check_positive("max_memory_mb of the objective", max_memory_mb)
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
        self._one_by_one = OneByOneDistances(model, received, rule, adaptation, distance)
        self._together: PopulationDistances | None = None
        try:
            self._together = PopulationDistances(
                model, received, rule, adaptation, distance, max_memory_mb
            )
        except CannotBatchError as error:
            _announce(model, error)
        self._model = model

    @property
    def one_by_one(self) -> bool:
        """Whether candidates are evaluated one by one; a first call may find that they must be."""
        return self._together is None

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
        if self._together is not None:
            try:
                return self._together(images, labels)
            except CannotBatchError as error:
                _announce(self._model, error)
                self._together = None
        return self._one_by_one(images, labels)


def _announce(model: nn.Module, error: CannotBatchError) -> None:
    _log.info(
        "Candidates are evaluated one by one, since of the client model %s %s.",
        type(model).__name__,
        error,
    )
