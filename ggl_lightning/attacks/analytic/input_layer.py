"""Finds a linear layer that sees the image itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ggl_lightning.clients import trainable_parameters

_SPREAD = 1e-5
"""Relative difference from a function of each pixel alone that rounding may make."""


@dataclass(frozen=True)
class InputLayer:
    """A linear layer whose input is the image, each pixel scaled and shifted by itself.

    Attributes:
        name: Its name in the client model.
        layer: The layer.
        weight_index: Index of its weight's tensor in the update.
        bias_index: Index of its bias's tensor in the update, or None if that is not sent.
        scale: What each pixel is multiplied by before it enters the layer, ``(3 H W,)``.
        shift: What is added then, ``(3 H W,)``.
    """

    name: str
    layer: nn.Linear
    weight_index: int
    bias_index: int | None
    scale: Tensor
    shift: Tensor

    def images(self, inputs: Tensor, shape: tuple[int, int, int]) -> Tensor:
        """The images that enter the layer as ``inputs``.

        Args:
            inputs: ``(M, 3 H W)``.
            shape: ``(3, H, W)``.

        Returns:
            ``(M, 3, H, W)``, not clamped.
        """
        return ((inputs - self.shift) / self.scale).unflatten(1, shape)


def find_input_layer(model: nn.Module, shape: tuple[int, int, int]) -> InputLayer | None:
    """Finds a linear layer that is given nothing but the image's pixels.

    Between image and layer there may be what acts on each pixel by itself, such as a normalisation
    with fixed means: it is found out by what arrives of four images. Layers that are not in the
    update are passed over.

    Args:
        model: The client model, in eval mode.
        shape: Of an image, ``(3, H, W)``.

    Returns:
        The first one that runs; None if there is none.
    """
    index = {id(each): i for i, each in enumerate(trainable_parameters(model).values())}
    generator = torch.Generator().manual_seed(0)
    device = next(model.parameters()).device
    dtype = next(model.parameters()).dtype
    random = 2 * torch.rand(2, *shape, generator=generator) - 1
    probes = torch.cat([torch.zeros(1, *shape), torch.ones(1, *shape), random])
    probes = probes.to(device, dtype)
    seen: list[tuple[str, nn.Linear, Tensor]] = []
    handles = [
        layer.register_forward_pre_hook(
            lambda _layer, given, name=name, layer=layer: seen.append((name, layer, given[0]))
        )
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear)
    ]
    try:
        with torch.no_grad():
            model(probes)
    finally:
        for handle in handles:
            handle.remove()
    for name, layer, given in seen:
        if given.shape != (len(probes), math.prod(shape)) or id(layer.weight) not in index:
            continue
        shift, scale = given[0], given[1] - given[0]
        expected = shift + scale * probes.flatten(1)
        error = (given - expected).abs().max()
        if bool((scale != 0).all()) and bool(error <= _SPREAD * given.abs().max()):
            return InputLayer(
                name,
                layer,
                index[id(layer.weight)],
                index.get(id(layer.bias)),
                scale.double().cpu(),
                shift.double().cpu(),
            )
    return None
