"""What an attacker may use."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ggl_lightning.attacks.labels import InferredLabels, infer_labels
from ggl_lightning.clients import ClassifierLayer, Update
from ggl_lightning.clients.procedures import ClientProcedure
from ggl_lightning.defenses import Defense
from ggl_lightning.errors import UserError
from ggl_lightning.updates import UpdateRecord


@dataclass(frozen=True)
class Received:
    """What the server holds: everything an attack may use, and nothing else.

    Attributes:
        record: What was sent, with the number of images behind it.
        procedure: What the attacker believes that the client did. The order in which the client
            took its images is not in it.
        defense: Which defense the client used; an adaptive attack estimates its parameters, any
            other ignores it, but for whether it scales updates, which says how to read labels of
            several images.
        labels: Labels to assume, ``(N,)``; None lets the attack infer them from the update.
    """

    record: UpdateRecord
    procedure: ClientProcedure
    defense: Defense
    labels: Tensor | None = None

    @property
    def update(self) -> Update:
        """The tensors that were sent, in ``model.parameters()`` order."""
        return list(self.record.tensors.values())

    @property
    def count(self) -> int:
        """Number ``N`` of private images behind the update.

        Raises:
            UserError: If it is not known.
        """
        if self.record.count is None:
            raise UserError(
                "The update does not say how many images are behind it (count): say so, since an "
                "attack looks for that many."
            )
        return self.record.count

    def mean_gradient(self, model: nn.Module) -> Update:
        """The mean gradient of all images that the update comes to.

        Args:
            model: The client model with the weights before training.
        """
        weights = {name: each.detach() for name, each in model.named_parameters()}
        tensors = dict(self.record.tensors)
        return list(self.procedure.mean_gradient(tensors, weights, self.count).values())

    def read_labels(self, model: nn.Module, classifier: ClassifierLayer) -> InferredLabels:
        """The labels read off the mean gradient that the update comes to; see `infer_labels`.

        Args:
            model: The client model with the weights before training.
            classifier: Its last layer.
        """
        scaled = self.defense.hides_scale
        return infer_labels(self.mean_gradient(model), classifier, self.count, scaled)

    def assumed_labels(
        self, model: nn.Module, classifier: ClassifierLayer
    ) -> tuple[InferredLabels | None, Tensor]:
        """The labels read off the update, if it has the last layer, and those to assume.

        Args:
            model: The client model with the weights before training.
            classifier: Its last layer.

        Returns:
            What was inferred, and labels ``(N,)`` on the CPU: the given ones if there are any.

        Raises:
            UserError: If there are none, and the last layer is not in the update.
        """
        if self.labels is not None and not classifier.is_sent:
            return None, self.labels.cpu()
        inferred = self.read_labels(model, classifier)
        return inferred, torch.tensor(inferred.labels) if self.labels is None else self.labels.cpu()
