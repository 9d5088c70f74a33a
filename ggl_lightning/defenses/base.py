"""What every defense is: a function from the client's update to the one it sends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ggl_lightning.clients import ClassifierLayer, Update


@dataclass(frozen=True)
class ClientSide:
    """What a client knows while it defends its update, beyond the update itself.

    Attributes:
        model: The client model, in eval mode.
        images: The private images ``(N, 3, H, W)`` in ``[-1, 1]``.
        labels: Their labels ``(N,)``.
        classifier: The model's last layer.
        generator: A CPU generator, seeded per case: the only source of randomness allowed.
    """

    model: nn.Module
    images: Tensor
    labels: Tensor
    classifier: ClassifierLayer
    generator: torch.Generator


class Adaptation(ABC):
    """What an adaptive attacker does to every candidate's update before comparing it.

    Attributes:
        estimate: The defense's parameters as the attacker estimates them, by name: reported
            beside the true ones.
        only_scales: Whether it multiplies each tensor by some number, and does nothing else.
    """

    estimate: dict[str, float]
    only_scales: bool = False

    def shared(self) -> Adaptation:
        """The same with estimates so coarse that all updates under one defense share them.

        An attack that learns from degraded updates learns once for all of these. By default the
        adaptation itself: it follows from the defense's kind alone, or there is no way round.
        """
        return self

    @abstractmethod
    def __call__(self, update: Update) -> Update:
        """Degrades a candidate's update as the defense is believed to have degraded the received.

        Args:
            update: A candidate's update. Never modified.

        Returns:
            A new update of the same shapes, dtypes and device, differentiable with respect to the
            given one. Tensors that stay as they are may be the given ones.
        """


class TensorwiseAdaptation(Adaptation):
    """An adaptation that degrades each tensor of an update without looking at the others.

    An attack need not hold a candidate's whole update to apply it.
    """

    @abstractmethod
    def adapt_tensor(self, tensor: Tensor, index: int) -> Tensor:
        """Degrades one tensor of a candidate's update; see `Adaptation.__call__`.

        Args:
            tensor: The tensor. Never modified.
            index: Its place in the update.
        """

    def __call__(self, update: Update) -> Update:
        """Returns the degraded tensors; see `adapt_tensor`."""
        return [self.adapt_tensor(tensor, index) for index, tensor in enumerate(update)]


class Unchanged(TensorwiseAdaptation):
    """Leaves candidates as they are: there is an estimate to report, but nothing to undo.

    Args:
        estimate: The defense's parameters as the attacker estimates them.
    """

    only_scales = True

    def __init__(self, estimate: dict[str, float]) -> None:
        self.estimate = estimate

    def adapt_tensor(self, tensor: Tensor, index: int) -> Tensor:
        """Returns the same tensor."""
        return tensor


class Defense(ABC):
    """Degrades an update on the client's side.

    A defense is configured once and used for many cases, so it keeps no state between calls.
    Its public attributes are its parameters: they identify it in results.
    """

    @property
    def replaces_update(self) -> bool:
        """Whether it computes the update anew from the private images, whatever it is given."""
        return False

    @property
    def hides_scale(self) -> bool:
        """Whether it scales updates by a factor that noise may hide from the server."""
        return False

    @property
    def adds_noise(self) -> bool:
        """Whether it may add noise; unless it says otherwise, it may."""
        return True

    @property
    def reads_images(self) -> bool:
        """Whether it uses the private images, and not only the update that it is given.

        What it does then is not undone by noise that was added before it.
        """
        return self.replaces_update

    def norm_bound(self, before: float | None) -> float | None:
        """The largest Euclidean norm of what it sends.

        Args:
            before: The largest norm of what it is given; None if there is no such bound.

        Returns:
            None if there is none (the default): noise has none, for instance.
        """
        return None

    def noise_multiplier_after(self, before: float | None) -> float | None:
        """Standard deviation of Gaussian noise on all entries over the largest norm under it.

        It bounds how often any attacker can name a private image (`identification_bound`).

        Args:
            before: The largest norm of the update that it is given, whatever the private images;
                None if there is no such bound.

        Returns:
            None if it adds no Gaussian noise to something of bounded norm (the default).
        """
        return None

    @abstractmethod
    def __call__(self, update: Update, client: ClientSide) -> Update:
        """Returns the update the client sends instead.

        Args:
            update: The client's true update, of the kind that its procedure makes: a gradient, or
                a difference of the weights. Never modified. Buffers are not among it.
            client: The rest of the client's knowledge.

        Returns:
            A new update with the same shapes, on the same device.
        """

    def adapt(self, received: Update, classifier: ClassifierLayer) -> Adaptation | None:
        """What an attacker does who knows this defense is in use, but not its parameters.

        Args:
            received: The update as the server received it.
            classifier: The client model's last layer.

        Returns:
            None if there is nothing to be gained from knowing (the default).
        """
        return None

    def guarantee(self) -> dict[str, float]:
        """What the defense provably promises, by name: reported beside its parameters.

        Returns:
            ``epsilon`` and ``delta`` of differential privacy; empty without such a promise (the
            default).
        """
        return {}
