"""What every procedure is: a pure function of weights, buffers, images and order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.dropout import _DropoutNd

from ggl_lightning.clients.procedures.augmentation import Augmentation
from ggl_lightning.clients.procedures.gradients import (
    AutogradGradients,
    GradientFunction,
    Loss,
    Tensors,
)
from ggl_lightning.clients.procedures.order import LocalStep, Order
from ggl_lightning.clients.procedures.pure_modules import with_pure_batch_norm
from ggl_lightning.clients.procedures.state import ClientState, Mode
from ggl_lightning.clients.procedures.statistics import values_per_image
from ggl_lightning.clients.procedures.update import ClientUpdate, Kind
from ggl_lightning.errors import UserError, check_choice
from ggl_lightning.seeding import seeded


class ClientProcedure(ABC):
    """How a client turns its private images into an update.

    Client and attacker share the procedures' code, not the objects: the client applies its own to
    its private images, the attacker applies the one that it believes in to its candidates. Its
    public attributes are its parameters: they identify it in results.

    Args:
        mode: How the client model runs; see `Mode`.
        send_buffers: Whether the buffers are sent too, such as batch-norm's running statistics.
        loss: The client's loss, called as ``loss(logits, labels)``: a module of torch's or one of
            yours. None takes the mean cross-entropy.
        label_smoothing: Of the cross-entropy: the share of the labels' probability that is spread
            over all classes.
        augmentations: What is done to the images of each step, in this order.

    Raises:
        UserError: If ``mode`` is not known, ``label_smoothing`` is not between 0 and 1 or given
            with a loss of its own.
    """

    def __init__(
        self,
        mode: Mode = "eval",
        send_buffers: bool = False,
        loss: nn.Module | None = None,
        label_smoothing: float = 0.0,
        augmentations: Sequence[Augmentation] = (),
    ) -> None:
        check_choice("mode of the procedure", mode, ("train", "frozen", "eval"))
        if not 0 <= label_smoothing <= 1:
            raise UserError(
                f"label_smoothing is {label_smoothing}: it must be a share between 0 and 1."
            )
        if loss is not None and label_smoothing:
            raise UserError(
                f"label_smoothing is {label_smoothing}, but the loss is {type(loss).__name__}: "
                "leave one of them out; torch.nn.CrossEntropyLoss has a label_smoothing of its own."
            )
        self.mode = mode
        self.send_buffers = send_buffers
        self.loss = loss
        self.label_smoothing = label_smoothing
        self.augmentations: Sequence[Augmentation] = list(augmentations)

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """What the update's tensors are."""

    @abstractmethod
    def order(self, count: int, generator: torch.Generator) -> Order:
        """Draws all that is random in the procedure.

        Args:
            count: Number of the client's images.
            generator: The only source of randomness; a CPU generator.
        """

    @abstractmethod
    def simulate(
        self,
        gradients: GradientFunction,
        state: ClientState,
        images: Tensor,
        labels: Tensor,
        order: Order,
    ) -> tuple[Tensors, Tensors]:
        """What `compute` does once it is known how gradients are to be had.

        It may run under `torch.func.vmap`, so it must not look at the values of tensors.

        Args:
            gradients: Gradients of one pass through the client model.
            state: Where training begins.
            images: ``(N, 3, H, W)``.
            labels: ``(N,)``.
            order: The random choices.

        Returns:
            One tensor for each of ``state.weights``, and the buffers afterwards.
        """

    @abstractmethod
    def rates(self, steps: int, count: int) -> list[float]:
        """The learning rate of each step; 1 for a plain gradient.

        Args:
            steps: Number of steps.
            count: Number of the client's images.
        """

    def compute(
        self, state: ClientState, images: Tensor, labels: Tensor, order: Order
    ) -> ClientUpdate:
        """Computes the update, whatever the surrounding grad mode is.

        Args:
            state: The client model with the weights and buffers to begin with; nothing changes.
            images: Images ``(N, 3, H, W)`` in ``[-1, 1]``.
            labels: Their labels ``(N,)``, int64.
            order: The random choices; `order` draws them.

        Returns:
            The update, its buffers included: differentiable with respect to ``images`` if they
            require gradients (twice and more, as far as the model is), detached otherwise.
        """
        gradients = self.autograd_gradients(state, differentiable=images.requires_grad)
        return self.run(gradients, state, images, labels, order)

    def __call__(
        self, state: ClientState, images: Tensor, labels: Tensor, order: Order
    ) -> ClientUpdate:
        """See `compute`."""
        return self.compute(state, images, labels, order)

    def autograd_gradients(self, state: ClientState, differentiable: bool) -> AutogradGradients:
        """Gradients as an ordinary training loop has them; see `GradientFunction`."""
        if differentiable and self.mode == "train":  # what changes in place has no gradient
            copy = state.copy_in_mode(self.mode)
            model = with_pure_batch_norm(copy, track=self.send_buffers, slopes=True)
        else:
            model = state.in_mode(self.mode)
        return AutogradGradients(model, state.fixed, self.loss_on(state.device), differentiable)

    def run(
        self,
        gradients: GradientFunction,
        state: ClientState,
        images: Tensor,
        labels: Tensor,
        order: Order,
    ) -> ClientUpdate:
        """As `compute`, with the gradients from elsewhere."""
        with seeded(order.seed), torch.set_grad_enabled(images.requires_grad):
            tensors, buffers = self.simulate(gradients, state, images, labels, order)
        return self.update(tensors, buffers if self.send_buffers else {}, len(images), len(order))

    def update(self, tensors: Tensors, buffers: Tensors, count: int, steps: int) -> ClientUpdate:
        """An update of this procedure, of ``count`` images and so many steps."""
        rates = set(self.rates(steps, count))
        return ClientUpdate(
            tensors=tensors,
            kind=self.kind,
            buffers=buffers,
            count=count,
            steps=steps,
            learning_rate=rates.pop() if len(rates) == 1 else None,
            mode=self.batch_norm_mode,
        )

    def gradient_unit(self, count: int) -> float:
        """What a mean gradient of one becomes in the update, as far as that is the same for all.

        An update divided by it is the mean gradient of all images, to first order in the learning
        rate.

        Args:
            count: Number of the client's images.
        """
        return 1.0 if self.kind == "gradient" else -1.0

    def mean_gradient(self, tensors: Tensors, weights: Mapping[str, Tensor], count: int) -> Tensors:
        """The mean gradient of all images that an update comes to; see `gradient_unit`.

        Args:
            tensors: The update.
            weights: The weights before training.
            count: Number of the client's images.
        """
        unit = self.gradient_unit(count)
        if unit == 1:
            return dict(tensors)
        return {name: tensor / unit for name, tensor in tensors.items()}

    @property
    def batch_norm_mode(self) -> Literal["train", "eval"]:
        """Whether batch-norm takes the statistics of the batch or the running ones."""
        return "train" if self.mode == "train" else "eval"

    def loss_on(self, device: torch.device) -> Loss:
        """The client's loss as a function of tensors on a device, to which its own are moved."""
        return self._cross_entropy if self.loss is None else self.loss.to(device)

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)

    def seen(self, images: Tensor, step: LocalStep) -> Tensor:
        """The images of a step as the model sees them: ``(B, 3, H, W)``."""
        return self.augmented(images[step.indices.to(images.device)], step)

    def augmented(self, images: Tensor, step: LocalStep) -> Tensor:
        """What becomes of the images of a step, ``(B, 3, H, W)``."""
        for augmentation, choices in zip(self.augmentations, step.choices, strict=True):
            images = augmentation(images, choices)
        return images

    def is_order_free(self, model: nn.Module, count: int) -> bool:
        """Whether all orders give the same update, so that an attacker needs to know none.

        Dropout is recognised by torch's modules for it: a model that calls the function itself is
        taken to have none.

        Args:
            model: The client model.
            count: Number of the client's images.
        """
        drops = any(isinstance(each, _DropoutNd) and each.p > 0 for each in model.modules())
        at_random = any(augmentation.random for augmentation in self.augmentations)
        return not (at_random or (drops and self.mode != "eval") or self.shuffles(count))

    @abstractmethod
    def shuffles(self, count: int) -> bool:
        """Whether it matters in which order ``count`` images come, and that is random."""

    @abstractmethod
    def batch_sizes(self, count: int) -> list[int]:
        """The sizes of its batches, each once."""

    def problems(
        self, model: nn.Module, image_shape: tuple[int, int, int], count: int
    ) -> list[str]:
        """What stands in the way of this procedure, a sentence each; empty if nothing does.

        Args:
            model: The client model.
            image_shape: ``(3, H, W)``.
            count: Number of the client's images.
        """
        if count < 1:
            return [f"The client has {count} images: it needs at least one to train on."]
        if not any(parameter.requires_grad for parameter in model.parameters()):
            return [
                f"No parameter of the client model {type(model).__name__} requires gradients, so "
                "there is nothing to train or send: set requires_grad of some."
            ]
        sizes = self.batch_sizes(count)
        if self.mode != "train" or not sizes:
            return []
        try:
            layers = values_per_image(ClientState.of(model), image_shape)
        except UserError as error:
            return list(error.problems)
        alone = [name for name, values in layers.items() if min(sizes) * values == 1]
        if not alone:
            return []
        return [
            f"In training mode batch-norm cannot normalise a batch of {min(sizes)}: layer "
            f"{alone[0]} sees one value per channel in it. Choose a batch_size that leaves no "
            "batch of one image, set drop_last to true, or take mode 'frozen' or 'eval'."
        ]
