"""The plain gradient of a client's images (FedSGD)."""

from __future__ import annotations

import torch
from torch import Tensor

from ggl_lightning.clients.procedures.gradients import GradientFunction, Tensors
from ggl_lightning.clients.procedures.one_step import OneStep
from ggl_lightning.clients.procedures.order import Order
from ggl_lightning.clients.procedures.state import ClientState


class PlainGradient(OneStep):
    """The gradient of the loss of all images at once (FedSGD; McMahan et al. 2017).

    Arguments and errors are `ClientProcedure`'s; by default the model runs in eval mode and the
    loss is the mean cross-entropy.
    """

    def simulate(
        self,
        gradients: GradientFunction,
        state: ClientState,
        images: Tensor,
        labels: Tensor,
        order: Order,
    ) -> tuple[Tensors, Tensors]:
        """See `ClientProcedure.simulate`."""
        (step,) = order.steps
        weights = dict(state.weights)
        labels = labels[step.indices.to(labels.device)]
        found, buffers = gradients(weights, dict(state.buffers), self.seen(images, step), labels)
        # Zeros from the weights' own, which are candidates' where these are vectorised.
        return {
            name: torch.zeros_like(weights[name]) if gradient is None else gradient
            for name, gradient in found.items()
        }, buffers
