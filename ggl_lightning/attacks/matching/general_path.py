"""Per-candidate gradients of any parameters of any model, in full."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from ggl_lightning.clients import gradients_of
from ggl_lightning.memory import is_out_of_memory

_ENTRIES_AT_ONCE = 2**22
"""Entries of gradients computed at a time on the CPU, where convolutions over several candidates,
each a group of its own, lose more than they gain once they are large."""

Gradients = dict[str, Tensor]
"""Gradients ``(C, *shape)`` by the parameters' names."""


class GeneralGradients:
    """Candidates' gradients of the mean cross-entropy with respect to some parameters.

    Vectorised over the candidates (`torch.func`), each of which goes through the model on its own,
    so that nothing needs to be known of it. A model that cannot be vectorised, because its control
    flow depends on values for instance, goes through a loop.

    Args:
        model: The client model, in eval mode.
        names: Names of the parameters, as in ``model.named_parameters()``.

    Attributes:
        vectorised: Whether candidates are vectorised; a first use may find that they cannot be.
        vectorised_twice: Whether also where the gradients must be differentiable themselves, which
            a few of torch's operations get wrong when they are vectorised.
        entries: Entries of one candidate's gradients.
    """

    def __init__(self, model: nn.Module, names: list[str]) -> None:
        self._model = model
        self._weights = {
            name: parameter.detach()
            for name, parameter in model.named_parameters()
            if name in names
        }
        self.vectorised = True
        self.vectorised_twice = True
        self.entries = sum(weight.numel() for weight in self._weights.values())

    def parts(self, images: Tensor, labels: Tensor) -> Iterator[Gradients]:
        """Yields the gradients of successive candidates, a few at a time.

        Args:
            images: ``(C, N, 3, H, W)``.
            labels: ``(N,)``.

        Yields:
            Gradients of some candidates; differentiable with respect to ``images`` if they require
            gradients.
        """
        for part in images.split(at_once(images, self.entries)):
            can = self.vectorised_twice if images.requires_grad else True
            together = self.vectorised and can
            yield self._together(part, labels) if together else self._in_turn(part, labels)

    def _together(self, images: Tensor, labels: Tensor) -> Gradients:
        def loss(weights: Gradients, candidate: Tensor) -> Tensor:
            return F.cross_entropy(functional_call(self._model, weights, candidate), labels)

        try:
            with warnings.catch_warnings():
                # Of torch, to its developers: an operation is vectorised by a loop within.
                warnings.filterwarnings("ignore", message="There is a performance drop")
                return vmap(grad(loss), in_dims=(None, 0))(self._weights, images)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            # What a user's model raises when it meets a vectorised tensor is not for us to say.
            if is_out_of_memory(error):
                raise
            self.vectorised = False
        return self._in_turn(images, labels)

    def _in_turn(self, images: Tensor, labels: Tensor) -> Gradients:
        rows = []
        with torch.enable_grad():
            weights = {
                name: weight.clone().requires_grad_() for name, weight in self._weights.items()
            }
            for candidate in images:
                logits = functional_call(self._model, weights, candidate)
                rows.append(
                    gradients_of(
                        F.cross_entropy(logits, labels),
                        list(weights.values()),
                        create_graph=images.requires_grad,
                    )
                )
        columns = zip(*rows, strict=True)
        return {name: torch.stack(column) for name, column in zip(weights, columns, strict=True)}


def at_once(images: Tensor, entries: int) -> int:
    """How many candidates of this many entries each to vectorise over."""
    on_cpu = images.device.type == "cpu"
    return max(1, _ENTRIES_AT_ONCE // max(1, entries)) if on_cpu else len(images)
