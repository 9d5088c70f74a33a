"""Where in a client model, and so in its update, the last layer is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ggl_lightning.clients.update import trainable_parameters
from ggl_lightning.errors import UserError

_TRIED = 4
"""Images: a layer of any width without a ReLU before it sees a negative input in one of them."""


@dataclass(frozen=True)
class ClassifierLayer:
    """The client model's last layer and its place in the update.

    Attributes:
        layer: The linear layer that outputs the logits.
        weight_index: Index of its weight's tensor in the update, or None if that is frozen, hence
            not sent.
        bias_index: Index of its bias's tensor in the update, or None if it has no bias or that is
            frozen.
        non_negative: Whether no image that was tried gave it a negative input, as behind a ReLU.
    """

    layer: nn.Linear
    weight_index: int | None
    bias_index: int | None
    non_negative: bool

    @property
    def is_sent(self) -> bool:
        """Whether any part of it is in the update: without one, labels cannot be inferred."""
        return self.weight_index is not None or self.bias_index is not None


def find_classifier_layer(model: nn.Module, images: Tensor) -> ClassifierLayer:
    """Finds the last layer by running the model and seeing which layer with parameters runs last.

    The order of ``model.parameters()`` is the order of definition, which need not be the order of
    execution; "the last two tensors" would be a guess. A module with parameters of its own that
    ends after the layers within it, as a vision transformer with its class token, is looked into:
    the layer must be the one whose output it returns.

    Args:
        model: The client model.
        images: Any images it accepts, ``(N, 3, H, W)``. Random ones of their size are tried too.

    Raises:
        UserError: If the last layer that has parameters is not ``nn.Linear``.
    """
    executed: list[tuple[nn.Module, Tensor]] = []
    handles = [
        module.register_forward_hook(lambda layer, _in, output: executed.append((layer, output)))
        for module in model.modules()
        if next(module.parameters(recurse=False), None) is not None
    ]
    try:
        with torch.no_grad():
            logits = model(images)
    finally:
        for handle in handles:
            handle.remove()
    last = executed[-1][0] if executed else None
    if not isinstance(last, nn.Linear):
        last = next(
            (
                layer
                for layer, output in executed
                if isinstance(layer, nn.Linear) and output is logits
            ),
            last,
        )
    if not isinstance(last, nn.Linear):
        found = "none" if last is None else type(last).__name__
        raise UserError(
            f"The client model {type(model).__name__} must end in torch.nn.Linear so that the "
            f"label can be read from its gradient; its last layer with parameters is {found}."
        )
    index = {id(each): i for i, each in enumerate(trainable_parameters(model).values())}
    return ClassifierLayer(
        layer=last,
        weight_index=index.get(id(last.weight)),
        bias_index=index.get(id(last.bias)),
        non_negative=_never_negative(model, last, images),
    )


@torch.no_grad()
def _never_negative(model: nn.Module, layer: nn.Linear, images: Tensor) -> bool:
    if images.is_meta:  # there are no values to look at
        return False
    found: list[bool] = []
    handle = layer.register_forward_pre_hook(
        lambda _layer, given: found.append(bool((given[0] >= 0).all()))
    )
    noise = torch.Generator().manual_seed(0)
    try:
        for _ in range(_TRIED):
            pixels = 2 * torch.rand(images[:1].shape, generator=noise) - 1
            model(pixels.to(images))
    finally:
        handle.remove()
    return all(found)
