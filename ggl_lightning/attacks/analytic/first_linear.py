"""Exact inversion of a linear layer that sees the image itself."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from ggl_lightning.attacks.analytic.exclusive_neurons import exclusive_inputs
from ggl_lightning.attacks.analytic.input_layer import InputLayer, find_input_layer
from ggl_lightning.attacks.base import UNWATCHED, Attack, Finding, Progress, Target
from ggl_lightning.attacks.received import Received
from ggl_lightning.clients import client_update
from ggl_lightning.clients.procedures import ClientProcedure
from ggl_lightning.errors import UserError


class FirstLinearInversion(Attack):
    """Reads the image off the gradient of a first linear layer, in closed form.

    A linear layer ``W x + b`` with output gradient ``d`` has the weight gradient ``d x^T`` and the
    bias gradient ``d``: every row of the first is the input times an entry of the second
    (Aono et al. 2017; Geiping et al. 2020, proposition 3.1).

    * One image: ``[d x^T, d] = d [x; 1]^T`` has rank one, and its first right singular vector is
      ``[x; 1]`` up to a factor that its last entry gives away. With noise of one variance in all
      entries this is the maximum-likelihood estimate (total least squares, Golub and Van Loan
      1980); without noise it is exact, and scaling (clipping, learning rates) changes nothing.
    * Several images: a unit that fired for one image only, as many do behind a ReLU, has a row with
      that image alone (Pan et al. 2022, exclusively activated neurons). An image that would cause
      just what its units say is certain, see `exclusive_inputs`. Images that no unit gives away are
      answered by the mixture of all.
    * Without a bias in the update the factor is unknown: the attack does not fit.

    Pixels are clamped to ``[-1, 1]``. The attack needs no prior.

    Args:
        known_label: Whether the attacker is told the private labels instead of inferring them.
    """

    def __init__(self, known_label: bool = False) -> None:
        self.known_label = known_label

    def problems(self, target: Target, count: int, procedure: ClientProcedure) -> list[str]:
        """See `Attack.problems`: a client model without such a layer, labels without a last one."""
        found = super().problems(target, count, procedure)
        layer = find_input_layer(target.model, target.image_shape)
        wrong = _why_unfit(target, layer)
        return found if wrong is None else [wrong, *found]

    def run(
        self, received: Received, target: Target, seed: int, progress: Progress = UNWATCHED
    ) -> Finding:
        """See `Attack.run`; nothing is random.

        Raises:
            UserError: If the client model has no such layer.
        """
        started = time.perf_counter()
        layer = find_input_layer(target.model, target.image_shape)
        wrong = _why_unfit(target, layer)
        if wrong is not None:
            raise UserError(wrong)
        assert layer is not None
        inferred, labels = received.assumed_labels(target.model, target.classifier)
        inputs, certain = _inputs(received, layer, target, labels)
        images = layer.images(inputs, target.image_shape).clamp(-1, 1)
        return Finding(
            images=images.float(),
            labels=labels,
            inferred=inferred,
            seconds=time.perf_counter() - started,
            evaluation={"way": "in closed form", "layer": layer.name, "certain_images": certain},
        )

    @property
    def evaluations(self) -> int:
        """None: it evaluates no candidates."""
        return 0

    @property
    def cost(self) -> float:
        """About an evaluation's."""
        return 1.0


def _why_unfit(target: Target, layer: InputLayer | None) -> str | None:
    """Why a client model with this input layer, or none, gives nothing away exactly."""
    name = type(target.model).__name__
    if layer is None:
        return (
            f"The client model {name} has no linear layer that sees the image itself and is "
            "sent, so FirstLinearInversion does not fit it: leave that attack out, or give "
            "another client model."
        )
    if layer.bias_index is None:
        return (
            f"Layer {layer.name} of the client model {name} has no bias that is sent, so "
            "FirstLinearInversion cannot tell an image from its multiples: leave that attack "
            "out, or give another client model."
        )
    return None


def _inputs(
    received: Received, layer: InputLayer, target: Target, labels: Tensor
) -> tuple[Tensor, int]:
    """The layer's inputs, one row per image, and how many of them are certain."""
    assert layer.bias_index is not None
    bias_index, weight_dtype = layer.bias_index, layer.layer.weight.dtype
    gradient = received.mean_gradient(target.model)
    weight = gradient[layer.weight_index].detach().double().cpu()
    bias = gradient[bias_index].detach().double().cpu()
    mixture = _one_input(weight, bias)
    if received.count == 1:
        return mixture.unsqueeze(0), 0
    known = labels.unique().to(target.device)

    def bias_gradient(found: Tensor) -> Tensor:
        image = layer.images(found.unsqueeze(0), target.image_shape).to(target.device, weight_dtype)
        return torch.stack(
            [
                client_update(target.model, image, label)[bias_index].double().cpu()
                for label in known.split(1)
            ]
        ).div(received.count)

    found = exclusive_inputs(weight, bias, received.count, bias_gradient)
    rest = [mixture] * (received.count - len(found.inputs))
    return torch.stack([*found.inputs, *rest]), found.certain


def _one_input(weight: Tensor, bias: Tensor) -> Tensor:
    """Total least squares: the input of which all rows are multiples."""
    stacked = torch.cat([weight, bias.unsqueeze(1)], dim=1)
    # Of the smaller Gram matrix: there are fewer units than pixels, mostly.
    if len(stacked) <= stacked.shape[1]:
        _, left = torch.linalg.eigh(stacked @ stacked.T)
        direction = stacked.T @ left[:, -1]
    else:
        _, right = torch.linalg.eigh(stacked.T @ stacked)
        direction = right[:, -1]
    last = direction[-1]
    if last == 0:  # an empty update, or one whose bias has been cut off
        return torch.zeros_like(direction[:-1])
    return direction[:-1] / last
