"""One forward and one backward pass for a whole population."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from ggl_lightning.attacks.matching.errors import UnusualLayersError

Visit = Callable[[str, Tensor, Tensor], None]
"""Called as ``visit(layer, a, b)`` with a layer's inputs and output gradients, ``(C, N, ...)``."""


class PopulationPass:
    """Shows what some layers of a client model are given, and the gradients of what they return.

    A candidate's loss is its mean cross-entropy. Layers' inputs are caught by forward hooks and the
    gradients of their outputs by tensor hooks, which see an output as the layer returned it even if
    a later layer overwrites it.

    Args:
        model: The client model, in eval mode, whose parameters need no gradients.

    Attributes:
        caught_bytes_per_candidate: Size of those layers' inputs and outputs in the last pass.
    """

    caught_bytes_per_candidate: int

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def __call__(self, layers: set[str], images: Tensor, labels: Tensor, visit: Visit) -> None:
        """Evaluates a population.

        Args:
            layers: Names of the layers to visit.
            images: ``(C, N, 3, H, W)`` in ``[-1, 1]``.
            labels: ``(N,)``.
            visit: Called once for every layer; what it is given is differentiable with respect to
                ``images`` if they require gradients.

        Raises:
            UnusualLayersError: If a layer is not called exactly once with all images.
        """
        differentiable = images.requires_grad
        flat = images.flatten(0, 1).clone()
        if flat.device.type == "cpu":  # the format that oneDNN's convolutions prefer
            flat = flat.contiguous(memory_format=torch.channels_last)
        if not differentiable:
            flat = flat.detach().requires_grad_()
        visited: set[str] = set()

        def visit_once(name: str, a: Tensor, b: Tensor) -> None:
            visited.add(name)
            visit(name, a, b)

        hooks: list[RemovableHandle] = []
        with torch.enable_grad():
            logits = self._run(layers, flat, images.shape[:2], visit_once, hooks)
            losses = F.cross_entropy(logits, labels.repeat(len(images)), reduction="sum")
            torch.autograd.grad(losses / len(labels), flat, create_graph=differentiable)
        for hook in hooks:  # else they would run again when the caller differentiates the result
            hook.remove()
        if visited != layers:
            raise UnusualLayersError(layers - visited, "no gradient reaches it")

    def _run(
        self,
        layers: set[str],
        images: Tensor,
        counts: torch.Size,
        visit: Visit,
        hooks: list[RemovableHandle],
    ) -> Tensor:
        """The model's logits; ``hooks`` visit the layers during the backward pass."""
        called: set[str] = set()
        caught = 0

        def catch(name: str, arguments: tuple[object, ...], output: object) -> None:
            nonlocal caught
            if name in called:
                raise UnusualLayersError({name}, "called more than once")
            called.add(name)
            if len(arguments) != 1 or not (
                _one_row_per_image(arguments[0], len(images))
                and _one_row_per_image(output, len(images))
            ):
                raise UnusualLayersError({name}, "not called with one row per image")
            if not output.requires_grad:
                raise UnusualLayersError({name}, "no gradient reaches it")
            caught += arguments[0].nbytes + output.nbytes
            given = arguments[0].unflatten(0, counts)
            hooks.append(
                output.register_hook(
                    lambda gradient: visit(name, given, gradient.unflatten(0, counts))
                )
            )

        handles = [
            self._model.get_submodule(name).register_forward_hook(
                lambda _layer, arguments, output, name=name: catch(name, arguments, output)
            )
            for name in layers
        ]
        try:
            logits = self._model(images)
        finally:
            for handle in handles:
                handle.remove()
        self.caught_bytes_per_candidate = caught // counts[0]
        return logits


def _one_row_per_image(value: object, count: int) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor) and value.dim() > 1 and len(value) == count
