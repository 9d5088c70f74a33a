"""The server and the clients of one federated training."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ggl_lightning.clients import Update, find_classifier_layer, trainable_parameters
from ggl_lightning.clients.procedures import ClientProcedure, ClientState
from ggl_lightning.clients.procedures.gradients import Tensors
from ggl_lightning.defenses import ClientSide, Defense
from ggl_lightning.errors import UserError
from ggl_lightning.federated.images import FederatedImages
from ggl_lightning.federated.sampling import Sampling
from ggl_lightning.federated.server import ServerOptimizer
from ggl_lightning.federated.streams import DEFENSE, ORDER
from ggl_lightning.seeding import torch_generator

_TEST_BATCH = 256


class DivergedError(Exception):
    """The training has left the finite numbers; the message says where."""


class Federation:
    """A server's model, and clients who train it on images of theirs.

    Args:
        model: The model, in eval mode; its parameters and, if clients send them, buffers change.
        images: What clients train on and accuracy is measured on.
        sampling: Who trains on which images.
        procedure: How a client's images become an update.
        defense: What clients do to their updates.
        server: What the server does with their average.
        seed: Seeds the defense's noise.

    Raises:
        UserError: If labels do not fit the model, or it does not end in a linear layer.
    """

    def __init__(
        self,
        model: nn.Module,
        images: FederatedImages,
        sampling: Sampling,
        procedure: ClientProcedure,
        defense: Defense,
        server: ServerOptimizer,
        seed: int,
    ) -> None:
        self._model = model
        self._parameters = list(trainable_parameters(model).values())
        self._device = self._parameters[0].device
        self._images = images
        self._sampling = sampling
        self._procedure = procedure
        self._state = ClientState.of(model)  # of the model's own tensors, which change
        self._buffers = dict(model.named_buffers())
        self._defense = defense
        self._optimizer = server.build(self._parameters)
        self._seed = seed
        self._classifier = find_classifier_layer(model, images.train.images[:1].to(self._device))
        self._check_labels()

    def round(self, number: int) -> None:
        """Chosen clients send defended updates; the server takes a step along their average.

        The average is weighted by the numbers of images behind the updates. A difference points
        where the weights are to go, hence its negative is the optimiser's gradient.

        Args:
            number: Which round, for all that is random in it.

        Raises:
            DivergedError: If the average or the weights are not finite.
        """
        chosen = self._sampling.choose(number)
        total = sum(len(indices) for indices in chosen.values())
        average = [torch.zeros_like(parameter) for parameter in self._parameters]
        buffers: dict[str, Tensor] = {}
        for client, indices in chosen.items():
            update, sent = self._sent(torch.from_numpy(indices), number, client)
            share = len(indices) / total
            for mean, tensor in zip(average, update, strict=True):
                mean += share * tensor
            for name, buffer in sent.items():
                buffers[name] = buffers.get(name, 0) + share * buffer.double()
        _check_finite("the average of the updates", average)
        _check_finite("the average of the buffers", buffers.values())
        for parameter, gradient in zip(self._parameters, average, strict=True):
            parameter.grad = -gradient if self._procedure.kind == "difference" else gradient
        self._optimizer.step()
        for name, mean in buffers.items():
            kept = self._buffers[name]
            kept.copy_(mean if kept.is_floating_point() else mean.round())
        _check_finite("the weights", self._parameters)

    @torch.no_grad()
    def accuracy(self) -> float:
        """The share of test images that the model classifies right, 0 to 1.

        Raises:
            DivergedError: If its logits are not finite.
        """
        test = self._images.test
        right = 0
        for images, labels in zip(
            test.images.split(_TEST_BATCH), test.labels.split(_TEST_BATCH), strict=True
        ):
            logits = self._model(images.to(self._device))
            _check_finite("the logits of test images", [logits])
            right += int((logits.argmax(dim=1).cpu() == labels).sum())
        return right / len(test)

    def _sent(self, indices: Tensor, number: int, client: int) -> tuple[Update, Tensors]:
        """What a client sends in a round: its defended update, and its buffers."""
        images = self._images.train.images[indices].to(self._device)
        labels = self._images.train.labels[indices].to(self._device)
        side = ClientSide(
            model=self._model,
            images=images,
            labels=labels,
            classifier=self._classifier,
            generator=torch_generator(DEFENSE, self._seed, number, client),
        )
        order = self._procedure.order(
            len(images), torch_generator(ORDER, self._seed, number, client)
        )
        update = self._procedure.compute(self._state, images, labels, order)
        return self._defense(list(update.tensors.values()), side), update.buffers

    def _check_labels(self) -> None:
        classes = self._classifier.layer.out_features
        for part in (self._images.train, self._images.test):
            low, high = int(part.labels.min()), int(part.labels.max())
            if low < 0 or high >= classes:
                raise UserError(
                    f"The images have labels from {low} to {high}, but the client model has "
                    f"{classes} classes, numbered from 0: set num_classes of the client model to "
                    "fit the images."
                )


def _check_finite(what: str, tensors: Iterable[Tensor]) -> None:
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        raise DivergedError(f"{what} are not finite any more")
